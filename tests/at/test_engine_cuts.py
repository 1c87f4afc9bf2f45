"""The same bytes give the same events, however they are cut; any bytes are survived in bounded memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess_drivers.at.commands import Command, Reply, Urc
from rataccess_drivers.at.engine import AtEngine, Done, Event, Failed, Write
from rataccess_drivers.at.results import FAILURES
from tests.at.at_corpora import cases
from tests.at.at_play import URCS, pieces, play

VENDORS = ("quectel", "cinterion", "mbm", "simtech", "sierra", "altair", "icera", "linktop")


def same_however_cut(command: Command | None, data: bytes) -> list[Event]:
    """The events of `data` whole, byte by byte and at random cuts, which must agree."""
    events = play(command, [data])
    assert play(command, [data[index : index + 1] for index in range(len(data))]) == events
    chance = random.Random(len(data))
    for _ in range(20):
        cuts = [chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 12))]
        assert play(command, pieces(data, cuts)) == events
    return events


def finals(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, Done | Failed)]


def framed(lines: Sequence[str]) -> bytes:
    return "".join(f"\r\n{line}\r\n" for line in lines).encode()


@pytest.mark.parametrize("case", cases("at_framing"))
def test_framing(case: dict[str, Any]) -> None:
    data = case["input"].encode()
    events = same_however_cut(Command("AT+X"), data)
    if "final_found" in case["expected"]:
        assert bool(finals(events)) == case["expected"]["final_found"]
        assert any(isinstance(event, Failed) for event in events) == case["expected"]["is_error"]


@pytest.mark.parametrize("case", cases("gsmmodem_device_dialogues"))
def test_dialogue_of_an_old_modem(case: dict[str, Any]) -> None:
    if case.get("kind") == "urc":
        data = "".join(case["input"]).encode()
        events = same_however_cut(None, data)
        lines = [line.strip() for line in case["input"] if line != "OK\r\n"]
        assert events == [Urc(line) for line in lines]
        return
    command = Command(case["command"].strip())
    data = case["input"].encode()
    events = same_however_cut(command, data)
    assert same_however_cut(command, case["command"].encode() + b"\r\n" + data) == events, "with its echo"
    final = case["lines"][-1].strip()
    if final == "OK":
        info = tuple(line.strip("\r\n") for line in case["lines"][:-1])
        assert events == [Done(Reply(tuple(line for line in info if line.strip())))]
    elif final in FAILURES or "ERROR" in final:
        assert [type(event) for event in finals(events)] == [Failed]
    else:
        assert finals(events) == [], "a Wavecom answers +CPIN? without a final result"


@pytest.mark.parametrize("case", cases("nordic_serial_modem_dialogues"))
def test_dialogue_of_a_nordic_modem(case: dict[str, Any]) -> None:
    command = Command(case["command"], success=("OK", "CONNECT"))
    lines = case["response"]
    events = same_however_cut(command, framed(lines))
    ends = [index for index, line in enumerate(lines) if line in ("OK", "CONNECT", "ERROR")]
    if not ends:
        assert finals(events) == []
    elif lines[ends[0]] == "ERROR":
        assert events[0] == Failed("ERROR", None)
    else:
        info = tuple(line.strip() for line in lines[: ends[0]] if line.strip())
        done = next(event for event in events if isinstance(event, Done))
        urcs = {event.line for event in events[: events.index(done)] if isinstance(event, Urc)}
        assert [line.strip() for line in done.reply.lines] == [line for line in info if line not in urcs]
        after = [line for line in lines[ends[0] + 1 :] if line.strip() and line not in ("OK", "ERROR")]
        assert len(events) == 1 + len(urcs) + len(after)


@pytest.mark.parametrize("case", cases("vendor_response_lines"))
def test_line_of_a_vendor(case: dict[str, Any]) -> None:
    lines = [line for line in case["response"].splitlines() if line.strip()]
    events = same_however_cut(Command("AT+X"), framed([*lines, "OK"]))
    if " ERROR: " in lines[0]:
        assert isinstance(events[0], Failed)
        return
    urcs = [event for event in events if isinstance(event, Urc)]
    infos = [line for event in events if isinstance(event, Done) for line in event.reply.lines]
    assert len(infos) + len(urcs) == len(lines)
    assert sorted([*infos, *(urc.line for urc in urcs)]) == sorted(lines)


@pytest.mark.parametrize("case", [case for vendor in VENDORS for case in cases(f"at_vendor_{vendor}")])
def test_reply_of_a_vendor(case: dict[str, Any]) -> None:
    texts = case["input"] if isinstance(case["input"], list) else [case["input"]]
    for text in texts:
        if isinstance(text, str):
            events = same_however_cut(Command("AT+X"), text.encode() + b"\r\n\r\nOK\r\n")
            assert len(finals(events)) == 1


# --- properties -------------------------------------------------------------------------------------------------------

FRAGMENTS = st.sampled_from(
    [
        b"\r\n",
        b"\r",
        b"\n",
        b"OK\r\n",
        b"ERROR\r\n",
        b"+CME ERROR: 10\r\n",
        b"> ",
        b"@",
        b"+X: 5\r\n",
        b"+X: 3,4\r",
        b"+Y: 1\r\n",
        b"+CEREG: 1\r\n",
        b'+QIURC: "recv",0,4\r\n',
        b'+QIURC: "recv",0,x\r\n',
        b"AT+X=1\r",
        b"AT+",
        b"pay\r\nload",
        b"0\r",
        b"SEND OK\r\n",
        b"\xff\xfe\xc3\xa9",
        b"\x00\x1b ",
        b"RDY\r\n",
        b"x" * 40,
    ]
)
STREAMS = st.lists(st.one_of(FRAGMENTS, st.binary(max_size=6)), max_size=30).map(b"".join)
COMMANDS = st.sampled_from(
    [
        None,
        Command("AT+X=1"),
        Command("AT+X=1", ("+X:",), binary="+X:"),
        Command("AT+X=1", ("+X:",), binary="+X:", binary_field=1, payload=b"pay\r\nload", success=("SEND OK",)),
        Command("AT+X=1", payload=b"abc\x1a", prompts=(">", "RDY"), success=("OK", "+Y:"), failure=("+X:",)),
    ]
)


@given(COMMANDS, STREAMS, st.lists(st.integers(0, 2000), max_size=12))
@settings(max_examples=300)
def test_any_bytes_cut_anywhere(command: Command | None, data: bytes, cuts: list[int]) -> None:
    def run(chunks: list[bytes]) -> tuple[list[Event], int, int]:
        engine = AtEngine(URCS, line_limit=32, reply_limit=64)
        if command is not None:
            engine.start(command)
        events = [event for chunk in chunks for event in engine.receive(chunk)]
        return events, engine.discarded, engine.stale

    whole = run([data])
    assert run(pieces(data, cuts)) == whole or not data
    assert run([data[index : index + 1] for index in range(len(data))]) == whole


@given(COMMANDS, STREAMS, st.lists(st.integers(0, 2000), max_size=6), st.integers(0, 3))
def test_any_bytes_to_a_lost_engine(command: Command | None, data: bytes, cuts: list[int], probes: int) -> None:
    def run(chunks: list[bytes]) -> list[Event]:
        engine = AtEngine(URCS, line_limit=32)
        if command is not None:
            engine.start(command)
            engine.receive(b"> ")
            engine.expire()
        for _ in range(probes):
            engine.resync()
        return [event for chunk in chunks for event in engine.receive(chunk)]

    events = run([data])
    assert run([data[index : index + 1] for index in range(len(data))]) == events
    assert run(pieces(data, cuts)) == events or not data
    if probes == 0 and command is not None:
        assert all(isinstance(event, Urc) for event in events)


REPLIES: list[tuple[Command, list[bytes]]] = [
    (Command("AT+CSQ", ("+CSQ:",)), [b"+CSQ: 20,99", b"OK"]),
    (Command("AT+CEREG?", ("+CEREG:",)), [b'+CEREG: 2,1,"1A2B","01D30173",7', b"OK"]),
    (Command("ATI"), [b"Quectel", b"BG95-M3", b"Revision: BG95M3LAR02A04", b"OK"]),
    (Command("AT+QICLOSE=0"), [b"+CME ERROR: 3"]),
    (Command("AT+QIRD=0", ("+QIRD:",), binary="+QIRD:"), [b"+QIRD: 6\r\n\r\nOK\r\n", b"OK"]),
    (Command("AT+QISEND=0,2", payload=b"hi", success=("SEND OK",)), [b"> ", b"SEND OK"]),
]
INJECTED = st.sampled_from(
    [
        (b"+CEREG: 5", None),
        (b'+CEREG: 5,"1A2B","01D30173",7', None),
        (b'+QIURC: "recv",1,4\r\nOK\r\n', b"OK\r\n"),
        (b'+QIURC: "closed",1', None),
        (b"RDY", None),
        (b'+CMTI: "SM",3', None),
    ]
)


@given(
    st.sampled_from(REPLIES),
    st.lists(st.tuples(st.integers(0, 4), INJECTED), max_size=5),
    st.lists(st.integers(0, 500), max_size=8),
)
def test_urc_at_any_line_boundary(
    dialogue: tuple[Command, list[bytes]], injected: list[tuple[int, tuple[bytes, bytes | None]]], cuts: list[int]
) -> None:
    """It is reported, and the reply is what it would be without it."""
    command, lines = dialogue
    stream, wanted = b"", []
    for index in range(len(lines) + 1):
        for place, (urc, payload) in injected:
            if min(place, len(lines)) == index:
                stream += b"\r\n" + urc + b"\r\n"
                wanted.append(Urc(urc.split(b"\r")[0].decode(), payload))
        if index < len(lines):
            stream += b"\r\n" + lines[index] + (b"" if lines[index] == b"> " else b"\r\n")
    plain = play(command, [b"\r\n" + line + b"\r\n" for line in lines])
    events = play(command, pieces(stream, cuts))
    assert [event for event in events if not isinstance(event, Urc)] == plain
    assert [event for event in events if isinstance(event, Urc)] == wanted


# --- memory -----------------------------------------------------------------------------------------------------------


def held(engine: AtEngine) -> int:
    """Bytes that an engine keeps: whatever it refers to that has a length."""
    found, todo, seen = 0, [engine], set[int]()
    while todo:
        each: Any = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, str | bytes | bytearray):
            found += len(each)
        elif isinstance(each, list | tuple | frozenset | set):
            todo.extend(each)
        elif type(each).__module__.startswith("rataccess_drivers.at") and hasattr(each, "__dict__"):
            todo.extend(vars(each).values())
    return found


@pytest.mark.parametrize("chunk", [b"x" * 4096, b"y" * 4095 + b"\r\n", b"+CEREG: 1\r\n" * 300, bytes(range(256)) * 16])
@pytest.mark.parametrize("busy", [False, True])
def test_endless_garbage_is_forgotten(chunk: bytes, busy: bool) -> None:
    engine = AtEngine(URCS)
    if busy:
        engine.start(Command("AT+X", ("+CEREG:",), payload=b"p"))
    for _ in range(500):
        engine.receive(chunk)
    assert held(engine) < 600_000


def test_what_was_thrown_away_is_counted() -> None:
    engine = AtEngine(line_limit=100, reply_limit=1000)
    engine.receive(b"z" * 250 + b"\r\n+OK: 1\r\n")
    assert engine.discarded == 250
    engine.start(Command("AT+X"))
    for _ in range(30):
        engine.receive(b"y" * 50 + b"\r\n")
    assert engine.discarded == 250 + 10 * 50
    [done] = engine.receive(b"\r\nOK\r\n")
    assert isinstance(done, Done)
    assert len(done.reply.lines) == 20


def test_blocks_count_for_the_limit_of_a_reply() -> None:
    engine = AtEngine(reply_limit=100)
    engine.start(Command("AT+X", ("+X:",), binary="+X:"))
    events = engine.receive(b"+X: 60\r\n" + b"a" * 60 + b"+X: 60\r\n" + b"b" * 60 + b"OK\r\n")
    assert events == [Done(Reply(("+X: 60", "+X: 60"), (b"a" * 60,)))]
    assert engine.discarded == 60


def test_payload_comes_before_what_follows_the_prompt() -> None:
    events = play(Command("AT+X", payload=b"p"), [b"> OK\r\n"])
    assert events == [Write(b"p"), Done(Reply(()))]
