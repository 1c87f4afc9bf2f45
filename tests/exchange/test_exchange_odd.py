"""Odd sequences between a device and its services, in virtual time: no record is lost, doubled, or holds up others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from rataccess.access import Kind
from rataccess.channel import AsyncReceipt
from rataccess.errors import DeadlineExceeded, DiskFull, NotNow, ObjectError, PacketTooLarge, StoreFull
from rataccess.exchange import Exchange, staging
from rataccess.objects import ReceiptState, Service, Urgency
from rataccess.security import peek
from rataccess.services import admin
from rataccess.services.inbound import Inbound
from rataccess.services.session import Session
from rataccess.transport import Packet
from tests.system.air import Air
from tests.system.system_world import SystemWorld
from tests.system.test_invariants import LINKS, in_virtual_time, until_delivered, world

ONE = {"wifi": LINKS["wifi"]}
SATELLITE = {"sat": "order = 9", "wifi": "order = 1"}


def exchange_of(made: SystemWorld) -> Exchange:
    assert made.device
    return made.device._exchanges[Service.SOLUTION]


def solution_packets(air: Air) -> list[bytes]:
    return [data for service, data in air.sent if service is Service.SOLUTION]


def first(count: int, make: Callable[[Packet], Exception]) -> Callable[[Packet], Exception | None]:
    """The first `count` packets meet trouble."""
    left = [count]

    def trouble(packet: Packet) -> Exception | None:
        left[0] -= 1
        return make(packet) if left[0] >= 0 else None

    return trouble


# --- what a link refuses ----------------------------------------------------------------------------------------------


def test_a_link_that_takes_less_than_it_says_gets_smaller_packets() -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            calls = []

            def trouble(packet: Packet) -> Exception | None:
                calls.append(len(packet.data))
                return PacketTooLarge(len(packet.data), 200) if len(packet.data) > 200 else None

            made.airs["wifi"].trouble = trouble
            await made.enqueue({"blob": bytes(3000)})
            await until_delivered(made, 60)
            assert made.delivered() == made.accepted
            assert sum(size > 200 for size in calls) <= 2, "it learns"

    in_virtual_time(scene())


def test_a_link_that_finds_every_packet_too_large_stops_nobody_else() -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            tries = 0

            def trouble(packet: Packet) -> Exception:
                nonlocal tries
                tries += 1
                return PacketTooLarge(len(packet.data), 5000)  # nonsense

            made.airs["wifi"].trouble = trouble
            await made.enqueue({"n": 1})
            await asyncio.sleep(30)
            assert tries < 100
            made.airs["wifi"].trouble = lambda packet: None
            await until_delivered(made, 10)

    in_virtual_time(scene())


def test_not_now_is_obeyed_by_probes_too_and_costs_no_budget() -> None:
    links = {"wifi": "budget = { bytes = 3000 }"}

    async def scene() -> None:
        async with world(links=links) as made:
            times: list[float] = []

            def trouble(packet: Packet) -> Exception | None:
                times.append(asyncio.get_running_loop().time())
                return NotNow("duty cycle", 7.0) if len(times) <= 40 else None

            made.airs["wifi"].trouble = trouble
            await made.enqueue({"n": 1, "pad": bytes(100)})
            exchange_of(made).probe("wifi")
            await asyncio.sleep(1)
            exchange_of(made).probe("wifi")
            await until_delivered(made, 600)
            gaps = [after - before for before, after in pairwise(times)]
            assert sum(gap < 6.9 for gap in gaps) <= len(times) // 2 + 2, "two exchanges share the link"
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


@pytest.mark.parametrize("method", ["put_now", "waiting", "base", "mark_sent"])
def test_a_store_that_fails_for_a_while_loses_no_record(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            assert made.device
            await made.enqueue({"n": 0})
            await until_delivered(made)

            def full(*arguments: Any) -> Any:
                raise DiskFull("no room")

            with monkeypatch.context() as patch:
                patch.setattr(made.device.store, method, full)
                numbers = exchange_of(made)._context._numbers
                numbers._next = numbers._limit  # the next request needs a new block of sequence numbers
                for n in range(100):
                    await made.enqueue({"n": n, "pad": bytes(700)})
                await asyncio.sleep(20)
            await made.enqueue({"last": True})
            await until_delivered(made, 120)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_a_send_that_does_not_return_is_silence_and_its_end_does_no_harm() -> None:
    async def scene() -> None:
        async with world() as made:
            await asyncio.sleep(1)
            made.airs["wifi"].stuck = asyncio.Event()
            await made.enqueue({"n": 1})
            await asyncio.sleep(10)
            assert made.delivered() == made.accepted, "over the other link"
            made.airs["wifi"].stuck.set()
            await made.enqueue({"n": 2})
            await until_delivered(made, 60)
            assert made.delivered() == made.accepted
            assert all(lane.in_flight == 0 for lane in exchange_of(made)._lanes.values())

    in_virtual_time(scene())


# --- handover ---------------------------------------------------------------------------------------------------------


async def over_satellite(made: SystemWorld, *values: Any) -> list[AsyncReceipt]:
    """Records that only the satellite carries; what the service says comes not back by itself."""
    assert made.device
    made.airs["wifi"].set_carrier(False)
    sat = made.airs["sat"]
    sat.hints = {"acknowledges_handover": True}
    sat.answer = lambda service, data: None  # type: ignore[method-assign]
    await made.kill_device()
    await made.start_device()
    assert made.device
    await asyncio.sleep(1)
    receipts = [await made.device.solution.enqueue(value, queue="readings") for value in values]
    made.accepted |= {receipt.number: value for receipt, value in zip(receipts, values, strict=True)}
    await asyncio.sleep(30)
    return receipts


def test_what_was_handed_over_waits_for_a_cheap_acknowledgement_and_is_not_paid_twice() -> None:
    async def scene() -> None:
        async with world(links=SATELLITE) as made:
            receipts = await over_satellite(made, {"n": 1}, {"n": 2})
            assert [receipt.state for receipt in receipts] == [ReceiptState.HANDED_OVER] * 2
            sent = len(solution_packets(made.airs["sat"]))
            await asyncio.sleep(5 * 3600)
            assert len(solution_packets(made.airs["sat"])) == sent
            made.airs["wifi"].set_carrier(True)
            assert [await receipt.wait(60) for receipt in receipts] == [ReceiptState.DELIVERED] * 2
            assert len(solution_packets(made.airs["sat"])) == sent
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_an_acknowledgement_after_a_restart_settles_what_was_handed_over_before_it() -> None:
    async def scene() -> None:
        async with world(links=SATELLITE) as made:
            await over_satellite(made, {"n": 1}, {"blob": bytes(3000)})
            await made.kill_device()
            await made.start_device()
            with pytest.raises(DeadlineExceeded, match=r"2 record\(s\)"):
                await until_delivered(made, 10)
            sent = len(solution_packets(made.airs["sat"]))
            made.airs["wifi"].set_carrier(True)
            await until_delivered(made, 60)
            assert len(solution_packets(made.airs["sat"])) == sent
            assert sum(len(data) for data in solution_packets(made.airs["wifi"])) < 300, "not sent again"

    in_virtual_time(scene())


def test_a_handover_that_led_nowhere_is_repeated_after_hours_whole() -> None:
    async def scene() -> None:
        async with world(links=SATELLITE) as made:
            made.airs["sat"].carry = lambda service, data, link: []  # the operator loses it
            (receipt,) = await over_satellite(made, {"blob": bytes(3000)})
            assert receipt.state is ReceiptState.HANDED_OVER
            assert _large(made) == 3
            made.airs["sat"].carry = made._carry
            del made.airs["sat"].answer
            await asyncio.sleep(5.9 * 3600)
            assert _large(made) == 3
            await asyncio.sleep(3600)
            assert _large(made) == 6
            assert made.delivered() == made.accepted
            assert await receipt.wait(1) is ReceiptState.DELIVERED

    in_virtual_time(scene())


def _large(made: SystemWorld) -> int:
    return sum(len(data) > 300 for data in solution_packets(made.airs["sat"]))


# --- what a service refuses or forgets --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 5000])
def test_what_is_answered_but_not_acknowledged_goes_again_ever_less_often(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            await asyncio.sleep(1)
            with monkeypatch.context() as patch:
                patch.setattr(Inbound, "apply", lambda *arguments: None)
                await made.enqueue({"blob": bytes(size)})
                before = len(solution_packets(made.airs["wifi"]))
                await asyncio.sleep(120)
                assert 4 < len(solution_packets(made.airs["wifi"])) - before < 90
            await until_delivered(made, 60)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_one_record_that_a_service_cannot_read_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            assert made.device
            real = Session.apply
            bad: list[int] = []

            def apply(self: Session, body: bytes, *arguments: Any) -> Any:
                if b"poison" in body:
                    raise ObjectError("unreadable")
                return real(self, body, *arguments)

            with monkeypatch.context() as patch:
                patch.setattr(Session, "apply", apply)
                for n in range(30):
                    number = await made.enqueue({"n": n, "poison" if n == 7 else "x": 1})
                    bad += [number] if n == 7 else []
                await asyncio.sleep(60)
                missing = set(made.accepted) - set(made.delivered())
                assert missing == set(bad)
                assert any(f"cannot read record {bad[0]}" in entry.text for entry in made.device.access.log)
                with pytest.raises(DeadlineExceeded):
                    await until_delivered(made, 5)
            await asyncio.sleep(3700)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_a_genuine_answer_that_is_no_message_settles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            with monkeypatch.context() as patch:
                patch.setattr(Session, "answer", lambda *arguments: b"\xff\xff")
                await made.enqueue({"n": 1})
                await asyncio.sleep(30)
                assert exchange_of(made).staging.items
            await until_delivered(made, 60)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


@pytest.mark.parametrize("told", [7, [1], [5, 3], [0, 10**9], ["a", "b"], [0, 0], None])
def test_nonsense_about_byte_ranges_does_no_harm(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            await asyncio.sleep(1)
            from rataccess.services.partials import Partials

            with monkeypatch.context() as patch:
                patch.setattr(Partials, "report", lambda *arguments: dict.fromkeys(range(1, 5), told))
                number = await made.enqueue({"blob": bytes(5000)})
                await asyncio.sleep(20)
            await until_delivered(made, 60)
            assert made.delivered() == made.accepted == {number: {"blob": bytes(5000)}}

    in_virtual_time(scene())


def test_a_service_that_lost_its_memory_of_numbers_is_noted_and_served() -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            assert made.device
            for n in range(5):
                await made.enqueue({"n": n})
            await until_delivered(made)
            core = made.services[Service.SOLUTION]
            (session,) = core._sessions.values()
            session.inbound.received = type(session.inbound.received)()
            await made.enqueue({"n": 5})
            await until_delivered(made, 60)
            await made.enqueue({"n": 6})
            await until_delivered(made, 60)
            assert any("has forgotten" in entry.text for entry in made.device.access.log)
            await asyncio.sleep(1)
            assert session.inbound.received.floor == 7, "told that the numbers before are void"

    in_virtual_time(scene())


def test_answers_out_of_order_are_no_sign_of_a_service_that_forgot() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            for air in made.airs.values():
                air.reordering = 0.5
            for n in range(150):
                await made.enqueue({"n": n})
                await asyncio.sleep(0.05)
            await until_delivered(made)
            assert not any("forgotten" in entry.text for entry in made.device.access.log)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_a_hole_is_told_in_the_midst_of_steady_traffic() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            for air in made.airs.values():
                air.set_carrier(False)
            await made.device.solution.enqueue({"stale": 1}, ttl=3)
            await asyncio.sleep(20)
            for air in made.airs.values():
                air.set_carrier(True)
                air.delay = 0.2
            for n in range(200):  # always something in flight
                await made.enqueue({"n": n})
                await asyncio.sleep(0.05)
            (session,) = made.services[Service.SOLUTION]._sessions.values()
            assert session.inbound.received.floor > 50
            await until_delivered(made)

    in_virtual_time(scene())


# --- what becomes void while it waits ---------------------------------------------------------------------------------


def test_records_that_were_replaced_dropped_or_expired_while_staged_are_not_sent_and_flush_ends() -> None:
    store = '[store]\nmax_records = 20\nwhen_full = "drop"'

    async def scene() -> None:
        async with world(store=store) as made:
            assert made.device
            await asyncio.sleep(1)
            for air in made.airs.values():
                air.trouble = lambda packet: NotNow("busy", 3600.0)
            await made.device.solution.enqueue({"n": -1})  # has the lanes shut
            channel = made.device.solution
            old = await channel.put("k", 1)
            stale = await channel.enqueue({"stale": 1}, ttl=8)
            many = [await channel.enqueue({"n": n}, urgency=Urgency.BULK) for n in range(12)]
            await asyncio.sleep(1)
            new = await channel.put("k", 2)
            more = [await channel.enqueue({"m": n}, urgency=Urgency.ALARM) for n in range(12)]
            await asyncio.sleep(20)
            assert old.state is ReceiptState.REPLACED
            assert stale.state is ReceiptState.EXPIRED
            dropped = [each for each in many if each.state is ReceiptState.DROPPED]
            assert dropped
            for air in made.airs.values():
                air.trouble = lambda packet: None
                air.set_carrier(False)
                air.set_carrier(True)
            await made.device.flush(60)
            assert new.state is ReceiptState.DELIVERED
            assert {each.state for each in more} == {ReceiptState.DELIVERED}
            void = {each.number for each in (old, stale, *dropped)}
            assert not void & set(made.delivered())

    in_virtual_time(scene())


def test_flush_returns_after_the_receipts_have_moved() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            receipts = [await made.device.solution.enqueue({"n": n}) for n in range(100)]
            await made.device.flush(30)
            assert {receipt.state for receipt in receipts} == {ReceiptState.DELIVERED}

    in_virtual_time(scene())


# --- who waits behind whom --------------------------------------------------------------------------------------------


def test_records_that_no_link_may_carry_hold_up_none_behind_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MOST_PASSED_OVER", 64)
    monkeypatch.setattr(staging, "PAGE_RECORDS", 16)

    async def scene() -> None:
        async with world() as made:
            assert made.device
            made.airs["lte"].set_carrier(False)
            await asyncio.sleep(1)
            for n in range(400):
                await made.enqueue({"bound": n}, links=["lte"])
            free = await made.device.solution.enqueue({"free": True})
            made.accepted[free.number] = {"free": True}
            assert await free.wait(5) is ReceiptState.DELIVERED
            assert len(exchange_of(made).staging.items) <= 64 + 5 * 16, "memory is bounded"
            made.airs["lte"].set_carrier(True)
            await until_delivered(made, 30)
            assert made.delivered() == made.accepted
            assert {r.link for r in admin.records(made.folder / "solution.sqlite") if r.number != free.number} == {
                "lte"
            }

    in_virtual_time(scene())


def test_records_for_one_link_are_found_behind_many_for_another_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MOST_PASSED_OVER", 64)
    monkeypatch.setattr(staging, "PAGE_RECORDS", 16)
    links = {**LINKS, "sat": "order = 9"}

    async def scene() -> None:
        async with world(links=links) as made:
            assert made.device
            made.airs["sat"].set_carrier(False)
            await asyncio.sleep(1)
            for n in range(300):
                await made.enqueue({"sat": n}, links=["sat"])
            for n in range(50):
                await made.enqueue({"plain": n})
                receipt = await made.device.solution.enqueue({"lte": n}, links=["lte"])
                made.accepted[receipt.number] = {"lte": n}
            assert await receipt.wait(30) is ReceiptState.DELIVERED
            await asyncio.sleep(5)
            assert len(made.delivered()) == 100
            made.airs["sat"].set_carrier(True)
            await until_delivered(made, 30)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_a_large_record_behind_small_ones_is_found() -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            made.airs["wifi"].set_carrier(False)
            await asyncio.sleep(1)
            for n in range(5):
                await made.enqueue({"n": n})
            await made.enqueue({"blob": bytes(1_200_000)})
            await made.kill_device()
            await made.start_device()
            made.airs["wifi"].set_carrier(True)
            made.airs["wifi"].mtu = 60_000
            await until_delivered(made, 600)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_the_end_of_a_budget_moves_records_to_the_next_link_and_its_next_period_back() -> None:
    links = {
        "lte": "order = 1\nfailback_after = 1\nbudget = { bytes = 4000, period = 3600.0 }",
        "wifi": "order = 2",
    }

    async def scene() -> None:
        async with world(links=links) as made:
            assert made.device
            for n in range(100):
                await made.enqueue({"n": n, "pad": bytes(100)})
                await asyncio.sleep(0.2)
            await until_delivered(made, 10)
            used = {r.link for r in admin.records(made.folder / "solution.sqlite")}
            assert used == {"lte", "wifi"}
            made.airs["wifi"].set_carrier(False)
            waiting = await made.device.solution.enqueue({"n": 100, "pad": bytes(300)})
            assert await waiting.wait(4000) is ReceiptState.DELIVERED, (
                "the budget was filled again, and somebody looked"
            )

    in_virtual_time(scene())


def test_a_full_inbox_is_no_end() -> None:
    store = "[store]\nmax_records = 10"

    async def scene() -> None:
        async with world(links=ONE, store=store) as made:
            assert made.device
            await asyncio.sleep(1)
            path = made.folder / "solution.sqlite"
            for n in range(25):
                admin.enqueue_inbound(path, "T", "commands", n)
            got: list[Any] = []
            for _ in range(200):
                made.tick()
                await asyncio.sleep(1)
                if (found := await made.device.solution.dequeue(0.1)) is not None:
                    got.append(found.value)
                    found.ack()
            assert got == list(range(25))

    in_virtual_time(scene())


# --- small things -----------------------------------------------------------------------------------------------------


def test_tokens_are_one_byte_again_some_minutes_after_an_outage() -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            air = made.airs["wifi"]
            await asyncio.sleep(1)
            flights = exchange_of(made).flights
            air.silent = True
            for n in range(300):
                await made.enqueue({"n": n}, urgency=Urgency.ALARM)
                exchange_of(made).probe("wifi")
                await asyncio.sleep(0.5)
            assert len(flights) > 100
            air.silent = False
            await until_delivered(made, 120)
            await asyncio.sleep(600)
            await made.enqueue({"after": 1})
            await until_delivered(made)
            assert len(peek(solution_packets(air)[-1]).token) == 1
            assert len(flights) == 0
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_a_probe_for_a_link_that_is_down_is_not_kept_for_later() -> None:
    async def scene() -> None:
        async with world() as made:
            await made.enqueue({"n": 1})
            await until_delivered(made)
            made.airs["lte"].set_carrier(False)
            await asyncio.sleep(1)
            exchange_of(made).probe("lte")
            made.airs["lte"].set_carrier(True)
            before = len(made.airs["lte"].sent)
            await asyncio.sleep(120)
            assert len(made.airs["lte"].sent) == before

    in_virtual_time(scene())


def test_store_full_is_told_to_who_enqueues() -> None:
    async def scene() -> None:
        async with world(links=ONE, store="[store]\nmax_records = 8") as made:
            assert made.device
            made.airs["wifi"].set_carrier(False)
            for n in range(8):
                try:
                    await made.enqueue({"n": n})
                except StoreFull:
                    break
            with pytest.raises(StoreFull):
                await made.enqueue({"n": 20})
            made.airs["wifi"].set_carrier(True)
            await until_delivered(made, 30)
            await made.enqueue({"room": "again"})
            await until_delivered(made, 30)
            assert made.delivered() == made.accepted
            assert not [entry for entry in made.device.access.log if entry.kind is Kind.STORE]

    in_virtual_time(scene())


def test_a_store_that_fails_amid_a_message_takes_no_record_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            assert made.device
            await asyncio.sleep(1)
            real = made.device.store.waiting

            def waiting(service: Service, urgency: Urgency, *arguments: Any) -> Any:
                if urgency is Urgency.BULK:
                    raise DiskFull("cannot be read")
                return real(service, urgency, *arguments)

            with monkeypatch.context() as patch:
                patch.setattr(made.device.store, "waiting", waiting)
                await made.enqueue({"low": 1}, urgency=Urgency.BULK)
                for n in range(5):
                    await made.enqueue({"n": n, "blob": bytes(1500)})
                await asyncio.sleep(5)
            await until_delivered(made, 30)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_flush_waits_until_the_store_has_announced_what_it_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            device = made.device
            assert device
            loop, real = asyncio.get_running_loop(), device._settled
            monkeypatch.setattr(device, "_settled", lambda *arguments: loop.call_later(7, real, *arguments))
            receipt = await device.solution.enqueue({"n": 1})
            await asyncio.sleep(1)
            assert not any(count for count, _ in device.store.depth().values())
            await device.flush(30)
            assert receipt.state is ReceiptState.DELIVERED

    in_virtual_time(scene())


def test_a_record_whose_time_is_over_is_not_sent_although_nobody_has_settled_it_yet() -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            assert made.device
            await asyncio.sleep(1)
            made.airs["wifi"].trouble = first(1, lambda packet: NotNow("busy", 3.0))
            stale = await made.device.solution.enqueue({"stale": 1}, ttl=2)
            await made.enqueue({"fresh": 1})
            await asyncio.sleep(4.5)
            assert made.delivered() == made.accepted
            await asyncio.sleep(10)
            assert stale.state is ReceiptState.EXPIRED
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


@pytest.mark.parametrize(("mtu", "size"), [(60, 37), (61, 300), (75, 2000)])
def test_over_a_link_so_small_that_its_name_and_a_record_do_not_go_together(mtu: int, size: int) -> None:
    async def scene() -> None:
        async with world() as made:
            made.airs["wifi"].mtu = made.airs["lte"].mtu = mtu
            await made.kill_device()
            await made.start_device()
            for n in range(5):
                await made.enqueue({"n": n, "blob": bytes(size)})
            await until_delivered(made, 300)
            made.airs["wifi"].set_carrier(False)
            await made.enqueue({"blob": bytes(size)})
            await until_delivered(made, 300)
            assert made.delivered() == made.accepted
            assert not any(air.faults for air in made.airs.values())

    in_virtual_time(scene())


def test_a_replayed_request_of_the_service_is_refused_also_after_a_power_cut() -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            assert made.device
            air, requests = made.airs["wifi"], list[bytes]()
            real = air.answer

            def answer(service: Service, data: bytes) -> None:
                if peek(data).kind == "request":
                    requests.append(data)
                real(service, data)

            air.answer = answer  # type: ignore[method-assign]
            await asyncio.sleep(1)
            admin.enqueue_inbound(made.folder / "solution.sqlite", "T", "commands", "open the door")
            made.tick()
            await asyncio.sleep(1)
            command = await made.device.solution.dequeue(0)
            assert command
            with command as value:
                assert value == "open the door"
            assert len(requests) == 1
            for restart in (False, True):
                if restart:
                    await made.crash_device()
                    await made.start_device()
                await asyncio.sleep(5)
                sent, dropped = len(solution_packets(air)), exchange_of(made).reception.dropped
                real(Service.SOLUTION, requests[0])
                await asyncio.sleep(1)
                assert len(solution_packets(air)) == sent, "no answer: it would use a nonce twice"
                assert exchange_of(made).reception.dropped == dropped + 1
                assert await made.device.solution.dequeue(0) is None

    in_virtual_time(scene())
