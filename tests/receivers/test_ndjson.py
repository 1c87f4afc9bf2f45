"""Lines of JSON: each record once, whatever is killed when."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rataccess.clock import SystemClock
from rataccess.errors import DiskFull
from rataccess.objects import encode
from rataccess.services.jsonform import iso
from rataccess.services.receivers import NdjsonSettings, Receivers
from rataccess.services.receivers import forwarding as forwarding_module
from rataccess.services.receivers.ndjson import LineFile, NdjsonReceiver
from rataccess.services.store import NDJSON
from tests.receivers.receiver_world import NOW, Killed, Records, drained, forwarding, no_room


class Lines:
    """A store whose records go to a file."""

    def __init__(self, records: Records, folder: Path) -> None:
        self.records, self.path = records, folder / "solution.ndjson"

    async def forward(self) -> None:
        """A process that forwards everything and ends."""
        await drained(forwarding(NdjsonReceiver(self.path), self.records.url, SystemClock(), name=NDJSON))

    def all(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def numbers(self) -> list[object]:
        return [line["record"] for line in self.all()]


@pytest.fixture
def lines(records: Records, tmp_path: Path) -> Lines:
    return Lines(records, tmp_path)


async def test_a_line_holds_what_is_known_of_a_record(lines: Lines) -> None:
    lines.records.add({"t": 21.5, "raw": b"\0\1"})
    lines.records.add(None, queue="alarms")
    lines.records.add("ö", link=None)
    lines.records.packet(b"\x05")
    await lines.forward()
    first, second, third, packet = lines.all()
    assert first == {
        "device": "4131",
        "serial_number": "A1",
        "channel": "solution",
        "queue": "readings",
        "record": 1,
        "captured_at": "2026-09-21T14:13:20.250Z",
        "received_at": iso(NOW + 1),
        "link": "lte",
        "body": {"t": 21.5, "raw": {"$bytes": "AAE="}},
    }
    names = ["device", "serial_number", "channel", "queue", "record", "captured_at", "received_at", "link", "body"]
    assert list(first) == names
    assert (second["queue"], second["body"]) == ("alarms", None)
    assert (third["link"], third["body"]) == (None, "ö")
    assert "ö" in lines.path.read_text()
    assert (packet["queue"], packet["record"], packet["captured_at"]) == ("$packets", None, None)
    assert packet["body"] == {"$bytes": "BQ=="}


@pytest.mark.parametrize("moment", ["before writing", "half written", "written", "committed"])
async def test_a_kill_at_any_moment_neither_loses_nor_doubles_a_line(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    lines.records.add(*range(5))
    await lines.forward()
    lines.records.add(*range(4))
    with monkeypatch.context() as patched:
        trouble = die_at(moment, patched)
        dying = forwarding(NdjsonReceiver(lines.path), lines.records.url, SystemClock(), name=NDJSON, trouble=trouble)
        with pytest.raises(Killed):
            await drained(dying)
    await asyncio.sleep(0)
    file = LineFile(lines.path)
    file.open(lines.records.store.cursor(NDJSON)[1])  # nobody reads half a line, nor one that is not counted
    file.close()
    assert lines.numbers() == list(range(1, 10 if moment == "committed" else 6))
    await lines.forward()
    assert lines.numbers() == list(range(1, 10))


def die_at(moment: str, patched: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have the process end at a moment of forwarding; returns what troubles the store's handle."""
    write, written = os.pwrite, threading.Event()

    def pwrite(descriptor: int, data: bytes, position: int) -> int:
        if moment == "before writing":
            raise Killed
        if moment == "half written":
            write(descriptor, data[: len(data) // 2], position)
            raise Killed
        written.set()
        return write(descriptor, data, position)

    def trouble(when: str) -> None:
        if written.is_set() and when == ("before the store" if moment == "written" else "after the store"):
            raise Killed

    patched.setattr(os, "pwrite", pwrite)
    return trouble


async def test_a_full_disk_delays_lines_and_loses_none(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    lines.records.add(1, 2, 3)
    fails = iter([True, True])
    synchronise = os.fdatasync

    def full(descriptor: int) -> None:
        if next(fails, False):
            raise OSError(28, "No space left on device")
        synchronise(descriptor)

    monkeypatch.setattr(os, "fdatasync", full)
    ended = forwarding(NdjsonReceiver(lines.path), lines.records.url, SystemClock(), name=NDJSON)
    await drained(ended)  # an orderly end does not fail for it
    assert ended.status.last_error is not None
    assert "No space left" in ended.status.last_error
    await lines.forward()
    await lines.forward()
    assert lines.numbers() == [1, 2, 3]


async def test_a_file_that_was_moved_away_is_begun_anew(lines: Lines) -> None:
    lines.records.add(1, 2, 3)
    await lines.forward()
    moved = lines.path.rename(lines.path.with_name("old.ndjson"))
    lines.records.add(4, 5)
    await lines.forward()
    lines.records.add(6)
    await lines.forward()
    assert lines.numbers() == [4, 5, 6]
    assert len(moved.read_text().splitlines()) == 3


async def test_a_file_moved_away_while_it_is_open_is_begun_anew(lines: Lines) -> None:
    receivers = Receivers([NdjsonSettings(name="lines", file=str(lines.path))], lines.records.url, SystemClock())
    receivers.start()
    lines.records.add(1)
    receivers.wake()
    await eventually(lambda: lines.path.exists() and lines.numbers() == [1])
    lines.path.rename(lines.path.with_name("old.ndjson"))
    lines.records.add(2)
    receivers.wake()
    await eventually(lambda: lines.path.exists() and lines.numbers() == [2])
    await receivers.aclose()


async def eventually(condition: object) -> None:
    async with asyncio.timeout(30):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def test_a_kill_just_after_the_file_was_moved_away_doubles_no_line(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines.records.add(1, 2, 3)
    await lines.forward()
    lines.path.rename(lines.path.with_name("old.ndjson"))
    lines.records.add(4, 5)
    synchronise = os.fdatasync

    def synchronise_and_die(descriptor: int) -> None:
        synchronise(descriptor)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", synchronise_and_die)
        with pytest.raises(Killed):
            await lines.forward()
    await lines.forward()
    assert lines.numbers() == [4, 5]


async def test_a_file_that_was_emptied_is_continued(lines: Lines) -> None:
    for number in (3, 4, 5):
        lines.records.add(number)
        await lines.forward()
        assert len(lines.numbers()) == 1
        os.truncate(lines.path, 0)


async def test_lines_of_another_store_stay(lines: Lines) -> None:
    lines.path.write_text('{"record":0}\n')
    lines.records.add(1)
    await lines.forward()
    assert lines.numbers() == [0, 1]


async def test_nothing_is_cut_off_a_file_that_is_another(lines: Lines) -> None:
    lines.records.add(1)
    await lines.forward()
    lines.path.unlink()
    lines.path.with_name("other").write_text("x" * 5000 + "\n")
    lines.path.with_name("other").rename(lines.path)
    lines.records.add(2)
    await lines.forward()
    first, second = lines.path.read_text().splitlines()
    assert first == "x" * 5000
    assert json.loads(second)["record"] == 2


async def test_a_position_kept_by_an_older_program_is_understood(lines: Lines) -> None:
    lines.path.write_text('{"record":1}\n{"record":2,"half')
    lines.records.add(1, 2)
    counted = lines.records.store.records_after(None, 1)[0].position
    lines.records.store.move_cursor(NDJSON, counted, encode(len('{"record":1}\n')))
    await lines.forward()
    assert lines.numbers() == [1, 2]


async def test_chunks_are_bounded_by_bytes(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NdjsonReceiver, "most_bytes", 8)
    sizes: list[int] = []
    append = LineFile.append

    def counted(file: LineFile, data: bytes) -> None:
        sizes.append(data.count(b"\n"))
        append(file, data)

    monkeypatch.setattr(LineFile, "append", counted)
    lines.records.add(*("x" * 5 for _ in range(6)))
    await lines.forward()
    assert lines.numbers() == [1, 2, 3, 4, 5, 6]
    assert sizes == [1] * 6


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskFull, match="file"):
        LineFile(tmp_path / "file" / "lines").open(None)


def test_repr(tmp_path: Path) -> None:
    assert "position=0" in repr(LineFile(tmp_path / "x"))
    assert "x" in repr(NdjsonReceiver(tmp_path / "x"))


@pytest.mark.parametrize("moment", ["before the store", "after the store"])
@pytest.mark.parametrize("nth", range(1, 9))
async def test_a_store_without_room_at_any_moment_doubles_no_line(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, nth: int, moment: str
) -> None:
    monkeypatch.setattr(forwarding_module, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(NdjsonReceiver, "most", 2)
    count = 0

    def trouble(when: str) -> None:
        nonlocal count
        count += when == moment
        if when == moment and count in (nth, nth + 2):
            raise no_room()

    lines.records.add(*range(5))
    runs = forwarding(NdjsonReceiver(lines.path), lines.records.url, SystemClock(), name=NDJSON, trouble=trouble)
    task = asyncio.create_task(runs.run())
    await eventually(lambda: count > 14 or lines.records.store.backlog(NDJSON) == 0)
    runs.finish()
    await task
    await lines.forward()
    assert lines.numbers() == [1, 2, 3, 4, 5]
