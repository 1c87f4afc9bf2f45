"""The virtual Notecard without any client: its line, its bus, any bytes at all, and virtual time."""

from __future__ import annotations

import asyncio
import errno
import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smbus2 import i2c_msg

from rataccess.clock import LoopClock
from rataccess_hil.memory_port import MemoryPort
from rataccess_hil.satellite.notecard import I2C_ADDRESS, NotecardModel, VirtualNotecard, VirtualSmbus, line
from tests.hil_satellite.terminal import Terminal

objects = st.dictionaries(
    st.text(max_size=5).filter(lambda name: name != "crc"), st.integers() | st.text(max_size=5), max_size=4
)


@settings(max_examples=60)
@given(objects, st.integers(0, 0xFFFF))
def test_any_object_comes_back(content: dict[str, Any], sequence: int) -> None:
    assert line.read(line.write(content, sequence).strip()) == (content, sequence)
    assert line.read(line.write(content).strip()) == (content, None)


def test_checks_as_its_client_does() -> None:
    crc = zlib.crc32(b'{"req":"card.version"}')
    assert line.read(b'{"req":"card.version","crc":"002A:%08X"}' % crc) == ({"req": "card.version"}, 42)
    assert line.read(b'{"crc":"0000:%08x"}' % zlib.crc32(b"{}")) == ({}, 0)
    with pytest.raises(line.LineError, match="CRC does not match"):
        line.read(b'{"req":"card.version","crc":"002A:00000000"}')


@settings(max_examples=60)
@given(st.binary(max_size=600) | st.integers(250, 260).map(lambda size: b"x" * size))
def test_stuffing_never_holds_its_end(data: bytes) -> None:
    stuffed = line.stuff(data)
    assert b"\n" not in stuffed
    assert line.unstuff(stuffed) == data


@settings(max_examples=60)
@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_leave_it_working(data: bytes, binary: bool) -> None:
    now = [1000.0]
    card = VirtualNotecard(clock=_Wall(), monotonic=lambda: now[0])
    bus = card.smbus()
    if binary:
        ask(bus, now, {"req": "card.binary.put", "cobs": len(data), "status": "00"})
    write(bus, data)
    write(bus, b"\n")
    now[0] += 1
    drain(bus, now)
    assert ask(bus, now, {"req": "card.version"})["name"] == "Blues Wireless Notecard"


class _Wall:
    def wall(self) -> float:
        return 1_767_225_600.0

    def monotonic(self) -> float:
        raise AssertionError("only dates are asked of it")

    def wall_known(self) -> bool:
        return True


# --- the bus, as smbus2 is used ---------------------------------------------------------------------------------------


def write(bus: VirtualSmbus, data: bytes) -> None:
    """Write in chunks of 250."""
    for start in range(0, len(data), 250):
        part = data[start : start + 250]
        bus.i2c_rdwr(i2c_msg.write(I2C_ADDRESS, bytes([len(part)]) + part))


def take(bus: VirtualSmbus, count: int) -> tuple[int, bytes]:
    """One read; what is left, and the data."""
    wanted, found = i2c_msg.write(I2C_ADDRESS, [0, count]), i2c_msg.read(I2C_ADDRESS, count + 2)
    bus.i2c_rdwr(wanted, found)
    data = bytes(found)
    assert data[1] == len(data) - 2 == count
    return data[0], data[2:]


def drain(bus: VirtualSmbus, now: list[float]) -> bytes:
    """Everything that is there."""
    data = b""
    for _ in range(200):
        left, _ = take(bus, 0)
        if not left:
            return data
        data += take(bus, left)[1]
        now[0] += 0.05
    raise AssertionError("it says ever more")


def ask(bus: VirtualSmbus, now: list[float], request: dict[str, Any]) -> dict[str, Any]:
    """A request and its reply."""
    write(bus, json.dumps(request).encode() + b"\n")
    now[0] += 0.5
    found: dict[str, Any] = json.loads(drain(bus, now))
    return found


def test_speaks_over_smbus() -> None:
    now = [0.0]
    card = VirtualNotecard(clock=_Wall(), monotonic=lambda: now[0])
    with card.smbus() as bus:
        assert ask(bus, now, {"req": "card.version", "id": 7})["id"] == 7
        text = b'{"req":"card.time"}\n'
        bus.write_i2c_block_data(I2C_ADDRESS, len(text), list(text))
        assert take(bus, 0) == (0, b""), "it has not answered yet"
        now[0] += 1
        bus.write_byte_data(I2C_ADDRESS, 0, 10)
        found = i2c_msg.read(I2C_ADDRESS, 12)
        bus.i2c_rdwr(found)
        assert bytes(found)[1:] == b"\x0a" + b'{"zone":"U'
        assert drain(bus, now) == b'TC,Unknown"}\r\n'
        with pytest.raises(ValueError, match="32 bytes"):
            bus.write_i2c_block_data(I2C_ADDRESS, 33, [0] * 33)
        with pytest.raises(OSError, match="Remote I/O") as caught:
            bus.write_quick(0x18)
        assert caught.value.errno == errno.EREMOTEIO
        card.controls.nack(2)
        for _ in range(2):
            with pytest.raises(OSError, match="Remote I/O"):
                take(bus, 0)
        bus.write_quick(I2C_ADDRESS)
        card.controls.hang("gone")
        with pytest.raises(OSError, match="Remote I/O"):
            bus.write_quick(I2C_ADDRESS)
        card.controls.power_cut()
        now[0] += 10
        assert ask(bus, now, {"req": "card.version"})["sku"] == "NOTE-NBGL"
        card.controls.hang("silent")
        write(bus, b'{"req":"card.version"}\n')
        now[0] += 100
        assert take(bus, 0) == (0, b"")
    with pytest.raises(OSError, match="closed"):
        bus.read_byte(I2C_ADDRESS)
    assert card.controls.stats()["nacks"] == 3


def test_may_refuse_to_listen_while_busy() -> None:
    now = [0.0]
    card = VirtualNotecard(clock=_Wall(), monotonic=lambda: now[0], model=NotecardModel(nacks_when_busy=True))
    bus = card.smbus()
    write(bus, b'{"req":"card.version"}\n')
    with pytest.raises(OSError, match="Remote I/O"):
        write(bus, b"\n")
    assert take(bus, 0) == (0, b""), "reading is no trouble"
    now[0] += 1
    assert b"NOTE-NBGL" in drain(bus, now)


async def test_is_used_from_a_thread() -> None:
    heard = []
    async with VirtualNotecard() as card, asyncio.timeout(10):
        card.notehub.listeners.append(lambda event: heard.append(asyncio.get_running_loop()))
        card.core.timings = type(card.core.timings)(reply=0.0, sync=(0.0, 0.0))
        bus = card.smbus()

        def talk() -> None:
            hub = {"req": "hub.set", "product": "a:b", "mode": "continuous"}
            for request in (hub, {"req": "note.add", "body": {"a": 1}, "sync": True}, {"req": "hub.sync"}):
                write(bus, json.dumps(request).encode() + b"\n")

        await asyncio.to_thread(talk)
        while not heard:
            await asyncio.sleep(0)
    assert heard == [asyncio.get_running_loop()], "told in the loop's thread"


# --- serial, in virtual time ------------------------------------------------------------------------------------------


async def request(terminal: Terminal, **fields: Any) -> dict[str, Any]:
    """A request and its reply."""
    terminal.write(json.dumps(fields) + "\r\n")
    found: dict[str, Any] = json.loads(await terminal.until(b"\r\n", seconds=30))
    return found


@pytest.mark.looptime
async def test_syncs_in_virtual_time() -> None:
    port = MemoryPort()
    async with VirtualNotecard(port, clock=LoopClock()) as card:
        terminal = Terminal(port)
        terminal.write("\n")
        assert await terminal.until(b"\r\n") == b"\r\n"
        assert "{io}" in (await request(terminal, nothing=1))["err"]
        assert "{not-supported}" in (await request(terminal, req="card.nonsense"))["err"]
        await request(terminal, req="hub.set", product="a:b", mode="periodic", outbound=60)
        assert (await request(terminal, req="note.add", file="up.qo", body={"a": 1})) == {"total": 1}
        await asyncio.sleep(3500)
        assert card.notehub.events == []
        await asyncio.sleep(200)
        assert [each.body for each in card.notehub.events] == [{"a": 1}]
        await request(terminal, req="hub.set", mode="continuous")
        await asyncio.sleep(60)
        pin = card.core.attn_pin
        await request(terminal, req="card.attn", mode="arm,files", files=["down.qi"])
        assert pin.read() is False
        card.notehub.send(card.device, "down.qi", {"b": 2})
        await asyncio.sleep(60)
        assert pin.read() is True
        assert (await request(terminal, req="card.attn"))["files"] == ["down.qi"]
        assert (await request(terminal, req="note.get", file="down.qi", delete=True))["body"] == {"b": 2}
        terminal.close()


@pytest.mark.looptime
async def test_keeps_notes_through_a_power_cut() -> None:
    port = MemoryPort()
    async with VirtualNotecard(port, clock=LoopClock()) as card:
        terminal = Terminal(port)
        await request(terminal, req="note.add", file="up.qo", body={"a": 1})
        card.controls.power_cut()
        terminal.write('{"req":"card.version"}\n')
        assert await terminal.pause(2) == b""
        await asyncio.sleep(5)
        assert (await request(terminal, req="file.stats")) == {"total": 1, "changes": 1, "sync": True}
        assert (await request(terminal, req="note.changes", file="up.qo", tracker="t"))["changes"] == 1
        assert (await request(terminal, req="note.changes", file="up.qo", tracker="t"))["changes"] == 0
        terminal.close()
