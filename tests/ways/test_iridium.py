"""DirectIP both ways: a server that is hard to hold up, and a client that pays for nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from rataccess.services.airway import Airway
from rataccess.services.ways import iridium
from rataccess.services.ways.outbox import MOST_FOR_ONE, Outbox, Outcome
from tests.ways.ways_world import IMEI, RunningWorld, WaysWorld, acknowledged, record, until

SKY = '[[ways]]\nkind = "directip"\nname = "sky"\nhost = "127.0.0.1"\nport = 0\ntimeout = 20\n'


def mo(payload: bytes, *, imei: str = IMEI, time: int = 0, status: int = 0) -> bytes:
    """A message as the gateway sends it, its elements in an unusual order and one among them that nobody knows."""
    header = struct.pack(">BHI15sBHHI", 1, 28, 7, imei.encode(), status, 75, 0, time)
    parts = b"\x99\x00\x02ab" + (b"\x02" + struct.pack(">H", len(payload)) + payload if payload else b"") + header
    return b"\x01" + struct.pack(">H", len(parts)) + parts


async def deliver(running: RunningWorld, *pieces: bytes, end: bool = True) -> bytes:
    """One connection to our server; what it says before it hangs up."""
    reader, writer = await asyncio.open_connection(*running.way("sky").address)
    try:
        for each in pieces:
            writer.write(each)
            await writer.drain()
        if end:
            writer.write_eof()
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()


class Gateway:
    """Iridium's side for messages to devices: answers with a status, or with what it is told."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.statuses: list[int | None] = []
        """For one connection after another; `None` hangs up without a word."""

    async def taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(3)
        message = await reader.readexactly(struct.unpack(">BH", head)[1])
        self.got.append(message)
        status = self.statuses.pop(0) if self.statuses else 1
        if status is not None:
            content = struct.pack(
                ">BHI15sIh", 0x44, 25, struct.unpack_from(">I", message, 3)[0], message[7:22], 9, status
            )
            writer.write(b"\x01" + struct.pack(">H", len(content)) + content)
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.taken, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            await asyncio.sleep(0)


async def test_a_message_is_filed_by_its_imei_and_time(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, SKY + "confirm = true\n")
    device = world.add()
    async with world.running() as running:
        data, _ = record(device, 1)
        assert await deliver(running, mo(data, time=int(world.clock.wall()) - 60)) == b"\x01\x00\x04\x05\x00\x01\x01"
        assert running.rows() == [(1, "readings", "sbd")]
        await deliver(running, mo(data))  # the gateway delivers it again
        assert running.rows() == [(1, "readings", "sbd")]
        assert running.counters["replayed requests"] == 1


@pytest.mark.parametrize(
    "spoilt",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01\xff\xff",
        b"\x01\x00\x00",
        b"\x01\x00\x05\x01\x00\x1cab",
        mo(b"x", imei="1" * 14),
    ],
)
async def test_what_is_no_message_gets_no_more_than_a_no(tmp_path: Path, spoilt: bytes) -> None:
    world = WaysWorld(tmp_path, SKY + "confirm = true\n")
    async with world.running() as running:
        assert await deliver(running, spoilt) in (b"\x01\x00\x04\x05\x00\x01\x00", b"")
        assert running.counters["malformed satellite messages"] == 1
        assert "packets that came by a way in" not in running.counters


@pytest.mark.parametrize("confirm", ["true", "false"])
async def test_what_the_store_cannot_keep_is_to_be_delivered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, confirm: str
) -> None:
    world = WaysWorld(tmp_path, SKY + f"confirm = {confirm}\n")
    device = world.add()
    async with world.running() as running:
        data, _ = record(device, 1)
        with running.store_away(monkeypatch), contextlib.suppress(ConnectionResetError):
            assert await deliver(running, mo(data)) == b"\x01\x00\x04\x05\x00\x01\x00"
            assert confirm == "true"  # or it ends with a reset
        await deliver(running, mo(data))
        assert running.rows() == [(1, "readings", "sbd")]


async def test_no_confirmation_where_none_was_agreed(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, SKY)
    device = world.add()
    async with world.running() as running:
        assert await deliver(running, mo(record(device, 1)[0])) == b""
        assert await deliver(running, mo(b"")) == b""
        assert running.counters["satellite sessions without a packet"] == 1


async def test_who_dribbles_is_cut_off(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, SKY.replace("timeout = 20", "timeout = 0.05"))
    async with world.running() as running:
        assert await deliver(running, b"\x01\x00", end=False) == b""
        assert running.counters["connections that ended too early"] == 1


async def test_who_may_not_is_hung_up_on(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, SKY + 'allowed = ["192.0.2.1"]\n')
    async with world.running() as running:
        with contextlib.suppress(ConnectionError):
            assert await deliver(running, mo(b"x")) == b""
        assert running.counters["connections from addresses that are not allowed"] == 1


async def test_strangers_keep_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iridium, "MOST_CONNECTIONS", 4)
    world = WaysWorld(tmp_path, SKY)
    device = world.add()
    async with world.running() as running:
        address = running.way("sky").address
        idle = [await asyncio.open_connection(*address, local_addr=("127.0.0.2", 0)) for _ in range(4)]
        for _, writer in idle:
            writer.write(b"\x01\x00")
        await deliver(running, mo(record(device, 1)[0]))
        assert running.rows() == [(1, "readings", "sbd")]
        assert running.counters["connections over the limit"] == 1
        assert await idle[0][0].read() == b""
        for _, writer in idle:
            writer.close()
        await until(lambda: running.counters.get("connections that ended too early") == 3)


async def test_a_connection_may_be_cut_at_each_byte(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, SKY)
    device = world.add()
    async with world.running() as running:
        message = mo(record(device, 1)[0])
        for at in range(0, len(message), 3):
            assert await deliver(running, message[:at]) == b""
        assert running.rows() == []
        await deliver(running, *(message[at : at + 1] for at in range(len(message))))
        assert running.rows() == [(1, "readings", "sbd")]


async def test_a_packet_goes_by_the_gateway(tmp_path: Path) -> None:
    gateway = Gateway()
    async with gateway.listening() as where:
        world = WaysWorld(tmp_path, SKY + f'gateway = "{where}"\n')
        async with world.running() as running:
            running.way("sky").send(Airway("sky", "imei", IMEI, "sbd", 270, dear=True), b"hello")
            await until(lambda: running.counters.get("answers by a way in") == 1)
            running.way("sky").send(Airway("sky", "imei", IMEI, "sbd", 270, dear=True), bytes(271))
            assert running.counters["answers that a way in lost"] == 1
    [message] = gateway.got
    assert message.endswith(b"\x42\x00\x05hello")
    assert message[7:22] == IMEI.encode()


async def test_an_acknowledgement_comes_by_satellite_once_it_may_cost(tmp_path: Path) -> None:
    gateway = Gateway()
    async with gateway.listening() as where:
        world = WaysWorld(tmp_path, f'answer_dear_after = 0\n{SKY}gateway = "{where}"\n')
        device = world.add()
        async with world.running() as running:
            data, identity = record(device, 1)
            await deliver(running, mo(data))
            await until(lambda: running.counters.get("answers by a way in") == 1)
    assert 1 in acknowledged(device, gateway.got[0].partition(b"\x42")[2][2:], identity)


REFUSED, LATER = "answers that a provider refused", "answers that a provider takes later"
STATUSES: dict[int | None, str] = {
    **dict[int | None, str].fromkeys((-1, -2, -3, -4, -7, -8, -9, -11), REFUSED),
    **dict[int | None, str].fromkeys((-5, -6, -10, -12, -99), LATER),
    0: "answers by a way in",
    50: "answers by a way in",
    None: "answers of unknown outcome",
}


async def test_every_status_has_its_consequence(tmp_path: Path) -> None:
    gateway = Gateway()
    async with gateway.listening() as where:
        world = WaysWorld(tmp_path, SKY + f'gateway = "{where}"\n')
        async with world.running() as running:
            for number, (status, cause) in enumerate(STATUSES.items()):
                before, sent = running.counters.get(cause, 0), len(gateway.got)
                gateway.statuses = [status]
                to = Airway("sky", "imei", f"{number:015}", "sbd", 270, dear=True)
                running.way("sky").send(to, b"hello")
                await until(lambda cause=cause, before=before: running.counters.get(cause, 0) == before + 1)  # type: ignore[misc]
                ring = [each for each in gateway.got[sent:] if b"\x42" not in each[22:]]
                assert len(ring) == (status == -5)
                assert len(gateway.got) - sent == 1 + len(ring)


# --- what waits for a provider --------------------------------------------------------------------------------------------


HOUR = 3600.0


class Provider:
    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.got: list[tuple[float, str, bytes]] = []
        self.counted: list[str] = []
        self.outbox = Outbox(self.deliver, self.counted.append, Random(1), 3 * HOUR)

    async def deliver(self, airway: Airway, data: bytes) -> Outcome:
        self.got.append((asyncio.get_running_loop().time(), airway.name, data))
        return self.outcomes.pop(0) if self.outcomes else Outcome.DONE

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.outbox.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})


def to(name: str) -> Airway:
    return Airway("sky", "imei", name, "sbd", 270, dear=True)


@pytest.mark.looptime
async def test_one_devices_full_queue_holds_up_nobody_else() -> None:
    provider = Provider(Outcome.LATER)
    async with provider.running():
        for name, data in (("a", b"1"), ("a", b"2"), ("b", b"3")):
            provider.outbox.put(to(name), data)
        await asyncio.sleep(1)
        assert [(name, data) for _, name, data in provider.got] == [("a", b"1"), ("b", b"3")]
        await asyncio.sleep(1000)
        assert [data for _, _, data in provider.got] == [b"1", b"3", b"1", b"2"]
        assert 450 <= provider.got[2][0] - provider.got[0][0] <= 900


@pytest.mark.looptime
async def test_what_was_made_anew_while_the_provider_was_away_is_paid_for_once() -> None:
    provider = Provider(*[Outcome.SOON] * 1000)
    async with provider.running():
        provider.outbox.put(to("a"), b"\x20first")
        provider.outbox.put(to("a"), b"\x00management's")
        provider.outbox.put(to("b"), b"\x20another's")
        await asyncio.sleep(2 * HOUR)
        provider.outbox.put(to("a"), b"\x20more")
        await asyncio.sleep(HOUR)
        provider.outbox.put(to("a"), b"\x20first again")
        provider.outcomes.clear()
        sent = len(provider.got)
        await asyncio.sleep(2 * HOUR)
        wanted = [b"\x00management's", b"\x20another's", b"\x20first again", b"\x20more"]
        assert sorted(data for _, _, data in provider.got[sent:]) == wanted


@pytest.mark.looptime
async def test_what_has_waited_for_a_day_is_given_up() -> None:
    provider = Provider(*[Outcome.SOON] * 1000)
    async with provider.running():
        provider.outbox.put(to("a"), b"1")
        await asyncio.sleep(2 * 86_400)
        assert len(provider.outbox) == 0
        assert 20 < len(provider.got) < 100
        assert provider.counted[-1] == "answers that a way in lost"


@pytest.mark.looptime
async def test_of_many_for_one_device_the_latest_are_kept() -> None:
    provider = Provider(Outcome.LATER)
    async with provider.running():
        provider.outbox.put(to("a"), b"0")
        await asyncio.sleep(1)
        for number in range(1, 20):
            provider.outbox.put(to("a"), bytes([number]))
        assert len(provider.outbox) == MOST_FOR_ONE
        await asyncio.sleep(1)
        assert [data for _, _, data in provider.got[1:]] == [bytes([n]) for n in range(20 - MOST_FOR_ONE, 20)]
