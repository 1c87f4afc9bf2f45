"""Records over links whose packets are dear: nothing is sent twice in haste, nothing is lost, little is answered."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from rataccess import wire
from rataccess.errors import PacketTooLarge
from rataccess.exchange import ledger
from rataccess.exchange.reception import Reception
from rataccess.exchange.sending import SOON, WITH_ANOTHER
from rataccess.objects import ReceiptState, Service, Urgency, encode
from rataccess.services.partials import Partials
from rataccess.services.session import Session
from rataccess.transport import Packet
from tests.compact.compact_world import CompactWorld, compact_world, until
from tests.system.test_invariants import in_virtual_time

LORA = {"lora": "order = 1"}
SAT = {"sat": "order = 1"}
BOTH = {"lora": "order = 2", "lte": "order = 1\nfailback_after = 1"}
DEAR, RESEND = 600.0, 1200.0
"""Seconds until an acknowledgement goes alone, and until what was handed over goes again."""
HASTE = f"answer_dear_after = {DEAR}"
SAT_AND_LTE = {"sat": "order = 2", "lte": "order = 1\nfailback_after = 1"}


async def settled(made: CompactWorld, value: Any = None, **options: Any) -> None:
    """One record, delivered and acknowledged."""
    receipt = await made.device.solution.enqueue({"n": value}, queue="readings", **options)  # type: ignore[union-attr]
    made.accepted[receipt.number] = {"n": value}
    assert await receipt.wait(7200) is ReceiptState.DELIVERED


def drained(made: CompactWorld) -> bool:
    """Whether the device has nothing left for the solution service."""
    assert made.device
    return made.device._exchanges[Service.SOLUTION].ledger.drained


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours become minutes."""
    monkeypatch.setattr(ledger, "RESEND_AFTER", RESEND)


def test_one_record_at_a_time_costs_sixteen_bytes_over_lorawan() -> None:
    async def scene() -> None:
        async with compact_world(links=LORA) as made:
            await asyncio.sleep(1)
            for n in range(4):
                await settled(made, n)
                await asyncio.sleep(600)
            sizes = [len(data) for data in made.solution_packets("lora")]
            assert sizes[1:] == [26, 20, 20], "4 bytes of CBOR each, and once the era"
            assert made.delivered() == made.accepted
            assert not made.airs["lora"].faults
            assert [data for service, data in made.airs["lora"].sent if service is Service.MANAGEMENT] == []

    in_virtual_time(scene())


def test_links_in_compact_form_are_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[dict[int, Any]]()
    decode = wire.decode_message

    def spy(data: bytes, **options: Any) -> wire.Message:
        message = decode(data, **options)
        told.append(message.control)
        return message

    monkeypatch.setattr(wire, "decode_message", spy)

    async def scene() -> None:
        async with compact_world(links={**LORA, "sat": "order = 2"}) as made:
            await asyncio.sleep(1)
            await settled(made, 1)
            await made.device.solution.enqueue(1, links=["sat"])  # type: ignore[union-attr]
            await asyncio.sleep(60)
            assert len(told) == 2
            assert not {wire.LINK, wire.ANSWER_LIMIT, wire.ASKED_ONLY} & {key for each in told for key in each}
            rows = made.services[Service.SOLUTION].store.execute("SELECT link FROM records ORDER BY number")
            assert rows == [("lorawan",), ("sbd",)], "the way in knows them"

    in_virtual_time(scene())


def test_an_unanswered_uplink_is_repeated_late_and_a_later_answer_tells_at_once() -> None:
    async def scene() -> None:
        async with compact_world(links=LORA) as made:
            lora = made.airs["lora"]
            await asyncio.sleep(1)
            await settled(made, 0)
            lora.silent = True
            await made.enqueue({"n": 1})
            await asyncio.sleep(WITH_ANOTHER - 10)
            assert len(lora.sent) == 2, "not again although nothing was heard"
            lora.silent = False
            await made.enqueue({"n": 2})
            await asyncio.sleep(5)
            assert len(lora.sent) == 4, "the answer to record 3 says that record 2 was lost"
            assert made.delivered() == made.accepted
            await asyncio.sleep(2 * WITH_ANOTHER)
            assert len(lora.sent) == 4

    in_virtual_time(scene())


def test_one_answer_for_several_uplinks_is_enough() -> None:
    async def scene() -> None:
        async with compact_world(links=LORA) as made:
            lora = made.airs["lora"]
            await asyncio.sleep(1)
            await settled(made, 0)
            answer, lora.answer = lora.answer, lambda service, data: None  # type: ignore[method-assign]
            for n in (1, 2):
                await made.enqueue({"n": n})
                await asyncio.sleep(20)
            lora.answer = answer  # type: ignore[method-assign]
            await settled(made, 3)
            await asyncio.sleep(3 * WITH_ANOTHER)
            assert len(lora.sent) == 4
            assert drained(made)

    in_virtual_time(scene())


def test_alarms_are_repeated_soon() -> None:
    async def scene() -> None:
        async with compact_world(links=LORA) as made:
            lora = made.airs["lora"]
            await asyncio.sleep(1)
            await settled(made, 0)
            lora.silent = True
            await made.enqueue({"leak": 1}, urgency=Urgency.ALARM)
            await asyncio.sleep(SOON + 1)
            lora.silent = False
            await until(lambda: made.delivered() == made.accepted, 60)

    in_virtual_time(scene())


def test_a_data_rate_that_falls_between_composing_and_sending_loses_nothing() -> None:
    async def scene() -> None:
        async with compact_world(links=LORA) as made:
            lora = made.airs["lora"]
            lora.mtu = 222
            await asyncio.sleep(1)
            await settled(made, 0)
            limits = iter((115, 51))
            refused = list[int]()

            def slower(packet: Packet) -> Exception | None:
                limit = next(limits, 51)
                if len(packet.data) <= limit:
                    return None
                refused.append(len(packet.data))
                return PacketTooLarge(len(packet.data), limit)

            lora.trouble = slower
            await made.enqueue(bytes(300))
            await until(lambda: made.delivered() == made.accepted)
            assert len(refused) <= 3
            assert max(len(data) for data in made.solution_packets("lora")[1:]) <= 51

    in_virtual_time(scene())


@pytest.mark.parametrize("loss", [0.0, 0.25])
def test_an_object_begun_over_lorawan_is_finished_elsewhere_without_an_acknowledged_byte_twice(
    loss: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, apply = dict[str, list[tuple[int, int]]](), Session.apply
    told, read = set[int](), Reception._read

    def arrives(session: Session, *args: Any) -> wire.Message:
        message = apply(session, *args)
        parts: list[wire.WireRecord | wire.Piece] = [*message.pieces]
        parts += [each for each in message.records if each.offset is not None]
        ranges = [(each.offset or 0, (each.offset or 0) + len(each.body)) for each in parts]
        arrived.setdefault(session.link or "", []).extend(ranges)
        return message

    def reads(reception: Reception, body: bytes, **options: Any) -> wire.Message | None:
        message = read(reception, body, **options)
        edges = message.control.get(wire.PARTIAL, {}).get(2, []) if message else []
        told.update(at for start, end in zip(edges[::2], edges[1::2], strict=True) for at in range(start, end))
        return message

    monkeypatch.setattr(Session, "apply", arrives)
    monkeypatch.setattr(Reception, "_read", reads)

    async def scene() -> None:
        async with compact_world(links=BOTH) as made:
            lora, lte = made.airs["lora"], made.airs["lte"]
            lora.delay = 1.0
            lte.set_carrier(False)
            await asyncio.sleep(3)
            await settled(made, 0)
            lora.loss = loss
            made.accepted[2] = blob = random.Random(1).randbytes(2000)
            await made.enqueue(blob)
            await until(lambda: len(told) > 500)
            acknowledged = set(told)
            lora.set_carrier(False)
            lte.set_carrier(True)
            await until(lambda: made.delivered() == made.accepted, 120)
            again = [each for each in arrived["lte"] if acknowledged & set(range(*each))]
            assert again == [], "acknowledged over LoRaWAN, and sent once more"
            assert sum(end - start for start, end in arrived["lte"]) <= 2003 - len(acknowledged)
            assert not lora.faults

    in_virtual_time(scene())


# --- satellites ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("soon")
def test_what_a_satellite_took_is_acknowledged_after_hours_alone_and_sent_once() -> None:
    async def scene() -> None:
        async with compact_world(links=SAT, services=HASTE) as made:
            sat = made.airs["sat"]
            await asyncio.sleep(1)
            receipt = await made.device.solution.enqueue({"n": 1}, queue="readings")  # type: ignore[union-attr]
            await asyncio.sleep(60)
            assert receipt.state is ReceiptState.HANDED_OVER
            for _ in range(15):
                assert not made.mailbox or made.clock.monotonic() >= DEAR
                await asyncio.sleep(60)
                made.tick()
            assert len(made.mailbox) == 1, "one acknowledgement, when it has waited for so long"
            made.session()
            await asyncio.sleep(1)
            assert await receipt.wait(1) is ReceiptState.DELIVERED
            await asyncio.sleep(2 * RESEND)
            assert len(sat.sent) == 1
            assert made.mailbox == []

    in_virtual_time(scene())


def test_an_acknowledgement_rides_on_what_is_sent_anyway_and_comes_over_any_link() -> None:
    async def scene() -> None:
        async with compact_world(links=SAT_AND_LTE, services=HASTE) as made:
            made.airs["lte"].set_carrier(False)
            await asyncio.sleep(1)
            for n in range(3):
                await made.enqueue({"n": n})
                await asyncio.sleep(DEAR / 4)
            assert made.mailbox == []
            made.airs["lte"].set_carrier(True)
            await until(lambda: drained(made), 60)
            assert len(made.solution_packets("sat")) == 3
            assert made.delivered() == made.accepted
            for _ in range(15):
                await asyncio.sleep(60)
                made.tick()
            assert made.mailbox == [], "it was told over the other link"

    in_virtual_time(scene())


@pytest.mark.usefixtures("soon")
def test_what_nobody_acknowledges_is_sent_again_after_hours_and_answered_then() -> None:
    async def scene() -> None:
        async with compact_world(links=SAT, services=HASTE) as made:
            await asyncio.sleep(1)
            await made.enqueue({"n": 1})
            await asyncio.sleep(RESEND - 100)
            assert len(made.airs["sat"].sent) == 1
            await asyncio.sleep(300)
            assert len(made.airs["sat"].sent) == 2
            assert made.delivered() == made.accepted
            assert len(made.mailbox) == 1, "it has waited for long"
            made.session()
            await asyncio.sleep(1)
            assert drained(made)

    in_virtual_time(scene())


def test_an_urgent_command_goes_to_a_satellite_at_once_and_is_not_repeated_for_hours() -> None:
    async def scene() -> None:
        async with compact_world(links=SAT, services=HASTE) as made:
            core = made.services[Service.SOLUTION]
            await asyncio.sleep(1)
            await made.enqueue({"n": 1})
            await asyncio.sleep(60)
            [session] = core._recent.values()
            core.store.enqueue(session.device, "commands", b"\x01", Urgency.ROUTINE, made.clock.wall())
            for _ in range(60):
                made.tick()
                await asyncio.sleep(1)
            assert made.mailbox == [], "an ordinary one waits for company"
            core.store.enqueue(session.device, "commands", b"\x02", Urgency.PROMPT, made.clock.wall())
            for _ in range(60):
                made.tick()
                await asyncio.sleep(2)
            assert len(made.mailbox) == 1, "with the other one, and the acknowledgement"
            made.session()
            assert await made.device.solution.dequeue(5) is not None  # type: ignore[union-attr]
            assert await made.device.solution.dequeue(5) is not None  # type: ignore[union-attr]
            assert len(made.airs["sat"].sent) == 1, "no packet only to acknowledge"
            await made.enqueue({"n": 2})
            await asyncio.sleep(60)
            assert len(session.outbound) == 0, "the next one does"

    in_virtual_time(scene())


def test_ranges_of_a_record_that_the_service_knows_nothing_of_come_again_with_their_head() -> None:
    async def scene() -> None:
        async with compact_world(links=LORA) as made:
            made.airs["lora"].delay = 1.0
            await asyncio.sleep(3)
            await settled(made, 0)
            await made.enqueue(random.Random(1).randbytes(900))
            partials = next(iter(made.services[Service.SOLUTION]._sessions.values())).inbound.partials
            await until(lambda: partials._records and partials._records[2].held.floor > 200)
            partials._records.clear()  # as a quota may make it
            made.services[Service.SOLUTION].store.execute("DELETE FROM fragments")
            made.services[Service.SOLUTION].store.execute("DELETE FROM partials")
            await until(lambda: made.delivered() == made.accepted, 3600)
            assert made.services[Service.SOLUTION].counters["ranges of unknown records"]
            assert isinstance(partials, Partials)

    in_virtual_time(scene())


def test_an_applications_packet_is_neither_answered_nor_waited_for() -> None:
    async def scene() -> None:
        async with compact_world(links=LORA) as made:
            await asyncio.sleep(1)
            await settled(made, 0)
            exchange = made.device._exchanges[Service.SOLUTION]  # type: ignore[union-attr]
            down = made.airs["lora"].bytes_down
            assert exchange.packet_room() == 51 - 10 - 2 - 2
            await exchange.send_packet(bytes(37))
            await asyncio.sleep(30)
            assert not exchange.flights.slow
            assert made.airs["lora"].bytes_down == down
            assert made.services[Service.SOLUTION].counters["packets"] == 1

    in_virtual_time(scene())


def test_the_rest_of_what_a_service_has_is_fetched_slowly_where_air_time_is_dear() -> None:
    async def scene() -> None:
        async with compact_world(links=LORA) as made:
            await asyncio.sleep(1)
            await settled(made, 0)
            await settled(made, 1)
            core = made.services[Service.SOLUTION]
            [session] = core._sessions.values()
            for n in range(4):
                core.store.enqueue(
                    session.device, "commands", encode("x" * 20 + str(n)), Urgency.PROMPT, made.clock.wall()
                )
            made.kill_service(Service.SOLUTION)
            made.start_service(Service.SOLUTION)
            await made.enqueue({"n": 2})
            await asyncio.sleep(10)
            assert len(made.airs["lora"].sent) == 3, "not one question after the other"
            given = list[object]()
            async with asyncio.timeout(600):
                while len(given) < 4:
                    item = await made.device.solution.dequeue(100)  # type: ignore[union-attr]
                    given += [] if item is None else [item.value]
            assert given == ["x" * 20 + str(n) for n in range(4)]
            await asyncio.sleep(1200)
            assert len(made.airs["lora"].sent) <= 9

    in_virtual_time(scene())


def test_the_time_is_asked_once_of_a_satellite(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[bool]()
    apply = Session.apply

    def spy(session: Session, *args: Any) -> wire.Message:
        message = apply(session, *args)
        asked.append(wire.TIME in message.control)
        return message

    monkeypatch.setattr(Session, "apply", spy)

    async def scene() -> None:
        async with compact_world(links=SAT) as made:
            await asyncio.sleep(1)
            made.device._exchanges[Service.SOLUTION].ask_time = True  # type: ignore[union-attr]
            for n in range(3):
                await made.enqueue({"n": n})
                await asyncio.sleep(30)
            assert asked == [True, False, False]
            assert len(made.mailbox) == 1

    in_virtual_time(scene())


def test_parts_that_a_network_took_and_lost_go_again_soon_where_the_service_answers_at_once() -> None:
    async def scene() -> None:
        async with compact_world(links=LORA) as made:
            lora = made.airs["lora"]
            lora.hints["acknowledges_handover"] = True
            await made.kill_device()
            await made.start_device()
            await asyncio.sleep(1)
            await settled(made, 0)
            carry, lost = lora.carry, iter([False, True, False, True])
            lora.carry = lambda *packet: [] if next(lost, False) else carry(*packet)
            await made.enqueue(random.Random(1).randbytes(200))
            await asyncio.sleep(30)
            before = len(lora.sent)
            await until(lambda: made.delivered() == made.accepted, 300)
            assert len(lora.sent) - before <= 3, "what was lost, and no more"

    in_virtual_time(scene())
