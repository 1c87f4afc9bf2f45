"""Packets as messages of a radio: by FPort, and by the first byte where the radio has no ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
import pytest

from rataccess.clock import SystemClock
from rataccess.driver import Bearer, RadioMessage
from rataccess.errors import (
    Closed,
    ConfigurationError,
    NotNow,
    PacketTooLarge,
    RadioSilent,
    RataccessError,
    TransportBroken,
)
from rataccess.lorawan.airtime import Modulation
from rataccess.objects import Service
from rataccess.registry import transport as registered
from rataccess.tariff import Unit
from rataccess.testing import CompactTransportContract, MemoryDriver, MemoryMedium, TransportContract
from rataccess.testing.transport_rig import TransportRig
from rataccess.transport import Downlink, Handover, Hints, Packet, Transport
from rataccess_transports.lorawan import LoraWanOptions, LoraWanTransport
from rataccess_transports.messages import MessageTransport, named_service
from tests.transports.message_radio import MessageRadio

PORTS = {1: Service.MANAGEMENT, 2: Service.SOLUTION}
LORAWAN = Bearer("lorawan")


class _Rig(TransportRig):
    """A transport over the radio in memory, which can break, hang and carry less."""

    kind: type[MessageTransport] = LoraWanTransport
    ports: Mapping[int, Service] = PORTS

    def __init__(self) -> None:
        self.radio = MessageRadio()

    def build(self) -> Transport:
        return self.kind(self.radio)

    async def received(self) -> Packet:
        message = await self.radio.up.get()
        service = self.ports.get(message.port) or named_service(message.data)
        assert service is not None
        return Packet(message.data, service)

    async def answer(self, packet: Packet) -> None:
        port = next((port for port, service in self.ports.items() if service is packet.service), 0)
        self.radio.hear(RadioMessage(packet.data, port))

    async def break_medium(self) -> None:
        self.radio.break_down()

    async def hang_medium(self) -> None:
        self.radio.hanging = True

    async def shrink_mtu(self, transport: Transport) -> None:
        self.radio.change(mtu=51)


class _PortlessRig(_Rig):
    kind = MessageTransport
    ports: Mapping[int, Service] = {}


@pytest.mark.looptime
class TestLoraWanTransport(TransportContract):
    @asynccontextmanager
    async def make(self) -> AsyncIterator[TransportRig]:
        yield _Rig()


@pytest.mark.looptime
class TestPortlessTransport(CompactTransportContract):
    @asynccontextmanager
    async def make(self) -> AsyncIterator[TransportRig]:
        yield _PortlessRig()


@asynccontextmanager
async def opened(
    radio: MessageRadio, kind: type[MessageTransport] = LoraWanTransport
) -> AsyncIterator[MessageTransport]:
    transport = kind(radio)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.aclose()


def test_it_is_registered() -> None:
    assert registered("lorawan") is LoraWanTransport
    assert LoraWanTransport.unit is Unit.AIRTIME


def test_it_needs_a_driver_that_moves_messages() -> None:
    driver = MemoryDriver(MemoryMedium())
    with pytest.raises(ConfigurationError, match="the transport lorawan needs a driver that moves messages; MemoryD"):
        LoraWanTransport.create(driver=driver, bearer=LORAWAN, endpoints={}, options=None, clock=SystemClock())


def test_ports_are_checked() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"management_port": 224}, LoraWanOptions)
    with pytest.raises(ValueError, match="are the same"):
        LoraWanOptions(management_port=2)


async def test_ports_may_be_others() -> None:
    radio = MessageRadio()
    transport = LoraWanTransport(radio, LoraWanOptions(management_port=10, solution_port=11))
    await transport.open()
    await transport.send(Packet(b"\0up", Service.SOLUTION))
    assert radio.up.get_nowait() == RadioMessage(b"\0up", 11)
    radio.hear(RadioMessage(b"\x80down", 10))
    assert await transport.receive() == Packet(b"\x80down", Service.MANAGEMENT)
    await transport.aclose()


async def test_handover_is_passed_on() -> None:
    async with opened(MessageRadio(Hints("lorawan", 51, acknowledges_handover=True))) as transport:
        assert await transport.send(Packet(b"x", Service.SOLUTION)) == Handover("7")


async def test_hints_are_the_drivers_and_live() -> None:
    radio = MessageRadio()
    async with opened(radio) as transport:
        heard: list[Hints] = []
        transport.on_hints(heard.append)
        assert transport.hints.compact
        assert transport.hints.downlink is Downlink.AFTER_UPLINK
        transport.set_hints(cost_per_unit=0.5, bytes_left=7)
        slow = Modulation(12)
        radio.change(mtu=51, modulation=slow, unit=Unit.AIRTIME)
        assert heard[-1] == transport.hints
        assert (transport.hints.mtu, transport.hints.modulation, transport.hints.unit) == (51, slow, Unit.AIRTIME)
        assert (transport.hints.cost_per_unit, transport.hints.bytes_left) == (0.5, 7)
    assert radio.listeners == 0


async def test_hints_that_changed_before_opening() -> None:
    radio = MessageRadio()
    transport = LoraWanTransport(radio)
    radio.change(mtu=11)
    await transport.open()
    assert transport.hints.mtu == 11
    await transport.aclose()


async def test_limit_that_shrinks_between_hint_and_sending() -> None:
    radio = MessageRadio()
    async with opened(radio) as transport:
        radio.limit = 11
        with pytest.raises(PacketTooLarge) as caught:
            await transport.send(Packet(bytes(20), Service.SOLUTION))
        assert (caught.value.size, caught.value.limit, transport.hints.mtu) == (20, 11, 11)
        await transport.send(Packet(bytes(11), Service.SOLUTION))
        radio.limit = None
        radio.change(response_time=3.0)
        assert transport.hints.mtu == 222


@pytest.mark.parametrize("error", [NotNow("duty cycle", 12.0), PacketTooLarge(5, 4)])
async def test_what_passes_leaves_the_transport_usable(error: RataccessError) -> None:
    radio = MessageRadio()
    async with opened(radio) as transport:
        radio.refuse = error
        with pytest.raises(type(error)) as caught:
            await transport.send(Packet(b"x", Service.SOLUTION))
        assert caught.value is error
        radio.refuse = None
        assert await transport.send(Packet(b"x", Service.SOLUTION)) is None


@pytest.mark.parametrize("error", [RadioSilent("the module is silent"), Closed("the driver is closed")])
async def test_other_errors_of_the_driver_break_it(error: RataccessError) -> None:
    radio = MessageRadio()
    async with opened(radio) as transport:
        radio.refuse = error
        with pytest.raises(TransportBroken, match=str(error)) as caught:
            await transport.send(Packet(b"x", Service.SOLUTION))
        assert caught.value.__cause__ is error
        with pytest.raises(TransportBroken):
            await transport.receive()
    with pytest.raises(Closed):
        await transport.receive()


@pytest.mark.parametrize(
    ("kind", "strange"),
    [
        (LoraWanTransport, [RadioMessage(b"x", 3), RadioMessage(b"x", 0), RadioMessage(b"", 1)]),
        (MessageTransport, [RadioMessage(b"x", 1), RadioMessage(b"\xff", 0), RadioMessage(b"", 0)]),
    ],
)
async def test_what_is_for_no_service_is_dropped(kind: type[MessageTransport], strange: list[RadioMessage]) -> None:
    radio = MessageRadio()
    async with opened(radio, kind) as transport:
        for message in strange:
            radio.hear(message)
        radio.hear(RadioMessage(b"\x20good", 2 if kind is LoraWanTransport else 0))
        assert await transport.receive() == Packet(b"\x20good", Service.SOLUTION)
        assert transport.dropped == len(strange)


async def test_portless_radio_carries_compact_packets_only() -> None:
    radio = MessageRadio()
    async with opened(radio, MessageTransport) as transport:
        with pytest.raises(ConfigurationError, match="does not name the solution service"):
            await transport.send(Packet(b"\x00", Service.SOLUTION))
        with pytest.raises(ConfigurationError):
            await transport.send(Packet(b"\xe0", Service.SOLUTION))
        assert radio.up.empty()
        await transport.send(Packet(b"\xa0", Service.SOLUTION))
        assert radio.up.get_nowait() == RadioMessage(b"\xa0", 0)


async def test_cancelled_send_is_cancelled_in_the_driver() -> None:
    radio = MessageRadio()
    async with opened(radio) as transport:
        radio.hanging = True
        sending = asyncio.create_task(transport.send(Packet(b"x", Service.SOLUTION)))
        for _ in range(3):
            await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert radio.cancelled == 1
        radio.hanging = False
        await transport.send(Packet(b"y", Service.SOLUTION))


async def test_closing_leaves_what_waits_with_the_driver() -> None:
    radio = MessageRadio()
    async with opened(radio):
        pass
    radio.hear(RadioMessage(b"later", 2))
    async with opened(radio) as transport:
        assert await transport.receive() == Packet(b"later", Service.SOLUTION)


def test_what_is_shown() -> None:
    assert repr(LoraWanTransport(MessageRadio())) == (
        "<LoraWanTransport lorawan mtu=222 unusable: the transport is not open>"
    )


@pytest.mark.looptime
async def test_closing_loses_nothing_that_the_driver_has_handed_out() -> None:
    """A message that came when nobody waited for it is the next transport's."""
    radio = MessageRadio()
    async with opened(radio):
        radio.hear(RadioMessage(b"first", 2))
        radio.hear(RadioMessage(b"second", 1))
        for _ in range(3):
            await asyncio.sleep(0)
    async with opened(radio):
        pass
    async with opened(radio) as transport, asyncio.timeout(60):
        assert await transport.receive() == Packet(b"first", Service.SOLUTION)
        assert await transport.receive() == Packet(b"second", Service.MANAGEMENT)


@pytest.mark.looptime
async def test_breaking_loses_nothing_that_the_driver_has_handed_out() -> None:
    radio = MessageRadio()
    async with opened(radio) as transport:
        radio.hear(RadioMessage(b"first", 2))
        for _ in range(3):
            await asyncio.sleep(0)
        radio.refuse = TransportBroken("the module has restarted")
        with pytest.raises(TransportBroken):
            await transport.send(Packet(b"x", Service.SOLUTION))
        with pytest.raises(TransportBroken):
            await transport.receive()
    async with opened(radio) as transport, asyncio.timeout(60):
        assert await transport.receive() == Packet(b"first", Service.SOLUTION)


@pytest.mark.looptime
async def test_what_one_driver_has_handed_out_is_not_anothers() -> None:
    radio = MessageRadio()
    async with opened(radio):
        radio.hear(RadioMessage(b"first", 2))
        for _ in range(3):
            await asyncio.sleep(0)
    other = MessageRadio()
    other.hear(RadioMessage(b"of the other", 2))
    async with opened(other) as transport:
        assert await transport.receive() == Packet(b"of the other", Service.SOLUTION)
