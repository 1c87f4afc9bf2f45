"""The three satellite drivers on virtual radios, in virtual time."""

from __future__ import annotations

import asyncio
import base64
import random
from typing import Any

import msgspec

from rataccess.clock import LoopClock
from rataccess.driver import Driver, DriverContext, Forgetful
from rataccess.objects import Memory
from rataccess.testing import DriverRig, TransportRig
from rataccess.transport import Packet, Transport
from rataccess_drivers.satellite.imt import ImtDriver, ImtOptions
from rataccess_drivers.satellite.notecard import NotecardDriver, NotecardOptions
from rataccess_drivers.satellite.sbd import SbdDriver, SbdOptions
from rataccess_hil.memory_port import MemoryPort
from rataccess_hil.satellite import IridiumGateway, Virtual9603, Virtual9704
from rataccess_hil.satellite.notecard import NotecardHang, VirtualNotecard
from rataccess_transports.imt import ImtTransport
from rataccess_transports.messages import MessageTransport, named_service
from rataccess_transports.notecard import NotecardTransport
from rataccess_transports.sbd import SbdTransport
from tests.satellite.notecard_script import Inline


class Radio:
    """A virtual radio with its network, and drivers for it."""

    driver_type: type[Driver]
    options_type: type[Any]
    transport_type: type[MessageTransport]
    usual: dict[str, Any] = {"port": "pty:/memory"}

    def __init__(self) -> None:
        self.port = MemoryPort()
        self.clock = LoopClock()

    def driver(self, memory: Memory | None = None, **options: Any) -> Any:
        settings = msgspec.convert({**self.usual, **options}, self.options_type)
        context = DriverContext("sat", self.clock, memory=memory if memory is not None else Forgetful())
        return self.driver_type(settings, context, **self.ways())  # type: ignore[call-arg]

    def ways(self) -> dict[str, Any]:
        return {"open_line": self.port.open_line, "chance": random.Random(1)}

    def up(self) -> list[bytes]:
        """All that has arrived from the device."""
        raise NotImplementedError

    def down(self, data: bytes) -> None:
        """Have it wait for the device."""
        raise NotImplementedError

    def network(self, there: bool) -> None:
        """The sky."""
        raise NotImplementedError

    def hang(self) -> None:
        """The radio answers nothing."""
        raise NotImplementedError

    def unplug(self) -> None:
        self.port.disconnect()

    async def aclose(self) -> None:
        """Off the loop."""


class Iridium(Radio):
    """At one gateway."""

    def __init__(self, **gateway: Any) -> None:
        super().__init__()
        self.gateway = IridiumGateway(clock=self.clock, **gateway)
        self.modem: Any = None

    def up(self) -> list[bytes]:
        return [each.payload for each in self.gateway.of(self.modem.imei).mo if each.payload is not None]

    def down(self, data: bytes) -> None:
        self.gateway.send(self.modem.imei, data)

    def network(self, there: bool) -> None:
        self.modem.controls.sky(5 if there else 0)

    async def aclose(self) -> None:
        await self.modem.aclose()


class Sbd(Iridium):
    driver_type, options_type, transport_type = SbdDriver, SbdOptions, SbdTransport
    usual = {"port": "pty:/memory", "sky_patience": 0.0, "mailbox": {"credits_a_day": 10_000}}

    def __init__(self, **gateway: Any) -> None:
        super().__init__(**gateway)
        self.modem = Virtual9603(self.port, self.gateway)
        self.gateway.subscribe(self.modem.imei, longest_mt=340)

    def hang(self) -> None:
        self.modem.controls.hang("uart")


class Imt(Iridium):
    driver_type, options_type, transport_type = ImtDriver, ImtOptions, ImtTransport
    usual = {"port": "pty:/memory", "sky_patience": 0.0}

    def __init__(self, **gateway: Any) -> None:
        super().__init__(**gateway)
        self.modem = Virtual9704(self.port, self.gateway)
        self.gateway.subscribe(self.modem.imei, longest_mo=100_000, longest_mt=100_000)

    def hang(self) -> None:
        self.modem.controls.hang()


class Notecard(Radio):
    driver_type, options_type, transport_type = NotecardDriver, NotecardOptions, NotecardTransport
    usual = {"port": "pty:/memory", "product": "com.example:gateway", "poll_every": 5.0, "check_every": 60.0}

    def __init__(self, **card: Any) -> None:
        super().__init__()
        self.card = VirtualNotecard(self.port, clock=self.clock, **card)

    def ways(self) -> dict[str, Any]:
        return {"open_line": self.port.open_line}

    def up(self) -> list[bytes]:
        return [base64.b64decode(each.payload) for each in self.card.notehub.events if each.payload is not None]

    def down(self, data: bytes) -> None:
        self.card.notehub.send(self.card.device, "rataccess.qi", payload=base64.b64encode(data).decode())

    def network(self, there: bool) -> None:
        self.card.controls.coverage(cell=there, wifi=False)

    def hang(self) -> None:
        self.card.controls.hang("silent")

    async def aclose(self) -> None:
        await self.card.aclose()


class NotecardOnI2c(Notecard):
    usual = {"i2c": 1, "product": "com.example:gateway", "poll_every": 5.0, "check_every": 60.0}

    def __init__(self, **card: Any) -> None:
        super().__init__(**card)
        self._there = True

    def ways(self) -> dict[str, Any]:
        return {"open_bus": self._open_bus, "worker": Inline()}

    def _open_bus(self, bus: int | str) -> Any:
        if not self._there:
            raise FileNotFoundError(2, "No such file or directory")
        return self.card.smbus()

    def unplug(self) -> None:
        self._there = False
        self.card.core.faults.hang = NotecardHang.GONE


class SatelliteRig(DriverRig):
    """For the driver's contract."""

    def __init__(self, radio: Radio, exclusive: bool = True) -> None:
        self.radio = radio
        self.exclusive = exclusive

    def build(self) -> Driver:
        driver: Driver = self.radio.driver()
        return driver

    async def lose_bearer(self) -> None:
        self.radio.network(False)

    async def restore_bearer(self) -> None:
        self.radio.network(True)

    async def unplug(self) -> None:
        self.radio.unplug()

    async def hang_radio(self) -> None:
        self.radio.hang()


class MessageRig(TransportRig):
    """For the transport's contract."""

    def __init__(self, radio: Radio, driver: Any) -> None:
        self.radio, self.driver = radio, driver
        self._seen = 0

    def build(self) -> Transport:
        return self.radio.transport_type(self.driver)

    async def received(self) -> Packet:
        while len(self.radio.up()) <= self._seen:
            await asyncio.sleep(1.0)
        data = self.radio.up()[self._seen]
        self._seen += 1
        service = named_service(data)
        assert service is not None
        return Packet(data, service)

    async def answer(self, packet: Packet) -> None:
        self.radio.down(packet.data)

    async def break_medium(self) -> None:
        self.radio.unplug()

    async def hang_medium(self) -> None:
        self.radio.hang()
