"""The blocking `Device` has what `AsyncDevice` has: templates, calls, packets, hints, environment, acknowledgement."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rataccess import Device, Hints, Integer, Template
from rataccess.channel import (
    AsyncChannel,
    AsyncManagementChannel,
    AsyncPackets,
    AsyncSolutionChannel,
    Environment,
    InboundObject,
)
from rataccess.device import AsyncDevice, Channel, ManagementChannel, Packets, SolutionChannel
from rataccess.errors import CallTimeout, Closed, PacketTooLarge, TemplateError, UnknownRoute
from rataccess.objects import Service, decode
from rataccess.services import admin
from tests.device.test_device_sync import Cloud

READINGS = Template("readings", n=Integer(0, 1000))


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(tmp_path)
    made.start()
    yield made
    made.stop()


FOR_THE_DEVICE = {
    "accept_here",
    "begin",
    "learn",
    "record",
    "named",
    "new_record",
    "submit",
    "close",
    "moved",
    "objects_arrived",
    "arrived",
    "wanted",
}
"""Methods of the asynchronous classes that the floors call, not the application."""


@pytest.mark.parametrize(
    ("asynchronous", "blocking"),
    [
        (AsyncChannel, Channel),
        (AsyncManagementChannel, ManagementChannel),
        (AsyncSolutionChannel, SolutionChannel),
        (AsyncPackets, Packets),
        (AsyncDevice, Device),
    ],
)
def test_both_faces_have_the_same_names_and_parameters(asynchronous: type, blocking: type) -> None:
    others = {"configuration", "access", "store", "report", "time_told", "aclose", "void", "awaited", "post"}
    names = {name for name in vars(asynchronous) if not name.startswith("_")} - FOR_THE_DEVICE - others
    assert names <= set(dir(blocking))
    for name in names:
        member = getattr(asynchronous, name)
        if inspect.isfunction(member):
            expected = list(inspect.signature(member).parameters)
            assert list(inspect.signature(getattr(blocking, name)).parameters) == expected, name


def test_templates(cloud: Cloud) -> None:
    with Device.open(cloud.configuration()) as device:
        device.solution.define(READINGS)
        for n in range(100):
            device.solution.enqueue({"n": n}, queue="readings")
        device.solution.enqueue({"n": 100}, template=READINGS)
        for value in ({"n": 1001}, {"n": None}, {}):
            with pytest.raises(TemplateError):
                device.solution.enqueue(value, queue="readings")
        device.flush(30)
    arrived = admin.records(cloud.folder / "solution.sqlite", limit=1000)
    assert [decode(one.body) for one in arrived if one.queue == "readings"] == [{"n": n} for n in range(101)]


def test_calls(cloud: Cloud) -> None:
    with Device.open(cloud.configuration()) as device:
        with pytest.raises(UnknownRoute, match="nobody"):
            device.solution.call("nobody", {"a": 1}, timeout=60)
        with pytest.raises(TimeoutError, match="has not left") as caught:
            device.solution.call("nobody", timeout=1e-6)
        assert isinstance(caught.value, CallTimeout)


def test_inbound_objects_are_acknowledged_or_come_again(cloud: Cloud) -> None:
    path = cloud.folder / "solution.sqlite"
    with Device.open(cloud.configuration()) as device:
        for n in range(40):
            admin.enqueue_inbound(path, "D", "commands", n)
        device.solution.enqueue("hello")
        found: list[InboundObject] = []

        def take(many: int) -> None:
            for _ in range(many):
                item = device.solution.dequeue(timeout=30)
                assert item
                found.append(item)

        threads = [threading.Thread(target=take, args=(10,)) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert sorted(item.value for item in found) == list(range(40)), "each to one thread"  # type: ignore[type-var]
        for item in found:
            if item.value in (3, 5):
                continue
            item.ack()
        next(item for item in found if item.value == 5).give_back()
        again = device.solution.dequeue(timeout=1)
        assert again
        assert again.value == 5
        assert device.solution.dequeue(timeout=0) is None
    with Device.open(cloud.configuration()) as device:
        left = []
        while (one := device.solution.dequeue(timeout=0)) is not None:
            with one as value:
                left.append(value)
        assert left == [3, 5]
    with pytest.raises(Closed):
        again.ack()


def test_who_is_interrupted_while_it_takes_an_object_leaves_it_to_others(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Device.open(cloud.configuration()) as device:
        admin.enqueue_inbound(cloud.folder / "solution.sqlite", "D", "commands", "one")
        device.solution.enqueue("hello")
        run = device.solution._runner.run

        def interrupted(work: Any) -> Any:
            run(work)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(device.solution._runner, "run", interrupted)
            with pytest.raises(KeyboardInterrupt):
                device.solution.dequeue(timeout=30)
        item = device.solution.dequeue(timeout=30)
        assert item
        assert item.value == "one"


def test_packets(cloud: Cloud) -> None:
    with Device.open(cloud.configuration()) as device:
        device.solution.enqueue("hello").wait(30)
        packets = device.solution.packets
        assert packets.mtu
        packets.send(b"mine")
        with pytest.raises(PacketTooLarge):
            packets.send(bytes(packets.mtu + 1))
        admin.post_packet(cloud.folder / "solution.sqlite", "D", b"yours")
        device.solution.enqueue("hello again")
        assert packets.receive(timeout=30) == b"yours"
        assert packets.receive(timeout=0) is None
        assert packets.dropped == 0


def test_hints_are_told_and_a_callback_cannot_lock_the_device_up(cloud: Cloud) -> None:
    device = Device.open(cloud.configuration())
    with pytest.raises(Closed):
        device.on_hints(lambda hints: None)
    device.start()
    try:
        told: list[Hints | None] = []
        failures: list[Exception] = []
        done = threading.Event()

        def callback(hints: Hints | None) -> None:
            told.append(hints)
            device.solution.enqueue("from a callback")
            for call in (device.explain, device.flush, device.solution.dequeue):
                try:
                    call()
                except RuntimeError as error:
                    failures.append(error)
            done.set()

        undo = device.on_hints(callback)
        device.solution.enqueue("hello").wait(30)
        if not told:  # the link was up already: the same may have changed again
            device._device._hints.watched.value = (None, None)
            device._runner.loop.call_soon_threadsafe(device._device._hints.stir)  # type: ignore[union-attr]
        assert done.wait(30)
        undo()
        assert device.link == "lo"
        assert told[-1] is not None
        assert len(failures) == 3 * len(told)
        iterations: list[object] = []
        follower = threading.Thread(target=lambda: iterations.extend(device.hint_changes()))
        follower.start()
    finally:
        device.close()
    follower.join(30)
    assert not follower.is_alive(), "the iteration ends with the device"


def test_the_environment_and_its_changes(cloud: Cloud) -> None:
    with Device.open(cloud.configuration()) as device:
        changes = device.management.env.changes()
        device.management.enqueue("hello").wait(30)
        admin.set_env(cloud.folder / "management.sqlite", {"PERIOD": "5"}, serial_number="D")
        device.management.enqueue("hello")
        assert next(changes) == {"PERIOD": "5"}
        env = device.management.env
        assert isinstance(env, Environment)
        assert (env.get_int("PERIOD", 60), env.get_float("GAIN", 1.5), env.get_bool("PERIOD", True)) == (5, 1.5, True)
    assert list(changes) == []


def test_management_cannot_call(cloud: Cloud) -> None:
    with Device.open(cloud.configuration()) as device:
        assert not hasattr(device.management, "call")
        assert device.solution.service is Service.SOLUTION
