"""A store of layout 1 goes on: nothing in it is lost, and nothing that it knew is forgotten."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import cbor2
import pytest

from rataccess.numbers import NumberSet
from rataccess.objects import Service, encode
from rataccess.services.store import NDJSON, open_store, schema, sqlite
from tests.services.service_world import World

LAYOUT_1 = """
CREATE TABLE devices(
  id INTEGER PRIMARY KEY, serial_number TEXT NOT NULL, kid BLOB NOT NULL,
  received BLOB, replay BLOB, heard_at REAL, link TEXT, paths BLOB,
  last_number INTEGER NOT NULL DEFAULT 0, environment BLOB,
  UNIQUE (serial_number, kid)) STRICT;
CREATE TABLE queues(
  device INTEGER NOT NULL, id INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (device, id)) STRICT, WITHOUT ROWID;
CREATE TABLE records(
  id INTEGER PRIMARY KEY, device INTEGER NOT NULL, number INTEGER NOT NULL, queue TEXT NOT NULL,
  urgency INTEGER NOT NULL, captured_at REAL, received_at REAL NOT NULL, link TEXT, body BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX records_once ON records(device, number);
CREATE TABLE parked(
  device INTEGER NOT NULL, number INTEGER NOT NULL, queue_id INTEGER NOT NULL, urgency INTEGER NOT NULL,
  captured_at REAL, received_at REAL NOT NULL, link TEXT, body BLOB NOT NULL, PRIMARY KEY (device, number)) STRICT;
CREATE TABLE partials(
  device INTEGER NOT NULL, number INTEGER NOT NULL, queue_id INTEGER NOT NULL, urgency INTEGER NOT NULL,
  captured_at REAL, total INTEGER NOT NULL, PRIMARY KEY (device, number)) STRICT, WITHOUT ROWID;
CREATE TABLE fragments(
  device INTEGER NOT NULL, number INTEGER NOT NULL, start INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (device, number, start)) STRICT;
CREATE TABLE objects(
  serial_number TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, device INTEGER NOT NULL,
  number INTEGER NOT NULL, captured_at REAL, received_at REAL NOT NULL,
  PRIMARY KEY (serial_number, name)) STRICT, WITHOUT ROWID;
CREATE TABLE health(
  serial_number TEXT PRIMARY KEY, value BLOB NOT NULL, device INTEGER NOT NULL, number INTEGER NOT NULL,
  captured_at REAL, received_at REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE outbound(
  device INTEGER NOT NULL, number INTEGER NOT NULL, queue_id INTEGER NOT NULL, urgency INTEGER NOT NULL,
  created_at REAL NOT NULL, body BLOB NOT NULL, PRIMARY KEY (device, number)) STRICT;
CREATE TABLE outbound_queues(
  device INTEGER NOT NULL, id INTEGER NOT NULL, name TEXT NOT NULL, known INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (device, id)) STRICT, WITHOUT ROWID;
CREATE TABLE fleet_environment(
  fleet TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (fleet, name)) STRICT, WITHOUT ROWID;
CREATE TABLE device_environment(
  serial_number TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (serial_number, name)) STRICT, WITHOUT ROWID;
CREATE TABLE memory(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE forwarding(
  only INTEGER PRIMARY KEY CHECK (only = 1), record INTEGER NOT NULL, position INTEGER NOT NULL) STRICT;
INSERT INTO forwarding VALUES (1, 0, 0);
PRAGMA user_version = 1;
"""
_SAME = "queues parked partials fragments objects health outbound_queues fleet_environment device_environment memory"
COMMON = {
    "devices": "id, serial_number, kid, received, replay, heard_at, link, paths, last_number, environment",
    "records": "id, device, number, queue, urgency, captured_at, received_at, link, body",
    "outbound": "device, number, queue_id, urgency, created_at, body",
    **dict.fromkeys([*_SAME.split(), "counters"], "*"),
}
"""What both layouts have."""


def downgrade(path: Path) -> None:
    """Make a file of layout 1 with the contents of a closed one of today."""
    with closing(sqlite3.connect(f"{path}.1", isolation_level=None)) as old:
        old.executescript(LAYOUT_1)
        old.execute("ATTACH ? AS today", (str(path),))
        for table, columns in COMMON.items():
            names = "" if columns == "*" else f"({columns})"
            old.execute(f"INSERT INTO main.{table}{names} SELECT {columns} FROM today.{table}")
        row = old.execute("SELECT max(id) FROM records").fetchone()
        old.execute("UPDATE forwarding SET record = ?, position = 4711", (row[0] or 0,))
    shutil.move(f"{path}.1", path)


def test_a_service_goes_on_with_a_store_of_layout_1(tmp_path: Path) -> None:
    world = World(tmp_path, Service.SOLUTION)
    device = world.add("A1")
    seen, _ = device.protect(b"")
    assert len(world.core.process([(seen, "here")])) == 1
    world.send(device, device.record(1, 1), device.record(2, "parked", "late", named=False))
    world.kill()
    downgrade(world.store_path)
    world.start()
    assert world.core.process([(seen, "here")]) == [], "the replay window is the one of before"
    answer = world.send(device, device.record(1, "again"), device.record(3, 3, "late"))
    assert answer.message.acknowledged == NumberSet(3)
    assert world.rows(columns="number, queue, body") == [
        (1, "readings", encode(1)),
        (2, "late", encode("parked")),
        (3, "late", encode(3)),
    ]
    world.kill()


def test_what_was_forwarded_is_known_to_the_cursor(tmp_path: Path) -> None:
    world = World(tmp_path, Service.SOLUTION)
    device = world.add("A1")
    world.send(device, device.record(1, 1), device.record(2, 2))
    world.kill()
    downgrade(world.store_path)
    with open_store(str(world.store_path)) as store:
        position, state = store.cursor(NDJSON)
        assert (position, cbor2.loads(state or b"")) == ("2", 4711)
        assert store.records_after(position) == []
        assert len(store.records_after(None)) == 2
        kept = store.load_devices([1])[1].device.kept
        assert kept == len(encode(1)) + len(encode(2))


def test_a_migration_that_is_cut_off_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, Service.SOLUTION)
    device = world.add("A1")
    world.send(device, device.record(1, 1))
    world.kill()
    downgrade(world.store_path)
    run, count = sqlite._run, 0
    statements = [line for line in schema.SQLITE_FROM_1.split(";\n") if line.strip()]
    for cut in range(1, len(statements), 3):

        def cut_off(connection: sqlite3.Connection, script: str, cut: int = cut) -> None:
            run(connection, ";\n".join(statements[:cut]) + ";\n")
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(sqlite, "_run", cut_off)
            with pytest.raises(KeyboardInterrupt):
                open_store(str(world.store_path))
        count += 1
        with closing(sqlite3.connect(world.store_path)) as found:
            assert found.execute("PRAGMA user_version").fetchone() == (1,)
            assert found.execute("SELECT number FROM records").fetchall() == [(1,)]
            assert found.execute("SELECT position FROM forwarding").fetchone() == (4711,)
    assert count > 3
    with open_store(str(world.store_path)) as store:
        assert [record.number for record in store.records_after(None)] == [1]
