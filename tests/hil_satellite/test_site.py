"""A site with a pseudo terminal and real connections, and as a process of its own with a control channel."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
import serial

from rataccess_hil.control import ControlError
from rataccess_hil.satellite import MoMessage, MtConfirmation, MtMessage
from rataccess_hil.satellite.__main__ import main, parser, site_of
from rataccess_hil.satellite.directip import missing
from rataccess_hil.satellite.process import SatelliteProcess


async def test_a_site_on_a_pseudo_terminal(tmp_path: Path) -> None:
    arguments = ["--mo", "127.0.0.1:1", "--hook", "lingo=http://127.0.0.1:1/", "--web", "127.0.0.1:0"]
    site = site_of(parser().parse_args([*arguments, "--lines", str(tmp_path / "lines"), "--session-seconds", "0"]))
    async with site, asyncio.timeout(10):
        told = site.told()
        assert told["imei"] == site.modem.imei
        assert told["web"][1]
        with pytest.raises(ValueError, match="there is no control 'nonsense'"):
            site.controls.do("nonsense")
        assert {"send", "sky"} <= set(site.controls.do("names"))
        with pytest.raises(ValueError, match="is no line"):
            site.controls.do("line", {"name": "nonsense", "level": True})
        assert site.controls.do("send", {"data": "00ff", "flush": True}) == 1
        site.controls.do("refuse_mt", {"status": -6})
        assert site.controls.do("send", {"data": "00ff"}) == -6
        site.controls.do("line", {"name": "supply", "level": False})
        assert site.controls.do("stats")["powered"] is False
        descriptor = os.open(tmp_path / "lines" / "supply", os.O_WRONLY | os.O_NONBLOCK)
        os.write(descriptor, b"1")
        os.close(descriptor)
        while not site.controls.do("stats")["powered"]:
            await asyncio.sleep(0)
        site.controls.do("disconnect")
        site.controls.do("connect")
        assert site.controls.do("journal")
    async with site_of(parser().parse_args(["--model", "9704", "--session-seconds", "1"])) as other:
        assert other.controls.do("stats")["state"] == "inactive"
    for wrong in (["--mo", "nowhere"], ["--hook", "http://x/"], ["--imei", "12"]):
        with pytest.raises(SystemExit):
            parser().parse_args(wrong)


def test_what_cannot_be_had_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--link", str(tmp_path / "absent" / "tty")])
    [line] = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "absent") in line


def take(server: socket.socket) -> MoMessage:
    """One delivery of the gateway."""
    connection, _ = server.accept()
    with connection:
        connection.settimeout(20)
        return MoMessage.decode(read(connection))


def read(connection: socket.socket) -> bytes:
    """One DirectIP message."""
    data = b""
    while more := missing(data):
        part = connection.recv(more)
        assert part
        data += part
    return data


def ask(port: serial.Serial, command: bytes, until: bytes = b"\r\nOK\r\n") -> bytes:
    """A command's answer."""
    port.write(command)
    said = bytes(port.read_until(until))
    assert said.endswith(until), said
    return said


def test_a_site_as_a_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        with SatelliteProcess([server.getsockname()], session_seconds=0.01, folder=tmp_path) as site:
            assert site.address == f"pty:{tmp_path}/tty"
            with serial.Serial(site.address.removeprefix("pty:"), 19200, timeout=20) as port:
                with socket.create_connection(site.mt, 20) as client:
                    client.sendall(MtMessage(site.imei, b"down", 7).encode())
                    answer = MtConfirmation.decode(read(client))
                assert (answer.client_id, answer.status) == (7, 1)
                ask(port, b"AT+SBDWB=2\r", b"READY\r\n")
                ask(port, b"up\x00\xe5")
                assert b"+SBDIX: 0, 0, 1, 1, 4, 0" in ask(port, b"AT+SBDIX\r")
                assert b"\x00\x04down" in ask(port, b"AT+SBDRB\r")
                message = take(server)
                assert (message.imei, message.momsn, message.payload) == (site.imei, 0, b"up")
                site.controls.do("break_session", step="after mo")
                assert b"+SBDIX: 13, 1, " in ask(port, b"AT+SBDIX\r")
                assert take(server).payload == b"up"
                site.controls.do("sky", bars=0)
                assert b"+SBDIX: 32, 1, " in ask(port, b"AT+SBDIX\r")
                site.controls.do("sky", bars=5)
                site.controls.do("location", latitude=-59.5, longitude=18.25)
                assert b"+SBDIX: 0, 1, " in ask(port, b"AT+SBDIX\r")
                place = take(server).location
                assert place is not None
                assert (place.latitude, place.longitude, place.cep_km) == (-59.5, 18.25, 3)
            stats = site.controls.stats()
            assert (stats["mo"], stats["mt"], stats["credits"], stats["delivered"]) == (3, 1, 4, 3)
            assert site.controls.do("messages") == [b"up".hex()] * 3
            site.controls.do("hang", how="busy")
            site.controls.do("power_cut", seconds=0)
            with pytest.raises(ControlError, match="there is no control"):
                site.controls.do("nonsense")
            assert (tmp_path / "lines" / "supply").is_fifo()
