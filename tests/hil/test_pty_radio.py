"""The virtual radio's port, driven by descriptors and by pyserial, neither of which knows that it is virtual."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import serial

from rataccess_hil.journal import Direction
from rataccess_hil.pty_radio import PtyRadio
from tests.hil.bench import Host, eventually


async def settle(times: int = 5) -> None:
    """Let the loop look at its descriptors."""
    for _ in range(times):
        await asyncio.sleep(0)


async def spoken(size: int, heard: bytearray) -> None:
    """Wait until the radio has heard so much."""
    await eventually(lambda: len(heard) >= size)


def hearing() -> tuple[PtyRadio, bytearray]:
    heard = bytearray()
    return PtyRadio(on_bytes=heard.extend), heard


async def test_passes_every_byte_both_ways_and_keeps_them() -> None:
    radio, heard = hearing()
    everything = bytes(range(256)) * 8
    async with radio, Host(radio.link) as host:
        host.write(everything)
        await spoken(len(everything), heard)
        radio.write(everything)
        assert await host.until(rb".{2048}") == everything
    assert heard == everything
    assert radio.journal.bytes_in(Direction.TO_RADIO) == everything
    assert radio.journal.bytes_in(Direction.TO_HOST) == everything
    times = [entry.at for entry in radio.journal.entries]
    assert times == sorted(times)
    assert [note.split(" as ")[0] for note in radio.journal.notes()] == [
        "connected",
        "opened",
        "closed",
        "disconnected",
    ]


async def test_more_than_the_kernel_buffers_arrives_whole() -> None:
    radio, _ = hearing()
    async with radio, Host(radio.link) as host:
        radio.write(b"x" * 300_000 + b"end")
        assert len(await host.until(b"end")) == 300_003


async def test_the_journal_reads_as_commands() -> None:
    radio, heard = hearing()
    async with radio, Host(radio.link) as host:
        host.write(b"AT\r\nATE0\r")
        await spoken(9, heard)
    assert radio.journal.commands() == ["AT", "ATE0"]
    assert {"at", "direction", "data", "note"} == set(radio.journal.dump()[0])


async def test_what_is_said_while_nobody_listens_is_lost() -> None:
    radio, _ = hearing()
    async with radio:
        radio.write(b"to nobody")
        async with Host(radio.link) as host:
            await settle()
            radio.write(b"to you")
            assert await host.until(b"you") == b"to you"
        await settle()
        radio.write(b"to nobody again")
        async with Host(radio.link) as host:
            await settle()
            radio.write(b"here")
            assert await host.until(b"here") == b"here"


async def test_what_the_last_user_left_unread_is_gone() -> None:
    radio, _ = hearing()
    async with radio:
        descriptor = os.open(radio.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        await settle()
        radio.write(b"stale")
        os.close(descriptor)
        await settle()
        async with Host(radio.link) as host:
            await settle()
            radio.write(b"fresh")
            assert await host.until(b"fresh") == b"fresh"


async def test_knows_who_has_it_open() -> None:
    radio, _ = hearing()
    async with radio:
        assert radio.holders() == []
        async with Host(radio.link):
            await settle()
            assert radio.in_use
            assert radio.holders() == [os.getpid()]
        await settle()
        assert not radio.in_use
        assert radio.opened_times == 1


async def test_tells_of_closing_and_opening_even_when_both_are_quick() -> None:
    events: list[str] = []
    radio = PtyRadio(on_open=lambda: events.append("open"), on_close=lambda: events.append("close"))
    async with radio:
        first = os.open(radio.link, os.O_RDWR | os.O_NOCTTY)
        await settle()
        os.close(first)
        second = os.open(radio.link, os.O_RDWR | os.O_NOCTTY)
        await settle()
        assert events == ["open", "close", "open"]
        intruder = os.open(radio.link, os.O_RDWR | os.O_NOCTTY)
        os.close(intruder)
        await settle()
        assert radio.journal.notes()[-1] == "opened a second time"
        assert events == ["open", "close", "open"]
        os.close(second)
        await settle()
        assert events == ["open", "close", "open", "close"]


async def test_pyserial_refuses_a_second_exclusive_opener() -> None:
    radio, _ = hearing()
    async with radio:
        with serial.Serial(str(radio.link), 115200, exclusive=True):
            await settle()
            with pytest.raises(serial.SerialException):
                serial.Serial(str(radio.link), 115200, exclusive=True)
            await settle()
            assert radio.in_use
        await settle()
        with serial.Serial(str(radio.link), 115200, exclusive=True):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else, and root overrides TIOCEXCL")
async def test_the_kernel_refuses_a_second_opener_that_is_not_root() -> None:
    radio = PtyRadio(exclusive=True)
    opener = (
        "import os, sys\n"
        "os.setuid(65534)\n"
        "try: os.close(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY))\n"
        "except OSError as error: print(error.errno)\n"
        "else: print(0)\n"
    )

    async def attempt() -> int:
        done = await asyncio.create_subprocess_exec(sys.executable, "-c", opener, radio.node, stdout=subprocess.PIPE)
        return int((await done.communicate())[0])

    async with radio:
        os.chmod(radio.node, 0o666)
        assert await attempt() == 0
        await settle()
        async with Host(radio.link):
            await settle()
            assert await attempt() == errno.EBUSY
        await settle()
        assert await attempt() == 0


async def test_unplugging_hangs_up_and_plugging_in_gives_a_new_port() -> None:
    radio, heard = hearing()
    async with radio:
        async with Host(radio.link) as host:
            await settle()
            radio.disconnect()
            assert not radio.link.exists()
            assert (await host.hangup()).errno == errno.EIO
            radio.write(b"nobody can hear this")
        assert not radio.connected
        radio.connect()
        async with Host(radio.link) as host:
            host.write(b"back")
            await spoken(4, heard)


async def test_renumbering_moves_the_link_to_another_node() -> None:
    radio, heard = hearing()
    async with radio:
        address, node = radio.address, radio.node
        async with Host(radio.link) as host:
            await settle()
            radio.renumber()
            assert (await host.hangup()).errno == errno.EIO
        assert radio.address == address
        assert radio.node != node
        assert os.readlink(radio.link) == radio.node
        async with Host(radio.link) as host:
            host.write(b"hello")
            await spoken(5, heard)


async def test_pyserial_sees_the_unplugging() -> None:
    radio, _ = hearing()
    async with radio:
        with serial.Serial(str(radio.link), 115200, timeout=5) as port:
            await settle()
            radio.disconnect()
            with pytest.raises((serial.SerialException, OSError)):
                port.read(1)


async def test_a_link_of_ones_own_is_replaced_and_removed(tmp_path: Path) -> None:
    link = tmp_path / "modem"
    link.symlink_to("/dev/pts/none")
    async with PtyRadio(link) as radio:
        assert radio.address == f"pty:{link}"
        assert os.readlink(link) == radio.node
    assert not link.is_symlink()
    link.write_text("precious")
    with pytest.raises(FileExistsError):
        async with PtyRadio(link):
            pass
    assert link.read_text() == "precious"


# --- faults of the path -----------------------------------------------------------------------------------------------


async def test_a_cut_path_passes_so_much_and_no_more() -> None:
    radio, heard = hearing()
    async with radio, Host(radio.link) as host:
        await settle()
        radio.to_host.cut(after=3)
        radio.write(b"abcdef")
        radio.write(b"ghi")
        assert await host.until(b"abc") == b"abc"
        radio.to_host.mend()
        radio.write(b"!")
        assert await host.until(b"!") == b"!"
    assert radio.to_host.lost == 6
    assert heard == b""


async def test_dropped_bytes_never_arrive() -> None:
    radio, heard = hearing()
    async with radio, Host(radio.link) as host:
        radio.to_radio.drop(count=2)
        host.write(b"AT\rOK")
        await spoken(3, heard)
        assert heard == b"\rOK"
        radio.to_host.drop(rate=0.5)
        radio.write(b"x" * 1000)
        radio.to_host.drop()
        radio.write(b"end")
        assert 400 < len(await host.until(b"end")) < 600


async def test_garbled_bytes_arrive_altered_and_all() -> None:
    radio, _ = hearing()
    async with radio, Host(radio.link) as host:
        await settle()
        radio.to_host.garble(count=3)
        radio.write(b"abcdef")
        got = await host.until(rb"...def")
        assert all(one != other for one, other in zip(got[:3], b"abc", strict=True))
        assert radio.to_host.garbled == 3
        radio.to_host.garble(rate=1.0)
        radio.write(b"xyz")
        assert await host.until(rb"...") != b"xyz"


async def test_a_frozen_path_passes_nothing_and_may_hold_it_back() -> None:
    radio, heard = hearing()
    async with radio, Host(radio.link) as host:
        await settle()
        radio.to_host.freeze()
        radio.write(b"lost")
        radio.to_host.thaw()
        radio.to_host.freeze(keep=True)
        radio.write(b"kept ")
        radio.write(b"back")
        radio.to_host.thaw()
        assert await host.until(b"back") == b"kept back"
        radio.to_radio.freeze(keep=True)
        host.write(b"AT\r")
        await eventually(lambda: radio.journal.bytes_in(Direction.TO_RADIO) == b"AT\r")
        assert heard == b""
        radio.to_radio.thaw()
        assert heard == b"AT\r"


@pytest.mark.looptime
async def test_delayed_bytes_arrive_later_and_in_order() -> None:
    radio, _ = hearing()
    loop = asyncio.get_running_loop()
    async with radio:
        start = loop.time()
        arrived: list[tuple[float, bytes]] = []
        radio.on_bytes = lambda data: arrived.append((loop.time() - start, data))
        radio.to_radio.delay(5.0)
        radio.to_radio.feed(b"slow")
        radio.to_radio.delay(1.0)
        radio.to_radio.feed(b"quick")
        await asyncio.sleep(4.9)
        assert arrived == []
        await asyncio.sleep(1.0)
        assert [data for _, data in arrived] == [b"slow", b"quick"]
        assert arrived[0][0] == pytest.approx(5.0)
