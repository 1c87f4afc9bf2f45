"""`rataccess at`: replies apart from URCs, one by one and as a console."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rataccess_hil.replay import ReplayRadio
from rataccess_hil.rig import ModemProcess
from rataccess_hil.transcript import parse_transcript
from tests.cli.conftest import Cli


@pytest.fixture(scope="module")
def modem() -> Iterator[ModemProcess]:
    with ModemProcess() as made:
        yield made


def test_commands_one_after_the_other(cli: Cli, modem: ModemProcess) -> None:
    told = cli("at", modem.address, "-c", "AT+CSQ", "-c", "AT+CGMM")
    assert told.code == 0
    assert re.fullmatch(r"\+CSQ: \d+,\d+\nOK\nBG95-M3\nOK\n", told.out)
    assert told.err == ""


def test_an_error_ends_with_1_and_what_follows_is_not_sent(cli: Cli, modem: ModemProcess) -> None:
    told = cli("at", modem.address, "-c", "AT+NEVER", "-c", "AT+CGMM")
    assert (told.code, told.out) == (1, "")
    assert "AT+NEVER failed" in told.err
    assert cli("at", modem.address, "-c", "AT\tX").code == 1


def test_silence_ends_with_6(cli: Cli, modem: ModemProcess) -> None:
    modem.controls.do("ignore", command="+CGMM")
    try:
        told = cli("at", modem.address, "--timeout", "0.2", "-c", "AT+CGMM")
    finally:
        modem.controls.do("ignore", command="+CGMM", on=False)
    assert told.code == 6
    assert "did not answer AT+CGMM within 0.2 s" in told.err


async def test_a_lora_module_that_refuses_is_not_silent(cli: Cli) -> None:
    """RUI3 refuses in words of its own."""
    lines = [
        "# rataccess transcript 1",
        r"0.1 > AT\r",
        r"0.2 < OK\r\n",
        r"0.3 > AT+DR=9\r",
        r"0.4 < AT_PARAM_ERROR\r\n",
    ]
    async with ReplayRadio(parse_transcript("\n".join(lines)), timing=lambda _: 0.0) as radio:
        told = await asyncio.to_thread(cli, "at", radio.address, "-c", "AT+DR=9")
    assert (told.code, told.out) == (1, "")
    assert "AT+DR failed: AT_PARAM_ERROR" in told.err


def test_a_held_port_names_its_holder(cli: Cli, modem: ModemProcess) -> None:
    program = "import serial, sys; p = serial.Serial(sys.argv[1], exclusive=True)\n"
    program += "print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, modem.address.removeprefix("pty:")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        told = cli("at", modem.address, "-c", "AT")
        assert other.stdin is not None
        other.stdin.close()
    assert told.code == 6
    # the process of the virtual modem has its own end of the terminal open as well
    assert re.search(rf"in use by \S+ \(process ({other.pid}|{modem.process_id})\)", told.err)


@pytest.mark.parametrize(("address", "code"), [("nonsense", 2), ("/dev/nowhere0", 6), ("usb:dead:beef#if0", 6)])
def test_no_such_port(cli: Cli, address: str, code: int) -> None:
    assert cli("at", address, "-c", "AT").code == code


def test_lines_of_a_script(modem: ModemProcess) -> None:
    command = [sys.executable, "-m", "rataccess", "at", modem.address]
    script = "AT+CGMM\n\n!timeout x\n!timeout 9\nAT+NEVER\nAT+CSQ\nexit\nAT+CGMI\n"
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert re.fullmatch(r"BG95-M3\nOK\n\+CSQ: \d+,\d+\nOK\n", done.stdout)
    assert "AT+NEVER failed" in done.stderr
    assert "!timeout x: seconds, above 0" in done.stderr


class Terminal:
    """The console on a terminal, as a person sees it."""

    def __init__(self, address: str) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rataccess", "at", address],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "dumb"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def until(self, pattern: str, patience: float = 30.0) -> None:
        end = time.monotonic() + patience
        while not re.search(pattern, self.seen):
            assert select.select([self._master], [], [], max(0.0, end - time.monotonic()))[0], self.seen
            self.seen += os.read(self._master, 4096).decode()

    def until_it_waits(self, patience: float = 30.0) -> None:
        """The main thread sleeps.  CPython sees a signal between the prompt and that sleep with the next key only."""
        end = time.monotonic() + patience
        state = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/stat")
        while state.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < end
            time.sleep(0.005)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(modem: ModemProcess) -> Iterator[Terminal]:
    made = Terminal(modem.address)
    yield made
    made.close()


def test_a_console_shows_what_comes_unasked(terminal: Terminal, modem: ModemProcess) -> None:
    terminal.until("at> ")
    modem.controls.do("urc", line='+QIND: "test",1')
    terminal.until(r'<< \+QIND: "test",1')
    terminal.type("AT+CGMM\n")
    terminal.until(r"BG95-M3\r\nOK")
    terminal.type("\x1b[A\n" if Path("/etc/inputrc").exists() else "AT+CGMI\n")
    terminal.type("exit\n")
    terminal.until("(?s)exit")
    assert terminal.process.wait(30) == 0


def test_ctrl_c_ends_with_130(terminal: Terminal) -> None:
    terminal.until("at> ")
    terminal.until_it_waits()
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.process.wait(30) == 130
