"""An application's own packets, asking for replies, naming the link where that costs, services that acknowledge nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rataccess.errors import Closed, NotNow, PacketTooLarge, TransportBroken
from rataccess.objects import ReceiptState, Service
from rataccess.security import CHANGED, SecureContext
from rataccess.services.core import ServiceCore
from rataccess.transport import Downlink
from rataccess.wire import LINK, PACKET, Message, decode_message, encode_message
from tests.exchange.test_exchange_odd import ONE, exchange_of, first, over_satellite, solution_packets
from tests.system.system_world import SystemWorld
from tests.system.test_invariants import in_virtual_time, until_delivered, world


class Ear:
    """Every request body that the solution service has read, and what it is to answer instead of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bodies: list[Message] = []
        self.answer: bytes | None = None
        serve = ServiceCore._serve

        def heard(core: ServiceCore, session: Any, request: Any, *arguments: Any) -> Any:
            answer = serve(core, session, request, *arguments)
            if core.service is Service.SOLUTION:
                self.bodies.append(decode_message(request.body, floor=0, now=2e9))
                if self.answer is not None and answer is not None and answer[0] == CHANGED:
                    return answer[0], self.answer
            return answer

        monkeypatch.setattr(ServiceCore, "_serve", heard)


def packets_of(made: SystemWorld) -> list[bytes]:
    """What the application is told of packets from now on."""
    found: list[bytes] = []
    exchange_of(made).observer.packet_arrived = found.append  # type: ignore[method-assign,assignment]
    return found


# --- packets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mtu", [60, 61, 62, 290, 291, 292, 293, 600, 1232])
def test_the_largest_packet_fits_and_one_byte_more_is_refused(mtu: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear(monkeypatch)

    async def scene() -> None:
        async with world(links=ONE) as made:
            made.airs["wifi"].mtu = mtu
            await made.kill_device()
            await made.start_device()
            await asyncio.sleep(1)
            exchange = exchange_of(made)
            room = exchange.packet_room()
            assert room is not None
            sent = len(solution_packets(made.airs["wifi"]))
            with pytest.raises(PacketTooLarge):
                await exchange.send_packet(bytes(room + 1))
            assert len(solution_packets(made.airs["wifi"])) == sent
            await exchange.send_packet(b"p" * room)
            largest = max(map(len, solution_packets(made.airs["wifi"])[sent:]))
            assert mtu - 4 <= largest <= mtu, "room for a longer token and sequence number is all that is given away"
            await asyncio.sleep(1)
            assert [each.control[PACKET] for each in ear.bodies if PACKET in each.control] == [b"p" * room]

    in_virtual_time(scene())


def test_a_packet_is_sent_once_at_once_and_never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear(monkeypatch)

    async def scene() -> None:
        async with world(links=ONE) as made:
            await asyncio.sleep(1)
            exchange, air = exchange_of(made), made.airs["wifi"]
            before = len(solution_packets(air))
            air.silent = True
            await exchange.send_packet(b"lost")
            assert len(solution_packets(air)) == before + 1, "it has left when this returns"
            await asyncio.sleep(5)
            air.silent = False
            await asyncio.sleep(60)
            air.doubling = 1.0
            await exchange.send_packet(b"doubled")
            await asyncio.sleep(60)
            assert [each.control[PACKET] for each in ear.bodies if PACKET in each.control] == [b"doubled"]
            made.check_nonces()

    in_virtual_time(scene())


def test_a_packet_goes_past_a_full_window_and_raises_what_the_link_does() -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            await asyncio.sleep(1)
            exchange, air = exchange_of(made), made.airs["wifi"]
            exchange.lane("wifi").window = 0.0
            await exchange.send_packet(b"x")
            exchange.lane("wifi").window = 10.0
            air.trouble = first(1, lambda packet: NotNow("busy", 3.0))
            with pytest.raises(NotNow):
                await exchange.send_packet(b"x")
            exchange.lane("wifi").shut_until = exchange.monotonic() + 3
            with pytest.raises(NotNow):
                await exchange.send_packet(b"x")
            assert exchange.lane("wifi").in_flight <= 1
            air.set_carrier(False)
            await asyncio.sleep(0.1)
            assert exchange.packet_room() is None
            with pytest.raises(TransportBroken):
                await exchange.send_packet(b"x")
            await made.kill_device()
            with pytest.raises(Closed):
                await exchange.send_packet(b"x")

    in_virtual_time(scene())


def test_packets_of_the_service_come_in_answers_and_unasked_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear(monkeypatch)

    async def scene() -> None:
        async with world(links=ONE) as made:
            await asyncio.sleep(1)
            found, air = packets_of(made), made.airs["wifi"]
            air.doubling = 1.0
            ear.answer = encode_message(Message(control={PACKET: b"hello"}), floor=None, now=0.0)
            await exchange_of(made).send_packet(b"x")
            await asyncio.sleep(1)
            assert found == [b"hello"]
            ear.answer = None
            data = _unasked(made, Message(control={PACKET: b"unasked"}))
            for _ in range(3):
                air.answer(Service.SOLUTION, data)
            for nonsense in (7, "text", None, [b""]):
                air.answer(Service.SOLUTION, _unasked(made, Message(control={PACKET: nonsense})))
            await asyncio.sleep(1)
            assert found == [b"hello", b"unasked"]

    in_virtual_time(scene())


def _unasked(made: SystemWorld, message: Message) -> bytes:
    (session,) = made.services[Service.SOLUTION]._sessions.values()
    context: SecureContext = session.context
    body = encode_message(message, floor=None, now=0.0)
    return context.protect_request(body, token=b"abc", message_id=1)[0]


# --- asking for replies -----------------------------------------------------------------------------------------------


async def asked(made: SystemWorld, seconds: float, downlink: Downlink, max_cost: float | None = None) -> list[float]:
    """When the device asks for a reply that it expects for so long."""
    loop, air, times = asyncio.get_running_loop(), made.airs["wifi"], list[float]()
    air.hints = air.hints | {"downlink": downlink}
    await made.kill_device()
    await made.start_device()
    await asyncio.sleep(10)
    start = loop.time()
    air.trouble = lambda packet: times.append(loop.time() - start) if packet.service is Service.SOLUTION else None
    exchange_of(made).expect(loop.time() + seconds, max_cost)
    await asyncio.sleep(seconds + 300)
    return times


def test_a_reply_is_asked_for_ever_less_often_where_it_cannot_come_by_itself() -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            times = await asked(made, 60.0, Downlink.AFTER_UPLINK)
            assert times == pytest.approx([2, 6, 14, 30], abs=0.1)
            times = await asked(made, 60.0, Downlink.ANYTIME)
            assert times == pytest.approx([8, 24, 56], abs=0.1)
            assert await asked(made, 60.0, Downlink.NONE) == []

    in_virtual_time(scene())


def test_what_may_cost_little_is_not_asked_for_where_that_costs_more() -> None:
    async def scene() -> None:
        async with world(links={"wifi": "order = 1\ncost_per_byte = 0.01"}) as made:
            made.airs["wifi"].hints = {"cost_per_byte": 0.01}
            assert await asked(made, 60.0, Downlink.AFTER_UPLINK, max_cost=0.1) == []
            assert len(await asked(made, 86_400.0, Downlink.AFTER_UPLINK, max_cost=10.0)) == 15

    in_virtual_time(scene())


def test_nobody_asks_once_the_reply_has_come_nor_where_asking_costs_what_comes_by_itself() -> None:
    links = {"wifi": "order = 1\ncost_per_byte = 0.01"}

    async def scene() -> None:
        async with world(links=links) as made:
            made.airs["wifi"].hints = {"cost_per_byte": 0.01}
            assert await asked(made, 60.0, Downlink.ANYTIME) == []
            exchange, loop = exchange_of(made), asyncio.get_running_loop()
            made.airs["wifi"].hints = {"downlink": Downlink.AFTER_UPLINK}
            await made.kill_device()
            await made.start_device()
            await asyncio.sleep(10)
            exchange = exchange_of(made)
            undo, other = exchange.expect(loop.time() + 60), exchange.expect(loop.time() + 20)
            sent = len(solution_packets(made.airs["wifi"]))
            other()
            other()
            await asyncio.sleep(3)
            assert len(solution_packets(made.airs["wifi"])) == sent + 1
            undo()
            await asyncio.sleep(200)
            assert len(solution_packets(made.airs["wifi"])) == sent + 1
            exchange.expect(loop.time() + 60)  # closing ends it

    in_virtual_time(scene())


# --- what is said where each byte costs ---------------------------------------------------------------------------------


def named(ear: Ear) -> int:
    return sum(LINK in each.control for each in ear.bodies)


def test_a_satellite_link_is_named_once_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear(monkeypatch)
    satellite = {"sat": "order = 9\ncost_per_byte = 0.01", "wifi": "order = 1"}

    async def scene() -> None:
        async with world(links=satellite) as made:
            ear.bodies.clear()
            await over_satellite(made, {"n": 1}, {"n": 2})
            assert made.device
            for n in range(5):
                await made.device.solution.enqueue({"n": n})
                await asyncio.sleep(60)
            assert len(ear.bodies) >= 6
            assert named(ear) == 1

    in_virtual_time(scene())


def test_a_link_that_costs_is_named_in_one_request_at_a_time_until_that_was_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ear = Ear(monkeypatch)

    async def scene() -> None:
        async with world(links={"wifi": "order = 1\ncost_per_byte = 0.01"}) as made:
            air = made.airs["wifi"]
            air.hints = {"cost_per_byte": 0.01}
            await made.kill_device()
            await made.start_device()
            air.loss = 1.0
            await asyncio.sleep(1)
            ear.bodies.clear()
            before = len(solution_packets(air))
            for n in range(6):
                await made.enqueue({"n": n, "pad": bytes(900)})
            await asyncio.sleep(0.1)
            assert len(solution_packets(air)) - before == 6
            air.loss = 0.0
            await until_delivered(made, 120)
            assert named(ear) == 1
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


# --- a service that says only 2.04 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_a_record_in_parts_is_settled_when_each_part_was_answered_by_a_bare_changed(
    loss: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear(monkeypatch)
    ear.answer = b""

    async def scene() -> None:
        async with world(links=ONE) as made:
            assert made.device
            made.airs["wifi"].loss = loss
            receipts = [await made.device.solution.enqueue({"blob": bytes(size)}) for size in (5000, 10, 3000)]
            for receipt in receipts:
                assert await receipt.wait(120) is ReceiptState.DELIVERED
            notes = [entry.text for entry in made.device.access.log if "acknowledges no records" in entry.text]
            assert len(notes) == 1
            held = {each.number: each.total for body in ear.bodies for each in body.records}
            assert held.keys() == {receipt.number for receipt in receipts}
            assert sorted(made.delivered()) == [receipt.number for receipt in receipts], "nothing was left out"

    in_virtual_time(scene())
