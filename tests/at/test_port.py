"""The port on a real pseudo terminal: real bytes, real loop, no sleeps."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rataccess.errors import Closed, CommandFailed, ConfigurationError, PortBusy, PortLost, RadioNotFound, RadioSilent
from rataccess_drivers.at import port as port_module
from rataccess_drivers.at.commands import Command, Reply, Urc, UrcPattern
from rataccess_drivers.at.port import AtPort
from tests.at.at_modem import ScriptedModem

CSQ = Command("AT+CSQ", ("+CSQ:",))
CSQ_REPLY = b"\r\n+CSQ: 20,99\r\n\r\nOK\r\n"
SLOW = Command("AT+SLOW", ("+SLOW:",), timeout=0.03)
URCS = (UrcPattern("+CREG:"), UrcPattern("+QIURC:", binary_field=2))


@pytest.fixture
async def modem() -> AsyncIterator[ScriptedModem]:
    modem = ScriptedModem({b"AT+CSQ": CSQ_REPLY, b"AT+SLOW": None})
    yield modem
    modem.unplug()


@pytest.fixture
async def port(modem: ScriptedModem, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AtPort]:
    monkeypatch.setattr(port_module, "_SETTLE", 0.02)
    monkeypatch.setattr(port_module, "_PROBE_WAITS", (0.1, 0.1, 0.1))
    port = AtPort(f"pty:{modem.path}", urcs=URCS, name="bg95")
    await port.open()
    yield port
    await port.aclose()


# --- commands ---------------------------------------------------------------------------------------------------------


async def test_a_command_gets_its_reply(port: AtPort, modem: ScriptedModem) -> None:
    assert modem.heard == [b"AT"], "opening asks for an answer"
    assert await port.run(CSQ) == Reply(("+CSQ: 20,99",))
    assert await port.run("AT+CSQ") == Reply(("+CSQ: 20,99",))
    assert modem.heard == [b"AT", b"AT+CSQ", b"AT+CSQ"]


async def test_commands_of_many_tasks_run_in_order(port: AtPort, modem: ScriptedModem) -> None:
    names = [f"AT+N{number}" for number in range(40)]
    modem.answers |= {name.encode(): f"\r\n+{name}\r\n\r\nOK\r\n".encode() for name in names}
    replies = await asyncio.gather(*(port.run(name) for name in names))
    assert [reply.lines for reply in replies] == [(f"+{name}",) for name in names]
    assert modem.heard[1:] == [name.encode() for name in names]


async def test_failure_has_its_code_and_hides_the_arguments(port: AtPort, modem: ScriptedModem) -> None:
    modem.answers[b'AT+CPIN="1234"'] = b"\r\n+CME ERROR: 16\r\n"
    with pytest.raises(CommandFailed, match=r"bg95: AT\+CPIN failed: \+CME ERROR: 16 \(incorrect password\)") as caught:
        await port.run('AT+CPIN="1234"')
    assert caught.value.code == 16
    assert "1234" not in str(caught.value)
    with pytest.raises(CommandFailed) as caught:
        await port.run("AT+UNKNOWN")
    assert caught.value.code is None


async def test_text_with_a_control_character_is_refused_and_blocks_nobody(port: AtPort) -> None:
    with pytest.raises(ValueError, match="control character"):
        await port.run("AT\rAT+CFUN=0")
    assert (await port.run(CSQ)).final == "OK"


async def test_payload_is_written_at_the_prompt(port: AtPort, modem: ScriptedModem) -> None:
    payload = bytes(range(256))
    modem.answers[b"AT+QISEND=0,256"] = lambda: modem.ask_for_payload(256, b"\r\nSEND OK\r\n")
    reply = await port.run(Command("AT+QISEND=0,256", payload=payload, success=("SEND OK",)))
    assert reply.final == "SEND OK"
    assert modem.raw.endswith(payload)


async def test_large_payload_that_the_port_takes_in_pieces(port: AtPort, modem: ScriptedModem) -> None:
    payload = bytes(range(256)) * 800
    modem.answers[b"AT+BIG"] = lambda: modem.ask_for_payload(len(payload), b"\r\nOK\r\n")
    await port.run(Command("AT+BIG", payload=payload))
    assert modem.raw.endswith(payload)


async def test_modem_that_takes_nothing_is_silent_and_nothing_piles_up(port: AtPort, modem: ScriptedModem) -> None:
    modem.stop_listening()
    for _ in range(3):
        with pytest.raises(RadioSilent):
            await port.run(Command("AT+" + "X" * 8000, timeout=0.01))
    modem.listen()
    await port.resynchronise()
    assert (await port.run(CSQ)).lines == ("+CSQ: 20,99",)


async def test_block_in_a_reply(port: AtPort, modem: ScriptedModem) -> None:
    modem.answers[b"AT+QIRD=0,1500"] = b"\r\n+QIRD: 6\r\n\r\nOK\r\n\r\n\r\nOK\r\n"
    reply = await port.run(Command("AT+QIRD=0,1500", ("+QIRD:",), binary="+QIRD:"))
    assert (reply.payloads, reply.values("+QIRD:")) == ((b"\r\nOK\r\n",), [[6]])


# --- time limits ------------------------------------------------------------------------------------------------------


async def test_late_reply_is_never_the_next_ones(port: AtPort, modem: ScriptedModem) -> None:
    with pytest.raises(RadioSilent, match=r"bg95 did not answer AT\+SLOW within 0.03 s"):
        await port.run(SLOW)
    modem.answers[b"AT"] = b"\r\n+SLOW: 1\r\n\r\nOK\r\n\r\nOK\r\n"  # it was busy, and now answers both
    assert await port.run(CSQ) == Reply(("+CSQ: 20,99",))
    assert modem.heard == [b"AT", b"AT+SLOW", b"AT", b"AT+CSQ"]


async def test_command_that_the_modem_dropped(port: AtPort, modem: ScriptedModem) -> None:
    with pytest.raises(RadioSilent):
        await port.run(SLOW)
    assert await port.run(CSQ) == Reply(("+CSQ: 20,99",))


async def test_reply_that_comes_long_after(port: AtPort, modem: ScriptedModem) -> None:
    with pytest.raises(RadioSilent):
        await port.run(SLOW)
    modem.answers[b"AT+CSQ"] = b"\r\n+SLOW: 1\r\n\r\nOK\r\n" + CSQ_REPLY
    assert await port.run(CSQ) == Reply(("+CSQ: 20,99",))


async def test_wedged_port_is_found_and_comes_back(port: AtPort, modem: ScriptedModem) -> None:
    modem.answers[b"AT"] = modem.answers[b"AT+CSQ"] = None
    with pytest.raises(RadioSilent, match=r"did not answer AT\+CSQ"):
        await port.run(Command("AT+CSQ", timeout=0.01))
    with pytest.raises(RadioSilent, match="does not answer AT"):
        await port.run(CSQ)
    with pytest.raises(RadioSilent, match="does not answer AT"):
        await port.resynchronise()
    modem.answers |= {b"AT": b"\r\nOK\r\n", b"AT+CSQ": CSQ_REPLY}
    assert await port.run(CSQ) == Reply(("+CSQ: 20,99",))


async def test_modem_stuck_in_a_prompt_is_freed(port: AtPort, modem: ScriptedModem) -> None:
    """It wants ten bytes more than it gets, and takes the probes for them."""
    modem.answers[b"AT+QISEND=0,5"] = lambda: modem.ask_for_payload(15, b"\r\nSEND OK\r\n")
    with pytest.raises(RadioSilent):
        await port.run(Command("AT+QISEND=0,5", payload=b"hello", success=("SEND OK",), timeout=0.02))
    assert await port.run(CSQ) == Reply(("+CSQ: 20,99",))


async def test_short_limit_after_a_long_one(port: AtPort, modem: ScriptedModem) -> None:
    """One timer serves all: it must not wait for the longer one."""
    await port.run(Command("AT+CSQ", timeout=600))
    async with asyncio.timeout(5):
        with pytest.raises(RadioSilent):
            await port.run(SLOW)


async def test_long_limit_after_a_short_one(port: AtPort, modem: ScriptedModem) -> None:
    """And the timer of a short one must not end a longer one."""
    await port.run(Command("AT+CSQ", timeout=0.02))
    modem.answers[b"AT+LATER"] = None
    running = asyncio.ensure_future(port.run(Command("AT+LATER", timeout=60)))
    await modem.hears(b"AT+LATER")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(running), 0.05)
    modem.say(b"\r\nOK\r\n")
    assert (await running).final == "OK"


# --- callers that go away ---------------------------------------------------------------------------------------------


async def test_cancelled_caller_leaves_no_reply_to_the_next(port: AtPort, modem: ScriptedModem) -> None:
    running = asyncio.ensure_future(port.run(Command("AT+SLOW", timeout=60)))
    await modem.hears(b"AT+SLOW")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    modem.say(b"\r\n+SLOW: 1\r\n\r\nOK\r\n")
    assert await port.run(CSQ) == Reply(("+CSQ: 20,99",))


async def test_abortable_command_is_aborted(port: AtPort, modem: ScriptedModem) -> None:
    modem.answers[b"AT+COPS=?"] = None
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await port.run(Command("AT+COPS=?", timeout=180, aborts=True))
    assert (await port.run(CSQ)).final == "OK"
    assert b"AT+COPS=?\r\r" in modem.raw


async def test_cancelled_while_waiting_for_its_turn(port: AtPort, modem: ScriptedModem) -> None:
    first = asyncio.ensure_future(port.run(Command("AT+SLOW", timeout=60)))
    await modem.hears(b"AT+SLOW")
    second, third = (asyncio.ensure_future(port.run(CSQ)) for _ in range(2))
    await asyncio.sleep(0)
    second.cancel()
    modem.say(b"\r\nOK\r\n")
    await first
    assert (await third).lines == ("+CSQ: 20,99",)
    assert second.cancelled()
    assert modem.heard.count(b"AT+CSQ") == 1


async def test_cancelled_in_the_moment_its_turn_comes(port: AtPort, modem: ScriptedModem) -> None:
    first = asyncio.ensure_future(port.run(Command("AT+SLOW", timeout=60)))
    await modem.hears(b"AT+SLOW")
    second, third = (asyncio.ensure_future(port.run(CSQ)) for _ in range(2))
    first.add_done_callback(lambda _: second.cancel())
    modem.say(b"\r\nOK\r\n")
    assert (await third).lines == ("+CSQ: 20,99",)
    assert (await asyncio.gather(second, return_exceptions=True))[0] is not None


async def test_context_of_the_caller_is_kept(port: AtPort) -> None:
    """A waiting task goes on inside the reader's callback, but in its own context."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="reader")

    async def caller(value: str) -> str:
        variable.set(value)
        await port.run(CSQ)
        assert asyncio.current_task() is not None
        return variable.get()

    first, second = await asyncio.gather(caller("a"), caller("b"))
    assert (first, second) == ("a", "b")


# --- URCs -------------------------------------------------------------------------------------------------------------


async def test_urcs_are_told_in_order(port: AtPort, modem: ScriptedModem) -> None:
    heard: list[Urc] = []
    stop = port.on_urc(heard.append)
    modem.answers[b"AT+CSQ"] = b'\r\n+CREG: 1\r\n\r\n+CSQ: 1,2\r\n\r\n+QIURC: "recv",0,2\r\nhi\r\n\r\nOK\r\n'
    assert await port.run(CSQ) == Reply(("+CSQ: 1,2",))
    assert heard == [Urc("+CREG: 1"), Urc('+QIURC: "recv",0,2', b"hi")]
    stop()
    stop()
    await port.run(CSQ)
    assert len(heard) == 2


async def test_callback_that_raises_stops_nothing(
    port: AtPort, modem: ScriptedModem, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Urc] = []

    def broken(urc: Urc) -> None:
        raise ZeroDivisionError

    port.on_urc(broken)
    port.on_urc(heard.append)
    modem.answers[b"AT+CSQ"] = b"\r\n+CREG: 1\r\n" + CSQ_REPLY
    with caplog.at_level(logging.ERROR):
        assert await port.run(CSQ) == Reply(("+CSQ: 20,99",))
    assert heard == [Urc("+CREG: 1")]
    assert "callback" in caplog.text


async def test_callback_that_runs_a_command(port: AtPort, modem: ScriptedModem) -> None:
    """From a task of its own, while another command is running."""
    tasks: list[asyncio.Future[Reply]] = []
    port.on_urc(lambda urc: tasks.append(asyncio.ensure_future(port.run(CSQ))))
    modem.answers[b"AT+X"] = b"\r\n+CREG: 1\r\n\r\n+X: 1\r\n\r\nOK\r\n"
    assert (await port.run("AT+X")).lines == ("+X: 1",)
    assert (await tasks[0]).lines == ("+CSQ: 20,99",)


# --- losing and closing -----------------------------------------------------------------------------------------------


async def test_vanished_device(port: AtPort, modem: ScriptedModem) -> None:
    lost: list[Exception] = []
    port.on_lost(lost.append)
    running, waiting = (asyncio.ensure_future(port.run(Command("AT+SLOW", timeout=60))) for _ in range(2))
    await modem.hears(b"AT+SLOW")
    modem.unplug()
    for task in (running, waiting):
        with pytest.raises(PortLost, match="of bg95 was lost"):
            await task
    assert [type(each) for each in lost] == [PortLost]
    with pytest.raises(PortLost):
        await port.run(CSQ)
    await port.aclose()
    with pytest.raises(PortLost):
        await port.resynchronise()


async def test_device_that_vanishes_while_nobody_talks(port: AtPort, modem: ScriptedModem) -> None:
    gone = asyncio.Event()
    port.on_lost(lambda error: gone.set())
    modem.unplug()
    async with asyncio.timeout(10):
        await gone.wait()
    assert repr(port).startswith("<AtPort bg95 pty:")
    assert "closed" in repr(port)


async def test_closing_tells_who_waits(port: AtPort, modem: ScriptedModem) -> None:
    lost: list[Exception] = []
    port.on_lost(lost.append)
    running, waiting = (asyncio.ensure_future(port.run(Command("AT+SLOW", timeout=60))) for _ in range(2))
    await modem.hears(b"AT+SLOW")
    await port.aclose()
    await port.aclose()
    for task in (running, waiting):
        with pytest.raises(Closed):
            await task
    with pytest.raises(Closed):
        await port.run(CSQ)
    assert lost == [], "closing is no loss"


async def test_closed_port_opens_again(port: AtPort) -> None:
    await port.aclose()
    await port.open()
    await port.open()
    assert (await port.run(CSQ)).lines == ("+CSQ: 20,99",)


async def test_never_opened_port_is_closed() -> None:
    port = AtPort("serial:/dev/ttyNOWHERE")
    with pytest.raises(Closed, match="not open"):
        await port.run("AT")
    await port.aclose()


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_no_such_device() -> None:
    with pytest.raises(RadioNotFound, match="there is no /dev/ttyNOWHERE"):
        await AtPort("serial:/dev/ttyNOWHERE").open()
    with pytest.raises(RadioNotFound, match="is not plugged in"):
        await AtPort("usb:fffe:fffe#if3").open()
    with pytest.raises(ConfigurationError, match="is no port address"):
        AtPort("ttyUSB2")


async def test_file_that_is_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(PortLost, match="cannot be opened as a serial port"):
        await AtPort(f"serial:{path}").open()


async def test_second_opener_is_refused_and_told_who_holds_it(port: AtPort, modem: ScriptedModem) -> None:
    with pytest.raises(PortBusy, match=f"{modem.path} is in use by this process"):
        await AtPort(modem.path).open()
    assert (await port.run(CSQ)).final == "OK", "the first is not disturbed"


@pytest.fixture
def other(modem: ScriptedModem) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the port."""
    script = (
        f"import fcntl, sys; f = open({modem.path!r}); fcntl.flock(f, fcntl.LOCK_EX); print('held'); sys.stdin.read()"
    )
    command = [sys.executable, "-uc", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.communicate("")


async def test_holder_in_another_process_is_named(modem: ScriptedModem, other: subprocess.Popen[str]) -> None:
    with pytest.raises(PortBusy, match=rf"in use by python.* \(process {other.pid}\)"):
        await AtPort(modem.path).open()


async def test_silent_modem_leaves_nothing_open(modem: ScriptedModem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_module, "_PROBE_WAITS", (0.01, 0.01, 0.01))
    modem.answers[b"AT"] = None
    port = AtPort(modem.path, name="quiet")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(RadioSilent, match=r"quiet on .* does not answer AT"):
        await port.open()
    assert len(os.listdir("/proc/self/fd")) == before
    modem.answers[b"AT"] = b"\r\nOK\r\n"
    await port.open()
    await port.aclose()


async def test_modem_that_chatters_while_it_starts(modem: ScriptedModem) -> None:
    modem.answers[b"AT"] = b"AT\r\r\nRDY\r\n\r\n+CFUN: 1\r\n\r\nOK\r\n"
    port = AtPort(modem.path)
    await port.open()
    assert (await port.run(CSQ)).lines == ("+CSQ: 20,99",)
    await port.aclose()
