"""A site with a pseudo terminal, and as a process of its own with a control channel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import pytest

from rataccess_hil.control import ControlError
from rataccess_hil.lora import semtech
from rataccess_hil.lora.__main__ import main
from rataccess_hil.lora.process import LoraProcess
from rataccess_hil.lora.site import LoraSite
from rataccess_hil.lora.site_controls import SiteControls


async def test_a_module_on_a_pseudo_terminal_and_its_controls() -> None:
    async with LoraSite(model="wio_e5", app_key=bytes(16)) as site:
        descriptor = os.open(site.port.node, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
        said, more = bytearray(), asyncio.Event()

        def readable() -> None:
            with contextlib.suppress(BlockingIOError):
                said.extend(os.read(descriptor, 4096))
                more.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, readable)
        os.write(descriptor, b"AT\r\n")
        while b"+AT: OK\r\n" not in said:
            await more.wait()
            more.clear()
        site.controls.do("coverage", {"on": False})
        site.controls.do("downlink", {"data": "00ff"})
        with pytest.raises(ValueError, match="there is no control 'nonsense'"):
            site.controls.do("nonsense")
        with pytest.raises(ValueError, match="is no line"):
            site.controls.line("nonsense", True)
        stats = site.controls.do("stats")
        assert (stats["joined"], stats["uplinks"], stats["port"]["in_use"]) == (False, 0, True)
        loop.remove_reader(descriptor)
        os.close(descriptor)
    assert "coverage" in SiteControls.names()


def test_a_site_as_a_process(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        with LoraProcess(server.getsockname(), "--seed", "1", folder=tmp_path) as site:
            first = semtech.decode(server.recv(4096))
            assert (first.kind, first.gateway) == (semtech.PULL_DATA, 0xAA555A0000000101)
            assert site.address == f"pty:{tmp_path}/tty"
            assert site.told["model"] == "rak3172"
            site.controls.do("obstruct", loss_db=30)
            site.controls.do("hang")
            assert site.controls.stats()["hung"] is True
            site.controls.do("power_cut", seconds=0)
            with pytest.raises(ControlError, match="no network server of its own"):
                site.controls.do("uplinks")
            assert site.controls.do("log") == []


@pytest.mark.parametrize("content", [None, "zz", "2b7e"])
def test_a_key_file_that_holds_no_key_is_named(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "app.key"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SystemExit):
        main(["--app-key-file", str(file)])
    assert str(file) in capsys.readouterr().err
