"""The air between virtual LoRa radios: distance, what stands in between, collisions, and who can hear whom.

Rules of this file: no chip, no frame, no protocol.  Times are the event loop's, virtual or real; a late callback changes
nothing, for all is decided by nominal times.  Everything that looks like chance comes from the seed.

A packet is received by a listener that agrees with its waveform, has heard four symbols of its preamble, and hears it above
the signal-to-noise limit of its spreading factor.  Of two packets on the same channel and spreading factor the one that is
6 dB stronger survives (capture); other spreading factors disturb only where they are 16 dB stronger (Bor et al., "Do LoRa
low-power wide-area networks scale?", 2016; Croce et al., "Impact of LoRa imperfect orthogonality", 2018).
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rataccess_hil.lora.airtime import Waveform, noise_floor

_DETECT_SYMBOLS = 4
_CAPTURE = 6.0
_OTHER_FACTOR_REJECTION = 16.0
_LAST_PREAMBLE_SYMBOLS = 5
_BEST_SNR = 13.0
_MOMENT = 1e-6

Position = tuple[float, float]


@dataclass(eq=False)
class Station:
    """Something with an antenna."""

    name: str
    position: Position = (0.0, 0.0)
    """Metres; may be changed at any time."""
    antenna_gain: float = 0.0
    """dB, which also may be negative: an antenna that is not connected."""
    loss_rate: float = 0.0
    """Probability, 0 to 1, that a packet it hears is spoilt for no visible reason."""
    airtime: float = 0.0
    """Seconds it has transmitted."""
    transmissions: int = 0

    def __repr__(self) -> str:
        return f"<Station {self.name} at {self.position}>"


@dataclass(eq=False)
class Transmission:
    """One packet in the air."""

    station: Station
    waveform: Waveform
    data: bytes
    power_dbm: float
    start: float
    """Seconds, event loop time."""
    end: float
    aborted: bool = False
    """Whether the transmitter stopped in the middle."""
    heard_by: list[str] = field(default_factory=list)
    """Names of the stations that received it whole."""
    overlaps: list[Transmission] = field(default_factory=list, repr=False)

    @property
    def header_at(self) -> float:
        """When the header has passed."""
        return self.start + self.waveform.preamble_time + 8 * self.waveform.symbol_time


@dataclass(frozen=True, slots=True)
class Heard:
    """What a listener has of a packet at its end."""

    transmission: Transmission
    data: bytes
    """As received: altered where `intact` is false."""
    intact: bool
    rssi_dbm: float
    snr_db: float
    at: float
    """Seconds, event loop time: the end of the packet."""


class Listener:
    """An open receiver.  `accepts` says which waveforms it can demodulate, `capacity` how many packets at once.

    It calls `on_preamble` when it has locked to a packet, `on_header` (with whether it could be read) and `on_packet`.
    """

    def __init__(
        self,
        ether: Ether,
        station: Station,
        accepts: Callable[[Waveform], bool],
        *,
        capacity: int,
        on_preamble: Callable[[Transmission], None],
        on_header: Callable[[Transmission], None] | None,
        on_packet: Callable[[Heard], None],
        since: float,
    ) -> None:
        self.station = station
        self._ether = ether
        self._accepts = accepts
        self._capacity = capacity
        self._on_preamble, self._on_header, self._on_packet = on_preamble, on_header, on_packet
        self._since = since
        self._candidates: list[tuple[float, Transmission]] = []
        self._locked: list[Transmission] = []
        self._closed = False

    @property
    def locked(self) -> bool:
        """Whether a packet is being received."""
        return bool(self._locked)

    def settle(self, at: float) -> None:
        """Decide everything up to `at`, whatever the callbacks' delay; a receiver asks before it gives up at `at`."""
        for due, packet in sorted(self._candidates, key=lambda each: each[0]):
            if due <= at + _MOMENT:
                self._candidates.remove((due, packet))
                self._lock(packet)

    def close(self) -> None:
        """Hear nothing more; idempotent."""
        self._closed = True
        self._locked.clear()
        self._candidates.clear()
        self._ether._listeners.pop(self, None)

    def _consider(self, packet: Transmission) -> None:
        wave = packet.waveform
        if packet.station is self.station or not self._accepts(wave):
            return
        if self._ether.snr(packet, self.station) < wave.snr_limit:
            return
        due = max(packet.start, self._since) + _DETECT_SYMBOLS * wave.symbol_time
        if due <= packet.start + wave.preamble * wave.symbol_time + _MOMENT:
            self._candidates.append((due, packet))
            asyncio.get_running_loop().call_at(due, self._due)

    def _due(self) -> None:
        if not self._closed:
            self.settle(asyncio.get_running_loop().time())

    def _lock(self, packet: Transmission) -> None:
        # Asked again, for a receiver's demodulators may all be in use by now.
        if not self._accepts(packet.waveform):
            return
        if len(self._locked) >= self._capacity and not self._stolen_by(packet):
            return
        self._locked.append(packet)
        self._on_preamble(packet)
        loop = asyncio.get_running_loop()
        if self._on_header is not None:
            loop.call_at(packet.header_at, self._header, packet)
        loop.call_at(packet.end, self._end, packet)

    def _stolen_by(self, packet: Transmission) -> bool:
        """Whether a much stronger packet takes a single receiver from one whose preamble still lasts."""
        held = self._locked[0]
        level = self._ether.level
        stronger = level(packet, self.station) >= level(held, self.station) + _CAPTURE
        if not stronger or packet.start > held.start + held.waveform.preamble_time:
            return False
        self._locked.remove(held)
        return True

    def _header(self, packet: Transmission) -> None:
        if not self._closed and packet in self._locked and self._on_header is not None:
            self._on_header(packet)

    def _end(self, packet: Transmission) -> None:
        if self._closed or packet not in self._locked:
            return
        self._locked.remove(packet)
        self._on_packet(self._ether._heard(packet, self.station))


class Ether:
    """The air.  `path_loss_exponent` is 2 in free space and 3 to 4 in towns; `shadowing` the standard deviation, dB."""

    def __init__(self, seed: int = 0, *, path_loss_exponent: float = 3.0, shadowing: float = 0.0) -> None:
        self._chance = random.Random(seed)
        self._exponent = path_loss_exponent
        self._shadowing = shadowing
        self._listeners: dict[Listener, None] = {}
        self._flying: list[Transmission] = []
        self._before_station: dict[Station, float] = {}
        self._between: dict[frozenset[Station], float] = {}
        self.log: deque[Transmission] = deque(maxlen=20_000)
        """What was transmitted, oldest first."""

    # --- what stands in the way ---------------------------------------------------------------------------------------

    def obstruct(self, station: Station, loss_db: float = 40.0, other: Station | None = None) -> None:
        """Something stands before a station (a lorry before the gateway), or between two; 0 dB takes it away."""
        if other is None:
            self._before_station[station] = loss_db
        else:
            self._between[frozenset((station, other))] = loss_db

    def clear(self) -> None:
        """Nothing stands in any way."""
        self._before_station.clear()
        self._between.clear()

    def path_loss(self, one: Station, other: Station, frequency: int) -> float:
        """dB between two stations' antennas."""
        distance = max(1.0, math.dist(one.position, other.position))
        # Free space over the first metre, the exponent over the rest (log-distance model).
        loss = 20 * math.log10(frequency / 1e6) - 27.55 + 10 * self._exponent * math.log10(distance)
        loss += self._before_station.get(one, 0.0) + self._before_station.get(other, 0.0)
        return loss + self._between.get(frozenset((one, other)), 0.0) - one.antenna_gain - other.antenna_gain

    def level(self, packet: Transmission, station: Station) -> float:
        """dBm at which a station hears a packet."""
        return packet.power_dbm - self.path_loss(packet.station, station, packet.waveform.frequency)

    def snr(self, packet: Transmission, station: Station) -> float:
        """dB of signal over noise, at most what a chip can tell."""
        return min(_BEST_SNR, self.level(packet, station) - noise_floor(packet.waveform.bandwidth))

    # --- transmitting and listening -----------------------------------------------------------------------------------

    def transmit(
        self,
        station: Station,
        waveform: Waveform,
        data: bytes,
        power_dbm: float = 14.0,
        *,
        at: float | None = None,
        on_end: Callable[[Transmission], None] | None = None,
    ) -> Transmission:
        """Put a packet on the air now, or nominally at `at`; `on_end` is called at its end."""
        loop = asyncio.get_running_loop()
        start = loop.time() if at is None else at
        fade = self._chance.gauss(0.0, self._shadowing) if self._shadowing else 0.0
        length = waveform.time_on_air(len(data))
        packet = Transmission(station, waveform, bytes(data), power_dbm - fade, start, start + length)
        self._flying = [each for each in self._flying if each.end > start]
        for other in self._flying:
            packet.overlaps.append(other)
            other.overlaps.append(packet)
        self._flying.append(packet)
        self.log.append(packet)
        station.airtime += length
        station.transmissions += 1
        for listener in tuple(self._listeners):
            listener._consider(packet)
        if on_end is not None:
            loop.call_at(packet.end, on_end, packet)
        return packet

    def abort(self, packet: Transmission) -> None:
        """The transmitter stops in the middle: nobody receives this packet whole."""
        now = asyncio.get_running_loop().time()
        if now < packet.end:
            packet.aborted = True
            packet.station.airtime -= packet.end - now

    def listen(
        self,
        station: Station,
        accepts: Callable[[Waveform], bool],
        *,
        capacity: int = 1,
        on_preamble: Callable[[Transmission], None] = lambda packet: None,
        on_header: Callable[[Transmission], None] | None = None,
        on_packet: Callable[[Heard], None],
        since: float | None = None,
    ) -> Listener:
        """Open a receiver, now or nominally at `since`; close it after use.

        A preamble under way is still heard where enough of it is left.
        """
        listener = Listener(
            self,
            station,
            accepts,
            capacity=capacity,
            on_preamble=on_preamble,
            on_header=on_header,
            on_packet=on_packet,
            since=asyncio.get_running_loop().time() if since is None else since,
        )
        self._listeners[listener] = None
        for packet in self._in_the_air():
            listener._consider(packet)
        return listener

    def _in_the_air(self) -> list[Transmission]:
        now = asyncio.get_running_loop().time()
        return [each for each in self._flying if each.start <= now < each.end and not each.aborted]

    def activity(self, station: Station, waveform: Waveform) -> bool:
        """Whether a station can hear LoRa of this channel, bandwidth and spreading factor now (CAD)."""
        return any(
            each.station is not station
            and each.waveform.same_channel(waveform)
            and each.waveform.spreading_factor == waveform.spreading_factor
            and self.snr(each, station) >= waveform.snr_limit
            for each in self._in_the_air()
        )

    def rssi(self, station: Station, frequency: int, bandwidth: int) -> float:
        """dBm of everything that a station hears on a channel now."""
        levels = [noise_floor(bandwidth)]
        for each in self._in_the_air():
            if abs(each.waveform.frequency - frequency) < bandwidth and each.station is not station:
                levels.append(self.level(each, station))
        return 10 * math.log10(sum(10 ** (level / 10) for level in levels))

    # --- the end of a packet ------------------------------------------------------------------------------------------

    def _heard(self, packet: Transmission, station: Station) -> Heard:
        intact = not packet.aborted and self.snr(packet, station) >= packet.waveform.snr_limit
        intact = intact and not any(self._spoils(other, packet, station) for other in packet.overlaps)
        intact = intact and not (station.loss_rate and self._chance.random() < station.loss_rate)
        data = packet.data if intact else self._garbled(packet.data)
        if intact:
            packet.heard_by.append(station.name)
        level, snr = self.level(packet, station), self.snr(packet, station)
        return Heard(packet, data, intact, level, snr, packet.end)

    def _spoils(self, other: Transmission, packet: Transmission, station: Station) -> bool:
        wave = packet.waveform
        if other.station is station or abs(other.waveform.frequency - wave.frequency) * 2 >= (
            other.waveform.bandwidth + wave.bandwidth
        ):
            return False
        # The first symbols of a preamble may be lost: the last five are enough to lock.
        critical = packet.start + max(0, wave.preamble - _LAST_PREAMBLE_SYMBOLS) * wave.symbol_time
        if other.end <= critical:
            return False
        same = other.waveform.spreading_factor == wave.spreading_factor and wave.same_channel(other.waveform)
        same = same and other.waveform.inverted_iq == wave.inverted_iq
        margin = self.level(packet, station) - self.level(other, station)
        return margin < (_CAPTURE if same else -_OTHER_FACTOR_REJECTION)

    def _garbled(self, data: bytes) -> bytes:
        spoilt = bytearray(data)
        for _ in range(max(1, len(spoilt) // 8)):
            if spoilt:
                spoilt[self._chance.randrange(len(spoilt))] ^= self._chance.randrange(1, 256)
        return bytes(spoilt)

    def __repr__(self) -> str:
        return f"<Ether {len(self.log)} packets, {len(self._listeners)} listeners>"
