"""Transcripts: the format, the dialogue in it, and a radio that replays one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.errors import CommandFailed
from rataccess_drivers.at.commands import Command
from rataccess_drivers.at.port import AtPort
from rataccess_hil.journal import Direction, Entry
from rataccess_hil.replay import UNKNOWN, ReplayRadio, Script
from rataccess_hil.transcript import (
    HEAD,
    BadTranscript,
    Exchange,
    dialogue,
    escape,
    exchanges,
    format_transcript,
    parse_transcript,
    unescape,
)
from tests.hil.bench import Host

PROBE = (b"AT\r", b"\r\nOK\r\n")


def corpus(name: str) -> list[dict[str, Any]]:
    for folder in Path(__file__).parents:
        path = folder / "../shared/corpora" / name
        if path.is_file():
            cases: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cases"]
            return cases
    pytest.skip(f"there is no ../shared/corpora/{name} here")


# --- the format -------------------------------------------------------------------------------------------------------

entries = st.lists(
    st.tuples(st.floats(0, 10), st.sampled_from([*Direction, None]), st.binary(min_size=1, max_size=30)), max_size=12
).map(
    lambda rows: [
        Entry(round(at, 6), direction, data if direction else b"", "" if direction else "opened")
        for (at, direction, data) in sorted(rows, key=lambda row: row[0])
    ]
)


@settings(max_examples=100)
@given(entries)
def test_what_is_written_is_read_again(found: list[Entry]) -> None:
    assert parse_transcript(format_transcript(found, "port: x", "two\nlines")) == found


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_can_be_written_in_one_line_of_ascii(data: bytes) -> None:
    text = escape(data)
    assert text.isascii()
    assert text.isprintable()
    assert text == text.strip()
    assert unescape(text) == data


def test_how_it_looks() -> None:
    text = format_transcript(
        [
            Entry(0.0, None, note="opened"),
            Entry(0.0004123, Direction.TO_RADIO, b"AT+CSQ\r"),
            Entry(0.00312, Direction.TO_HOST, b"\r\n+CSQ: 23,99\r\n\x00\xff\\ "),
        ],
        "port: usb:2c7c:0700#if2",
    )
    assert text == (
        "# rataccess transcript 1\n"
        "# port: usb:2c7c:0700#if2\n"
        "0.000000 ! opened\n"
        "0.000412 > AT+CSQ\\r\n"
        "0.003120 < \\r\\n+CSQ: 23,99\\r\\n\\x00\\xff\\\\\\x20\n"
    )


def test_blank_lines_comments_and_another_systems_line_ends_are_passed_over() -> None:
    assert parse_transcript(f"{HEAD}\r\n\r\n# by hand\r\n1 > AT\\r\r\n") == [Entry(1.0, Direction.TO_RADIO, b"AT\r")]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("", "line 1"),
        ("something else", "a transcript begins with"),
        (f"{HEAD}\n0.1 ? x", "line 2: found '0.1 \\? x'"),
        (f"{HEAD}\n0.2 > a\n0.1 > b", "line 3: the time goes back"),
        (f"{HEAD}\n0.1 > \\q", "line 2: .*allowed are printable"),
        (f"{HEAD}\n0.1 > \u00e9", "line 2"),
        (f"{HEAD}\n-1 > a", "line 2"),
    ],
)
def test_what_is_no_transcript_is_told_by_line(lines: str, told: str) -> None:
    with pytest.raises(BadTranscript, match=told):
        parse_transcript(lines)


@settings(max_examples=100)
@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadTranscript):
        parse_transcript(f"{HEAD}\n{text}")


# --- the dialogue -----------------------------------------------------------------------------------------------------


def test_entries_in_a_row_belong_together() -> None:
    rows = [
        (0.0, "<", b"\r\nRDY\r\n"),
        (1.0, ">", b"AT+C"),
        (1.1, ">", b"SQ\r"),
        (1.2, "<", b"\r\n+CSQ: 1,99\r\n"),
        (1.3, "<", b"\r\nOK\r\n"),
        (9.3, "<", b"\r\nRING\r\n"),
        (9.4, ">", b"ATH\r"),
    ]
    directions = {"<": Direction.TO_HOST, ">": Direction.TO_RADIO}
    first, second, last = exchanges([Entry(at, directions[sign], data) for at, sign, data in rows])
    assert first == Exchange(b"", ((0.0, b"\r\nRDY\r\n"),))
    assert second.asked == b"AT+CSQ\r"
    assert [round(wait, 6) for wait, _ in second.said] == [0.1, 0.1, 8.0]
    assert last == Exchange(b"ATH\r")


def said(steps: Sequence[Exchange]) -> bytes:
    return b"".join(piece for step in steps for _, piece in step.said)


def test_a_script_answers_what_is_asked_in_any_chunks_and_order() -> None:
    script = Script(dialogue([(b"AT+A\r", b"1"), (b"AT+B\r", b"2"), (b"AT+A\r", b"3")]))
    assert said(script.hear(b"AT")) == b""
    assert said(script.hear(b"+A\rAT+B\r")) == b"12"
    assert said(script.hear(b"AT+A\r")) == b"3"
    assert script.finished
    assert said(script.hear(b"AT+B\r")) == b"2"
    assert said(script.hear(b"AT+NEVER\r")) == UNKNOWN
    assert script.unmatched == [b"AT+NEVER\r"]
    assert said(script.hear(b"AT+A\r")) == b"3"


def test_a_payload_may_have_other_bytes_of_the_same_number() -> None:
    script = Script(dialogue([(b"AT+QISEND=0,4\r", b"\r\n> "), (b"ab\rd", b"\r\nSEND OK\r\n"), PROBE]))
    assert said(script.hear(b"AT+QISEND=0,4\r")) == b"\r\n> "
    assert said(script.hear(b"w\rx")) == b""
    assert said(script.hear(b"yAT\r")) == b"\r\nSEND OK\r\n\r\nOK\r\n"
    assert script.unmatched == []


@settings(max_examples=100)
@given(st.lists(st.binary(min_size=1, max_size=20), max_size=10))
def test_a_script_survives_any_bytes(chunks: list[bytes]) -> None:
    script = Script(dialogue([PROBE, (b"AT+X\r", b"\r\n> "), (b"payload", b"\r\nOK\r\n")]))
    for chunk in chunks:
        script.hear(chunk)
    assert sum(map(len, script.unmatched)) <= sum(map(len, chunks))


# --- on a port --------------------------------------------------------------------------------------------------------


async def test_replays_on_a_port_with_urcs_in_their_place() -> None:
    text = (
        f"{HEAD}\n0.0 > AT\\r\n0.1 < \\r\\nOK\\r\\n\n"
        "1.0 > AT+CFUN=1\\r\n1.5 < \\r\\nOK\\r\\n\n3.0 < \\r\\n+CEREG: 5\\r\\n\n9.0 > AT+COPS?\\r\n9.1 < \\r\\nERROR\\r\\n\n"
    )
    heard: list[str] = []
    async with ReplayRadio(parse_transcript(text), timing=lambda seconds: 0.0) as radio:
        port = AtPort(radio.address)
        port.on_urc(lambda urc: heard.append(urc.line))
        await port.open()
        try:
            assert (await port.run("AT+CFUN=1")).lines == ()
            with pytest.raises(CommandFailed):
                await port.run("AT+COPS?")
            assert heard == ["+CEREG: 5"]
            with pytest.raises(CommandFailed):
                await port.run("AT+CSQ")
        finally:
            await port.aclose()
        assert radio.unmatched == [b"AT+CSQ\r"]
        assert "unmatched=1" in repr(radio)


async def test_greets_whoever_opens_and_hurries_for_who_does_not_wait() -> None:
    text = f"{HEAD}\n0.0 < RDY\\r\\n\n0.1 > AT\\r\n0.2 < OK\\r\\n\n"
    text += "5000 < +QIND: SMS DONE\\r\\n\n6000 > ATI\\r\n6000 < BG95\\r\\n\n"
    async with ReplayRadio(parse_transcript(text)) as radio, Host(radio.port.link) as host:
        await host.until(rb"RDY\r\n")
        host.write(b"AT\r")
        await host.until(rb"OK\r\n")
        host.write(b"ATI\r")
        assert b"SMS DONE" in await host.until(rb"BG95\r\n")


async def test_timing_is_injected() -> None:
    waits: list[float] = []

    def timing(seconds: float) -> float:
        waits.append(round(seconds, 3))
        return 0.0

    entries = parse_transcript(f"{HEAD}\n0.0 > AT\\r\n0.25 < \\r\\nO\n0.75 < K\\r\\n\n")
    async with ReplayRadio(entries, timing=timing) as radio, Host(radio.port.link) as host:
        host.write(b"AT\r")
        await host.until(rb"OK\r\n")
    assert waits == [0.25, 0.5]


async def test_as_a_process(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text(format_transcript(dialogue([PROBE, (b"AT+GMM\r", b"\r\nBG95-M3\r\n\r\nOK\r\n")])))
    arguments = ["-m", "rataccess_hil.replay", str(file), "--link", str(tmp_path / "tty"), "--speed", "100"]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == f"pty:{tmp_path / 'tty'}\n".encode()
        port = AtPort(f"pty:{tmp_path / 'tty'}")
        await port.open()
        assert (await port.run("AT+GMM")).lines == ("BG95-M3",)
        await port.aclose()
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        process._transport.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "tty").is_symlink()


# --- dialogues of real modems -----------------------------------------------------------------------------------------


async def played(pairs: list[tuple[bytes, bytes]], commands: Sequence[str]) -> list[tuple[str, ...] | str]:
    """What our port makes of each command."""
    outcomes: list[tuple[str, ...] | str] = []
    found = parse_transcript(format_transcript(dialogue([PROBE, *pairs])))
    async with ReplayRadio(found, timing=lambda seconds: 0.0) as radio:
        port = AtPort(radio.address)
        await port.open()
        try:
            for text in commands:
                try:
                    outcomes.append((await port.run(Command(text))).lines)
                except CommandFailed as error:
                    outcomes.append(str(error))
        finally:
            await port.aclose()
        assert radio.unmatched == []
    return outcomes


async def test_dialogues_of_gsm_modems() -> None:
    cases = corpus("gsmmodem_device_dialogues.json")
    devices = {case["device"] for case in cases}
    assert len(devices) >= 5
    done = 0
    for device in sorted(devices):
        mine = [case for case in cases if case["device"] == device]
        # a reply that lacks its final result is waited for in vain by anybody
        mine = [
            case for case in mine if case["expected"].get("final") in ("OK", "ERROR") and case["command"].endswith("\r")
        ]
        pairs = [(case["command"].encode(), case["input"].encode()) for case in mine]
        outcomes = await played(pairs, [case["command"].rstrip("\r") for case in mine])
        for case, outcome in zip(mine, outcomes, strict=True):
            assert isinstance(outcome, tuple) == (case["expected"]["final"] == "OK"), case["id"]
            done += 1
    assert done >= 60


async def test_dialogues_of_nordics_documentation() -> None:
    cases = [
        case
        for case in corpus("nordic_serial_modem_dialogues.json")
        if case["response"] and case["response"][-1] in ("OK", "ERROR") and case["command"].startswith("AT")
    ]
    pairs = [
        (case["command"].encode() + b"\r", "".join(f"\r\n{line}\r\n" for line in case["response"]).encode())
        for case in cases
    ]
    outcomes = await played(pairs, [case["command"] for case in cases])
    assert len(outcomes) >= 50
    for case, outcome in zip(cases, outcomes, strict=True):
        if "OK" in case["response"][:-1]:
            continue  # two replies in one listing
        wanted = tuple(line for line in case["response"][:-1] if line.strip())
        assert outcome == wanted if case["response"][-1] == "OK" else isinstance(outcome, str), case
