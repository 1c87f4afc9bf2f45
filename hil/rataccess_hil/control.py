"""The control channel of a virtual radio that runs as a process of its own.

Rules of this file: JSON lines over a UNIX stream socket, one answer for each request, in order; no network socket.

    {"do": "hang", "how": "firmware"}      ->  {"ok": true, "result": null}
    {"do": "stats"}                        ->  {"ok": true, "result": {...}}
    {"do": "nonsense"}                     ->  {"ok": false, "error": "there is no control 'nonsense'; there are ..."}
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_LONGEST = 1 << 20

Control = Callable[[str, dict[str, Any]], Any]


class ControlError(Exception):
    """The virtual radio refused, or its process is gone; the message says which."""


class ControlServer:
    """Answers requests with `control(name, arguments)`; `stop` is its own, and calls `on_stop`."""

    def __init__(self, path: Path | str, control: Control, on_stop: Callable[[], None] = lambda: None) -> None:
        self._path = Path(path)
        self._control = control
        self._on_stop = on_stop
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen; raises `OSError` where the path cannot be bound."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._server = await asyncio.start_unix_server(self._talk, self._path, limit=_LONGEST)
        self._path.chmod(0o600)

    async def aclose(self) -> None:
        """Hang up on everybody; idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for talk in tuple(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, asyncio.CancelledError):
            # Gone, a line beyond all measure, or closing: either way this talk is over.
            pass
        finally:
            self._talks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            name = request.pop("do")
            if name == "stop":
                self._on_stop()
                return {"ok": True, "result": None}
            return {"ok": True, "result": self._control(name, request)}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return {"ok": False, "error": str(error)}


class Controls:
    """The client: blocks until each request is answered.  The constructor opens nothing.

    `timeout` is how many seconds to wait for an answer.
    """

    def __init__(self, path: Path | str, timeout: float = 10.0) -> None:
        self._path = Path(path)
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._pending = b""

    def open(self) -> None:
        """Connect; raises `ControlError`."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self._timeout)
        try:
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            raise ControlError(f"no virtual radio listens at {self._path}: {error}") from error
        self._socket = connection

    def close(self) -> None:
        """Hang up; idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def do(self, control: str, /, **arguments: Any) -> Any:
        """Call a control (see `ModemControls`) and return what it returns; raises `ControlError`."""
        if self._socket is None:
            raise ControlError("the control channel is not open")
        try:
            self._socket.sendall(json.dumps({"do": control, **arguments}).encode() + b"\n")
            answer = json.loads(self._line())
        except (OSError, ValueError) as error:
            raise ControlError(f"the virtual radio at {self._path} does not answer: {error}") from error
        if not answer["ok"]:
            raise ControlError(answer["error"])
        return answer["result"]

    def _line(self) -> bytes:
        assert self._socket is not None
        while b"\n" not in self._pending:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("it hung up")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def stats(self) -> dict[str, Any]:
        """Everything that can be counted."""
        found: dict[str, Any] = self.do("stats")
        return found

    def line(self, name: str) -> RemoteLine:
        """A wire of the radio, in the shape of a GPIO line."""
        return RemoteLine(self, name)


class RemoteLine:
    """A GPIO line of a virtual radio in another process."""

    def __init__(self, controls: Controls, name: str) -> None:
        self._controls = controls
        self._name = name
        self._level = False

    def write(self, value: bool) -> None:
        """Drive the line; raises `ControlError`."""
        self._controls.do("line", name=self._name, level=bool(value))
        self._level = bool(value)

    def read(self) -> bool:
        """The level that was driven last."""
        return self._level

    def close(self) -> None:
        """Let go; the level stays."""
