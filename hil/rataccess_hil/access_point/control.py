"""The controls over a UNIX socket, as lines of JSON: for a device in another process, a command line, or a driver.

Rules of this file: one request a line, one answer a line.  A request is an object whose members are what to change
(`carrier`, `silent`, `delay`, `loss`), `rebind: true`, or `watch: true`.  The answer has `ok`, the state, `stats` and the
address map; or `ok: false` and `error`.  A watcher also gets a line with `event: true` at each change, at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rataccess_hil.control import Client
from rataccess_hil.part import UnixListener

if TYPE_CHECKING:
    from rataccess_hil.access_point.base import AccessPoint


class ControlServer(UnixListener):
    """Serves the controls of one access point at `path`, to this user only."""

    def __init__(self, access_point: AccessPoint, path: Path) -> None:
        super().__init__(path)
        self._access_point = access_point
        self._watchers: set[asyncio.StreamWriter] = set()
        self._undo: Callable[[], None] = lambda: None

    async def open(self) -> None:
        """Raises `OSError` where the path is taken or cannot be made."""
        await super().open()
        self._undo = self._access_point.on_change(self._tell)

    async def aclose(self) -> None:
        """Idempotent; hangs up on everybody and removes the socket."""
        self._undo()
        await super().aclose()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self._write(writer, self._answer(line, writer))
                await writer.drain()
        except ValueError:  # a line without end: this talk is over
            pass
        finally:
            self._watchers.discard(writer)

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


class Control(Client):
    """The controls from another thread or process: blocking, one connection.  Every method returns the answer."""

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request.  Raises `ValueError` where it is refused, `OSError` where the access point is gone."""
        answer = self.exchange(request)
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
