"""Files of earlier versions of the layout: whole ones are brought up to date, damaged ones are saved as far as they go."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from rataccess.numbers import NumberSet
from rataccess.objects import Service, Urgency, encode
from rataccess.store import Inbound, NewRecord, Store
from rataccess.store.schema import MIGRATIONS

SOLUTION = Service.SOLUTION
VERSION_1 = Path(__file__).with_name("version1.sql")


@pytest.fixture
def old(path: Path) -> Path:
    """A file that version 1 wrote."""
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1.read_text())
    connection.close()
    return path


def records(store: Store) -> dict[int, tuple[str, bytes, int | None]]:
    return {
        one.number: (one.queue, one.body, one.template)
        for urgency in Urgency
        for one in store.waiting(SOLUTION, urgency, 0, 100, 10**6)
    }


def version(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(found)


def test_a_file_of_version_1_is_read_on(make: Any, old: Path, threaded: bool) -> None:
    assert version(old) == 1
    store = make(threaded=threaded)
    assert store.trouble is None
    assert records(store) == {
        2: ("alarms", encode({"n": 1}), None),
        3: ("readings", encode({"n": 2}), None),
        4: ("alarms", encode({"n": 3}), None),
        6: ("alarms", encode({"n": 5}), None),
    }
    (handed,) = store.due_for_resend(SOLUTION, 2e9, 9)
    assert (handed.number, handed.template, handed.handed_over) == (5, None, True)
    assert store.take(SOLUTION, None) == Inbound(7, "commands", encode("hello"), 1.5)
    assert store.received(SOLUTION) == NumberSet(0, [(7, 8)])
    assert store.counters()["delivered"] == 1
    packed = store.enqueue(NewRecord(SOLUTION, "readings", encode({"n": 9}), template=300)).number
    assert packed == 7
    store.close()
    assert version(old) == len(MIGRATIONS)
    assert records(make(threaded=threaded))[packed] == ("readings", encode({"n": 9}), 300)


def test_a_damaged_file_of_version_1_is_saved(make: Any, old: Path) -> None:
    connection = sqlite3.connect(old)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'objects'").fetchone()
    connection.close()
    data = bytearray(old.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    old.write_bytes(data)
    store = make()
    assert store.trouble is not None
    assert store.trouble.salvaged == 6
    assert sorted(records(store)) == [2, 3, 4, 6]


def test_the_schema_id_is_kept_and_saved_from_damage(make: Any, path: Path) -> None:
    store = make()
    numbers = [store.enqueue(NewRecord(SOLUTION, "q", encode(n), template=n or None)).number for n in range(3)]
    store.put_object(SOLUTION, "door", encode(True))
    store.close()
    connection = sqlite3.connect(path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'objects'").fetchone()
    connection.close()
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    store = make()
    assert store.trouble is not None
    assert [records(store)[number][2] for number in numbers] == [None, 1, 2]
