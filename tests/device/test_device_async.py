"""`AsyncDevice` against whole services in virtual time: what an application sees."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cbor2 import CBORTag

from rataccess.channel import AsyncChannel
from rataccess.channel.bridge import Bridge
from rataccess.clock import LoopClock
from rataccess.device import AsyncDevice
from rataccess.errors import Closed, ConfigurationError, DeadlineExceeded, ObjectError
from rataccess.objects import ReceiptState, Service, Urgency, encode
from rataccess.services import admin
from tests.system.system_world import SystemWorld
from tests.system.test_invariants import in_virtual_time, until_delivered, world

DEEP: list[Any] = []
for _ in range(70):
    DEEP = [DEEP]


async def ticks(made: SystemWorld, seconds: int = 3) -> None:
    for _ in range(seconds):
        made.tick()
        await asyncio.sleep(1)


async def take(channel: AsyncChannel, timeout: float, *, queue: str | None = None) -> Any:
    """The next inbound object's value, acknowledged."""
    found = await channel.dequeue(timeout, queue=queue)
    if found is not None:
        found.ack()
    return found.value if found else None


# --- named objects, environment, inbound objects ------------------------------------------------------------------------


def test_named_objects_go_both_ways_and_survive_a_restart() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            assert made.device.solution.get("battery", "none") == "none"
            await (await made.device.solution.put("battery", 3.71)).wait(10)
            assert admin.get_object(made.folder / "solution.sqlite", "T", "battery") == 3.71
            admin.put_object(made.folder / "solution.sqlite", "T", "target", {"t": 21})
            admin.put_object(made.folder / "solution.sqlite", "T", "battery", "theirs")
            await ticks(made)
            assert made.device.solution.get("target") == {"t": 21}
            assert made.device.solution.get("battery") == "theirs"
            assert made.device.management.get("target") is None, "channels share nothing"
            assert await made.device.solution.dequeue(0.1) is None, "they are no queue's business"
            await made.kill_device()
            await made.start_device()
            assert made.device.solution.get("target") == {"t": 21}

    in_virtual_time(scene())


def test_an_older_value_that_never_left_is_replaced() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            for air in made.airs.values():
                air.set_carrier(False)
            await asyncio.sleep(1)
            receipts = [await made.device.management.put("battery", n) for n in range(5)]
            other = await made.device.management.put("other", 1)
            assert made.device.management.get("battery") == 4
            for air in made.airs.values():
                air.set_carrier(True)
            await made.device.flush(60)
            assert [receipt.state for receipt in receipts[:-1]] == [ReceiptState.REPLACED] * 4
            assert receipts[-1].state is other.state is ReceiptState.DELIVERED
            assert admin.get_object(made.folder / "management.sqlite", "T", "battery") == 4

    in_virtual_time(scene())


def test_the_environment_arrives_changes_and_stays() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            path = made.folder / "management.sqlite"
            env = made.device.management.env
            assert dict(env) == {}
            admin.set_env(path, {"PERIOD": "10", "MODE": "eco"}, serial_number="T")
            await ticks(made)
            assert dict(env) == {"PERIOD": "10", "MODE": "eco"}
            admin.set_env(path, {"PERIOD": "60", "MODE": None}, serial_number="T")
            await ticks(made)
            assert (env["PERIOD"], len(env), "MODE" in env) == ("60", 1, False)
            await made.kill_device()
            await made.start_device()
            assert made.device.management.env["PERIOD"] == "60"
            with pytest.raises(KeyError):
                made.device.management.env["MODE"]

    in_virtual_time(scene())


def test_inbound_objects_come_once_in_order_by_queue_also_unasked() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            path = made.folder / "solution.sqlite"
            await asyncio.sleep(1)
            waiting = asyncio.create_task(made.device.solution.dequeue())
            await asyncio.sleep(0)
            for n in range(3):
                admin.enqueue_inbound(path, "T", "commands", n)
            large = {"blob": bytes(5000)}
            admin.enqueue_inbound(path, "T", "files", large)
            await ticks(made, 5)
            first = await waiting
            assert first, "no request of the device's was needed"
            assert (first.value, first.queue) == (0, "commands")
            first.ack()
            assert await take(made.device.solution, 1, queue="files") == large
            assert [await take(made.device.solution, 1) for _ in range(3)] == [1, 2, None]
            assert admin.list_devices(path)[0].waiting == 0, "acknowledged"
            await made.kill_device()
            await made.start_device()
            assert await made.device.solution.dequeue(1) is None

    in_virtual_time(scene())


def test_a_malformed_named_object_stops_nothing() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            core = made.services[Service.SOLUTION]
            await asyncio.sleep(1)
            ((device,),) = core.store.database.execute("SELECT id FROM devices")
            for body in (b"\x01", b"\x82\x01\x02", b"\x81\x61a", b"\x82\x61a\x07"):
                core.store.enqueue(device, 0, body, Urgency.PROMPT, 1.0)
            await ticks(made)
            assert made.device.solution.get("a") == 7

    in_virtual_time(scene())


# --- health, time --------------------------------------------------------------------------------------------------------


def test_a_recovery_is_reported_to_the_management_service() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            await made.enqueue({"n": 1})
            await until_delivered(made)
            made.airs["wifi"].hung = True
            for n in range(60):
                await made.enqueue({"n": n})
                await asyncio.sleep(1)
            await made.device.flush(60)
            report = admin.get_health(made.folder / "management.sqlite", "T")
            assert isinstance(report, dict)
            assert report["event"] == "recovery"
            assert "modem reset" in str(report["text"])
            recoveries = made.device.snapshot()["recoveries"]
            assert isinstance(recoveries, list)
            assert recoveries[0]["link"] == "wifi"

    in_virtual_time(scene())


class UnsetClock(LoopClock):
    """A machine that starts in 1970; `wall` jumps when NTP finds it."""

    def __init__(self) -> None:
        super().__init__(start=100.0, known=False)


@pytest.mark.parametrize("teacher", ["service", "system", "restart"])
def test_records_captured_before_time_was_known_are_dated_when_it_is(teacher: str) -> None:
    async def scene() -> None:
        async with world() as made:
            await made.kill_device()
            for air in made.airs.values():
                air.set_carrier(False)
            clock = UnsetClock()

            async def open_device() -> AsyncDevice:
                made.device = AsyncDevice(made.configuration, clock=clock)
                made.device.threaded_store = False
                await made.device.start()
                return made.device

            device = await open_device()
            captured = made.clock.wall()
            early = await device.solution.enqueue({"early": 1}, ttl=100)
            late = await device.solution.enqueue({"late": 1}, ttl=1000)
            made.accepted |= {early.number: {"early": 1}, late.number: {"late": 1}}
            await asyncio.sleep(200)
            assert early.state is ReceiptState.QUEUED, "nobody knows how late it is"
            if teacher == "system":
                clock.jump(made.clock.wall() - clock.wall())
                clock.known = True
                await asyncio.sleep(10)
            if teacher == "restart":
                await made.kill_device()
                clock.jump(made.clock.wall() - clock.wall())
                clock.known = True
                device = await open_device()
            for air in made.airs.values():
                air.set_carrier(True)
            await asyncio.sleep(400)
            if teacher != "service":
                assert early.number not in made.delivered(), "its time to live was over"
            (record,) = [r for r in admin.records(made.folder / "solution.sqlite") if r.number == late.number]
            assert record.captured_at == pytest.approx(captured, abs=0.2)
            assert device._clock.wall() == pytest.approx(made.clock.wall(), abs=0.2)

    in_virtual_time(scene())


# --- receipts, flush, closing ---


def test_receipts_move_forward_only() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            await asyncio.sleep(1)
            made.airs["wifi"].delay = 0.4
            receipt = await made.device.solution.enqueue({"n": 1})
            await asyncio.sleep(0.1)
            assert receipt.state is ReceiptState.SENT
            with pytest.raises(DeadlineExceeded, match="still sent after"):
                await receipt.wait(0.1)
            assert not receipt._waiters
            assert await receipt.wait(5) is ReceiptState.DELIVERED
            receipt.move(ReceiptState.SENT)
            assert await receipt.wait(0) is ReceiptState.DELIVERED

    in_virtual_time(scene())


def test_flush_has_a_deadline_and_says_what_is_left() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            for air in made.airs.values():
                air.set_carrier(False)
            await made.enqueue({"n": 1})
            await made.enqueue({"n": 2})
            start = asyncio.get_running_loop().time()
            with pytest.raises(DeadlineExceeded, match=r"2 record\(s\) for solution"):
                await made.device.flush(3)
            assert asyncio.get_running_loop().time() - start == pytest.approx(3, abs=0.1)
            await made.device.management.flush(1)

    in_virtual_time(scene())


@pytest.mark.parametrize("after", [0.0, 0.05, 0.19, 0.21, 0.25, 0.5, 3.0])
def test_whoever_waits_while_the_device_closes_is_told(after: float) -> None:
    async def scene() -> None:
        async with world() as made:
            device = made.device
            assert device
            for air in made.airs.values():
                air.carry = lambda service, data, link: []
            receipt = await device.solution.enqueue({"n": 1})
            waiting = [
                asyncio.create_task(each)
                for each in (device.flush(), device.solution.dequeue(), device.management.dequeue(99), receipt.wait())
            ]
            await asyncio.sleep(after)
            await asyncio.gather(device.aclose(), device.aclose())
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [Closed] * 4
            for closed in (device.flush(1), device.solution.enqueue({"n": 2}), device.start()):
                with pytest.raises(Closed):
                    await closed
            with pytest.raises(Closed):
                device.snapshot()
            for air in made.airs.values():
                air.carry = made._carry
            made.accepted[receipt.number] = {"n": 1}
            await made.start_device()
            await until_delivered(made, 60)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_leaving_the_block_closes_whatever_happens_to_the_flush() -> None:
    async def scene() -> None:
        async with world() as made:
            await made.kill_device()
            for air in made.airs.values():
                air.set_carrier(False)
            device = AsyncDevice(made.configuration, clock=made.clock)
            device.threaded_store = False

            async def use() -> None:
                async with device:
                    await device.solution.enqueue({"n": 1})
                    device_open.set()

            device_open = asyncio.Event()
            task = asyncio.create_task(use())
            await device_open.wait()
            await asyncio.sleep(1)  # it flushes
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(Closed):
                _ = device.store
            await made.start_device()

    in_virtual_time(scene())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"queue": ""}, ObjectError),
        ({"queue": "$health"}, ObjectError),
        ({"queue": "q" * 65}, ObjectError),
        ({"ttl": 0}, ObjectError),
        ({"ttl": float("nan")}, ObjectError),
        ({"links": ["nonexistent"]}, ConfigurationError),
        ({"value": object()}, ObjectError),
        ({"value": DEEP}, ObjectError),
        ({"value": CBORTag(0, "no date")}, ObjectError),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, Any], error: type[Exception]) -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            value = options.pop("value", 1)
            with pytest.raises(error):
                await made.device.solution.enqueue(value, **options)
            with pytest.raises(ObjectError):
                await made.device.solution.put("$x", 1)
            assert not any(records for records, _ in made.device.store.depth().values())

    in_virtual_time(scene())


def test_a_failing_call_into_the_loop_keeps_none_after_it() -> None:
    async def scene() -> None:
        bridge, done = Bridge(asyncio.get_running_loop()), []
        bridge.post(lambda: done.append(1))
        bridge.post(lambda: 1 / 0)  # type: ignore[arg-type]
        bridge.post(lambda: done.append(2))
        await asyncio.sleep(0)
        assert done == [1, 2]
        bridge.post(lambda: done.append(3))
        await asyncio.sleep(0)
        assert done == [1, 2, 3]

    in_virtual_time(scene())


# --- overhead (DESIGN section 5) ---


@pytest.mark.parametrize("numbers", [0, 70_000])
def test_one_record_costs_at_most_32_bytes_over_udp_and_a_new_link_120(numbers: int) -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            if numbers:
                store = made.device.store
                store._engine.outbox.totals.last[:] = [numbers, numbers]
                store._engine.totals = store._engine.outbox.totals.copy()
                for exchange in made.device._exchanges.values():
                    while exchange._context._numbers.upcoming < numbers:
                        exchange._context._numbers.take()
            body = {"temp": 21.5, "hum": 48}
            for n in range(6 if not numbers else 18):  # after such a leap numbers are whole for 16 requests
                await made.enqueue(body)
                await asyncio.sleep(1.37 * min(n, 5))
            sent = [data for service, data in made.airs["wifi"].sent if service is Service.SOLUTION]
            assert len(sent[-1]) - len(encode(body)) <= 32
            assert max(made.accepted) > numbers
            made.airs["wifi"].set_carrier(False)
            before = len(made.airs["lte"].sent)
            await made.enqueue(body)
            await asyncio.sleep(0.5)
            first = [data for service, data in made.airs["lte"].sent[before:] if service is Service.SOLUTION]
            assert len(first[0]) <= 120
            assert made.delivered() == made.accepted

    in_virtual_time(scene())
