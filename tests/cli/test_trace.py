"""`rataccess trace`, and what it wrote replayed: the same dialogue, with the Quectel driver, without the modem."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rataccess.cli.trace import Trace, create, record
from rataccess.driver import Evidence
from rataccess.errors import ConfigurationError, DiskFull, PortBusy, RadioNotFound
from rataccess_drivers.at.port import AtPort
from rataccess_hil.journal import Direction
from rataccess_hil.modem import VirtualBg95
from rataccess_hil.replay import ReplayRadio
from rataccess_hil.transcript import exchanges, parse_transcript
from tests.cellular.quectel_rigs import driver_for
from tests.cli.conftest import Cli
from tests.hil.bench import eventually

COMMANDS = ("ATE0", "AT+CGMM", "AT+CSQ", "AT+CEREG?", "AT+COPS?", "AT+CPIN?")


async def dialogue(address: str) -> list[tuple[str, ...]]:
    port = AtPort(address)
    await port.open()
    try:
        return [(await port.run(command)).lines for command in COMMANDS]
    finally:
        await port.aclose()


async def test_what_was_traced_replays() -> None:
    out = io.StringIO()
    async with VirtualBg95() as modem:
        async with Trace(modem.address, out) as trace:
            said = await dialogue(trace.stand_in.address)
            await eventually(lambda: "closed" in out.getvalue())
        assert trace.counts[Direction.TO_RADIO] == len(modem.port.journal.bytes_in(Direction.TO_RADIO))
    text = out.getvalue()
    assert text.startswith(f"# rataccess transcript 1\n# port: {modem.address}\n")
    assert " ! opened\n" in text
    assert "> AT+CSQ\\r\n" in text
    async with ReplayRadio(parse_transcript(text), timing=lambda seconds: 0.0) as radio:
        assert await dialogue(radio.address) == said
        assert radio.unmatched == []
        assert radio.script.finished


async def test_the_quectel_drivers_dialogue_replays(tmp_path: Path) -> None:
    """Identify, register, attach, status: against the modem, then against the file."""

    async def drive(address: str) -> tuple[Evidence, str]:
        driver = driver_for(address, apn="internet")
        try:
            await driver.open()
            bearer = await driver.attach()
            return (await driver.status()).evidence, bearer.rat
        finally:
            await driver.aclose()

    file = tmp_path / "bg95.transcript"
    with create(file) as out:
        async with VirtualBg95() as modem, Trace(modem.address, out, link=tmp_path / "tty") as trace:
            first = await drive(trace.stand_in.address)
    assert first[0] is Evidence.BEARER
    assert file.stat().st_mode & 0o777 == 0o600
    async with ReplayRadio.read(file, speed=1000.0) as radio:
        assert await drive(radio.address) == first
        assert radio.unmatched == []


async def test_bytes_pass_unchanged_and_the_loss_of_the_port_is_told() -> None:
    out = io.StringIO()
    told: list[str] = []
    everything = bytes(range(256))
    async with VirtualBg95() as modem:
        modem.port.on_bytes = lambda data: modem.port.write(data[::-1])
        trace = Trace(modem.address, out)
        running = asyncio.create_task(record(trace, told.append))
        await eventually(lambda: bool(told))
        fd = os.open(trace.stand_in.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            os.write(fd, everything)
            got = b""
            loop, ready = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(fd, ready.set)
            async with asyncio.timeout(10):
                while len(got) < 256:
                    await ready.wait()
                    ready.clear()
                    got += os.read(fd, 4096)
            loop.remove_reader(fd)
        finally:
            os.close(fd)
        modem.port.disconnect()
        await running
    assert sorted(got) == sorted(everything)
    [asked] = [step.asked for step in exchanges(parse_transcript(out.getvalue())) if step.asked][:1]
    assert everything.startswith(asked)
    assert "the port was lost" in told[-1]
    assert "! the port was lost: " in out.getvalue()


async def test_a_held_port_names_its_holder() -> None:
    async with VirtualBg95() as modem:
        port = AtPort(modem.address)
        await port.open()
        try:
            with pytest.raises(PortBusy, match="this process"):
                await Trace(modem.address, io.StringIO()).open()
        finally:
            await port.aclose()


@pytest.mark.parametrize(
    ("address", "error"),
    [("nonsense", ConfigurationError), ("/dev/nowhere0", RadioNotFound), ("usb:dead:beef#if0", RadioNotFound)],
)
async def test_ports_that_are_not_there(address: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await Trace(address, io.StringIO()).open()


def test_a_link_in_the_way_lets_the_port_go(tmp_path: Path) -> None:
    (tmp_path / "tty").write_text("a file")

    async def run() -> None:
        async with VirtualBg95() as modem:
            trace = Trace(modem.address, io.StringIO(), link=tmp_path / "tty")
            with pytest.raises(FileExistsError):
                await trace.open()
            await dialogue(modem.address)  # nobody holds it

    asyncio.run(run())


def test_a_file_that_cannot_be_written_is_told(cli: Cli, tmp_path: Path) -> None:
    told = cli("trace", "/dev/nowhere0", "-o", str(tmp_path / "none" / "t"))
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(f"rataccess: {tmp_path / 'none' / 't'} cannot be written: No such file")


def test_what_was_recorded_before_stays_where_the_port_is_not_there(cli: Cli, tmp_path: Path) -> None:
    old = tmp_path / "t"
    old.write_text("# an earlier one\n")
    assert cli("trace", "/dev/nowhere0", "-o", str(old)).code == 6
    assert old.read_text() == "# an earlier one\n"


def test_a_link_in_the_way_is_told(cli: Cli, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    try:
        (tmp_path / "tty").write_text("a file")
        told = cli("trace", os.ttyname(slave), "-o", str(tmp_path / "t"), "--link", str(tmp_path / "tty"))
    finally:
        os.close(master)
        os.close(slave)
    assert told.code == 6
    assert told.err.startswith("rataccess: ")
    assert str(tmp_path / "tty") in told.err


async def test_an_older_file_is_overwritten_and_nobody_elses(tmp_path: Path) -> None:
    file = tmp_path / "t"
    file.write_text("something longer than what comes\n" * 100)
    file.chmod(0o644)
    with create(file) as out:
        async with VirtualBg95() as modem, Trace(modem.address, out) as trace:
            await dialogue(trace.stand_in.address)
    assert file.stat().st_mode & 0o777 == 0o600
    assert "something" not in file.read_text()
    assert "AT+CSQ" in file.read_text()


async def test_a_full_disk_ends_the_trace_and_no_byte_is_kept_back() -> None:
    class Full(io.StringIO):
        full = False

        def flush(self) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")

    out, told = Full(), list[str]()
    async with VirtualBg95() as modem:
        trace = Trace(modem.address, out)
        running = asyncio.create_task(record(trace, told.append))
        await eventually(lambda: bool(told))
        fd = os.open(trace.stand_in.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            await eventually(lambda: "! opened" in out.getvalue())  # else that is the first that finds no room
            out.full = True
            asked = asyncio.Event()
            modem.port.on_bytes = lambda data: asked.set()
            os.write(fd, b"AT\r")
            async with asyncio.timeout(10):
                await asked.wait()
                with pytest.raises(DiskFull, match="No space left"):
                    await running
        finally:
            os.close(fd)


async def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "t.transcript"
    async with VirtualBg95() as modem:
        arguments = ["trace", modem.address, "-o", str(file), "--link", str(tmp_path / "tty")]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rataccess", *arguments, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        first = await process.stdout.readline()
        assert f"use {tmp_path / 'tty'}" in first.decode()
        await dialogue(f"pty:{tmp_path / 'tty'}")
        process.send_signal(signal.SIGINT)
        rest = await process.stdout.read()
        assert await process.wait() == 0
        process._transport.close()  # type: ignore[attr-defined]
    assert b"bytes to the radio" in rest
    assert b"AT+CSQ" in file.read_bytes()


def test_the_command_without_a_port(cli: Cli, tmp_path: Path) -> None:
    told = cli("trace", "/dev/nowhere0", "-o", str(tmp_path / "t"))
    assert told.code == 6
    assert "there is no /dev/nowhere0" in told.err
