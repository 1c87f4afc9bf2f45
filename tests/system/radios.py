"""LoRaWAN and satellite networks as links in virtual time: duty cycle, data rates, sky, sessions that break, mailboxes.

Rules of this file: models of networks, written from what LoRaWAN 1.0.4 and Iridium SBD do, not from our drivers; they hold
the laws of their networks (air time, sizes) and count what is billed.  Packets are in compact form; a service is given them
with what a way in would say of them.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from rataccess.clock import Clock
from rataccess.errors import NotNow, PacketTooLarge, TransportBroken
from rataccess.lorawan import Modulation
from rataccess.objects import Service
from rataccess.services.airway import Airway
from rataccess.tariff import Unit
from rataccess.transport import Downlink, Handover, Packet
from tests.system.air import Air, AirTransport

CarryByWay = Callable[[Service, bytes, Airway], list[bytes]]

RATES = {0: (12, 51), 1: (11, 51), 2: (10, 51), 3: (9, 115), 4: (8, 242), 5: (7, 242)}
"""EU868, LoRaWAN Regional Parameters: data rate to spreading factor and largest application payload."""
HOUR, SHARE = 3600.0, 0.01
CREDIT_BYTES = 50


class RadioAir(Air):
    """A network that knows the device by an identity of its own."""

    kind = ""
    unasked = dear = False

    def __init__(self, name: str, carry: CarryByWay, clock: Clock, identity: str, **options: Any) -> None:
        super().__init__(name, lambda service, data, link: [], **options)
        self._carry_by_way = carry
        self._clock = clock
        self.identity = identity
        self.waiting: dict[Service, deque[bytes]] = {service: deque() for service in Service}
        """What services have for the device."""
        self.accepted = 0
        self.spent: Counter[int] = Counter()
        """What was billed, by day of the wall clock: ms of air time, or credits."""
        self.room = 0

    def airway(self) -> Airway:
        """What a way in says of a packet."""
        made = Airway(f"way-{self.name}", self.kind, self.identity, link=self.name, room=self.room)
        return made._replace(unasked=self.unasked, dear=self.dear, heard_at=self._clock.wall())

    def bill(self, units: int) -> None:
        self.spent[int(self._clock.wall() // 86_400)] += units

    def arrive(self, packet: Packet) -> None:
        """The network gives a packet to the service."""
        self.sent.append((packet.service, packet.data))
        self.bytes_up += len(packet.data)
        for answer in self._carry_by_way(packet.service, packet.data, self.airway()):
            self.answer(packet.service, answer)

    def answer(self, service: Service, data: bytes) -> None:
        if len(data) > self.room:
            self.faults.append(f"{len(data)} bytes for the device over {self.name}, which takes {self.room}")
        self.waiting[service].append(data)

    def hear_one(self) -> int | None:
        """The device hears the message that has waited longest; its size, or `None` where none waits."""
        for service, queue in self.waiting.items():
            if queue:
                data = queue.popleft()
                self.bytes_down += len(data)
                for receiver in self.receivers:
                    receiver.inbox.put_nowait(Packet(data, service))
                return len(data)
        return None

    async def transmit(self, packet: Packet) -> Handover | None:
        """As `Transport.send`."""
        raise NotImplementedError


class LoRaAir(RadioAir):
    """LoRaWAN class A, one sub-band of 1 %, every uplink confirmed and sent three times where nobody acknowledges it."""

    kind = "deveui"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.covered = True
        self.lossy = 0.1
        """Of uplinks, and of downlinks."""
        self._air: deque[tuple[float, float]] = deque()
        self.rate = 5
        self.set_rate(5)

    def set_rate(self, rate: int) -> None:
        """As ADR does, between two uplinks."""
        self.rate = rate
        factor, self.mtu = RATES[rate]
        self.room = min(51, self.mtu)  # RX2 may be slow
        self.modulation = Modulation(factor)
        self.hints = {
            "rat": "lorawan",
            "mtu": self.mtu,
            "downlink": Downlink.AFTER_UPLINK,
            "response_time": 5.0,
            "acknowledges_handover": True,
            "unit": Unit.AIRTIME,
            "overhead": 13,
            "modulation": self.modulation,
            "repeats": 3,
            "compact": True,
        }
        for receiver in self.receivers:
            receiver.set_hints(mtu=self.mtu, modulation=self.modulation)

    def left(self) -> float:
        """Seconds of air time in this hour."""
        now = self._clock.monotonic()
        while self._air and self._air[0][0] <= now - HOUR:
            self._air.popleft()
        return HOUR * SHARE - sum(seconds for _, seconds in self._air)

    async def transmit(self, packet: Packet) -> Handover | None:
        if len(packet.data) > self.mtu:
            raise PacketTooLarge(len(packet.data), self.mtu)
        seconds = self.modulation.time_on_air(len(packet.data) + 13)
        if 3 * seconds > self.left():
            since = self._air[0][0] if self._air else self._clock.monotonic()
            raise NotNow("duty cycle", since + HOUR - self._clock.monotonic() + 0.1)
        arrived = False
        for attempt in range(3):
            if attempt:
                self.on_charge(math.ceil(seconds * 1000))
            self._air.append((self._clock.monotonic(), seconds))
            self.bill(math.ceil(seconds * 1000))
            await asyncio.sleep(seconds + 2.0)
            if not self.covered or self.random.random() < self.lossy:
                continue
            if not arrived:  # its counter tells the network that the others are the same
                arrived = True
                self.arrive(packet)
            if self.random.random() >= self.lossy:
                self.accepted += 1
                self.hear_one()
                return Handover(str(self.accepted))
        return None


class SatelliteAir(RadioAir):
    """Iridium SBD: sessions that take their time and break, before or after the gateway has the message."""

    kind = "imei"
    unasked = dear = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.mtu, self.room = 340, 270
        self.sky = True
        self.failing = 0.2
        """Of sessions: half of them before the gateway has the message."""
        self.twice = 0.05
        """Of messages: their gateway delivers them twice."""
        self._attempt: bytes | None = None
        self.hints = {
            "rat": "sbd",
            "mtu": 340,
            "downlink": Downlink.ON_SESSION,
            "response_time": 60.0,
            "acknowledges_handover": True,
            "unit": Unit.CREDIT,
            "billing_quantum": CREDIT_BYTES,
            "cost_per_unit": 0.12,
            "compact": True,
        }

    async def transmit(self, packet: Packet) -> Handover | None:
        if len(packet.data) > self.mtu:
            raise PacketTooLarge(len(packet.data), self.mtu)
        if not self.sky:
            raise NotNow("no satellite in sight", 120.0)
        await asyncio.sleep(self.random.uniform(6, 40))
        if not self.sky or self.random.random() < self.failing / 2:
            raise NotNow("the session broke before the gateway had it", self.random.uniform(5, 300))
        self._take(packet)
        if self.random.random() < self.failing / 2:
            await asyncio.sleep(
                self.random.uniform(5, 300)
            )  # broken; the next session tells by its number that it is there
        while (size := self.hear_one()) is not None:
            self.bill(-(-size // CREDIT_BYTES))
            await asyncio.sleep(8)
        return Handover(str(self.accepted))

    def _take(self, packet: Packet) -> None:
        self.accepted += 1
        self.bill(max(1, -(-len(packet.data) // CREDIT_BYTES)))
        for _ in range(2 if self.random.random() < self.twice else 1):
            self.arrive(packet)


class _RadioTransport(AirTransport):
    async def send(self, packet: Packet) -> Handover | None:
        assert isinstance(self.air, RadioAir)
        if self.closed or not self.air.carrier:
            raise TransportBroken("the radio is off")
        if (trouble := self.air.trouble(packet)) is not None:
            raise trouble
        return await self.air.transmit(packet)


class LoRaTransport(_RadioTransport):
    """Over a `LoRaAir`."""

    unit = Unit.AIRTIME


class SatelliteTransport(_RadioTransport):
    """Over a `SatelliteAir`."""

    unit = Unit.CREDIT


KINDS: Mapping[str, tuple[type[RadioAir], str]] = {
    "lora": (LoRaAir, "70b3d57ed0000001"),
    "sat": (SatelliteAir, "300434061234560"),
}
"""By the name of the link: its network, and what that calls the device."""
