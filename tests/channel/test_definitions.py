"""Templates in a channel: checked at enqueue, told once, also over restarts and full stores."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rataccess import Integer, Scaled, Template, Text
from rataccess.config.model import WhenFull
from rataccess.errors import ObjectError, TemplateError
from rataccess.objects import ReceiptState, Service, Urgency, decode, encode
from tests.channel.conftest import Make
from tests.channel.rig import Rig

READINGS = Template("readings", temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100), note=Text(12, optional=True))
GOOD = {"temp": 21.5, "hum": 48}


async def test_a_defined_queue_takes_only_what_fits(rig: Rig) -> None:
    await rig.solution.define(READINGS)
    receipt = await rig.solution.enqueue({"hum": 48, "temp": 21.5}, queue="readings")
    with pytest.raises(TemplateError, match=r"'readings', field 'hum': 480 does not fit.*0 to 100") as caught:
        await rig.solution.enqueue({"temp": 21.5, "hum": 480}, queue="readings")
    assert caught.value.field == "hum"
    await rig.solution.enqueue({"temp": "anything"}, queue="others")
    stored = {one.number: (one.queue, one.template, decode(one.body)) for one in rig.waiting()}
    assert stored[receipt.number] == ("readings", READINGS.id, GOOD)
    assert [entry[:2] for entry in stored.values() if entry[0] != "readings"] == [("$schemas", None), ("others", None)]


async def test_the_stored_body_is_as_it_will_be_read_back(rig: Rig) -> None:
    await rig.solution.enqueue({"hum": 48, "temp": 21}, template=READINGS)
    (record,) = [one for one in rig.waiting() if one.queue == "readings"]
    assert record.body == encode({"temp": 21.0, "hum": 48})
    assert READINGS.unpack(READINGS.pack(decode(record.body))) == decode(record.body)


async def test_enqueue_with_a_template_defines_it(rig: Rig) -> None:
    await rig.solution.enqueue(GOOD, template=READINGS)
    await rig.solution.enqueue(GOOD, template=READINGS, queue="apart")
    with pytest.raises(TemplateError):
        await rig.solution.enqueue({"temp": 21.5}, queue="readings")
    assert [(one.queue, one.template) for one in rig.waiting()] == [
        ("$schemas", None),
        ("readings", READINGS.id),
        ("apart", READINGS.id),
    ]


async def test_a_misfit_leaves_no_trace(rig: Rig) -> None:
    with pytest.raises(TemplateError):
        await rig.solution.enqueue({"temp": 999}, template=READINGS)
    assert rig.waiting() == []


async def test_the_service_is_told_once(rig: Rig) -> None:
    for _ in range(3):
        await rig.solution.define(READINGS)
    assert rig.queued("$schemas") == [[READINGS.id, READINGS.definition()]]
    (record,) = rig.waiting()
    assert record.urgency is Urgency.BULK
    assert Template.from_definition(decode(record.body)[1]) == READINGS  # type: ignore[index]
    await rig.restart()
    await rig.solution.define(READINGS)
    assert rig.waiting() == [record], "it is still on its way"
    rig.settle([record.number], ReceiptState.DELIVERED)
    await asyncio.sleep(0)
    await rig.restart()
    await rig.solution.define(READINGS)
    await rig.solution.enqueue(GOOD, queue="readings")
    assert rig.queued("$schemas") == []


async def test_each_service_is_told(rig: Rig) -> None:
    await rig.solution.define(READINGS)
    await rig.management.define(READINGS)
    assert len(rig.queued("$schemas")) == len(rig.queued("$schemas", Service.MANAGEMENT)) == 1


async def test_what_was_queued_stays_packable_after_a_restart_without_define(rig: Rig) -> None:
    await rig.solution.enqueue(GOOD, template=READINGS)
    await rig.restart()
    (record,) = [one for one in rig.waiting() if one.queue == "readings"]
    assert record.template == READINGS.id
    assert rig.solution._parts.book.find(READINGS.id) == READINGS
    await rig.solution.enqueue({"anything": 1}, queue="readings")  # defined for a run only


async def test_a_definition_given_up_for_want_of_room_is_told_again(make: Make) -> None:
    rig = make(max_records=4, when_full=WhenFull.DROP)
    await rig.solution.define(READINGS)
    for _ in range(4):
        await rig.solution.enqueue(GOOD, queue="readings", urgency=Urgency.ALARM)
    await asyncio.sleep(0)
    assert rig.queued("$schemas") == [], "it was dropped for what is more urgent, and finds no room"
    numbers = [one.number for one in rig.waiting()]
    rig.settle(numbers[:2], ReceiptState.DELIVERED)
    await asyncio.sleep(0)
    assert rig.queued("$schemas") == [[READINGS.id, READINGS.definition()]]


async def test_a_store_without_room_for_the_definition_takes_the_object_all_the_same(make: Make) -> None:
    rig = make(max_records=32)  # part of it is kept for what is urgent
    for n in range(28):
        await rig.solution.enqueue(n)
    await rig.solution.enqueue(GOOD, template=READINGS, urgency=Urgency.ALARM)
    assert rig.queued("$schemas") == []
    rig.settle([1, 2], ReceiptState.DELIVERED)
    await asyncio.sleep(0)
    assert len(rig.queued("$schemas")) == 1


async def test_a_definition_whose_record_is_lost_without_a_trace_is_told_again(rig: Rig) -> None:
    await rig.solution.define(READINGS)
    (record,) = rig.waiting()
    rig.store.settle(Service.SOLUTION, [record.number], ReceiptState.DROPPED)
    rig.solution._definitions._told.clear()  # the process ended in this moment
    await rig.restart()
    await rig.solution.define(READINGS)
    assert len(rig.queued("$schemas")) == 1


async def test_two_templates_of_one_id(rig: Rig) -> None:
    await rig.solution.define(Template("a", id=5, x=Integer(0, 9)))
    with pytest.raises(TemplateError, match="id 5 is taken"):
        await rig.solution.define(Template("b", id=5, x=Integer(0, 9)))
    with pytest.raises(TemplateError, match="id 5 is taken"):
        await rig.solution.enqueue({"x": 1}, template=Template("b", id=5, x=Integer(0, 9)))
    assert rig.queued("b") == []
    await rig.solution.enqueue("still plain", queue="b")


async def test_a_newer_template_of_the_queue_goes_before(rig: Rig) -> None:
    newer = Template.of("readings", {**READINGS.fields, "volt": Scaled(0, 5, 0.01, optional=True)})
    await rig.solution.define(READINGS)
    await rig.solution.define(newer)
    await rig.solution.enqueue(GOOD | {"volt": 3.71}, queue="readings")
    assert [one.template for one in rig.waiting() if one.queue == "readings"] == [newer.id]
    assert len(rig.queued("$schemas")) == 2


async def test_bad_queues_are_refused_before_anything(rig: Rig) -> None:
    with pytest.raises(ObjectError, match="queue"):
        await rig.solution.enqueue(GOOD, template=READINGS, queue="$schemas")
    assert rig.waiting() == []


async def test_many_threads_define_the_same_template(make: Make) -> None:
    rig = make(threaded=True)
    threads = [
        threading.Thread(target=lambda: [rig.solution.record(GOOD, template=READINGS) for _ in range(20)])
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        await asyncio.to_thread(each.join)
    await asyncio.to_thread(rig.store.put_now, "a", b"b")
    assert len(rig.queued("$schemas")) == 1


# --- a service that asks ----------------------------------------------------------------------------------------------


async def test_what_a_service_asks_for_is_told_once_more(rig: Rig) -> None:
    await rig.solution.define(READINGS)
    (record,) = rig.waiting()
    rig.solution.wanted([READINGS.id])
    assert rig.waiting() == [record], "it is still on its way"
    rig.settle([record.number], ReceiptState.DELIVERED)
    await asyncio.sleep(0)
    rig.solution.wanted([READINGS.id, READINGS.id, 99])
    assert rig.queued("$schemas") == [[READINGS.id, READINGS.definition()]]
    (again,) = rig.waiting()
    assert again.urgency is Urgency.BULK
    assert again.number > record.number
    rig.settle([again.number], ReceiptState.DELIVERED)
    await asyncio.sleep(0)
    rig.solution.wanted([READINGS.id])
    assert rig.queued("$schemas") == [], "once an hour"
    await rig.restart()
    await rig.solution.define(READINGS)
    assert rig.queued("$schemas") == [], "and it counts as told"
    rig.solution.wanted([READINGS.id])
    assert rig.queued("$schemas") == [[READINGS.id, READINGS.definition()]]


@pytest.mark.looptime(start=0, end=10_000)
async def test_what_a_service_asks_for_again_is_told_again_after_an_hour(rig: Rig) -> None:
    await rig.solution.define(READINGS)
    for n in range(1, 5):
        rig.settle([each.number for each in rig.waiting()], ReceiptState.DELIVERED)
        await asyncio.sleep(1)
        rig.solution.wanted([READINGS.id])
        assert len(rig.queued("$schemas")) == (n % 2), f"at {n * 1801} s"
        await asyncio.sleep(1800)


async def test_a_service_may_ask_for_what_only_an_earlier_run_defined(rig: Rig) -> None:
    await rig.solution.enqueue(GOOD, template=READINGS)
    await rig.restart()
    rig.solution.wanted([READINGS.id])
    assert len(rig.queued("$schemas")) == 1, "the one of before"
    rig.settle([each.number for each in rig.waiting() if each.queue == "$schemas"], ReceiptState.DROPPED)
    await asyncio.sleep(0)
    rig.solution.wanted([READINGS.id])
    assert len(rig.queued("$schemas")) == 1


async def test_a_service_is_told_what_a_queue_is_called(rig: Rig) -> None:
    await rig.solution.enqueue(1, queue="readings")
    await rig.management.enqueue(1, queue="secrets")
    (record,) = rig.waiting()
    for _ in range(2):
        rig.solution.wanted([-1 - record.queue_id, -1 - 12, -3, -(2**70), 2**70, 0])
        assert rig.queued("$schemas") == [[-1 - record.queue_id, "readings"]]
    rig.solution.wanted([-1 - each for each in range(8, 2**20, 2**13)])
    assert len(rig.queued("$schemas")) == 1
    (of_management,) = rig.waiting(Service.MANAGEMENT)
    rig.solution.wanted([-1 - (1 << 32 | of_management.queue_id), -1 - (1 << 16 | of_management.queue_id)])
    assert len(rig.queued("$schemas")) == 1, "what a queue of the other service is called is not told"


async def test_no_more_than_eight_are_told_for_one_message(rig: Rig) -> None:
    made = [Template("x", id=each, a=Integer(0, each)) for each in range(1, 12)]
    for each in made:
        await rig.solution.define(each)
    rig.settle([each.number for each in rig.waiting()], ReceiptState.DELIVERED)
    await asyncio.sleep(0)
    rig.solution.wanted([each.id for each in made])
    assert len(rig.queued("$schemas")) == 8


async def test_asking_a_closed_device_does_nothing(make: Make) -> None:
    rig = make()
    await rig.solution.define(READINGS)
    rig.settle([each.number for each in rig.waiting()], ReceiptState.DELIVERED)
    await asyncio.sleep(0)
    await rig.close()
    rig.solution.wanted([READINGS.id])
