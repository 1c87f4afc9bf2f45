"""What the MAC wants, done by a transceiver: transmissions, and receive windows on a host that is no real-time system.

Rules of this file: time and radio, no protocol.  All time is the event loop's.

When a window has to open.  A downlink's preamble begins `delay` after the end of the uplink (LoRaWAN L2 1.0.4, clause 3.3;
gateways keep it to microseconds).  Its preamble has 8 symbols, of which the chips need 4 to 6 to lock (SX1276 datasheet
rev. 7, section 4.1.1.6; SX1261/2 rev. 2.1, section 6.1.1.1).  Three things make us miss that time:

- `error`, either way: the time stamp of the TxDone interrupt, and both clocks: crystals by up to 100 ppm, and Linux's
  monotonic clock by up to 500 ppm more while the time is being set right (adjtimex(2)), which `DRIFT` adds by the delay;
- `late`: Linux wakes a process after the time it asked for, on a Raspberry Pi under load up to 20 ms;
- `startup`: SPI and the chip's synthesizer, before it hears anything.

So the host asks to be woken `error + late + startup` before the nominal time, and the chip hears from somewhere between
`at - error - late` and `at - error`: never too late.  The window must last from the earliest of these until 6 symbols of the
latest possible preamble have passed: `late + 2 * error`, and 6 symbols.  At SF7 these are 36 symbols (37 ms), at SF12 7.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass

from rataccess.errors import RataccessError, StoreError
from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora.mac import Action, Done, Listen, Mac, Pause, Transmit
from rataccess_drivers.lora.mac.exchange import State
from rataccess_drivers.lora.transceiver import Reception, Transceiver

log = logging.getLogger("rataccess.lorawan")

LOCK_SYMBOLS = 6
DRIFT = 500e-6
MOST_SYMBOLS = 248
"""The longest window that an SX126x can be told in symbols."""


@dataclass(frozen=True, slots=True)
class Margins:
    """How far a host and its clock are to be trusted; seconds."""

    late: float
    error: float

    def opening(self, listen: Listen, startup: float) -> tuple[float, int]:
        """When to call the receiver, and for how many symbols.

        Fast modulations have windows too short for the widest margins: then less of `late` is provided for, since a window
        that opened as early as that would end before the preamble for every host that wakes in time.
        """
        symbol, error = listen.modulation.symbol_time, self.error + DRIFT * listen.after
        late = min(self.late, max(0.0, (MOST_SYMBOLS - LOCK_SYMBOLS) * symbol - 2 * error))
        symbols = LOCK_SYMBOLS + math.ceil((late + 2 * error) / symbol - 1e-9)
        return listen.at - error - late - startup, min(symbols, MOST_SYMBOLS)


class ClassARadio:
    """Carries exchanges of a MAC through, one at a time."""

    def __init__(self, radio: Transceiver, mac: Mac, margins: Margins) -> None:
        self._radio = radio
        self._mac = mac
        self._margins = margins
        self.last: Reception | None = None
        """What was received last."""

    async def run(self, action: Action) -> Done:
        """Do what the MAC wants until the exchange is done; on any error it is abandoned.

        Raises what the transceiver raises, or `StoreError`.
        """
        try:
            while not isinstance(action, Done):
                action = await self._step(action)
        except BaseException:
            self._mac.abandon()
            raise
        return action

    async def _step(self, action: Transmit | Listen | Pause) -> Action:
        match action:
            case Transmit():
                ended = await self._radio.transmit(
                    action.data,
                    frequency=action.frequency,
                    modulation=action.modulation,
                    power_dbm=action.power_dbm,
                )
                return self._mac.transmitted(ended)
            case Listen():
                return await self._listen(action)
            case Pause():
                await _until(action.until)
                return self._mac.resume(_now())

    async def _listen(self, action: Listen) -> Action:
        start, symbols = self._margins.opening(action, self._radio.startup)
        await _until(start)
        if (missed := _now() - start - self._margins.late) > 0:
            log.debug("a receive window opened %.0f ms later than allowed for: see wake_latency", missed * 1000)
        reception = await self._radio.receive(
            frequency=action.frequency, modulation=action.modulation, inverted_iq=True, symbols=symbols
        )
        if reception is None:
            return self._mac.silent(_now())
        self.last = reception
        try:
            return self._mac.received(_now(), reception.data, reception.snr_db)
        except StoreError as error:
            log.warning("a LoRaWAN downlink was dropped, for its counter could not be kept: %s", error)
            return self._mac.silent(_now())

    async def look(self, frequency: int, modulation: Modulation) -> None:
        """See that all of the chip works, by a short look at a channel; raises what the transceiver raises."""
        await self._radio.channel_free(frequency=frequency, modulation=modulation)
        if self._mac.state is State.IDLE:
            await self.rest()

    async def rest(self) -> None:
        """Between two exchanges the chip sleeps; where it does not want to, the next exchange will tell."""
        try:
            await self._radio.sleep()
        except RataccessError as error:
            log.debug("the transceiver does not go to sleep: %s", error)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _until(when: float) -> None:
    if (left := when - _now()) > 0:
        await asyncio.sleep(left)
