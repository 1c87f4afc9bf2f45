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
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rataccess_hil.part import UnixListener

_LONGEST = 1 << 20

Control = Callable[[str, dict[str, Any]], Any]


class ControlError(Exception):
    """The virtual radio refused, or its process is gone; the message says which."""


class ControlServer(UnixListener):
    """Answers requests with `control(name, arguments)`; `stop` is its own, and calls `on_stop`."""

    def __init__(self, path: Path | str, control: Control, on_stop: Callable[[], None] = lambda: None) -> None:
        super().__init__(path, _LONGEST)
        self._control = control
        self._on_stop = on_stop

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ValueError):  # a line beyond all measure: this talk is over
            while line := await reader.readline():
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()

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


class Client:
    """Blocks until each request, a line of JSON, is answered by one.  The constructor opens nothing.

    `timeout` is how many seconds to wait for an answer: it comes at once unless the machine is overloaded.
    """

    def __init__(self, path: Path | str, timeout: float = 10.0) -> None:
        self._path = Path(path)
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._pending = b""

    def open(self) -> None:
        """Connect; raises `OSError`."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self._timeout)
        try:
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            raise
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

    def exchange(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and return its answer; raises `OSError` where the other side is gone, `ValueError` for no JSON."""
        if self._socket is None:
            raise ConnectionError("the control channel is not open")
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while b"\n" not in self._pending:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("it hung up")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Controls(Client):
    """The controls of a virtual radio in another process, by name."""

    def open(self) -> None:
        """Connect; raises `ControlError`."""
        try:
            super().open()
        except OSError as error:
            raise ControlError(f"no virtual radio listens at {self._path}: {error}") from error

    def do(self, control: str, /, **arguments: Any) -> Any:
        """Call a control (see `ModemControls`) and return what it returns; raises `ControlError`."""
        if self._socket is None:
            raise ControlError("the control channel is not open")
        try:
            answer = self.exchange({"do": control, **arguments})
        except (OSError, ValueError) as error:
            raise ControlError(f"the virtual radio at {self._path} does not answer: {error}") from error
        if not answer["ok"]:
            raise ControlError(answer["error"])
        return answer["result"]

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
