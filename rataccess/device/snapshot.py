"""The state of a running device for other programs on the same machine.

Rules of this file: a UNIX socket in the device's folder, mode 0600 (the device listens on no network socket).  Whoever
connects and says nothing gets one JSON document, the state; a line is a request, for `requests` to answer.  Then the
connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from rataccess.access import Access, Standing
from rataccess.errors import RataccessError
from rataccess.store import Store

_log = logging.getLogger("rataccess")

MOST_PATH = 107
"""Bytes of a UNIX socket's path (sockaddr_un, unix(7))."""
SILENCE = 0.25
"""Seconds after which one who neither writes nor ends its side is taken to ask for the state; a request comes at once."""


def snapshot(serial_number: str, access: Access, store: Store) -> dict[str, object]:
    """Plain values: `device`, `in_use`, `links`, `outbox`, `counters`, `decisions`, `recoveries`, `explanation`."""
    return {
        "device": serial_number,
        "in_use": access.current,
        "links": {name: _link(standing) for name, standing in access.links.items()},
        "outbox": {
            f"{service}/{urgency.name.lower()}": {"records": records, "bytes": size}
            for (service, urgency), (records, size) in store.depth().items()
            if records
        },
        "counters": dict(store.counters()),
        "decisions": [
            {"at": entry.at, "kind": str(entry.kind), "text": entry.text, "from": entry.origin, "to": entry.target}
            for entry in access.log
        ],
        "recoveries": [
            {"at": each.at, "link": each.link, "step": each.step, "seconds": each.seconds, "ok": each.ok}
            for each in access.recoveries
        ],
        "explanation": access.explain(),
    }


def _link(standing: Standing) -> dict[str, object]:
    link, traffic = standing.link, standing.traffic
    return {
        "evidence": link.evidence.name,
        "ready": link.ready,
        "detail": link.detail,
        "rat": link.hints.rat if link.hints else None,
        "response_time": standing.timer.smoothed,
        "suspicion": standing.suspicion.name,
        "probation": standing.probation,
        "records": traffic.records,
        "packets": traffic.packets_up + traffic.packets_down,
        "bytes": traffic.bytes_up + traffic.bytes_down,
        "unit": str(link.unit),
        "units": traffic.units,
        "cost": traffic.cost,
        "budget": None if standing.budget is None else {"left": standing.budget.left, "spent": standing.budget.spent},
    }


Answers = Callable[[bytes], AsyncIterator[dict[str, object]]]


class ControlSocket:
    """Answers each connection with what `describe` returns or, where it asks something, with what `answers` gives."""

    def __init__(
        self, path: Path, describe: Callable[[], dict[str, object]], answers: Answers | None = None, most: int = 65_536
    ) -> None:
        """`most`: bytes of the longest request."""
        self._path = path
        self._describe = describe
        self._answers = answers
        self._most = most
        self._server: asyncio.AbstractServer | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Listen.  Where the path is too long for a UNIX socket there is none; a warning says so."""
        if len(os.fsencode(self._path)) > MOST_PATH:
            _log.warning(
                "no control socket: %s is longer than %d bytes; use a shorter state folder", self._path, MOST_PATH
            )
            return
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=self._most)
        self._path.chmod(0o600)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            line = await self._asked(reader)
            if line.strip() and self._answers:
                async for answer in self._answers(line):
                    await _write(writer, answer)
            else:
                await _write(writer, self._describe())
        except (OSError, ValueError, RataccessError):
            pass  # whoever asked has gone or asks beyond all measure, or the device is being closed
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _asked(self, reader: asyncio.StreamReader) -> bytes:
        if self._answers is None:
            return b""
        try:
            async with asyncio.timeout(SILENCE):
                first = await reader.read(1)
        except TimeoutError:
            return b""
        return first + await reader.readline() if first.strip() else b""

    async def aclose(self) -> None:
        """Stop listening and remove the socket; idempotent."""
        if self._server:
            self._server.close()
            for writer in tuple(self._writers):
                writer.transport.abort()  # one that does not read would be waited for
            await self._server.wait_closed()
            self._server = None
            with contextlib.suppress(OSError):
                self._path.unlink()


async def _write(writer: asyncio.StreamWriter, document: dict[str, object]) -> None:
    writer.write(json.dumps(document).encode() + b"\n")
    await writer.drain()
