"""What all transceiver chips on SPI have in common: one user at a time, limits on every wait, interrupts that may be lost.

Rules of this file: no register, no command; families fill in the hooks.  Each wait has a limit that follows from the time
on air; when it has passed, the chip's own interrupt flags are read once before anything is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from abc import abstractmethod
from collections.abc import AsyncIterator

from rataccess.errors import Closed, ConfigurationError, RadioNotFound, RadioSilent, RataccessError
from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora.spi import Openers, Wires
from rataccess_drivers.lora.transceiver import MAX_PAYLOAD, Reception, Transceiver, TransceiverOptions

MARGIN = 0.1
"""Seconds that Linux and the interrupt may take beyond the time on air."""
_RESET_LOW = 0.001
_RESET_WAIT = 0.010
"""Seconds; the datasheets have 100 us and 5 ms, user space is less exact."""
_LOOK = 10.0
"""Seconds, at least, after which a listening chip is asked whether it still does."""


class Irq(enum.Flag):
    """What a chip tells by its flags, whatever their bits are."""

    NOTHING = 0
    SENT = enum.auto()
    RECEIVED = enum.auto()
    CRC_ERROR = enum.auto()
    HEADER_ERROR = enum.auto()
    TIMEOUT = enum.auto()
    LOOKED = enum.auto()
    """Channel activity detection has ended."""
    ACTIVITY = enum.auto()


class SpiTransceiver(Transceiver):
    """The flow of opening, sending, receiving and looking; subclasses do the steps."""

    def __init__(self, options: TransceiverOptions, name: str, openers: Openers) -> None:
        super().__init__()
        self.options = options
        self.name = name
        self._openers = openers
        self._opened: Wires | None = None
        self._lock = asyncio.Lock()
        self._listening = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.options.chip} {'open' if self._opened else 'closed'}>"

    # --- hooks --------------------------------------------------------------------------------------------------------

    @abstractmethod
    async def _identify(self) -> None:
        """See that the chip is there and the right one, just after a reset."""

    @abstractmethod
    async def _set_up(self) -> None:
        """What is set once."""

    @abstractmethod
    async def _configure(
        self, frequency: int, modulation: Modulation, sync_word: int, *, inverted_iq: bool, sending: bool
    ) -> None:
        """Wake the chip into standby and set up one operation."""

    @abstractmethod
    async def _load(self, data: bytes, modulation: Modulation, power_dbm: int) -> None:
        """Put a packet into the chip."""

    @abstractmethod
    async def _send(self, limit: float) -> None:
        """Begin to send."""

    @abstractmethod
    async def _listen(self, symbols: int | None, limit: float) -> None:
        """Begin to receive, in one window (which ends within `limit` s even where a packet comes) or for good."""

    @abstractmethod
    async def _look(self, modulation: Modulation) -> None:
        """Begin channel activity detection."""

    @abstractmethod
    async def _take_irq(self) -> Irq:
        """The flags, which are cleared."""

    @abstractmethod
    async def _fetch(self, frequency: int) -> tuple[bytes, float, float]:
        """The packet that was received, RSSI (dBm) and SNR (dB)."""

    @abstractmethod
    async def _in_receive_mode(self) -> bool:
        """Whether the chip still listens.  Raises `RadioSilent` where it does not answer sensibly."""

    @abstractmethod
    async def _alive(self) -> None:
        """Raise `RadioSilent` where the chip does not answer sensibly, in any mode."""

    @abstractmethod
    def _incoming(self) -> bool:
        """Whether a preamble or header has been found."""

    @abstractmethod
    async def _sleep(self) -> None:
        """Send the chip to sleep."""

    @abstractmethod
    def _stop(self, wires: Wires) -> None:
        """Into standby, whatever it does; without waiting."""

    @abstractmethod
    def _sleep_at_once(self, wires: Wires) -> None:
        """Send the chip to sleep without waiting, or leave it."""

    # --- opening ------------------------------------------------------------------------------------------------------

    @property
    def _wires(self) -> Wires:
        if self._opened is None:
            raise Closed(f"the transceiver of {self.name} is not open")
        return self._opened

    async def open(self) -> None:
        """See `Transceiver.open`."""
        async with self._lock:
            if self._opened is not None:
                return
            wires = Wires(self.options, self.name, self._openers)
            wires.open()
            self._opened = wires
            try:
                await self._reset(wires)
                await self._identify()
                await self._set_up()
            except BaseException:
                self._opened = None
                wires.close()
                raise

    async def _reset(self, wires: Wires) -> None:
        if wires.set("reset", False):
            await asyncio.sleep(_RESET_LOW)
            wires.set("reset", True)
        await asyncio.sleep(_RESET_WAIT)

    async def aclose(self) -> None:
        """See `Transceiver.aclose`."""
        wires, self._opened = self._opened, None
        if wires is not None:
            with contextlib.suppress(RataccessError):
                self._sleep_at_once(wires)
            wires.close()

    @contextlib.asynccontextmanager
    async def _at_work(self) -> AsyncIterator[Wires]:
        """The chip for one operation; in standby afterwards, however that ends."""
        async with self._lock:
            wires = self._wires
            try:
                yield wires
            finally:
                self._listening = False
                with contextlib.suppress(RataccessError):
                    wires.set("tx enable", False)
                    wires.set("rx enable", False)
                    self._stop(wires)

    # --- operations ---------------------------------------------------------------------------------------------------

    async def transmit(
        self,
        data: bytes,
        *,
        frequency: int,
        modulation: Modulation,
        power_dbm: int,
        inverted_iq: bool = False,
        sync_word: int = 0x34,
    ) -> float:
        """See `Transceiver.transmit`."""
        self.check(frequency, modulation, data)
        on_air = modulation.time_on_air(len(data))
        async with self._at_work() as wires:
            await self._configure(frequency, modulation, sync_word, inverted_iq=inverted_iq, sending=True)
            await self._load(data, modulation, self._power(power_dbm))
            wires.set("tx enable", True)
            wires.interrupts.clear()
            await self._send(on_air + self.startup + MARGIN)
            began = asyncio.get_running_loop().time()
            at, irq = await self._outcome(on_air + self.startup + 2 * MARGIN)
            if Irq.SENT not in irq:
                raise RadioSilent(f"the transceiver of {self.name} did not finish a packet of {on_air:.3f} s; reset it")
            return began + on_air if at is None else at

    async def receive(
        self,
        *,
        frequency: int,
        modulation: Modulation,
        inverted_iq: bool = False,
        sync_word: int = 0x34,
        symbols: int | None = None,
    ) -> Reception | None:
        """See `Transceiver.receive`."""
        self.check(frequency, modulation)
        if symbols is not None and not 1 <= symbols <= self.most_symbols:
            raise ConfigurationError(f"a window of {symbols} symbols; allowed: 1 to {self.most_symbols}")
        longest = modulation.time_on_air(MAX_PAYLOAD) + MARGIN
        async with self._at_work() as wires:
            await self._configure(frequency, modulation, sync_word, inverted_iq=inverted_iq, sending=False)
            wires.set("rx enable", True)
            wires.interrupts.clear()
            if symbols is None:
                return await self._receive_for_good(frequency, longest)
            window = symbols * modulation.symbol_time + self.startup + MARGIN
            return await self._receive_once(frequency, symbols, window, longest)

    most_symbols = 1023
    """Of one receive window."""

    async def _receive_once(self, frequency: int, symbols: int, window: float, longest: float) -> Reception | None:
        await self._listen(symbols, window + longest)
        self._listening = True
        at, irq = await self._outcome(window)
        if not irq and await self._in_receive_mode():  # a packet is coming in
            at, irq = await self._outcome(longest)
        return await self._reception(at, irq, frequency)

    async def _receive_for_good(self, frequency: int, longest: float) -> Reception:
        await self._listen(None, 0.0)
        self._listening = True
        while True:
            at, irq = await self._outcome(max(_LOOK, longest))
            if (found := await self._reception(at, irq, frequency)) is not None:
                return found
            if not await self._in_receive_mode():
                self.counters["restarts of reception"] += 1
                await self._listen(None, 0.0)

    async def _reception(self, at: float | None, irq: Irq, frequency: int) -> Reception | None:
        for broken, name in ((Irq.HEADER_ERROR, "header errors"), (Irq.CRC_ERROR, "crc errors")):
            if broken in irq:
                self.counters[name] += 1
                return None
        if Irq.RECEIVED not in irq:
            return None
        data, rssi, snr = await self._fetch(frequency)
        if not data:
            self.counters["empty packets"] += 1
            return None
        return Reception(data, rssi, snr, asyncio.get_running_loop().time() if at is None else at)

    async def channel_free(self, *, frequency: int, modulation: Modulation) -> bool:
        """See `Transceiver.channel_free`."""
        self.check(frequency, modulation)
        async with self._at_work() as wires:
            await self._configure(frequency, modulation, 0x34, inverted_iq=False, sending=False)
            wires.set("rx enable", True)
            wires.interrupts.clear()
            await self._look(modulation)
            _, irq = await self._outcome(16 * modulation.symbol_time + self.startup + MARGIN)
            if Irq.LOOKED not in irq:
                raise RadioSilent(f"the transceiver of {self.name} did not finish looking for activity; reset it")
            return Irq.ACTIVITY not in irq

    def receiving(self) -> bool:
        """See `Transceiver.receiving`."""
        return self._opened is not None and self._listening and self._incoming()

    async def probe(self) -> None:
        """See `Transceiver.probe`.  A chip that is at work is asked in between: one transfer disturbs nothing."""
        if self._lock.locked():
            await self._alive()
            return
        async with self._lock:
            await self._alive()

    async def sleep(self) -> None:
        """See `Transceiver.sleep`."""
        async with self._lock:
            await self._sleep()

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _power(self, asked: int) -> int:
        most = self.options.max_power_dbm
        return max(self.lowest_power, min(asked, self.highest_power, self.highest_power if most is None else most))

    async def _outcome(self, limit: float) -> tuple[float | None, Irq]:
        """When the interrupt came (`None`: it did not), and the flags, within `limit` s."""
        loop = asyncio.get_running_loop()
        end = loop.time() + limit
        while True:
            interrupts = self._wires.interrupts
            at = await interrupts.wait(end - loop.time())
            interrupts.clear()
            irq = await self._take_irq()
            if irq or at is None:
                break
        if irq and at is None:
            self.counters["lost interrupts"] += 1
        return at, irq

    def _absent(self, answer: int) -> RadioNotFound:
        where = self._wires.where
        return RadioNotFound(
            f"no transceiver answers {self.name} on {where}: every byte reads 0x{answer:02x}; "
            "check power, chip select, the reset line, and that the board is a variant on SPI"
        )
