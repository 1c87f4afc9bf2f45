"""Requests to a Notecard on the event loop: one at a time, with its CRC, its resets and what may be asked twice.

Rules of this file: when to ask again, and when not; what replies mean is for the driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from rataccess.errors import CommandFailed, RadioSilent
from rataccess_drivers.satellite.notecard_bus import NotecardBus
from rataccess_drivers.satellite.notecard_wire import SpoiltReply, Trouble, decode, encode, trouble

TRIES = 5
RETRY_PAUSE = 0.5
REPLY_LIMIT = 30.0
RESET_TRIES = 10
DRAIN = 0.5
"""Seconds without anything but line ends, after which both sides agree where a line begins (note-c)."""
DRAIN_LIMIT = 10.0
"""Seconds after which what still comes is no rest of a reply: at 9600 baud they are some 9 kB."""


class Unsure(RadioSilent):
    """A request that must not be asked twice got no reply that can be read: it may have been carried out."""


class NotecardConsole:
    """Requests and replies over one bus."""

    def __init__(self, name: str, bus: NotecardBus) -> None:
        self.name, self.bus = name, bus
        self._one = asyncio.Lock()
        self._sequence = 0
        self._has_crc = False
        self._in_step = False

    @property
    def busy(self) -> bool:
        """Whether a request is under way, which may take minutes: whoever asks something else now waits behind it."""
        return self._one.locked()

    async def open(self) -> None:
        """Open the bus and get in step; raises as `NotecardBus.open`, and `RadioSilent`."""
        await self.bus.open()
        async with self._one:
            self._in_step = self._has_crc = False
            await self._reset(RESET_TRIES)

    async def ask(
        self, request: Mapping[str, Any], *, limit: float = REPLY_LIMIT, once: bool = False
    ) -> dict[str, Any]:
        """The reply to a request.

        It is asked again where the reply was spoilt or did not come, unless `once`.  Raises `CommandFailed` with the
        Notecard's words, `RadioSilent`, `Unsure` (with `once`), `PortLost` or `Closed`.
        """
        async with self._one:
            why: Exception | None = None
            silences = 0
            for _ in range(1 if once else TRIES):
                if not self._in_step:
                    await self._reset(RESET_TRIES if why is None else 3)
                self._in_step = False  # also where whoever asks gives up: the reply would be taken for the next one's
                try:
                    reply = await self._exchange(request, limit)
                except (SpoiltReply, RadioSilent) as error:
                    why = error
                    silences += isinstance(error, RadioSilent)
                    if silences > 1:
                        break  # one reply may be lost; whoever is silent for longer is not asked for minutes
                else:
                    self._in_step = True
                    said = reply.get("err")
                    if not said:
                        return reply
                    if trouble(said) is not Trouble.SPOILT:
                        raise CommandFailed(f"{self.name}: {request.get('req')}: {said}")
                    why = CommandFailed(str(said))
                    if once:
                        raise CommandFailed(f"{self.name}: {request.get('req')}: {said}")
                await asyncio.sleep(RETRY_PAUSE)
        if once:
            raise Unsure(f"{self.name}: what became of {request.get('req')} is not known: {why}") from why
        raise RadioSilent(f"{self.name}: no good reply to {request.get('req')}: {why}") from why

    async def _exchange(self, request: Mapping[str, Any], limit: float) -> dict[str, Any]:
        self._sequence = (self._sequence + 1) & 0xFFFF
        sequence = self._sequence
        self.bus.drop()
        await self.bus.write(encode(request, sequence) + self.bus.line_end)
        end = asyncio.get_running_loop().time() + limit
        while True:
            line = await self.bus.read_line(max(0.0, end - asyncio.get_running_loop().time()))
            if not line.strip():
                continue
            reply, had_crc = decode(line, sequence, must_have_crc=self._has_crc)
            self._has_crc = self._has_crc or had_crc
            if "{heartbeat}" not in str(reply.get("err", "")):  # it is still at it
                return reply

    async def _reset(self, tries: int) -> None:
        """An empty line is answered with an empty line, once nothing else is on its way."""
        for _ in range(tries):
            self.bus.drop()
            await self.bus.write(b"\n")
            if await self._drained():
                self._in_step = True
                return
            await asyncio.sleep(DRAIN)
        raise RadioSilent(f"{self.name}: the Notecard does not answer an empty line")

    async def _drained(self) -> bool:
        heard = clean = False
        loop = asyncio.get_running_loop()
        end = loop.time() + DRAIN_LIMIT
        while loop.time() < end:
            try:
                line = await self.bus.read_line(DRAIN)
            except RadioSilent:
                return heard and clean
            except SpoiltReply:
                return False
            clean = (clean or not heard) and not line.strip()
            heard = True
        return False  # something talks without a pause
