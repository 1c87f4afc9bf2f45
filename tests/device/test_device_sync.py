"""`Device` over real loopback sockets: threads, closing, errors; nothing is left behind (the jailer looks)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rataccess import Device
from rataccess.config import Configuration, parse
from rataccess.device.snapshot import ControlSocket
from rataccess.errors import Closed, DeadlineExceeded, KeyStoreError, ObjectError, StoreError
from rataccess.keys import FileKeyStore
from rataccess.objects import ReceiptState, Service, decode
from rataccess.services import admin, provisioning, settings
from rataccess.services.running import serving

SERVICES = """
[management]
host = "127.0.0.1"
port = 0
store = "management.sqlite"
keys = "management.json"
[solution]
host = "127.0.0.1"
port = 0
store = "solution.sqlite"
keys = "solution.json"
"""
DEVICE = """
[device]
serial_number = "D"
state = "{folder}/device"
[management]
host = "127.0.0.1"
port = {management}
[solution]
host = "127.0.0.1"
port = {solution}
[links.lo]
driver = "interface"
transport = "udp"
options = {{ interface = "lo" }}
"""


class Cloud:
    """Both services on a thread of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[Service, int] = {}
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        (folder / "services.toml").write_text(SERVICES)
        keys = FileKeyStore.create(folder / "device", "D")
        for service in Service:
            keys.assign(
                service, provisioning.add_device(folder / "services.toml", service, "D", keys.session_secret(service))
            )
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="cloud")

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        path = self.folder / "services.toml"
        async with (
            serving(Service.MANAGEMENT, settings.load(path, Service.MANAGEMENT)) as management,
            serving(Service.SOLUTION, settings.load(path, Service.SOLUTION)) as solution,
        ):
            self.ports = {Service.MANAGEMENT: management.address[1], Service.SOLUTION: solution.address[1]}
            running = [asyncio.create_task(each.run()) for each in (management, solution)]
            self._ready.set()
            await self._stop.wait()
            for each in (management, solution):
                each.stop()
            await asyncio.gather(*running)

    def configuration(self) -> Configuration:
        text = DEVICE.format(folder=self.folder, **{str(service): port for service, port in self.ports.items()})
        return parse(text, source="test", environ={})

    def delivered(self) -> list[Any]:
        return [decode(record.body) for record in admin.records(self.folder / "solution.sqlite", limit=100_000)]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(tmp_path)
    made.start()
    yield made
    made.stop()


def test_many_threads_enqueue_at_once_and_everything_arrives_once(cloud: Cloud) -> None:
    with Device.open(cloud.configuration()) as device:
        numbers: list[int] = []

        def work(thread: int) -> None:
            for n in range(100):
                numbers.append(device.solution.enqueue([thread, n], queue=f"q{thread % 3}").number)
            device.management.put(f"thread {thread}", thread)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        device.flush(60)
        assert sorted(numbers) == list(range(1, 801))
        assert sorted(cloud.delivered()) == [[thread, n] for thread in range(8) for n in range(100)]
        assert device.management.get("thread 7") == 7
        assert "lo" in device.explain()
        assert device.hints is not None
        assert device.snapshot()["in_use"] == "lo"


def test_what_is_left_at_closing_is_delivered_by_the_next_run(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    # nobody listens yet: the ports of sockets that are closed again
    spare = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in Service]
    for each in spare:
        each.bind(("127.0.0.1", 0))
    cloud.ports = dict(zip(Service, (each.getsockname()[1] for each in spare), strict=True))
    for each in spare:
        each.close()
    device = Device.open(cloud.configuration())
    device.start()
    receipt = device.solution.enqueue({"n": 1})
    with pytest.raises(DeadlineExceeded):
        receipt.wait(0.05)
    with pytest.raises(DeadlineExceeded):
        device.solution.flush(0.05)
    device.close()
    device.close()
    with pytest.raises(Closed):
        receipt.wait(1)
    cloud.start()
    try:
        with Device.open(cloud.configuration()) as again:
            again.flush(30)
        assert cloud.delivered() == [{"n": 1}]
    finally:
        cloud.stop()


def test_threads_that_wait_while_the_device_is_closed_are_told(cloud: Cloud) -> None:
    device = Device.open(cloud.configuration())
    device.start()
    outcomes: list[object] = []
    begun = threading.Semaphore(0)

    def wait(call: Callable[[], object]) -> None:
        begun.release()
        try:
            outcomes.append(call())
        except Closed as error:
            outcomes.append(type(error))

    calls = [device.solution.dequeue, device.management.dequeue, lambda: device.solution.dequeue(timeout=600)]
    threads = [threading.Thread(target=wait, args=(call,)) for call in calls]
    for each in threads:
        each.start()
    for _ in threads:
        begun.acquire()
    device.close()
    for each in threads:
        each.join(30)
    assert outcomes == [Closed] * 3
    for call in (device.flush, device.solution.dequeue, lambda: device.solution.enqueue(1), device.explain):
        with pytest.raises(Closed):
            call()


def test_commands_come_down_and_receipts_tell(cloud: Cloud) -> None:
    with Device.open(cloud.configuration()) as device:
        receipt = device.solution.enqueue({"hello": 1})
        assert receipt.wait(30) is ReceiptState.DELIVERED
        assert receipt.state is ReceiptState.DELIVERED
        admin.enqueue_inbound(cloud.folder / "solution.sqlite", "D", "commands", {"on": True})
        command = device.solution.dequeue(timeout=30)
        assert command
        with command as value:
            assert value == {"on": True}
        admin.set_env(cloud.folder / "management.sqlite", {"PERIOD": "5"}, serial_number="D")
        device.management.enqueue({"anything": 1})
        device.flush(30)
        assert device.management.dequeue(timeout=0.01) is None
        assert device.management.env["PERIOD"] == "5"
        with pytest.raises(ObjectError):
            device.solution.enqueue(object())


def test_what_cannot_be_opened_is_said_and_leaves_nothing(tmp_path: Path, cloud: Cloud) -> None:
    configuration = cloud.configuration()
    with Device.open(configuration), pytest.raises(StoreError):
        Device.open(configuration).start()
    (tmp_path / "device").chmod(0o755)
    with pytest.raises(KeyStoreError), Device.open(configuration):
        pass
    with pytest.raises(Closed):
        Device.open(configuration).flush(1)


def test_an_error_in_the_block_closes_the_device_and_is_passed_on(cloud: Cloud) -> None:
    device = Device.open(cloud.configuration())

    def use() -> None:
        with device:
            device.solution.enqueue({"n": 1})
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        use()
    with pytest.raises(Closed):
        device.explain()
    assert cloud.delivered() == [{"n": 1}], "what was accepted before went out all the same"


# --- the socket for other programs on the machine ---------------------------------------------------------------------


async def test_the_control_socket_answers_and_closes_under_a_reader_that_does_not_read(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    control = ControlSocket(path, lambda: {"large": "x" * 4_000_000})
    path.write_text("left by a crash")
    await control.open()
    assert path.stat().st_mode & 0o777 == 0o600
    reader, writer = await asyncio.open_unix_connection(str(path), limit=2**23)
    assert len(json.loads(await reader.readline())["large"]) == 4_000_000
    writer.close()
    await writer.wait_closed()
    _, deaf = await asyncio.open_unix_connection(str(path))
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await control.aclose()
        await control.aclose()
    deaf.close()
    with contextlib.suppress(OSError):  # whether the reset has come already
        await deaf.wait_closed()
    assert not path.exists()


async def test_a_path_too_long_for_a_socket_means_that_there_is_none(tmp_path: Path) -> None:
    control = ControlSocket(tmp_path / ("x" * 200), dict)
    await control.open()
    await control.aclose()
