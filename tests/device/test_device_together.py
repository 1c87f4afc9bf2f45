"""Templates, calls, packets, hints and the environment of a whole device, with whole services, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from rataccess import Hints, Integer, Scaled, Template
from rataccess.errors import CallTimeout, PacketTooLarge, RemoteRefused, TemplateError, TransportBroken
from rataccess.objects import Service, decode, encode
from rataccess.services import admin
from rataccess.services.store import PendingCall
from tests.system.system_world import SystemWorld
from tests.system.test_invariants import in_virtual_time, world

READINGS = Template("readings", temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100))


async def ticks(made: SystemWorld, seconds: int = 3) -> None:
    for _ in range(seconds):
        made.tick()
        await asyncio.sleep(1)


def hold(made: SystemWorld, up: bool) -> None:
    for air in made.airs.values():
        air.set_carrier(up)


# --- templates -----------------------------------------------------------------------------------------------------------


def test_packed_records_arrive_as_they_were_enqueued_and_take_less() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            await asyncio.sleep(1)
            sizes = {}
            values = [{"temp": round(20 + n / 10, 1), "hum": 40 + n % 3} for n in range(200)]
            for queue in ("plain", "readings"):
                if queue == "readings":
                    await made.device.solution.define(READINGS)
                hold(made, False)
                await asyncio.sleep(1)
                before = sum(air.bytes_up for air in made.airs.values())
                for value in values:
                    made.accepted[(await made.device.solution.enqueue(value, queue=queue)).number] = value
                hold(made, True)
                await made.device.flush(60)
                sizes[queue] = sum(air.bytes_up for air in made.airs.values()) - before
            delivered = made.delivered()
            assert [delivered[number] for number in sorted(made.accepted)] == values * 2
            assert sizes["readings"] * 5 < sizes["plain"]
            with pytest.raises(TemplateError):
                await made.device.solution.enqueue({"temp": 1}, queue="readings")

    in_virtual_time(scene())


def test_what_was_queued_before_a_restart_is_packed_without_define() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            await asyncio.sleep(1)
            hold(made, False)
            await asyncio.sleep(1)
            for n in range(200):
                made.accepted[
                    (await made.device.solution.enqueue({"temp": 20.5, "hum": n % 50}, template=READINGS)).number
                ] = {
                    "temp": 20.5,
                    "hum": n % 50,
                }
            await made.kill_device()
            before = sum(air.bytes_up for air in made.airs.values())
            device = await made.start_device()
            hold(made, True)
            await device.flush(60)
            assert {number: made.delivered()[number] for number in made.accepted} == made.accepted
            assert sum(air.bytes_up for air in made.airs.values()) - before < 200 * 6

    in_virtual_time(scene())


# --- calls ---------------------------------------------------------------------------------------------------------------


async def next_call(made: SystemWorld, seconds: int = 30) -> PendingCall:
    """The call that the service has received."""
    store = made.services[Service.SOLUTION].store
    for _ in range(seconds * 10):
        if calls := store.open_calls():
            return calls[0]
        await asyncio.sleep(0.1)
    raise AssertionError("no call came")


def answer(made: SystemWorld, call: PendingCall, status: int, value: object) -> None:
    assert made.services[Service.SOLUTION].store.answer_call(call, status, encode(value), made.clock.wall())


def test_a_call_goes_up_and_its_reply_comes_down() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            task = asyncio.create_task(made.device.solution.call("energyService", {"zone": "SE3"}, repeatable=True))
            call = await next_call(made)
            assert (call.name, decode(call.body), call.repeatable) == ("energyService", {"zone": "SE3"}, True)
            answer(made, call, 200, {"price": 0.41})
            await ticks(made)
            assert await task == {"price": 0.41}
            assert await made.device.solution.dequeue(0) is None
            assert made.delivered() == {}, "a call is no record of the application's"

    in_virtual_time(scene())


def test_a_large_reply_comes_in_ranges_and_over_another_link() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            task = asyncio.create_task(made.device.solution.call("files", timeout=600))
            answer(made, await next_call(made), 200, bytes(20_000))
            made.tick()
            made.airs["wifi"].set_carrier(False)
            await ticks(made, 60)
            assert await task == bytes(20_000)

    in_virtual_time(scene())


def test_the_remote_s_error_comes_back_with_its_body() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            task = asyncio.create_task(made.device.solution.call("energyService"))
            answer(made, await next_call(made), 404, {"detail": "no such zone"})
            await ticks(made)
            with pytest.raises(RemoteRefused, match="energyService answered with status 404") as caught:
                await task
            assert caught.value.body == {"detail": "no such zone"}

    in_virtual_time(scene())


def test_a_call_without_any_link_ends_in_time_and_is_never_made() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            await asyncio.sleep(1)
            hold(made, False)
            await asyncio.sleep(1)
            with pytest.raises(CallTimeout) as caught:
                await made.device.solution.call("openTheDoor", timeout=30)
            assert not caught.value.sent
            hold(made, True)
            await made.device.flush(60)
            await ticks(made, 10)
            assert made.services[Service.SOLUTION].store.open_calls() == []

    in_virtual_time(scene())


def test_a_reply_to_a_device_that_was_restarted_is_dropped_and_counted() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            task = asyncio.create_task(made.device.solution.call("energyService", timeout=600))
            call = await next_call(made)
            await made.kill_device()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            device = await made.start_device()
            answer(made, call, 200, "too late")
            await device.solution.enqueue(1)
            await ticks(made)
            assert device.solution.calls.dropped == 1
            assert await device.solution.dequeue(0) is None
            assert device.snapshot()["dropped"] == {"replies": 1, "packets": 0}

    in_virtual_time(scene())


# --- packets -------------------------------------------------------------------------------------------------------------


def test_packets_go_both_ways() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            path = made.folder / "solution.sqlite"
            await asyncio.sleep(1)
            packets = made.device.solution.packets
            assert packets.mtu
            assert made.device.hints
            assert made.device.hints.mtu == packets.mtu < made.airs["wifi"].mtu
            whole = bytes(range(256)) * 5
            await packets.send(whole[: packets.mtu])
            with pytest.raises(PacketTooLarge):
                await packets.send(whole[: packets.mtu + 1])
            await asyncio.sleep(1)
            arrived = made.services[Service.SOLUTION].store.records_after(None)
            assert [(one.number, one.queue, decode(one.body)) for one in arrived] == [
                (None, "$packets", whole[: packets.mtu])
            ]
            admin.post_packet(path, "T", b"do it your way")
            await ticks(made)
            assert await packets.receive(1) == b"do it your way"
            assert await packets.receive(1) is None
            assert made.faults == []
            hold(made, False)
            await asyncio.sleep(1)
            assert packets.mtu is None
            with pytest.raises(TransportBroken):
                await packets.send(b"x")

    in_virtual_time(scene())


# --- hints ---------------------------------------------------------------------------------------------------------------


def test_changes_of_link_and_hints_are_told_once_each(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            told: list[tuple[str | None, Hints | None]] = []
            device = made.device

            def broken(hints: Hints | None) -> None:
                raise ZeroDivisionError

            device.on_hints(broken)
            undo = device.on_hints(lambda hints: told.append((device.link, hints)))
            undone: list[Any] = []
            device.on_hints(undone.append)()
            changes = device.hint_changes()
            await device.flush(10)
            await asyncio.sleep(1)
            assert [link for link, _ in told] == ["wifi"]
            assert told[0][1] == device.hints
            assert (await anext(changes)) == device.hints
            transport = made.airs["wifi"].receivers[0]
            transport.set_hints(mtu=600, bitrate=1000.0)
            transport.set_hints(mtu=500)
            await asyncio.sleep(1)
            assert [link for link, _ in told] == ["wifi", "wifi"], "both at once are one change"
            assert device.hints
            assert device.hints.mtu < 500
            hold(made, False)
            await asyncio.sleep(1)
            assert told[-1] == (None, None)
            assert await anext(changes) is None, "what came in between was not waited for"
            undo()
            hold(made, True)
            await asyncio.sleep(10)
            assert told[-1] == (None, None)
            assert undone == []
            assert device.link == "wifi"
            following = asyncio.create_task(collect(changes))
            await asyncio.sleep(1)
            await made.kill_device()
            assert len(await following) == 1, "and the iteration ends with the device"

    with caplog.at_level(logging.ERROR):
        in_virtual_time(scene())
    assert "a callback for hints failed" in caplog.text


async def collect(changes: Any) -> list[Any]:
    return [change async for change in changes]


# --- environment ---------------------------------------------------------------------------------------------------------


def test_a_change_of_the_environment_reaches_who_waits_at_once_and_malformed_values_are_reported() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            path = made.folder / "management.sqlite"
            env = made.device.management.env
            changes = env.changes()
            waiting = asyncio.create_task(anext(changes))
            await asyncio.sleep(1)  # the device has come to the service once
            admin.set_env(path, {"PERIOD": "soon", "MODE": "eco"}, serial_number="T")
            made.tick()
            await asyncio.sleep(0.1)
            assert waiting.done()
            assert await waiting == {"PERIOD": "soon", "MODE": "eco"}
            assert env.get_int("PERIOD", 60) == 60
            await made.device.flush(10)
            assert "PERIOD is 'soon'" in str(admin.get_health(path, "T"))

    in_virtual_time(scene())
