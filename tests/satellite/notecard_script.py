"""A Notecard from a script, on a port in memory and on an I2C bus object: for dialogues that no healthy one would have."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from rataccess.clock import LoopClock
from rataccess.driver import DriverContext, Forgetful
from rataccess.objects import Memory
from rataccess_drivers.satellite.notecard import NotecardDriver, NotecardOptions
from rataccess_drivers.satellite.notecard_bus import Worker
from rataccess_hil.memory_port import MemoryPort

T = TypeVar("T")


class Inline(Worker):
    """No thread: in virtual time, what blocks takes none."""

    async def run(self, call: Callable[[], T]) -> T:
        await asyncio.sleep(0)
        return call()


class ScriptedNotecard:
    """Notes in `queued` are delivered to `arrived` by `hub.sync`, unless `network` is false."""

    def __init__(self) -> None:
        self.port = MemoryPort(on_bytes=self._bytes)
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.queued: list[bytes] = []
        self.arrived: list[bytes] = []
        self.inbound: list[dict[str, Any]] = []
        self.network = True
        self.dead = False
        self.crc = True
        self.spoil: list[Callable[[bytes], bytes]] = []
        """What is done to the next replies, one each."""
        self.spoil_only = ""
        self.reply_to_lose = ""
        """The request that is carried out and not answered, once."""
        self.write = self.port.write
        self._line = bytearray()

    def count(self, name: str) -> int:
        return sum(each.get("req") == name for each in self.asked)

    def _bytes(self, data: bytes) -> None:
        for byte in data:
            if byte != 0x0A:
                self._line.append(byte)
                continue
            line, self._line = bytes(self._line).strip(b"\r"), bytearray()
            if not self.dead:
                self._request(line)

    def _request(self, line: bytes) -> None:
        if not line:
            self.write(b"\r\n")
            return
        try:
            request = json.loads(line)
        except ValueError:
            self.write(b'{"err":"cannot interpret JSON {io}"}\r\n')
            return
        crc = request.pop("crc", "")
        name = request.get("req", request.get("cmd"))
        self.asked.append(request)
        reply = self.answers.get(name)
        if reply is None:
            reply = getattr(self, "_" + name.replace(".", "_"), lambda request: {})(request)
        if self.reply_to_lose == name:
            self.reply_to_lose = ""
            return
        text = json.dumps(reply, separators=(",", ":")).encode()
        if self.crc and crc:
            comma = b"," if reply else b""
            text = text[:-1] + comma + b'"crc":"%s:%08X"}' % (crc[:4].encode(), zlib.crc32(text))
        if self.spoil and self.spoil_only in ("", name):
            text = self.spoil.pop(0)(text)
        self.write(text + b"\r\n")

    def _card_version(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"version": "notecard-5.3.1", "device": "dev:000000000000000", "sku": "NOTE-NBGL", "name": "Notecard"}

    def _note_add(self, request: dict[str, Any]) -> dict[str, Any]:
        self.queued.append(base64.b64decode(request["payload"]))
        return {"total": len(self.queued)}

    def _hub_sync(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.network:
            self.arrived += self.queued
            self.queued.clear()
        return {}

    def _file_changes_pending(self, request: dict[str, Any]) -> dict[str, Any]:
        count = len(self.queued)
        info = {"rataccess.qo": {"changes": count, "total": count}, "other.qo": {"changes": 1, "total": 1}}
        return {"total": count + 1, "changes": count + 1, "pending": True, "info": info}

    def _hub_sync_status(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.network:
            return {"status": "completed {sync-end}", "mode": "{modem-off}", "completed": 5}
        return {"status": "waiting {network-down}", "mode": "{modem-off}", "seconds": 300}

    def _note_get(self, request: dict[str, Any]) -> dict[str, Any]:
        if not self.inbound:
            return {"err": "no notes available in queue {note-noexist}"}
        note = self.inbound[0]
        if request.get("delete"):
            del self.inbound[0]
        return note

    def deliver(self, data: bytes, time: int = 1_700_000_000) -> None:
        self.inbound.append({"payload": base64.b64encode(data).decode(), "time": time})


class ScriptedI2c:
    """The same, as `smbus2.SMBus`."""

    def __init__(self, notecard: ScriptedNotecard, address: int = 0x17) -> None:
        self.notecard, self.address = notecard, address
        self.out = bytearray()
        self.nacks = 0
        self.closed = False
        self.sizes: list[int] = []
        notecard.write = self.out.extend  # type: ignore[assignment]

    def i2c_rdwr(self, *messages: Any) -> None:
        if self.nacks:
            self.nacks -= 1
            raise OSError(errno.EREMOTEIO, "Remote I/O error")
        write = bytes(messages[0])
        assert all(message.addr == self.address for message in messages)
        if len(messages) == 1:
            assert write[0] == len(write) - 1
            self.sizes.append(write[0])
            self.notecard._bytes(write[1:])
            return
        assert (write[0], len(messages[1])) == (0, write[1] + 2)
        piece = bytes(self.out[: write[1]])
        del self.out[: write[1]]
        head = bytes([min(255, len(self.out)), len(piece)])
        for at, byte in enumerate((head + piece).ljust(write[1] + 2, b"\0")):
            messages[1].buf[at] = byte

    def close(self) -> None:
        self.closed = True


def driver(
    script: ScriptedNotecard | ScriptedI2c,
    memory: Memory | None = None,
    *,
    worker: Worker | None = None,
    **options: Any,
) -> NotecardDriver:
    """A driver on it; `memory` outlives it."""
    context = DriverContext("note", LoopClock(), memory=memory if memory is not None else Forgetful())
    if isinstance(script, ScriptedI2c):
        settings = msgspec.convert({"i2c": 1, **options}, NotecardOptions)
        return NotecardDriver(settings, context, open_bus=lambda bus: script, worker=worker or Inline())
    settings = msgspec.convert({"port": "pty:/memory", **options}, NotecardOptions)
    return NotecardDriver(settings, context, open_line=script.port.open_line)
