"""Web-hooks before those who mean them no good: what is too large, never ends, or hides another request."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from rataccess.services.ways import hooks
from tests.ways.test_hooks import ROCKBLOCK, form, post
from tests.ways.ways_world import IMEI, RunningWorld, WaysWorld, record, until

HEAD = b"POST /secret HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
MALFORMED = "malformed satellite messages"


async def say(running: RunningWorld, head: bytes, piece: bytes = b"", pieces: int = 0) -> tuple[bytes, int]:
    """One connection; what was answered before it was hung up on, and how many pieces were taken."""
    reader, writer = await asyncio.open_connection(*running.way("rock").address)
    taken = 0
    with contextlib.suppress(ConnectionError):
        writer.write(head)
        for taken in range(pieces):  # noqa: B007
            writer.write(piece)
            await writer.drain()
    answer = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(30):
            answer = await reader.read()
    writer.close()
    return answer, taken


TOO_LARGE = [
    (HEAD + b"Content-Length: 104857600\r\n\r\n", b"data=" + b"0" * 65_531),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"0" * 65_536 + b"\r\n"),
]


async def test_of_what_is_too_large_little_is_read(tmp_path: Path) -> None:
    async with WaysWorld(tmp_path, ROCKBLOCK).running() as running:
        for number, (head, piece) in enumerate(TOO_LARGE, start=1):
            answer, taken = await say(running, head, piece, 1600)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
            assert taken < 400  # what the kernel's buffers hold, and no more
            await until(lambda number=number: running.counters.get(MALFORMED) == number)  # type: ignore[misc]


async def test_a_body_that_never_comes_holds_nobody_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "READ_WITHIN", 0.05)
    async with WaysWorld(tmp_path, ROCKBLOCK).running() as running:
        answer, _ = await say(running, HEAD + b"Content-Length: 10\r\n\r\nimei=")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert running.counters[MALFORMED] == 1


async def test_a_request_without_a_length_has_no_body(tmp_path: Path) -> None:
    async with WaysWorld(tmp_path, ROCKBLOCK).running() as running:
        answer, _ = await say(running, HEAD + b"\r\nimei=1")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert running.counters[MALFORMED] == 1


FRAMINGS = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    b"Content-Length: +0\r\n\r\n",
    b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"Content-Length: 0\r\n\r\n",
]


async def test_no_request_hides_behind_another(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, ROCKBLOCK)
    device = world.add()
    async with world.running() as running:
        body = f"imei={IMEI}&data={record(device, 1)[0].hex()}".encode()
        hidden = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        for framing in FRAMINGS:
            answer, _ = await say(running, HEAD + framing + hidden)
            assert answer.count(b"HTTP/1.1 ") == 1
        assert running.rows() == []
        assert await post(running, "rock", data=form(record(device, 2)[0])) == 200
        assert running.rows() == [(2, "readings", "sbd")]


async def test_the_same_over_and_over_is_filed_once(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, ROCKBLOCK)
    device = world.add()
    async with world.running() as running:
        way, body = running.way("rock"), f"imei={IMEI}&data={record(device, 1)[0].hex()}".encode()
        assert all(way._take(body, "text/plain") for _ in range(100))
        assert all(way._take(body.replace(IMEI.encode(), b"%015d" % n), "") for n in range(100))
        assert running.rows() == [(1, "readings", "sbd")]
        assert running.counters["replayed requests"] == 99
        assert running.counters["packets of unknown names"] == 100
        assert len(running.core._sessions) == 1
