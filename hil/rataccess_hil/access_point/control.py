"""The controls over a UNIX socket, as lines of JSON: for a device in another process, a command line, or a driver.

Rules of this file: one request a line, one answer a line.  A request is an object whose members are what to change
(`carrier`, `silent`, `delay`, `loss`), `rebind: true`, or `watch: true`.  The answer has `ok`, the state, `stats` and the
address map; or `ok: false` and `error`.  A watcher also gets a line with `event: true` at each change, at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rataccess_hil.access_point.base import AccessPoint

ANSWER_LIMIT = 10.0
"""Seconds that `Control` waits for an answer: it comes at once unless the machine is overloaded."""


class ControlServer:
    """Serves the controls of one access point at `path`, to this user only."""

    def __init__(self, access_point: AccessPoint, path: Path) -> None:
        self._access_point = access_point
        self._path = path
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()
        self._watchers: set[asyncio.StreamWriter] = set()
        self._undo: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Raises `OSError` where the path is taken or cannot be made."""
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        self._path.chmod(0o600)
        self._undo = self._access_point.on_change(self._tell)

    async def stop(self) -> None:
        """Idempotent; hangs up on everybody and removes the socket."""
        self._undo()
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        await server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            while line := await reader.readline():
                self._write(writer, self._answer(line, writer))
                await writer.drain()
        except (OSError, ValueError, asyncio.CancelledError):  # hung up, a line without end, or `stop`
            pass
        finally:
            self._conversations.discard(task)
            self._watchers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> dict[str, Any]:
        try:
            request = json.loads(line)
            self._obey(request)
            if request.get("watch"):
                self._watchers.add(writer)
        except (ValueError, TypeError, AttributeError) as error:
            return {"ok": False, "error": str(error)}
        return {"ok": True, **self._everything()}

    def _obey(self, request: dict[str, Any]) -> None:
        unknown = set(request) - {"carrier", "silent", "delay", "loss", "rebind", "watch"}
        if unknown:
            raise ValueError(f"unknown request: {', '.join(sorted(unknown))}")
        if "delay" in request:
            self._access_point.delay = max(0.0, float(request["delay"]))
        if "loss" in request:
            self._access_point.loss = min(1.0, max(0.0, float(request["loss"])))
        if "silent" in request:
            self._access_point.silent(bool(request["silent"]))
        if "carrier" in request:
            self._access_point.carrier(bool(request["carrier"]))
        if request.get("rebind"):
            self._access_point.rebind()

    def _everything(self) -> dict[str, Any]:
        point = self._access_point
        nat = [[list(public), list(real)] for public, real in point.nat.items()]
        return {**point.state(), "stats": point.stats(), "nat": nat}

    def _tell(self) -> None:
        for writer in tuple(self._watchers):
            self._write(writer, {"event": True, **self._everything()})

    def _write(self, writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
        if not writer.is_closing():
            writer.write(json.dumps(answer).encode() + b"\n")


class Control:
    """The controls from another thread or process: blocking, one connection.  Every method returns the answer."""

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        self._socket: socket.socket | None = None
        self._buffer = b""

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWER_LIMIT)
        self._socket.connect(self._path)
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request.  Raises `ValueError` where it is refused, `OSError` where the access point is gone."""
        assert self._socket is not None, "use it in a with block"
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while b"\n" not in self._buffer:
            data = self._socket.recv(65_536)
            if not data:
                raise ConnectionError("the access point hung up")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise ValueError(answer["error"])
        return answer

    def carrier(self, up: bool) -> dict[str, Any]:
        """As `AccessPoint.carrier`."""
        return self.ask(carrier=up)

    def silent(self, on: bool) -> dict[str, Any]:
        """As `AccessPoint.silent`."""
        return self.ask(silent=on)

    def delay(self, seconds: float) -> dict[str, Any]:
        """Set the delay one way."""
        return self.ask(delay=seconds)

    def stats(self) -> dict[str, int]:
        """As `AccessPoint.stats`."""
        stats: dict[str, int] = self.ask()["stats"]
        return stats
