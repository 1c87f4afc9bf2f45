"""A virtual LoRaWAN gateway: a concentrator in the ether, and a packet forwarder that speaks Semtech UDP.

Rules of this file: no key and no frame: it passes on what it hears, and transmits what it is told when it is told.  It
speaks over a real UDP socket, or passes the same datagrams to a network server in memory, so that virtual time works.
Source: Lora-net/packet_forwarder, PROTOCOL.TXT and its just-in-time queue.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rataccess_hil.lora import semtech
from rataccess_hil.lora.airtime import Waveform
from rataccess_hil.lora.ether import Ether, Heard, Listener, Position, Station, Transmission
from rataccess_hil.lora.regions import REGIONS, Region

_GPS_EPOCH = 315_964_800 - 18  # UNIX seconds at GPS second 0, with the leap seconds since
_LATEST = 0.0325
"""Seconds before its time that a packet must be there: start, margin and programming delays of the forwarder."""
_EARLIEST = 384.0
_GUARD = 0.0025
_DEMODULATORS = 8


class InMemoryServer(Protocol):
    """A network server that takes datagrams directly."""

    def datagram(self, data: bytes, answer: Callable[[bytes], None]) -> None:
        """One datagram; `answer` sends one back."""
        ...


@dataclass(frozen=True, slots=True)
class _Scheduled:
    waveform: Waveform
    data: bytes
    power: float
    start: float
    end: float


def usual_channels(region: Region) -> tuple[int, ...]:
    """The eight channels of 125 kHz of a usual gateway (sub-band 2 where channels are fixed)."""
    if region.fixed:
        return region.join_channels[8:16]
    more = {"EU868": tuple(867_100_000 + 200_000 * index for index in range(5))}
    more["AS923"] = tuple(922_000_000 + 200_000 * index for index in range(6))
    return region.join_channels + more.get(region.name, ())


class VirtualGateway:
    """A gateway with eight channels of all spreading factors and one LoRa channel of its own.

    `server` is the address to send Semtech UDP to, or an in-memory network server (anything with `datagram`).  `backhaul`
    is how many seconds a datagram takes in memory, `tmst_offset` the microseconds that its counter is ahead (it wraps at
    2^32), `epoch` the UNIX time at loop time 0; `keepalive` and `statistics` are seconds from one PULL_DATA, or `stat`, to
    the next (rarely, where virtual time is to pass fast).
    """

    def __init__(
        self,
        ether: Ether,
        server: InMemoryServer | tuple[str, int],
        *,
        eui: int = 0xAA555A0000000101,
        position: Position = (0.0, 0.0),
        region: str = "EU868",
        channels: Sequence[int] | None = None,
        single_channel: tuple[int, int, int] | None = None,
        backhaul: float = 0.02,
        keepalive: float = 10.0,
        statistics: float = 30.0,
        tmst_offset: int = 0,
        epoch: float = 1_790_000_000.0,
        name: str = "gateway",
    ) -> None:
        self.ether = ether
        self.eui = eui
        self.station = Station(name, position)
        self.region = REGIONS[region]
        self.channels = tuple(channels if channels is not None else usual_channels(self.region))
        self._single = single_channel or self._usual_single()
        self._server = server
        self._backhaul, self._keepalive, self._statistics = backhaul, keepalive, statistics
        self._offset, self._epoch = tmst_offset, epoch
        self._listeners: list[Listener] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._queue: list[_Scheduled] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._token = 0
        self._busy = 0
        self._open = False
        self.late_by = 0.0
        """Seconds that all it transmits goes out late (or early, below 0)."""
        self.online = True
        """Whether datagrams pass; set it to cut its backhaul."""
        self.counts = dict.fromkeys(
            ("rxnb", "rxok", "rxfw", "pushed", "push_acks", "pulls", "pull_acks", "dwnb", "txnb", "bad"), 0
        )
        """What its statistics say, since it was made."""
        self.errors: list[str] = []
        """The refusals of its TX_ACKs, in order."""

    def _usual_single(self) -> tuple[int, int, int]:
        if self.region.fixed:
            return self.region.wide_channels[1], 8, 500_000
        return self.region.join_channels[1], 7, 250_000

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Listen on all channels, and call the server."""
        if not isinstance(self._server, tuple):
            self._open_in_memory()
            return
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Socket(self.receive), remote_addr=self._server, family=0
        )
        self._open_in_memory()

    def _open_in_memory(self) -> None:
        self._open = True
        self._listen()
        self._pull()
        self._timers.append(asyncio.get_running_loop().call_later(self._statistics, self._report))

    async def aclose(self) -> None:
        """Fall silent; idempotent."""
        self._open = False
        self._deafen()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._queue.clear()
        if self._transport is not None:
            self._transport.close()
            self._transport = None
            await asyncio.sleep(0)

    async def __aenter__(self) -> VirtualGateway:
        await self.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    # --- the counter --------------------------------------------------------------------------------------------------

    def tmst(self, at: float) -> int:
        """The gateway's microsecond counter at a loop time."""
        return (self._offset + round(at * 1e6)) & 0xFFFFFFFF

    def _time_of(self, tmst: int) -> float:
        """The loop time nearest to now at which the counter has this value."""
        now = asyncio.get_running_loop().time()
        ahead = (tmst - self.tmst(now)) & 0xFFFFFFFF
        return now + (ahead - (1 << 32) if ahead >= 1 << 31 else ahead) / 1e6

    # --- reception ----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        for index, frequency in enumerate(self.channels):
            self._listen_on(index, Waveform(frequency, 7), range(7, 13))
        frequency, factor, bandwidth = self._single
        self._listen_on(len(self.channels), Waveform(frequency, factor, bandwidth), range(factor, factor + 1))

    def _listen_on(self, index: int, channel: Waveform, factors: range) -> None:
        def accepts(wave: Waveform) -> bool:
            return (
                channel.same_channel(wave)
                and wave.spreading_factor in factors
                and wave.sync_word == 0x34
                and not wave.inverted_iq
                and self._busy < _DEMODULATORS
            )

        def began(packet: Transmission) -> None:
            self._busy += 1

        def ended(heard: Heard) -> None:
            self._busy -= 1
            self._heard(index, heard)

        self._listeners.append(
            self.ether.listen(self.station, accepts, capacity=_DEMODULATORS, on_preamble=began, on_packet=ended)
        )

    def _deafen(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._busy = 0

    def _heard(self, channel: int, heard: Heard) -> None:
        self.counts["rxnb"] += 1
        if not heard.intact:
            return
        self.counts["rxok"] += 1
        wave = heard.transmission.waveform
        unix = self._epoch + heard.at
        packet = {
            "time": datetime.datetime.fromtimestamp(unix, datetime.UTC).isoformat().replace("+00:00", "Z"),
            "tmms": round((unix - _GPS_EPOCH) * 1000),
            "tmst": self.tmst(heard.at),
            "chan": channel,
            "rfch": 0 if channel < 4 else 1,
            "freq": self._frequency(channel) / 1e6,
            "stat": 1,
            "modu": "LORA",
            "datr": wave.datr,
            "codr": f"4/{wave.coding_rate}",
            "rssi": round(heard.rssi_dbm),
            "lsnr": round(heard.snr_db, 1),
            "size": len(heard.data),
            "data": semtech.encode_bytes(heard.data),
        }
        self.counts["rxfw"] += 1
        self._push({"rxpk": [packet]})

    def _frequency(self, channel: int) -> int:
        """Hz to which the demodulator is tuned: a packet forwarder tells that, not how far a device's crystal is off."""
        return self.channels[channel] if channel < len(self.channels) else self._single[0]

    # --- datagrams ----------------------------------------------------------------------------------------------------

    def _next_token(self) -> int:
        self._token = self._token + 1 & 0xFFFF
        return self._token

    def _push(self, body: dict[str, Any]) -> None:
        self.counts["pushed"] += 1
        self._send(semtech.Datagram(semtech.PUSH_DATA, self._next_token(), self.eui, body))

    def _pull(self) -> None:
        self.counts["pulls"] += 1
        self._send(semtech.Datagram(semtech.PULL_DATA, self._next_token(), self.eui))
        self._timers.append(asyncio.get_running_loop().call_later(self._keepalive, self._pull))
        self._drop_old_timers()

    def _report(self) -> None:
        at = self._epoch + asyncio.get_running_loop().time()
        counts = self.counts
        acknowledged = 100.0 * counts["push_acks"] / max(1, counts["pushed"])
        stat = {
            "time": datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S GMT"),
            **{name: counts[name] for name in ("rxnb", "rxok", "rxfw")},
            "ackr": round(min(100.0, acknowledged), 1),
            **{name: counts[name] for name in ("dwnb", "txnb")},
        }
        self._push({"stat": stat})
        self._timers.append(asyncio.get_running_loop().call_later(self._statistics, self._report))

    def _drop_old_timers(self) -> None:
        now = asyncio.get_running_loop().time()
        self._timers = [timer for timer in self._timers if not timer.cancelled() and timer.when() >= now]

    def _send(self, datagram: semtech.Datagram) -> None:
        if not self.online or not self._open:
            return
        data = datagram.encode()
        if self._transport is not None:
            self._transport.sendto(data)
        elif not isinstance(self._server, tuple):
            server = self._server
            self._carry(lambda: server.datagram(data, self._answered))

    def _answered(self, data: bytes) -> None:
        self._carry(lambda: self.receive(data))

    def _carry(self, arrive: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        if self._backhaul:
            loop.call_later(self._backhaul, arrive)
        else:
            loop.call_soon(arrive)

    def receive(self, data: bytes) -> None:
        """One datagram from the server."""
        if not self.online or not self._open:
            return
        try:
            datagram = semtech.decode(data)
            if datagram.kind == semtech.PULL_RESP:
                self._schedule(datagram)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            self.counts["bad"] += 1
            return
        if datagram.kind == semtech.PUSH_ACK:
            self.counts["push_acks"] += 1
        elif datagram.kind == semtech.PULL_ACK:
            self.counts["pull_acks"] += 1

    # --- transmission -------------------------------------------------------------------------------------------------

    def _schedule(self, datagram: semtech.Datagram) -> None:
        self.counts["dwnb"] += 1
        txpk = datagram.body["txpk"]
        factor, bandwidth = semtech.split_datr(txpk["datr"])
        wave = Waveform(
            frequency=round(txpk["freq"] * 1e6),
            spreading_factor=factor,
            bandwidth=bandwidth,
            coding_rate=int(txpk.get("codr", "4/5")[-1]),
            preamble=int(txpk.get("prea", 8)),
            crc=not txpk.get("ncrc", False),
            inverted_iq=bool(txpk.get("ipol", False)),
        )
        data = semtech.decode_bytes(txpk["data"])
        if len(data) > 255 or not 5 <= wave.coding_rate <= 8 or not 6 <= wave.preamble <= 65_535:
            raise semtech.BadDatagram("a packet that no concentrator can send")
        now = asyncio.get_running_loop().time()
        start = now + _LATEST if txpk.get("imme") else self._time_of(int(txpk["tmst"]))
        start += self.late_by
        packet = _Scheduled(wave, data, float(txpk.get("powe", 14)), start, start + wave.time_on_air(len(data)))
        error = self._refusal(packet, now, bool(txpk.get("imme")))
        if error:
            self.errors.append(error)
        else:
            self._queue.append(packet)
            self._timers.append(asyncio.get_running_loop().call_at(start, self._transmit, packet))
        body = {"txpk_ack": {"error": error}} if error else {}
        self._send(semtech.Datagram(semtech.TX_ACK, datagram.token, self.eui, body))

    def _refusal(self, packet: _Scheduled, now: float, at_once: bool) -> str:
        if not at_once and packet.start - now < _LATEST:
            return "TOO_LATE"
        if packet.start - now > _EARLIEST:
            return "TOO_EARLY"
        if not 137e6 <= packet.waveform.frequency <= 1020e6:
            return "TX_FREQ"
        for other in self._queue:
            if packet.start < other.end + _GUARD and other.start < packet.end + _GUARD:
                return "COLLISION_PACKET"
        return ""

    def _transmit(self, packet: _Scheduled) -> None:
        # Half duplex: nothing is heard meanwhile.
        self._deafen()
        self.counts["txnb"] += 1
        self.ether.transmit(
            self.station,
            packet.waveform,
            packet.data,
            packet.power,
            at=packet.start,
            on_end=lambda _: self._sent(packet),
        )

    def _sent(self, packet: _Scheduled) -> None:
        if packet in self._queue:
            self._queue.remove(packet)
        if self._open and not self._listeners:
            self._listen()

    def __repr__(self) -> str:
        return f"<VirtualGateway {self.eui:016x} at {self.station.position}>"


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, address: tuple[str | Any, int]) -> None:
        self._received(data)

    def error_received(self, error: Exception) -> None:
        """The server is not there: as over any network, nothing is known but silence."""
