"""Moves frames of private LoRa over a transceiver, as the link protocol says.

Rules of this file: one task, one radio; it decides nothing.  Before a frame is sent its air time is on disk; before a
message is sent the channel was found free twice, so long apart that an acknowledgement would have begun in between.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

from rataccess.errors import RataccessError, StoreError
from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora.airtime_ledger import AirtimeLedger
from rataccess_drivers.lora.private.frame import LARGEST
from rataccess_drivers.lora.private.link import Endpoint, Event, Listen, Send
from rataccess_drivers.lora.transceiver import Reception, Transceiver

log = logging.getLogger("rataccess.lora.private")

DISK_RETRY = 30.0
"""Seconds until another attempt where the air time could not be kept first."""
BETWEEN_LOOKS = 0.06
"""Seconds: an acknowledgement follows its frame sooner than that, usually."""
_STEP = 0.02


@dataclass(frozen=True, slots=True)
class Channel:
    """Where and how everybody of a network sends."""

    frequency: int
    modulation: Modulation
    power_dbm: int
    sync_word: int = 0x12


class Runner:
    """`run` is the task; `wake` says that the endpoint has something new to do."""

    def __init__(
        self,
        endpoint: Endpoint,
        radio: Transceiver,
        channel: Channel,
        ledger: AirtimeLedger,
        on_event: Callable[[Event], None],
    ) -> None:
        self._endpoint = endpoint
        self._radio = radio
        self._channel = channel
        self._ledger = ledger
        self._on_event = on_event
        self._woken = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        """While it listens: how to end that."""
        self._timer: asyncio.TimerHandle | None = None
        self._patience = math.inf
        """Until when a packet that is coming in is waited for."""
        self.last: Reception | None = None
        """The last packet that came in, whatever it was."""

    def wake(self) -> None:
        """There is something new to do.  A packet that is coming in is not cut off for it."""
        self._woken.set()
        if self._limit is None:
            return
        loop = asyncio.get_running_loop()
        self._patience = min(self._patience, loop.time() + self._channel.modulation.time_on_air(LARGEST))
        if loop.time() < self._patience and self._coming_in():
            self._stop_timer()
            self._timer = loop.call_later(_STEP, self.wake)
        else:
            limit, self._limit = self._limit, None
            limit.reschedule(loop.time())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _coming_in(self) -> bool:
        try:
            return self._radio.receiving()
        except RataccessError:
            return False  # whatever is done next says so

    async def run(self) -> None:
        """For ever; raises what the transceiver raises."""
        while True:
            self._woken.clear()
            action = self._endpoint.next(_now())
            if events := self._endpoint.take_events():
                for event in events:
                    self._on_event(event)
            elif isinstance(action, Send):
                await self._send(action)
            elif isinstance(action, Listen):
                await self._listen(action.until)
            else:
                await self._radio.sleep()
                await self._woken.wait()

    async def _send(self, action: Send) -> None:
        channel = self._channel
        on_air = channel.modulation.time_on_air(len(action.data))
        if (seconds := self._ledger.wait(channel.frequency, on_air)) > 0:
            self._endpoint.not_allowed(_now(), seconds)
        elif action.look_first and not await self._free():
            self._endpoint.busy(_now())
        elif self._spent(on_air):
            ended = await self._radio.transmit(
                action.data,
                frequency=channel.frequency,
                modulation=channel.modulation,
                power_dbm=channel.power_dbm,
                sync_word=channel.sync_word,
            )
            self._endpoint.sent(ended)

    def _spent(self, seconds: float) -> bool:
        """Whether the air time is noted: what cannot be is not sent, and the radio is all right all the same."""
        try:
            self._ledger.spend(self._channel.frequency, seconds)
        except StoreError as error:
            log.warning("air time cannot be kept, so nothing is sent for %.0f s: %s", DISK_RETRY, error)
            self._endpoint.not_allowed(_now(), DISK_RETRY, "the air time cannot be kept")
            return False
        return True

    async def _free(self) -> bool:
        frequency, modulation = self._channel.frequency, self._channel.modulation
        if not await self._radio.channel_free(frequency=frequency, modulation=modulation):
            return False
        await asyncio.sleep(BETWEEN_LOOKS)
        return await self._radio.channel_free(frequency=frequency, modulation=modulation)

    async def _listen(self, until: float | None) -> None:
        channel = self._channel
        self._patience = math.inf
        if until is not None:
            self._timer = asyncio.get_running_loop().call_at(until, self.wake)
        try:
            async with asyncio.timeout(None) as self._limit:
                found = await self._radio.receive(
                    frequency=channel.frequency, modulation=channel.modulation, sync_word=channel.sync_word
                )
        except TimeoutError:
            return
        finally:
            self._limit = None
            self._stop_timer()
        if found is not None:
            self.last = found
            self._endpoint.heard(found.data, found.at)


def _now() -> float:
    return asyncio.get_running_loop().time()
