"""The virtual 9603: what it says, what its sessions leave behind, and what can go wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rataccess.clock import LoopClock
from rataccess_hil.lora.pins import VirtualGpio
from rataccess_hil.memory_port import MemoryPort
from rataccess_hil.satellite import USUAL_IMEI, IridiumGateway, Model, Sky, Timings, Virtual9603
from tests.hil_satellite.terminal import Terminal, corpus

pytestmark = pytest.mark.looptime


class World:
    """A modem, its gateway and a terminal."""

    def __init__(self, **modem: Any) -> None:
        self.gateway = IridiumGateway(clock=LoopClock())
        self.port = MemoryPort()
        self.modem = Virtual9603(self.port, self.gateway, **modem)
        self.terminal = Terminal(self.port)
        self.controls = self.modem.controls

    async def __aenter__(self) -> World:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.terminal.close()
        await self.modem.aclose()

    async def load(self, data: bytes, total: bytes | None = None) -> str:
        """SBDWB; returns its code."""
        self.terminal.write(f"AT+SBDWB={len(data)}\r")
        await self.terminal.until(b"READY\r\n")
        self.terminal.write(data + ((sum(data) & 0xFFFF).to_bytes(2, "big") if total is None else total))
        said = await self.terminal.until(b"\r\nOK\r\n")
        return said.split()[0].decode()

    async def session(self, command: str = "AT+SBDIX") -> list[int]:
        """The six fields of +SBDIX."""
        line, ok = await self.terminal.ask(command)
        assert ok == "OK"
        return [int(field) for field in line.removeprefix("+SBDIX: ").split(", ")]

    async def read(self) -> bytes:
        """SBDRB; checks the sum."""
        self.terminal.write("AT+SBDRB\r")
        said = (await self.terminal.until(b"\r\nOK\r\n")).removeprefix(b"AT+SBDRB\r").removesuffix(b"\r\nOK\r\n")
        size, data, total = int.from_bytes(said[:2], "big"), said[2:-2], said[-2:]
        assert len(data) == size
        assert (sum(data) & 0xFFFF).to_bytes(2, "big") == total
        return data


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as made:
        yield made


async def test_speaks_at(world: World) -> None:
    ask = world.terminal.ask
    assert await ask("AT") == ["OK"]
    assert await ask("AT+CGSN") == [USUAL_IMEI, "OK"]
    assert await ask("AT+GSN") == [USUAL_IMEI, "OK"]
    assert (await ask("AT+CGMR"))[0].endswith("TA16005")
    assert await ask("AT+CULK?") == ["+CULK:0", "OK"]
    assert await ask("AT+NONSENSE") == ["ERROR"]
    assert await ask("ATE0&D0&K0") == ["OK"]
    world.terminal.write("AT+CSQ\r")
    assert await world.terminal.until(b"OK\r\n") == b"\r\n+CSQ:5\r\n\r\nOK\r\n"
    assert await ask("AT+CSQF") == ["+CSQF:5", "OK"]
    world.terminal.write("ATV0\r")
    assert await world.terminal.until(b"0\r") == b"0\r"
    world.terminal.write("ATQ1\r")
    assert await world.terminal.pause(1) == b""
    world.terminal.write("AT+CSQF\r")
    assert await world.terminal.pause(1) == b"+CSQF:5\r\n"


async def test_takes_binary_with_its_sum(world: World) -> None:
    for case in corpus("iridium_sbd")["binary_checksums"]:
        data = bytes.fromhex(case["payload"])
        assert await world.load(data, bytes.fromhex(case["expect"]["sbdwb_tail"])) == "0"
        await world.terminal.ask("AT+SBDTC")
        world.terminal.write("AT+SBDRB\r")
        said = await world.terminal.until(b"\r\nOK\r\n")
        assert said == b"AT+SBDRB\r" + bytes.fromhex(case["expect"]["sbdrb_frame"]) + b"\r\nOK\r\n"
    assert await world.load(b"hello", b"\x02\x15") == "2"
    for size in (0, 341):
        assert await world.terminal.ask(f"AT+SBDWB={size}") == ["3", "OK"]
    world.terminal.write("AT+SBDWB=5\r")
    await world.terminal.until(b"READY\r\n")
    world.terminal.write("hel")
    assert await world.terminal.pause(59) == b""
    assert b"\r\n1\r\n\r\nOK" in await world.terminal.pause(2)


async def test_carries_both_ways_and_bills_each_50_bytes(world: World) -> None:
    world.gateway.send(USUAL_IMEI, b"down one")
    world.gateway.send(USUAL_IMEI, bytes(51))
    assert await world.load(bytes(100)) == "0"
    assert await world.session() == [0, 0, 1, 1, 8, 1]
    assert await world.read() == b"down one"
    taken = world.gateway.of(USUAL_IMEI).mo
    assert [(each.momsn, each.mtmsn, each.payload) for each in taken] == [(0, 1, bytes(100))]
    assert world.gateway.credits(USUAL_IMEI) == 2 + 1
    assert await world.terminal.ask("AT+SBDSX") == ["+SBDSX: 1, 1, 1, 1, 0, 1", "OK"]
    assert await world.terminal.ask("AT+SBDD0") == ["0", "OK"]
    assert await world.session() == [0, 1, 1, 2, 51, 0]
    assert world.gateway.credits(USUAL_IMEI) == 5
    assert await world.session() == [0, 2, 0, 0, 0, 0]
    assert world.gateway.credits(USUAL_IMEI) == 6
    assert len(world.gateway.of(USUAL_IMEI).mo) == 1


@pytest.mark.parametrize(
    ("step", "said", "taken", "momsn", "queued"),
    [
        ("before mo", [18, 0, 2, 0, 0, 0], 0, 0, 1),
        ("after mo", [13, 0, 2, 0, 0, 0], 1, 0, 1),
        ("after ack", [17, 0, 2, 0, 0, 0], 1, 1, 1),
        ("during mt", [0, 0, 2, 0, 0, 1], 1, 1, 1),
        ("after mt", [0, 0, 1, 1, 4, 1], 1, 1, 1),
    ],
)
async def test_breaks_at_every_step(
    world: World, step: str, said: list[int], taken: int, momsn: int, queued: int
) -> None:
    world.gateway.send(USUAL_IMEI, b"down")
    await world.load(b"up")
    world.controls.break_session(step)
    assert await world.session() == said
    stats = world.controls.stats()
    assert (stats["mo"], stats["momsn"], stats["queued"], stats["credits"]) == (taken, momsn, queued, taken)
    # The next one is whole: the same number again where the modem did not know its message accepted.
    assert await world.session() == [0, momsn, 1, 1, 4, 0]
    assert world.gateway.queued(USUAL_IMEI) == 0


@pytest.mark.parametrize("status", [10, 11, 12, 13, 14, 15, 17, 19, 36, 64, 65])
async def test_ends_with_any_status_on_demand(world: World, status: int) -> None:
    await world.load(b"up")
    world.controls.status(status)
    assert (await world.session())[0] == status
    assert world.controls.stats()["mo"] == 0
    assert (await world.session())[0] == 0


async def test_status_of_what_stands_in_the_way(world: World) -> None:
    await world.load(b"up")
    hurdles: list[tuple[Callable[[], None], Callable[[], None], int]] = [
        (lambda: world.controls.lock(), lambda: world.controls.lock(False), 16),
        (lambda: world.controls.antenna_fault(), lambda: world.controls.antenna_fault(False), 33),
        (lambda: world.controls.busy(), lambda: world.controls.busy(False), 35),
        (lambda: world.controls.disable(), lambda: world.controls.disable(False), 37),
        (lambda: world.controls.traffic(100), lambda: world.controls.traffic(0), 38),
        (lambda: world.controls.sky(0), lambda: world.controls.sky(5), 32),
    ]
    for on, off, status in hurdles:
        on()
        assert (await world.session())[0] == status
        if status == 38:
            (line, _) = await world.terminal.ask("AT+SBDLOE")
            assert 90 < int(line.split(",")[1]) <= 100
        off()
    world.gateway.of(USUAL_IMEI).barred = True
    assert (await world.session())[0] == 15
    world.gateway.of(USUAL_IMEI).barred = False
    await world.terminal.ask("AT*R0")
    assert (await world.session())[0] == 34
    await world.terminal.ask("AT*R1")
    world.controls.status(1)
    assert (await world.session())[0] == 1
    assert world.controls.stats()["mo"] == 1


async def test_loses_the_link_when_the_sky_goes(world: World) -> None:
    await world.load(b"up")
    asyncio.get_running_loop().call_later(1, lambda: world.controls.sky(0))
    assert (await world.session())[0] == 18
    assert world.controls.stats()["mo"] == 0


async def test_a_byte_ends_a_session(world: World) -> None:
    await world.load(b"up")
    world.terminal.write("AT+SBDIX\r")
    await world.terminal.pause(1)
    world.terminal.write("A")
    assert b"+SBDIX: 18, 0, 2, 0, 0, 0" in await world.terminal.until(b"OK\r\n", seconds=1)
    assert world.controls.stats()["aborted"] == 1


async def test_rings_twice_and_is_answered(world: World) -> None:
    pin = world.modem.core.ring_pin
    reader = VirtualGpio(pin, "in", "falling")
    try:
        await world.terminal.ask("AT+SBDMTA=1")
        world.gateway.send(USUAL_IMEI, b"one")
        assert await world.terminal.pause(30) == b"", "it has not registered yet"
        assert await world.terminal.ask("AT+SBDREG") == ["+SBDREG:2,0", "OK"]
        world.gateway.send(USUAL_IMEI, b"two")
        assert await world.terminal.pause(1) == b"\r\nSBDRING\r\n"
        assert reader.poll(0)
        assert reader.read_event().edge == "falling"
        assert pin.read() is False
        assert await world.terminal.pause(18) == b""
        assert pin.read() is True
        assert await world.terminal.pause(60) == b"\r\nSBDRING\r\n", "a second one after 20 s, and no third"
        assert (await world.terminal.ask("AT+SBDSX"))[0].split(", ")[4] == "1"
        assert await world.session("AT+SBDIXA") == [0, 0, 1, 1, 3, 1]
        assert (await world.terminal.ask("AT+SBDSX"))[0].split(", ")[4] == "0"
        world.controls.sky(0)
        world.gateway.send(USUAL_IMEI, b"three")
        assert await world.terminal.pause(60) == b"", "nobody hears a ring under a roof"
        assert world.controls.stats()["rings_missed"] >= 2
    finally:
        reader.close()


async def test_tells_of_bars_and_service(world: World) -> None:
    await world.terminal.ask("AT+CIER=1,1,1,0")
    assert await world.terminal.pause(10) == b"\r\n+CIEV:0,5\r\n\r\n+CIEV:1,1\r\n"
    world.controls.sky(2)
    assert await world.terminal.pause(10) == b"\r\n+CIEV:0,2\r\n"
    world.controls.sky(0)
    assert await world.terminal.pause(10) == b"\r\n+CIEV:0,0\r\n\r\n+CIEV:1,0\r\n"
    await world.terminal.ask("AT+CIER=0")
    world.controls.sky(5)
    assert await world.terminal.pause(60) == b""


async def test_knows_the_time(world: World) -> None:
    line = (await world.terminal.ask("AT-MSSTM"))[0]
    seconds = 1_399_818_235 + int(line.removeprefix("-MSSTM: "), 16) * 0.09
    assert abs(seconds - world.gateway.clock.wall()) < 1
    world.controls.sky(0)
    assert await world.terminal.ask("AT-MSSTM") == ["-MSSTM: no network service", "OK"]


async def test_factory_flow_control_silences_three_wires() -> None:
    async with World(model=Model(flow_control=3)) as world:
        world.terminal.write("AT\r")
        assert await world.terminal.pause(5) == b""
        world.terminal.write("AT&K0\r")
        assert b"OK" in await world.terminal.pause(1)
        await world.terminal.ask("AT&W0")
        world.controls.power_cut()
        await world.terminal.pause(5)
        assert await world.terminal.ask("AT") == ["OK"]


async def test_power_takes_buffers_and_leaves_numbers(world: World) -> None:
    await world.load(b"up")
    await world.session()
    world.controls.power_cut(1)
    world.terminal.write("AT\r")
    assert await world.terminal.pause(2) == b""
    await world.terminal.pause(2)
    assert await world.terminal.ask("AT+SBDSX") == ["+SBDSX: 0, 1, 0, -1, 0, 0", "OK"]


@pytest.mark.parametrize(("how", "said"), [("uart", b""), ("busy", b"AT\r")])
async def test_hangs_until_its_power_is_cut(world: World, how: str, said: bytes) -> None:
    world.controls.hang(how)
    world.terminal.write("AT\r")
    assert await world.terminal.pause(100) == said
    world.controls.power_cut()
    await world.terminal.pause(5)
    assert await world.terminal.ask("AT") == ["OK"]


async def test_browns_out_on_an_empty_supercap(world: World) -> None:
    await world.load(b"up")
    world.controls.discharge(30)
    world.terminal.write("AT+SBDIX\r")
    assert await world.terminal.pause(20) == b"AT+SBDIX\r"
    await world.terminal.pause(20)
    assert (await world.terminal.ask("AT+SBDSX"))[0].startswith("+SBDSX: 0,"), "the message is gone"
    assert world.controls.stats()["brown_outs"] == 1


async def test_signal_takes_its_time() -> None:
    async with World(sky=Sky(0)) as world:
        with pytest.raises(TimeoutError):
            await world.terminal.ask("AT+CSQ", seconds=49)
        assert b"+CSQ:0" in await world.terminal.until(b"OK\r\n")


async def test_old_firmware_wants_the_time_first() -> None:
    async with World(model=Model(firmware="TA12003")) as world:
        await world.load(b"up")
        assert (await world.session())[0] == 32
        await world.terminal.ask("AT-MSSTM")
        assert (await world.session())[0] == 0


async def test_weak_sky_breaks_sessions_by_itself() -> None:
    async with World(sky=Sky(1), timings=Timings().with_sessions(1), seed=3) as world:
        await world.load(b"up")
        statuses = {(await world.session())[0] for _ in range(20)}
        assert 0 in statuses
        assert statuses - {0}


async def test_too_large_an_mt_message_is_told(world: World) -> None:
    world.gateway.send(USUAL_IMEI, bytes(271))
    world.gateway.send(USUAL_IMEI, bytes(270))
    await world.load(b"up")
    assert await world.session() == [1, 0, 0, 0, 0, 1]
    assert await world.session() == [0, 1, 1, 2, 270, 0]


async def test_text(world: World) -> None:
    assert await world.terminal.ask("AT+SBDWT=hello; =world") == ["OK"]
    await world.session()
    assert world.gateway.of(USUAL_IMEI).mo[0].payload == b"hello; =world"
    assert await world.terminal.ask("AT+SBDWT=" + "x" * 121) == ["ERROR"]
    world.terminal.write("AT+SBDWT\r")
    await world.terminal.until(b"READY\r\n")
    world.terminal.write("longer\r")
    await world.terminal.until(b"\r\n0\r\n\r\nOK\r\n")
    await world.terminal.ask("AT+SBDTC")
    assert await world.terminal.ask("AT+SBDRT") == ["+SBDRT:", "longer", "OK"]


def test_passes_rain_and_roofs() -> None:
    sky = Sky(passing=True, seed=7)
    clear = [sky.bars(second) for second in range(0, 3600, 10)]
    assert max(clear) == 5
    assert 0 < sum(clear) / len(clear) <= 5
    assert clear == [Sky(passing=True, seed=7).bars(second) for second in range(0, 3600, 10)]
    change = sky.next_change(100)
    assert change is not None
    assert {sky.bars(100 + step) for step in range(0, round(change - 100), 4)} == {sky.bars(100)}
    assert sky.bars(change) != sky.bars(100)
    assert Sky().next_change(0) is None
    sky.spoil(rain=3)
    assert max(sky.bars(second) for second in range(0, 3600, 10)) == 2
    sky.spoil(rain=0, obstruction=1.0)
    assert not any(sky.bars(second) for second in range(0, 3600, 10))
    with pytest.raises(ValueError, match="not 6"):
        sky.spoil(rain=6)
    with pytest.raises(ValueError, match=r"not 1\.1"):
        sky.spoil(obstruction=1.1)
    with pytest.raises(ValueError, match="bars are 0 to 5"):
        sky.set(6)
