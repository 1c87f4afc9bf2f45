"""What virtual LoRa chips have in common: power, reset, wires, timers, faults, and the way into the ether.

Rules of this file: no register and no opcode.  Everything a chip does later hangs on a timer that its reset or its loss of
power cancels.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from periphery import SPIError

from rataccess_hil.lora.airtime import Waveform
from rataccess_hil.lora.ether import Ether, Heard, Listener, Position, Station, Transmission
from rataccess_hil.lora.pins import Pin, VirtualGpio, VirtualSpi


@dataclass
class ChipFaults:
    """What is wrong with a chip; nothing at first."""

    absent: bool = False
    """No chip on the bus: every byte read is `absent_reads`."""
    absent_reads: int = 0xFF
    stuck_busy: bool = False
    """BUSY never falls (chips that have it)."""
    hung: bool = False
    """Its state machine stands still until reset or power cycle; set by `hang`."""
    corrupt: int = 0
    """So many transfers to come return one altered byte."""
    corrupt_rate: float = 0.0
    """Probability, 0 to 1, that a transfer returns one altered byte."""
    bus_error: OSError | None = None
    """What every transfer raises (a `periphery.SPIError`)."""
    deaf: bool = False
    """It never hears anything."""
    mute: bool = False
    """It transmits nothing, but says that it has."""


class VirtualChip(ABC):
    """A LoRa transceiver on a virtual SPI bus, with its wires."""

    kind = "chip"
    usual_pins: Mapping[int, str] = {}
    """Which wire is on which GPIO line of a usual board."""

    def __init__(
        self,
        ether: Ether,
        *,
        position: Position = (0.0, 0.0),
        name: str | None = None,
        pins: Mapping[int, str] | None = None,
        seed: int = 0,
    ) -> None:
        self.ether = ether
        self.station = Station(name or self.kind, position)
        self.faults = ChipFaults()
        self.powered = True
        self.violations: list[str] = []
        """What the host did that no datasheet allows (commands while busy, wrong mode), in order."""
        self.missed: set[str] = set()
        """Workarounds of the errata that the host left out where they mattered."""
        self.transfers = 0
        self._chance = random.Random(seed)
        self._lines = dict(self.usual_pins if pins is None else pins)
        self._timers: set[asyncio.TimerHandle] = set()
        self._listener: Listener | None = None
        self._sending: Transmission | None = None
        self.pins: dict[str, Pin] = {"reset": Pin("reset", level=True, written=self._reset_line)}
        for each in ("tx_enable", "rx_enable"):
            self.pins[each] = Pin(each)

    # --- the host's side ----------------------------------------------------------------------------------------------

    @property
    def spi(self) -> VirtualSpi:
        """A handle of the bus; each access opens another."""
        return VirtualSpi(self._transfer)

    def gpio(self, line: str | int, direction: str | None = None, edge: str | None = None) -> VirtualGpio:
        """A handle of a wire by name, or by its line number on the board.

        Inputs notice rising edges, where nothing else is said.  Raises `KeyError` for a line that goes nowhere.
        """
        pin = self.pins[self._lines[line] if isinstance(line, int) else line]
        way = direction or ("in" if pin.output else ("high" if pin.level else "low"))
        return VirtualGpio(pin, way, edge or ("rising" if way == "in" else "none"))

    def open_spi(self, device: str, mode: int, speed: int) -> VirtualSpi:
        """As a driver opens its bus; a wrong mode or more than 16 MHz gives nothing but noise."""
        return VirtualSpi(self._transfer if mode == 0 and speed <= 16_000_000 else self._noise, mode, speed)

    def open_gpio(self, chip: str, line: str | int, direction: str, edge: str) -> VirtualGpio:
        """As a driver opens a line."""
        return self.gpio(line, direction, edge)

    def _noise(self, data: bytes) -> bytes:
        return bytes(self._chance.randrange(256) for _ in data)

    def _transfer(self, data: bytes) -> bytes:
        self.transfers += 1
        faults = self.faults
        if faults.bus_error is not None:
            raise faults.bus_error
        if faults.absent or not self.powered:
            return bytes([faults.absent_reads if faults.absent else 0]) * len(data)
        if not self.pins["reset"].level:
            return bytes(len(data))
        answer = bytearray(self._exchange(data))
        if answer and (faults.corrupt or (faults.corrupt_rate and self._chance.random() < faults.corrupt_rate)):
            faults.corrupt = max(0, faults.corrupt - 1)
            answer[self._chance.randrange(len(answer))] ^= 1 << self._chance.randrange(8)
        return bytes(answer)

    # --- what can be done to it ---------------------------------------------------------------------------------------

    def power(self, on: bool) -> None:
        """Give it its supply, or take it away; it starts anew."""
        self.powered = on
        self._start_anew()

    def hang(self) -> None:
        """Stand still: no interrupt, no answer that makes sense, until reset or power."""
        self.faults.hung = True
        self._stop()

    def unplug(self, error: OSError | None = None) -> None:
        """Every transfer fails from now on."""
        self.faults.bus_error = error or SPIError(5, "SPI transfer: Input/output error")

    def lose_edges(self, count: int) -> None:
        """So many edges of its interrupt lines reach nobody."""
        for each in self.pins.values():
            if each.name.startswith("dio"):
                each.edges_to_lose = count

    def _reset_line(self, level: bool) -> None:
        # The chip starts at the rising edge; held low it does nothing at all.
        self._start_anew()

    def _start_anew(self) -> None:
        self.faults.hung = False
        self._stop()
        for each in self.pins.values():
            if each.output:
                each.drive(False)
        self._reset()

    # --- time and air -------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _later(self, seconds: float, run: Callable[[], None]) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        return self._at(loop.time() + seconds, run)

    def _at(self, when: float, run: Callable[[], None]) -> asyncio.TimerHandle:
        def due() -> None:
            self._timers.discard(handle)
            run()

        handle = asyncio.get_running_loop().call_at(when, due)
        self._timers.add(handle)
        return handle

    def _stop(self) -> None:
        """Let go of the air and forget everything that was to come."""
        for each in self._timers:
            each.cancel()
        self._timers.clear()
        self._stop_listening()
        if self._sending is not None:
            packet, self._sending = self._sending, None
            self.ether.abort(packet)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _send(self, waveform: Waveform, data: bytes, power_dbm: float) -> None:
        if self.faults.mute:
            self._later(waveform.time_on_air(len(data)), self._sent)
            return
        self.station.antenna_gain = self._antenna(sending=True)
        packet = self.ether.transmit(self.station, waveform, data, power_dbm)
        self._sending = packet
        self._at(packet.end, self._end_of_sending)

    def _end_of_sending(self) -> None:
        self._sending = None
        self._sent()

    def _listen(self, accepts: Callable[[Waveform], bool]) -> None:
        self._stop_listening()
        self.station.antenna_gain = self._antenna(sending=False)
        self._listener = self.ether.listen(
            self.station,
            (lambda wave: False) if self.faults.deaf else accepts,
            on_preamble=self._preamble,
            on_header=self._header,
            on_packet=self._packet,
        )

    def _antenna(self, *, sending: bool) -> float:
        """dB of the way between chip and antenna: much below 0 where a switch stands wrong."""
        return 0.0

    # --- the chip's own -----------------------------------------------------------------------------------------------

    @abstractmethod
    def _reset(self) -> None:
        """All registers as after power on."""

    @abstractmethod
    def _exchange(self, data: bytes) -> bytes:
        """One transfer, from the falling to the rising edge of NSS."""

    @abstractmethod
    def _sent(self) -> None:
        """A packet is out."""

    @abstractmethod
    def _preamble(self, packet: Transmission) -> None:
        """A packet is being received."""

    @abstractmethod
    def _header(self, packet: Transmission) -> None:
        """Its header has passed."""

    @abstractmethod
    def _packet(self, heard: Heard) -> None:
        """Its end has come."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.station.name}{'' if self.powered else ' without power'}>"
