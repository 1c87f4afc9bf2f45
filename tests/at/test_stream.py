"""Bytes of a real terminal: streams are read in bulk, and nothing is lost or held back by that."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import AsyncIterator, Callable

import pytest

from rataccess_drivers.at import stream as stream_module
from rataccess_drivers.at.serialport import open_serial
from rataccess_drivers.at.stream import Stream


class Ends:
    """A stream and the far end of its terminal."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.come: list[bytes] = []
        self.lost: list[object] = []
        port = open_serial(os.ttyname(self.slave), 115200)
        self.stream = Stream(port, asyncio.get_running_loop(), self._take, self._lose)

    @property
    def data(self) -> bytes:
        return b"".join(self.come)

    def _take(self, data: bytes) -> None:
        self.come.append(data)

    def _lose(self, why: object) -> None:
        self.lost.append(why)

    async def says(self, data: bytes) -> None:
        """Say `data` and return when it has come."""
        wanted = len(self.data) + len(data)
        os.write(self.master, data)
        await self.until(lambda: len(self.data) >= wanted)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0)

    def hang_up(self) -> None:
        for each in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(each)


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    ends = Ends()
    yield ends
    ends.stream.close()
    ends.hang_up()


async def test_stream_is_read_in_fewer_pieces_than_it_is_said(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_RUN_SECONDS", 60)
    for number in range(stream_module._RUN):
        await ends.says(b"%d\r\n" % number)
    pieces = len(ends.come)
    said = ends.data
    for number in range(200):
        os.write(ends.master, b"%d\r\n" % number)
        said += b"%d\r\n" % number
        await asyncio.sleep(0)
    await ends.until(lambda: ends.data == said)
    assert len(ends.come) - pieces < 100


async def test_far_more_than_one_look_takes(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_RUN_SECONDS", 60)
    monkeypatch.setattr(stream_module, "_READ", 64)
    for _ in range(stream_module._RUN):
        await ends.says(b"x")
    await ends.says(bytes(range(256)) * 12)
    assert ends.data == b"x" * stream_module._RUN + bytes(range(256)) * 12


async def test_after_silence_it_is_read_at_once_again(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_RUN_SECONDS", 60)
    for _ in range(2 * stream_module._RUN):
        await ends.says(b"x")
    await ends.until(lambda: not ends.stream._slow)
    monkeypatch.setattr(stream_module, "_LOOK_EVERY", 3600)
    await ends.says(b"y")
    assert ends.data.endswith(b"y")


async def test_writing_ends_the_waiting(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer to what was written does not wait for the next look."""
    monkeypatch.setattr(stream_module, "_RUN_SECONDS", 60)
    monkeypatch.setattr(stream_module, "_LOOK_EVERY", 3600)
    for _ in range(stream_module._RUN):
        await ends.says(b"x")
    os.write(ends.master, b"said before")
    ends.stream.write(b"AT\r")
    assert os.read(ends.master, 10) == b"AT\r"
    await ends.says(b" and after")
    assert ends.data.endswith(b"xsaid before and after")


async def test_slow_talker_is_no_stream(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_RUN_SECONDS", 0)
    monkeypatch.setattr(stream_module, "_LOOK_EVERY", 3600)
    for _ in range(3 * stream_module._RUN):
        await ends.says(b"x")
    assert len(ends.come) == 3 * stream_module._RUN


async def test_hang_up_of_a_stream_is_noticed(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_RUN_SECONDS", 60)
    for _ in range(stream_module._RUN):
        await ends.says(b"x")
    ends.hang_up()
    await ends.until(lambda: bool(ends.lost))
    ends.stream.write(b"nobody")
    assert len(ends.lost) == 1


async def test_closing_a_stream(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_RUN_SECONDS", 60)
    for _ in range(stream_module._RUN):
        await ends.says(b"x")
    ends.stream.close()
    ends.stream.close()
    os.write(ends.master, b"too late")
    await asyncio.sleep(0)
    assert ends.lost == []
    assert ends.data == b"x" * stream_module._RUN


async def test_what_is_not_taken_at_once_is_written_later(ends: Ends) -> None:
    data = bytes(range(256)) * 256
    ends.stream.write(data)
    ends.stream.write(b"end")
    taken = b""
    os.set_blocking(ends.master, False)
    async with asyncio.timeout(10):
        while len(taken) < len(data) + 3:
            with contextlib.suppress(BlockingIOError):
                taken += os.read(ends.master, 65536)
            await asyncio.sleep(0)
    assert taken == data + b"end"


async def test_what_was_not_taken_can_be_forgotten(ends: Ends) -> None:
    ends.stream.write(b"x" * 65536)
    ends.stream.forget_unwritten()
    os.set_blocking(ends.master, False)
    taken = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            taken += len(os.read(ends.master, 65536))
            await asyncio.sleep(0)
    assert 0 < taken < 65536
