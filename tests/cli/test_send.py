"""`rataccess send` and `rataccess status --watch`, with a device that runs and without one."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import cbor2
import pytest

from rataccess import AsyncDevice, Service
from rataccess.cli import status
from rataccess.cli.provision import provision_device
from rataccess.services import admin, settings
from rataccess.services.running import serving
from tests.cli.conftest import Cli


def make(services: Path, folder: Path) -> Path:
    services.write_text(re.sub(r"port = \d+", "port = 0", services.read_text()))
    provision_device("D-1", folder / "D-1", services)
    path = folder / "D-1/rataccess.toml"
    path.write_text(path.read_text().replace("eth0", "lo").replace("ethernet", "wired").replace("port = 0", "port = 9"))
    return path


@pytest.fixture
async def configured(services: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Path]:
    """A device over loopback whose solution service runs."""
    monkeypatch.chdir(tmp_path)
    path = make(services, tmp_path)
    async with serving(Service.SOLUTION, settings.load(services, Service.SOLUTION)) as server:
        monkeypatch.setenv("RATACCESS_SOLUTION__PORT", str(server.address[1]))
        running = asyncio.create_task(server.run())
        yield path
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def stored(folder: Path) -> list[object]:
    return [record.body for record in admin.records(folder / "solution.sqlite")]


async def test_by_the_running_device(cli: Cli, configured: Path, tmp_path: Path) -> None:
    (tmp_path / "o.json").write_text('{"n": 2}')
    (tmp_path / "o.cbor").write_bytes(cbor2.dumps({"n": b"\x00\xff"}))
    async with AsyncDevice.open(configured):

        async def send(*arguments: str) -> tuple[int, str, str]:
            told = await asyncio.to_thread(cli, "send", "-c", str(configured), *arguments)
            return told.code, told.out, told.err

        assert (await send('{"n": 1}', "--wait", "30"))[1].endswith("record 1: delivered\n")
        assert (await send("--file", "o.json", "--wait", "30", "-q", "readings", "-u", "alarm", "--ttl", "60"))[0] == 0
        assert (await send("--file", "o.cbor", "--wait", "30", "--link", "wired"))[0] == 0
        code, out, err = await send("4")
        assert (code, out.startswith("record 4: "), err) == (0, True, "")
        code, out, err = await send("5", "-s", "management", "--wait", "0.05")
        assert (code, out.startswith("record 1: ")) == (1, True), err
        assert re.match(r"not delivered yet; in use: .*\n  wired: ", err)
        assert "latest decisions" not in err
    records = admin.records(tmp_path / "solution.sqlite")
    assert [(record.queue, record.number) for record in records] == [
        ("default", 1),
        ("readings", 2),
        ("default", 3),
        ("default", 4),
    ]
    assert (tmp_path / "D-1/control.sock").exists() is False


async def test_by_opening_the_device(cli: Cli, configured: Path, tmp_path: Path) -> None:
    told = await asyncio.to_thread(cli, "send", "-c", str(configured), '{"n": 1}')
    assert (told.code, told.out.splitlines()[-1]) == (0, "record 1: delivered")
    assert "no device 'D-1' runs here: opening it" in told.err
    assert len(stored(tmp_path)) == 1
    told = await asyncio.to_thread(cli, "send", "-c", str(configured), "1", "-s", "management", "--wait", "0.05")
    assert told.code == 1
    assert re.search(r"not delivered yet; in use: .*\n  wired: ", told.err)


async def test_mistakes(cli: Cli, configured: Path, tmp_path: Path) -> None:
    async with AsyncDevice.open(configured):

        async def refused(*arguments: str) -> str:
            told = await asyncio.to_thread(cli, "send", "-c", str(configured), *arguments)
            assert told.code not in (0, 1), told
            assert told.out == ""
            return told.err

        assert "the object is not JSON" in await refused("{n: 1}")
        assert "give the object either" in await refused()
        assert "cannot be read" in await refused("--file", "nowhere.json")
        assert "does not begin with $" in await refused("1", "--queue", "$objects")
        assert "configured: wired" in await refused("1", "--link", "satellite")
        assert "ttl" in await refused("1", "--ttl", "-5")
        assert "--wait" in await refused("1", "--wait", "-1")
    assert cli("send", "1", "-c", "nowhere.toml").code == 2


@pytest.mark.parametrize(
    "line",
    [
        b"[]\n",
        b"{}\n",
        b"not json\n",
        b'{"do": "format"}\n',
        b'{"do": "enqueue"}\n',
        b'{"do": "enqueue", "service": "third", "cbor": ""}\n',
        b'{"do": "enqueue", "service": "solution", "cbor": "!"}\n',
        b'{"do": "enqueue", "service": "solution", "cbor": "oA==", "urgency": "now"}\n',
        b'{"do": "enqueue", "service": "solution", "cbor": "oA==", "template": 1}\n',
        b'{"do": "enqueue", "service": "solution", "cbor": "oA==", "nonsense": 1}\n',
        b'{"do": "enqueue", "service": "solution", "cbor": "oA==", "urgency": 1}\n',
        b'{"do": "enqueue", "service": "solution", "cbor": "oA==", "queue": 1}\n',
        b'{"do": "enqueue", "service": "solution", "cbor": "oA==", "links": 1}\n',
        b'{"do": "enqueue", "service": "solution", "cbor": "oA==", "ttl": "soon"}\n',
        b'{"do": "enqueue", "service": "solution", "cbor": "oA==", "wait": true}\n',
    ],
)
async def test_bad_requests_are_answered_and_change_nothing(configured: Path, line: bytes, tmp_path: Path) -> None:
    async with AsyncDevice.open(configured) as device:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "D-1/control.sock"))
        writer.write(line)
        answer = json.loads(await reader.readline())
        assert answer["ok"] is False
        assert answer["error"]
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        assert device.snapshot()["outbox"] == {}


async def test_who_says_nothing_gets_the_state(configured: Path, tmp_path: Path) -> None:
    async with AsyncDevice.open(configured):
        for ends in (True, False):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "D-1/control.sock"))
            if ends:
                writer.write_eof()
            assert json.loads(await reader.readline())["device"] == "D-1"
            writer.close()
            await writer.wait_closed()


async def test_a_request_that_is_cut_off_changes_nothing(configured: Path, tmp_path: Path) -> None:
    async with AsyncDevice.open(configured) as device:
        request = {"do": "enqueue", "service": "solution", "cbor": base64.b64encode(b"\x01").decode()}
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "D-1/control.sock"))
        writer.write(json.dumps(request).encode()[:-5])
        writer.write_eof()
        assert json.loads(await reader.readline())["ok"] is False
        writer.close()
        await writer.wait_closed()
        assert device.snapshot()["outbox"] == {}


def test_a_device_that_answers_nothing_is_told(cli: Cli, services: Path, tmp_path: Path) -> None:
    provision_device("D-1", tmp_path / "D-1", services)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "D-1/control.sock"))
        listener.listen()
        command = [sys.executable, "-m", "rataccess", "send", "1", "-c", str(tmp_path / "D-1/rataccess.toml")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
            assert process.stderr is not None
            error = process.stderr.read()
    assert process.returncode == 5
    assert "closed without an answer" in error


# --- watching ---------------------------------------------------------------------------------------------------------


async def watching(configured: Path, terminal: int | None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rataccess", "status", "--watch", "--every", "0.1", "-c", str(configured)),
        stdout=subprocess.PIPE if terminal is None else terminal,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    error = (await process.stderr.read()).decode()
    code = await process.wait()
    process._transport.close()  # type: ignore[attr-defined]
    return code, error


async def test_watching_without_a_terminal_prints_a_line_for_each_change(configured: Path) -> None:
    async with AsyncDevice.open(configured) as device:
        process = await watching(configured, None)
        assert process.stdout is not None
        line = await process.stdout.readline()
        assert line.startswith(b"D-1 uses ")
        receipt = await device.solution.enqueue(1)
        await receipt.wait(30)
        async with asyncio.timeout(30):
            while line and b"wired=REACHABLE" not in line:
                line = await process.stdout.readline()
        assert line
    async with asyncio.timeout(30):
        while line and line != b"the device does not run\n":
            line = await process.stdout.readline()
    assert line
    code, error = await ended(process)
    assert code == 130
    assert "Traceback" not in error


async def test_watching_on_a_terminal(configured: Path) -> None:
    master, slave = pty.openpty()
    try:
        async with AsyncDevice.open(configured):
            process = await watching(configured, slave)
            seen, ready = b"", asyncio.Event()
            asyncio.get_running_loop().add_reader(master, ready.set)
            async with asyncio.timeout(30):
                while b"Ctrl-C ends" not in seen:
                    await ready.wait()
                    ready.clear()
                    seen += os.read(master, 65_536)
            asyncio.get_running_loop().remove_reader(master)
            code, error = await ended(process)
    finally:
        os.close(master)
        os.close(slave)
    assert (code, "Traceback" in error) == (130, False)
    assert b"wired" in seen


def test_watching_nothing_ends_with_5(cli: Cli, services: Path, tmp_path: Path) -> None:
    provision_device("D-1", tmp_path / "D-1", services)
    assert cli("status", "--watch", "-c", str(tmp_path / "D-1/rataccess.toml")).code == 5
    assert status.summary(None) == "the device does not run"
