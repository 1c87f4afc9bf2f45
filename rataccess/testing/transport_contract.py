"""The contract of `rataccess.transport.Transport`, as tests.

Rules of this file: floors 0 to 2, pytest and hypothesis only; no medium is known here.  Each test names the clause that it
holds.  No test sleeps; each wait is bounded by `limit`, which only a failure reaches.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rataccess.errors import Closed, NotNow, PacketTooLarge, ServiceRefused, TransportBroken, TransportError
from rataccess.objects import Service
from rataccess.testing.resources import nothing_left, settled, within
from rataccess.testing.transport_rig import BreaksMedium, HangsMedium, RefusesService, ShrinksMtu, TransportRig
from rataccess.transport import Downlink, Hints, Packet, Transport

T = TypeVar("T")


class TransportContract(ABC):
    """Every clause of `Transport`.  Override `make`."""

    pytestmark = pytest.mark.asyncio

    limit = 10.0
    """Seconds that anything may take before it counts as hung."""
    close_limit = 30.0
    """Seconds that `aclose` may take on a medium that hangs."""

    @abstractmethod
    def make(self) -> AbstractAsyncContextManager[TransportRig]:
        """A fresh rig."""

    def packet(self, data: bytes, service: Service) -> Packet:
        """A packet for that service; a medium that knows the service by the packet's first byte only bends that byte."""
        return Packet(data, service)

    # --- helpers ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[TransportRig, Transport]]:
        """A rig and an open transport from which every service has heard."""
        async with self.make() as rig:
            transport = rig.build()
            try:
                await within(self.limit, transport.open(), "open")
                for service in rig.services:
                    await self.carry(rig, transport, self.packet(b"hello", service))
                yield rig, transport
            finally:
                await within(self.close_limit, transport.aclose(), "aclose")

    async def send(self, transport: Transport, packet: Packet) -> None:
        """Send one packet, with patience where the medium asks for it."""

        async def patiently() -> None:
            while True:
                try:
                    await transport.send(packet)
                    return
                except NotNow as later:
                    await asyncio.sleep(later.retry_after)

        await within(self.limit, patiently(), "send")

    async def carry(self, rig: TransportRig, transport: Transport, packet: Packet) -> None:
        """Send one packet and see it arrive, unchanged."""
        await self.send(transport, packet)
        arrived = await within(self.limit, rig.received(), "arrival at the service")
        assert arrived == packet

    async def fetch(self, rig: TransportRig, transport: Transport, packet: Packet) -> None:
        """Have the far side send one packet and receive it, unchanged."""
        await rig.answer(packet)
        assert await within(self.limit, transport.receive(), "receive") == packet

    # --- opening and closing ------------------------------------------------------------------------------------------

    async def test_constructor_opens_nothing(self) -> None:
        """The constructor opens nothing: no file, task or thread; such a transport can be closed."""
        async with self.make() as rig:
            before = await settled()
            transport = rig.build()
            await nothing_left(before)
            await within(self.limit, transport.aclose(), "aclose of a transport that was never opened")

    async def test_closing_frees_everything(self) -> None:
        """`aclose` frees everything that `open` took."""
        async with self.make() as rig:
            warm = rig.build()  # what a process loads once is not the transport's
            await within(self.limit, warm.open(), "open")
            await within(self.limit, warm.aclose(), "aclose")
            before = await settled()
            transport = rig.build()
            await within(self.limit, transport.open(), "open")
            await within(self.limit, transport.aclose(), "aclose")
            await nothing_left(before)

    async def test_closing_is_idempotent(self) -> None:
        """`aclose` again does nothing; also twice at once."""
        async with self.opened() as (_, transport):
            both = asyncio.gather(transport.aclose(), transport.aclose())
            await within(self.limit, _all(both), "aclose, twice at once")
            await within(self.limit, transport.aclose(), "aclose, again")

    async def test_closed_transport_says_closed(self) -> None:
        """After `aclose`, `send` and `receive` raise `Closed`."""
        async with self.opened() as (rig, transport):
            await transport.aclose()
            with pytest.raises(Closed):
                await within(self.limit, transport.send(self.packet(b"late", rig.services[0])), "send")
            with pytest.raises(Closed):
                await within(self.limit, transport.receive(), "receive")

    async def test_closing_wakes_receive(self) -> None:
        """A waiting `receive` raises `Closed` at `aclose`."""
        async with self.opened() as (_, transport):
            waiting = asyncio.create_task(transport.receive())
            await asyncio.sleep(0)
            await within(self.limit, transport.aclose(), "aclose")
            with pytest.raises(Closed):
                await within(self.limit, _all(waiting), "the waiting receive")

    async def test_reopening_the_medium(self) -> None:
        """A closed transport leaves the medium to the next one."""
        async with self.opened() as (rig, transport):
            await transport.aclose()
            successor = rig.build()
            try:
                await within(self.limit, successor.open(), "open")
                await self.carry(rig, successor, self.packet(b"successor", rig.services[0]))
            finally:
                await within(self.limit, successor.aclose(), "aclose")

    # --- packets ------------------------------------------------------------------------------------------------------

    async def test_packets_pass_both_ways(self) -> None:
        """A packet arrives as it was sent, in both directions, for each service."""
        async with self.opened() as (rig, transport):
            for service in rig.services:
                await self.carry(rig, transport, self.packet(b"up", service))
                await self.fetch(rig, transport, self.packet(b"down", service))

    @settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(packets=st.deferred(lambda: st.lists(_packets(), min_size=1, max_size=6)))
    async def test_any_bytes_pass(self, packets: list[bytes]) -> None:
        """A packet is opaque: any bytes pass unchanged, in both directions, up to the MTU."""
        async with self.opened() as (rig, transport):
            for number, data in enumerate(packets):
                packet = self.packet(data[: transport.hints.mtu], rig.services[number % len(rig.services)])
                await self.carry(rig, transport, packet)
                await self.fetch(rig, transport, packet)

    async def test_services_are_kept_apart(self) -> None:
        """A packet goes to its own service only, and says from which it came, with both at once."""
        async with self.opened() as (rig, transport):
            if len(rig.services) < 2:
                pytest.skip("this medium reaches one service only")
            sent = [self.packet(f"{service} {n}".encode(), service) for n in range(4) for service in rig.services]
            for packet in sent:
                await self.send(transport, packet)
            arrived = [await within(self.limit, rig.received(), "arrival at the service") for _ in sent]
            assert sorted(arrived, key=repr) == sorted(sent, key=repr)
            for packet in sent:
                await rig.answer(packet)
            came = [await within(self.limit, transport.receive(), "receive") for _ in sent]
            assert sorted(came, key=repr) == sorted(sent, key=repr)

    async def test_largest_packet_passes(self) -> None:
        """A packet of exactly `hints.mtu` bytes passes."""
        async with self.opened() as (rig, transport):
            await self.carry(rig, transport, self.packet(bytes(transport.hints.mtu), rig.services[0]))

    async def test_too_large_packet_is_refused(self) -> None:
        """`PacketTooLarge` says size and limit; nothing was sent, and the transport stays usable."""
        async with self.opened() as (rig, transport):
            mtu = transport.hints.mtu
            with pytest.raises(PacketTooLarge) as caught:
                await within(self.limit, transport.send(self.packet(bytes(mtu + 1), rig.services[0])), "send")
            assert (caught.value.size, caught.value.limit) == (mtu + 1, mtu)
            await self.carry(rig, transport, self.packet(b"next", rig.services[0]))
            await self.fetch(rig, transport, self.packet(b"answer", rig.services[0]))

    # --- tasks --------------------------------------------------------------------------------------------------------

    async def test_cancelled_receive_loses_nothing(self) -> None:
        """`receive` may be cancelled at any moment: each packet is returned by it or by a later one, once."""
        async with self.opened() as (rig, transport):
            service = rig.services[0]
            sent = [self.packet(f"packet {n}".encode(), service).data for n in range(12)]
            came: list[bytes] = []
            for number, data in enumerate(sent):
                task = asyncio.create_task(transport.receive())
                if number % 2:
                    await asyncio.sleep(0)
                await rig.answer(self.packet(data, service))
                for _ in range(number // 2):
                    await asyncio.sleep(0)
                task.cancel()
                came += [packet.data for packet in await _unless_cancelled(task)]
            while len(came) < len(sent):
                came.append((await within(self.limit, transport.receive(), "receive after a cancelled one")).data)
            assert sorted(came) == sorted(sent)

    async def test_sending_while_receiving(self) -> None:
        """One task sends while another receives."""
        async with self.opened() as (rig, transport):
            service = rig.services[0]
            receiving = asyncio.create_task(_receive_some(transport, 8))
            await asyncio.sleep(0)  # it waits now
            try:
                for number in range(8):
                    packet = self.packet(f"packet {number}".encode(), service)
                    await self.carry(rig, transport, packet)
                    await rig.answer(packet)
                came = await within(self.limit, _all(receiving), "receive in another task")
            finally:
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)
            assert set(came) == {self.packet(f"packet {number}".encode(), service) for number in range(8)}

    # --- hints --------------------------------------------------------------------------------------------------------

    async def test_hints_are_plausible(self) -> None:
        """`hints` are there before and after `open`, and make sense."""
        async with self.make() as rig:
            _check(rig.build().hints)
        async with self.opened() as (_, transport):
            _check(transport.hints)

    async def test_changed_hints_are_announced(self) -> None:
        """Each change of `hints` is announced with the new value, until undone; no change is not."""
        async with self.opened() as (_, transport):
            heard: list[Hints] = []
            undo = transport.on_hints(heard.append)
            transport.set_hints(response_time=transport.hints.response_time)
            assert heard == []
            transport.set_hints(response_time=transport.hints.response_time + 1)
            assert heard == [transport.hints]
            undo()
            transport.set_hints(response_time=transport.hints.response_time + 1)
            assert len(heard) == 1

    async def test_smaller_mtu_is_announced(self) -> None:
        """Where the medium carries less than before, the hints say so, and packets of that size pass."""
        async with self.opened() as (rig, transport):
            if not isinstance(rig, ShrinksMtu):
                pytest.skip("the MTU of this medium does not change")
            before = transport.hints.mtu
            heard: list[Hints] = []
            transport.on_hints(heard.append)
            await within(self.limit, rig.shrink_mtu(transport), "the smaller MTU to be noticed")
            assert transport.hints.mtu < before
            assert heard[-1] == transport.hints
            with pytest.raises(PacketTooLarge):
                await within(self.limit, transport.send(self.packet(bytes(before), rig.services[0])), "send")
            await self.carry(rig, transport, self.packet(bytes(transport.hints.mtu), rig.services[0]))

    # --- trouble ------------------------------------------------------------------------------------------------------

    async def test_broken_medium_is_told(self) -> None:
        """On a broken medium `send` or `receive` raises `TransportBroken`; then both do, and `aclose` works."""
        async with self.opened() as (rig, transport):
            if not isinstance(rig, BreaksMedium):
                pytest.skip("this medium cannot be broken here")
            waiting = asyncio.create_task(transport.receive())
            try:
                await asyncio.sleep(0)
                await rig.break_medium()
                await within(self.limit, self._until_broken(transport, waiting, rig.services[0]), "notice of the break")
                with pytest.raises(TransportBroken):
                    await within(self.limit, _all(waiting), "the waiting receive")
            finally:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            with pytest.raises(TransportBroken):
                await within(self.limit, transport.send(self.packet(b"late", rig.services[0])), "send")
            with pytest.raises(TransportBroken):
                await within(self.limit, transport.receive(), "receive")
            await within(self.close_limit, transport.aclose(), "aclose of a broken transport")

    async def _until_broken(self, transport: Transport, waiting: asyncio.Task[Packet], service: Service) -> None:
        try:
            await transport.send(self.packet(b"probe", service))
        except TransportBroken:
            return
        await asyncio.wait([waiting])

    async def test_opening_on_a_broken_medium(self) -> None:
        """`open` raises `TransportBroken` where the bearer does not allow it, and leaves nothing behind."""
        async with self.make() as rig:
            if not isinstance(rig, BreaksMedium):
                pytest.skip("this medium cannot be broken here")
            transport = rig.build()
            await rig.break_medium()
            before = await settled()
            with pytest.raises(TransportBroken):
                await within(self.limit, transport.open(), "open on a broken medium")
            await within(self.close_limit, transport.aclose(), "aclose")
            await nothing_left(before)

    async def test_closing_on_a_hanging_medium(self) -> None:
        """`aclose` ends in bounded time even when the medium hangs, and so does a `send` that was under way."""
        async with self.opened() as (rig, transport):
            if not isinstance(rig, HangsMedium):
                pytest.skip("this medium cannot hang")
            await rig.hang_medium()
            sending = asyncio.create_task(transport.send(self.packet(b"into the void", rig.services[0])))
            receiving = asyncio.create_task(transport.receive())
            await asyncio.sleep(0)
            await within(self.close_limit, transport.aclose(), "aclose on a hanging medium")
            ends = await within(self.limit, _all(asyncio.gather(sending, receiving, return_exceptions=True)), "send")
            assert ends[0] is None or isinstance(ends[0], Closed | TransportError), f"send ended with {ends[0]!r}"
            assert isinstance(ends[1], Closed | TransportBroken), f"receive ended with {ends[1]!r}"

    async def test_refused_service_is_told(self) -> None:
        """Where nobody listens, `ServiceRefused` names the service; the transport stays usable for the other."""
        async with self.opened() as (rig, transport):
            if not isinstance(rig, RefusesService):
                pytest.skip("this medium does not tell that nobody listens")
            refused, *others = rig.services
            await rig.refuse(refused)
            with pytest.raises(ServiceRefused) as caught:
                await within(self.limit, self._knock(transport, refused), "the refusal")
            assert caught.value.service == refused
            for service in others:
                await self.carry(rig, transport, self.packet(b"still here", service))
                await self.fetch(rig, transport, self.packet(b"so am I", service))

    async def _knock(self, transport: Transport, service: Service) -> None:
        await transport.send(self.packet(b"knock", service))
        await transport.receive()


class CompactTransportContract(TransportContract):
    """The same for a medium without ports: bits 7 to 5 of the first byte say that a packet is in compact form, and whose."""

    def packet(self, data: bytes, service: Service) -> Packet:
        """See `TransportContract.packet`: a request of that service (docs/wire.md), and opaque from the second byte on."""
        bit = 0x20 if service is Service.SOLUTION else 0
        return Packet(bytes([data[0] & 0x5F | bit]) + data[1:], service)


def _packets() -> st.SearchStrategy[bytes]:
    """Short ones, and long ones of hostile content: line ends, prompts, escapes, runs, high bytes."""
    nasty = st.sampled_from([b"\r\nOK\r\n", b"\x1a", b"\x1b", b"+++", b"> ", b'"', b"\0", b"\xff" * 8, b"AT\r"])
    return st.one_of(st.binary(min_size=1, max_size=64), st.lists(nasty, min_size=1, max_size=200).map(b"".join))


def _check(hints: Hints) -> None:
    assert hints.rat
    assert hints.mtu > 0
    assert hints.downlink in Downlink
    assert hints.response_time > 0
    assert hints.bitrate is None or hints.bitrate > 0
    assert hints.cost_per_byte >= 0
    assert hints.billing_quantum >= 1
    assert hints.next_slot is None or hints.next_slot >= 0


async def _unless_cancelled(task: asyncio.Task[Packet]) -> list[Packet]:
    try:
        return [await task]
    except asyncio.CancelledError:
        return []


async def _receive_some(transport: Transport, count: int) -> list[Packet]:
    return [await transport.receive() for _ in range(count)]


async def _all(future: asyncio.Future[T]) -> T:
    return await future
