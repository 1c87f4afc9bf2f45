"""The pytest plug-in, run as a third party would: in a pytest of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rataccess_hil.modem import VirtualBg95
from tests.hil.bench import Host

TESTS = """
import asyncio, os

async def touch(address):
    path = address.removeprefix("pty:").removeprefix("serial:")
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        os.write(descriptor, b"AT\\r")
        said = b""
        while b"OK" not in said:
            await asyncio.sleep(0.01)
            try:
                said += os.read(descriptor, 100)
            except BlockingIOError:
                pass
    finally:
        os.close(descriptor)

def test_factories(virtual_bg95, virtual_network, pty_radio):
    async def run():
        virtual_network.forward(("198.51.100.7", 1), ("127.0.0.1", 9))
        async with virtual_bg95(usb=True) as modem, pty_radio() as port:
            assert modem.network is virtual_network
            assert port.address.startswith("pty:/")
            await touch(modem.address)
    asyncio.run(run())

def test_on_anything(radio_under_test):
    async def run():
        async with radio_under_test as radio:
            await touch(radio.address)
    asyncio.run(run())

def test_faults(radio_under_test):
    async def run():
        async with radio_under_test as radio:
            radio.controls.coverage(False)
    asyncio.run(run())
"""


def pytest_of_its_own(folder: Path, *arguments: str) -> str:
    (folder / "test_it.py").write_text(TESTS)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "rataccess_hil.pytest_plugin",
        "-p",
        "no:cacheprovider",
        "-rsf",
        "-q",
    ]
    done = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(folder), *arguments, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_without_a_real_radio_its_tests_are_skipped_and_say_why(tmp_path: Path) -> None:
    said = pytest_of_its_own(tmp_path)
    assert "3 passed, 2 skipped" in said, said
    assert "no real radio: name its port with --rataccess-radio" in said


@pytest.mark.parametrize(
    ("address", "reason"),
    [("serial:/dev/no-such-port", "there is no /dev/no-such-port"), ("ttyUSB2", "is no port address")],
)
def test_a_radio_that_is_not_there_is_a_skip_that_says_so(tmp_path: Path, address: str, reason: str) -> None:
    said = pytest_of_its_own(tmp_path, "--rataccess-radio", address)
    assert "3 passed, 2 skipped" in said, said
    assert reason in said


async def test_the_same_tests_run_on_a_radio_that_is_there(tmp_path: Path) -> None:
    async with VirtualBg95() as modem:
        said = await asyncio.to_thread(pytest_of_its_own, tmp_path, "--rataccess-radio", modem.address)
        assert "4 passed, 1 skipped" in said, said
        assert "which a real one does not do on demand" in said
        assert modem.controls.commands() == ["AT"]
        async with Host(modem.port.link) as host:
            assert (await host.ask("AT"))[-1] == "OK"
