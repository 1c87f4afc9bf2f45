"""Moves frames of private LoRa over a transceiver, as the link protocol says.

Rules of this file: one task, one radio; it decides nothing.  Before a frame is sent its air time is on disk; before a
message is sent the channel was found free twice, so long apart that an acknowledgement would have begun in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora.airtime_ledger import AirtimeLedger
from rataccess_drivers.lora.private.frame import LARGEST
from rataccess_drivers.lora.private.link import Endpoint, Event, Listen, Send
from rataccess_drivers.lora.transceiver import Reception, Transceiver

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
        self.last: Reception | None = None
        """The last packet that came in, whatever it was."""

    def wake(self) -> None:
        """There is something new to do."""
        self._woken.set()

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
        else:
            self._ledger.spend(channel.frequency, on_air)
            ended = await self._radio.transmit(
                action.data,
                frequency=channel.frequency,
                modulation=channel.modulation,
                power_dbm=channel.power_dbm,
                sync_word=channel.sync_word,
            )
            self._endpoint.sent(ended)

    async def _free(self) -> bool:
        frequency, modulation = self._channel.frequency, self._channel.modulation
        if not await self._radio.channel_free(frequency=frequency, modulation=modulation):
            return False
        await asyncio.sleep(BETWEEN_LOOKS)
        return await self._radio.channel_free(frequency=frequency, modulation=modulation)

    async def _listen(self, until: float | None) -> None:
        channel = self._channel
        receiving = asyncio.ensure_future(
            self._radio.receive(frequency=channel.frequency, modulation=channel.modulation, sync_word=channel.sync_word)
        )
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            seconds = None if until is None else max(0.0, until - _now())
            await asyncio.wait({receiving, woken}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            await self._finish(receiving)
        finally:
            for task in (receiving, woken):
                task.cancel()
            await asyncio.wait({receiving, woken})
            _ = receiving.cancelled() or receiving.exception()  # looked at, also where the runner itself was cancelled
        if not receiving.cancelled() and (found := receiving.result()) is not None:
            self.last = found
            self._endpoint.heard(found.data, found.at)

    async def _finish(self, receiving: asyncio.Future[Reception | None]) -> None:
        """A packet that is coming in is not cut off."""
        end = _now() + self._channel.modulation.time_on_air(LARGEST)
        while not receiving.done() and _now() < end and self._radio.receiving():
            await asyncio.wait({receiving}, timeout=_STEP)


def _now() -> float:
    return asyncio.get_running_loop().time()
