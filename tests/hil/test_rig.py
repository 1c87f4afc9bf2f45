"""A virtual modem as a process of its own: its control channel, its wires, its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from rataccess_hil.control import ControlError, Controls, ControlServer
from rataccess_hil.hands import Hands
from rataccess_hil.lines import LineFiles, VirtualLine
from rataccess_hil.lora.site_controls import SiteControls
from rataccess_hil.modem.__main__ import main, parser
from rataccess_hil.modem.controls import ModemControls
from rataccess_hil.rig import ModemProcess
from rataccess_hil.satellite import ImtControls, SbdControls
from rataccess_hil.satellite.notecard import NotecardControls
from tests.hil.bench import eventually

# --- the process ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def echo() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(10)
        yield made


@pytest.fixture(scope="module")
def rig(echo: socket.socket) -> Iterator[ModemProcess]:
    with ModemProcess({("198.51.100.7", 5683): echo.getsockname()}) as made:
        yield made


@pytest.fixture
def port(rig: ModemProcess) -> Iterator[serial.Serial]:
    with serial.Serial(rig.address.removeprefix("pty:"), 115200, timeout=10, exclusive=True) as made:
        made.write(b"ATE0\r")
        assert made.read_until(b"OK\r\n").endswith(b"OK\r\n")
        yield made


def ask(port: serial.Serial, command: bytes, until: bytes = b"\r\nOK\r\n") -> bytes:
    port.write(command + b"\r")
    said = bytes(port.read_until(until))
    assert said.endswith(until), said
    return said


def test_carries_bytes_between_processes(rig: ModemProcess, port: serial.Serial, echo: socket.socket) -> None:
    ask(port, b"AT+QIACT=1")
    ask(port, b'AT+QIOPEN=1,0,"UDP","198.51.100.7",5683,0,0', b"+QIOPEN: 0,0\r\n")
    ask(port, b"AT+QISEND=0,5", b"> ")
    port.write(b"hello")
    data, source = echo.recvfrom(2000)
    assert data == b"hello"
    echo.sendto(b"world!", source)
    assert bytes(port.read_until(b'"recv",0\r\n')) == b'\r\nSEND OK\r\n\r\n+QIURC: "recv",0\r\n'
    assert ask(port, b"AT+QIRD=0,1500") == b"\r\n+QIRD: 6\r\nworld!\r\n\r\nOK\r\n"
    stats = rig.controls.stats()
    assert (stats["sent"], stats["received"]) == (5, 6)
    assert stats["network"]["up"]["packets"] == 1


def test_is_controlled_from_outside(rig: ModemProcess, port: serial.Serial) -> None:
    ask(port, b"AT+CEREG=1")
    rig.controls.do("coverage", on=False)
    assert bytes(port.read_until(b"+CEREG: 2\r\n")).endswith(b"+CEREG: 2\r\n")
    rig.controls.do("coverage", on=True)
    assert bytes(port.read_until(b"+CEREG: 1\r\n")).endswith(b"+CEREG: 1\r\n")
    with pytest.raises(ControlError, match="there is no control 'fly'; there are"):
        rig.controls.do("fly")
    with pytest.raises(ControlError, match="unexpected keyword"):
        rig.controls.do("hang", hard=True)
    assert "AT+CEREG=1" in rig.controls.do("commands")


def test_its_wires_are_files_and_lines(rig: ModemProcess, port: serial.Serial) -> None:
    rig.controls.do("hang", how="supply")
    (rig.lines / "supply").write_text("0\n1\n")
    assert b"RDY" in bytes(port.read_until(b"PB DONE\r\n"))
    line = rig.controls.line("supply")
    line.write(False)
    assert line.read() is False
    assert rig.controls.stats()["power"] == "off"
    line.write(True)
    line.close()
    assert b"RDY" in bytes(port.read_until(b"PB DONE\r\n"))


def test_it_cleans_up_when_told_to_stop(tmp_path: Path) -> None:
    rig = ModemProcess(None, "--model", "ec25", "--start", "off", folder=tmp_path)
    with rig:
        assert rig.controls.stats()["power"] == "off"
        rig.controls.do("stop")
        assert rig.process_id
    assert [path.name for path in tmp_path.iterdir()] == ["lines"]
    assert list((tmp_path / "lines").iterdir()) == []


def test_a_killed_one_is_an_error_and_not_a_hang() -> None:
    with ModemProcess() as rig:
        rig.kill()
        with pytest.raises(ControlError, match="does not answer"):
            rig.controls.do("stats")
    with pytest.raises(ControlError, match="does not run"):
        _ = rig.controls


def test_it_ends_with_its_parent_and_by_signal(tmp_path: Path) -> None:
    for end in ("eof", "signal"):
        process = subprocess.Popen(
            [sys.executable, "-m", "rataccess_hil.modem", "--link", str(tmp_path / "tty"), "--until-eof"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdout:
            assert json.loads(process.stdout.readline())["address"] == f"pty:{tmp_path / 'tty'}"
            if end == "signal":
                process.send_signal(signal.SIGTERM)
            process.stdin.close()
            assert process.wait(20) == 0
        assert not (tmp_path / "tty").is_symlink()


def test_bad_arguments_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    for bad in ("x", "host:1=there", "host:99999=127.0.0.1:1"):
        with pytest.raises(SystemExit):
            parser().parse_args(["--nat", bad])
        assert "HOST:PORT" in capsys.readouterr().err
    options = parser().parse_args(["--nat", "[2001:db8::1]:5683=127.0.0.1:40000"])
    assert options.nat == [(("2001:db8::1", 5683), ("127.0.0.1", 40000))]


# --- the channel by itself --------------------------------------------------------------------------------------------


async def test_the_channel_survives_nonsense(tmp_path: Path) -> None:
    stopped: list[bool] = []
    server = ControlServer(tmp_path / "c", lambda name, arguments: [name, arguments], lambda: stopped.append(True))
    await server.open()
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o600
    reader, writer = await asyncio.open_unix_connection(tmp_path / "c")
    answers = []
    for line in (b"{nonsense", b"[]", b"{}", b'"do"', b'{"do": "x", "a": 1}', b'{"do": "stop"}'):
        writer.write(line + b"\n")
        answers.append(json.loads(await reader.readline()))
    assert [answer["ok"] for answer in answers] == [False, False, False, False, True, True]
    assert answers[4]["result"] == ["x", {"a": 1}]
    assert stopped == [True]
    await server.aclose()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert not (tmp_path / "c").exists()


def test_no_radio_no_controls(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no virtual radio listens"), Controls(tmp_path / "none"):
        pass
    with pytest.raises(ControlError, match="not open"):
        Controls(tmp_path / "none").do("stats")


async def test_lines_as_files_take_only_levels(tmp_path: Path) -> None:
    levels: list[bool] = []
    line = VirtualLine(levels.append)
    files = LineFiles(tmp_path, {"reset": line})
    await files.open()
    (tmp_path / "reset").write_text("1\nx\n 0\n")
    await eventually(lambda: len(levels) == 2)
    assert levels == [True, False]
    assert line.read() is False
    await files.aclose()
    await files.aclose()
    assert os.listdir(tmp_path) == []


def test_a_port_that_cannot_be_had_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["--link", str(tmp_path / "nowhere" / "ttyBG95")])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m rataccess_hil.modem: ")
    assert "No such file or directory" in line


@pytest.mark.parametrize("kind", [ModemControls, SiteControls, SbdControls, ImtControls, NotecardControls])
def test_every_set_of_hands_is_asked_alike(kind: type[Hands]) -> None:
    """What there is can be asked for; what is no control is refused with all that there are."""
    hands = kind.__new__(kind)
    names = hands.do("names")
    assert "do" not in names
    assert len(names) > 5
    for name in ("do", "_site", "__init__", "nonsense"):
        with pytest.raises(ValueError, match=f"^there is no control '{name}'; there are {', '.join(names)}$"):
            hands.do(name)
