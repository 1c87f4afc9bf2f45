"""A remote on loopback that behaves as it is told, and a store with calls in it: what the tests of this folder share.

Rules of this file: real HTTP over real sockets; what takes time waits for events of the test.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2
import uvicorn

from rataccess.objects import encode
from rataccess.services.store import Changes, ServiceStore, open_store

NOW = 1_790_000_000.0


@dataclass
class Asked:
    """One request as the remote saw it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


Answer = tuple[int, dict[str, str], bytes]
Handler = Callable[[Asked], Answer | Awaitable[Answer]]


@dataclass
class Remote:
    """An ASGI application that keeps what it was asked."""

    handle: Handler = lambda asked: (200, {"content-type": "application/json"}, b"null")
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = Asked(scope["method"], scope["path"], scope["query_string"].decode(), headers, body)
        self.asked.append(asked)
        answer = self.handle(asked)
        status, extra, content = answer if isinstance(answer, tuple) else await answer
        raw = [(name.encode(), value.encode()) for name, value in extra.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})


@contextlib.asynccontextmanager
async def serving(remote: Remote, port: int = 0) -> AsyncIterator[Remote]:
    """The remote answers while the block lasts."""
    config = uvicorn.Config(remote, host="127.0.0.1", port=port, log_level="critical", lifespan="off", ws="none")
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        remote.port = server.servers[0].sockets[0].getsockname()[1]
        yield remote
    finally:
        server.should_exit = server.force_exit = True
        await task


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:  # the test's signals are its own
        yield


@contextlib.asynccontextmanager
async def raw(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A remote that speaks whatever `talk` says, after a whole request's head; its URL."""
    tasks: set[asyncio.Task[Any]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


class Calls:
    """A store, and devices that have made calls."""

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self.store: ServiceStore = open_store(self.url)
        self._number = 0

    def add(
        self,
        name: str,
        body: object = None,
        *,
        serial_number: str = "A1",
        seconds: float = 60,
        repeatable: bool = False,
        now: float = NOW,
    ) -> int:
        """The number of the call's record."""
        self._number += 1
        device = self.store.device(serial_number, serial_number.encode())
        row = (device.id, self._number, name, encode(body), now + seconds, int(repeatable))
        self.store.commit(Changes(calls=[row]), {})
        return self._number

    def answers(self, serial_number: str = "A1") -> dict[int, tuple[int, object]]:
        """Status and body of each answer that waits for the device, by the call's number."""
        device = self.store.device(serial_number, serial_number.encode())
        rows = self.store.execute("SELECT body FROM outbound WHERE device = ? AND queue_id = 4", (device.id,))
        return {number: (status, body) for number, status, body in (cbor2.loads(each) for (each,) in rows)}

    def close(self) -> None:
        self.store.close()


class StandingClock:
    """A wall clock that stands still, over the loop's own time."""

    def __init__(self, wall: float = NOW) -> None:
        self._wall = wall

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self._wall

    def wall_known(self) -> bool:
        return True
