"""The parsers of the satellite drivers: any bytes, cut anywhere, and every line of the corpora."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.driver import Forgetful
from rataccess.objects import encode
from rataccess_drivers.satellite import imt_transfer, jspr, notecard_wire, sbd_codec
from rataccess_drivers.satellite.imt_transfer import Origination, Terminations
from rataccess_drivers.satellite.jspr import JsprEngine, JsprParser, Message, Request
from rataccess_drivers.satellite.kept import Attempt, Attempts, Inbox, Outcome, SessionNote
from rataccess_drivers.satellite.sbd_engine import Command, Done, Event, SbdEngine, Urc

FEW = settings(max_examples=50)


def corpus(name: str) -> dict[str, Any]:
    """A corpus; skips where the corpora are absent."""
    for folder in Path(__file__).resolve().parents:
        path = folder / "shared" / "corpora" / f"{name}.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
    pytest.skip(f"the corpus {name} is not on this machine")


def cut(data: bytes, points: list[int]) -> list[bytes]:
    """The same bytes in pieces."""
    ends = sorted({min(point, len(data)) for point in points} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


CUTS = st.lists(st.integers(0, 400), max_size=12)
NASTY = st.sampled_from(
    [b"\r\n", b"OK\r\n", b"\r\nSBDRING\r\n", b"READY\r\n", b"AT+SBDRB\r", b"\x00\x05", b"\xff", b"299 "]
)
ANY = st.one_of(st.binary(max_size=300), st.lists(NASTY, max_size=40).map(b"".join))


# --- SBD --------------------------------------------------------------------------------------------------------------


def test_sbd_corpus() -> None:
    found = corpus("iridium_sbd")
    for case in found["binary_checksums"]:
        data = bytes.fromhex(case["payload"])
        assert sbd_codec.written(data) == data + bytes.fromhex(case["expect"]["sbdwb_tail"])
        assert sbd_codec.read(bytes.fromhex(case["expect"]["sbdrb_frame"])) == data
    for case in found["at_lines"]:
        line, expect = case["line"], case["expect"]
        if line.startswith("+SBDIX"):
            result = sbd_codec.session_result(line)
            assert result is not None
            sent = sbd_codec.mo_status(result.mo_status).verdict is sbd_codec.Verdict.DELIVERED
            assert sent == expect.pop("mo_sent")
            assert {name: getattr(result, name) for name in expect} == expect
        elif line.startswith("+SBDSX"):
            state = sbd_codec.buffers(line)
            assert state is not None
            assert (state.momsn, state.mtmsn) == (expect["momsn"], expect["mtmsn"])
            assert (state.mo_present, state.ring) == (bool(expect["mo_flag"]), bool(expect["ra_flag"]))
        elif line.startswith("+CSQ"):
            assert sbd_codec.bars(line) == expect["bars"]
        elif line == "SBDRING":
            assert SbdEngine().receive(b"\r\nSBDRING\r\n") == [Urc("SBDRING")]
        else:
            assert line == "READY"


def test_every_status_of_the_corpus_has_its_verdict() -> None:
    for codes in corpus("iridium_sbd")["mo_status_codes"]:
        low, _, high = codes.partition("-")
        for code in range(int(low), int(high or low) + 1):
            status = sbd_codec.mo_status(code)
            assert (status.verdict is sbd_codec.Verdict.DELIVERED) == (code <= 4)
            assert (code in sbd_codec.MO_STATUSES) == (
                code <= 4 or 10 <= code <= 19 or code in (*range(32, 39), 64, 65)
            )


@FEW
@given(ANY, CUTS, st.booleans())
def test_sbd_engine_survives_any_bytes_cut_anywhere(data: bytes, points: list[int], block: bool) -> None:
    whole, pieces = SbdEngine(), SbdEngine()
    command = Command("AT+SBDRB", block=True) if block else Command("AT+SBDWB=5", digit=True, payload=b"hello\x02\x14")
    for engine in (whole, pieces):
        engine.start(command)
    expected = whole.receive(data)
    found: list[Event] = []
    for piece in cut(data, points):
        found += pieces.receive(piece)
    assert found == expected
    for engine in (whole, pieces):
        engine.expire()
        engine.start(Command("AT"))
        assert Done(True) in engine.receive(b"AT\r\r\nOK\r\n")


@FEW
@given(st.binary(max_size=340), CUTS, st.sampled_from([b"", b"\r\n", b"\r\nSBDRING\r\n"]))
def test_sbd_message_of_any_bytes_cut_anywhere(data: bytes, points: list[int], before: bytes) -> None:
    engine = SbdEngine()
    engine.start(Command("AT+SBDRB", block=True))
    block = len(data).to_bytes(2, "big") + sbd_codec.written(data)
    events: list[Event] = []
    for piece in cut(b"AT+SBDRB\r" + before + block + b"\r\nOK\r\n+CIEV:0,3\r\n", points):
        events += engine.receive(piece)
    done = next(event for event in events if isinstance(event, Done))
    assert done.ok
    assert sbd_codec.read(done.block or b"") == data
    assert events[-1] == Urc("+CIEV:0,3")


@FEW
@given(st.binary(min_size=1, max_size=60), st.integers(0, 500), st.integers(1, 255))
def test_sbd_a_spoilt_byte_is_noticed(data: bytes, where: int, change: int) -> None:
    block = bytearray(len(data).to_bytes(2, "big") + sbd_codec.written(data))
    block[where % len(block)] ^= change
    with pytest.raises(sbd_codec.SbdError):
        sbd_codec.read(bytes(block))
    with pytest.raises(sbd_codec.SbdError):
        sbd_codec.read(bytes(block[: where % len(block)]))


@FEW
@given(st.text(max_size=60))
def test_sbd_lines_of_any_text(text: str) -> None:
    for head in ("", "+SBDIX:", "+SBDSX:", "+CSQ:", "-MSSTM: ", "+CIEV:"):
        sbd_codec.session_result(head + text)
        sbd_codec.buffers(head + text)
        assert sbd_codec.bars(head + text) in (None, *range(6))
        sbd_codec.ticks(head + text)


@FEW
@given(st.integers(0, 2), st.floats(1.75e9, 2.0e9), st.floats(-8e7, 8e7))
def test_sbd_time_is_found_by_a_clock_that_is_years_off(epoch: int, true: float, off: float) -> None:
    count = int((true - sbd_codec.EPOCHS[epoch]) / sbd_codec.TICK)
    if not 0 <= count < 2 << 32:
        return
    found = sbd_codec.system_time(count % (1 << 32), near=true + off, not_before=0)
    assert found is not None
    assert abs(found - (true + off)) <= abs(off) + 1
    # the counter of the second epoch began anew 1.5 years after the third epoch: half of that may a clock be off
    assert abs(off) > 2.3e7 or abs(found - true) < 1


# --- IMT --------------------------------------------------------------------------------------------------------------


def test_jspr_corpus() -> None:
    found = corpus("jspr_9704")
    for case in found["lines"]:
        expect = case["expect"]
        (message,) = JsprParser().receive(b"\x11stale 12" + case["line"].encode())
        assert (message.code, message.target, message.body) == (expect["code"], expect["target"], expect["json"])
    for case in found["payloads"]:
        data = imt_transfer.without_crc(base64.b64decode(case["base64"]))
        assert (data is not None) == case["expect"]["crc_ok"]
        if data is not None:
            assert data.decode() == case["reported_text"]
            assert imt_transfer.with_crc(data)[-2:] == case["expect"]["crc16"].to_bytes(2, "big")


@FEW
@given(ANY, CUTS)
def test_jspr_survives_any_bytes_cut_anywhere(data: bytes, points: list[int]) -> None:
    whole, pieces = JsprEngine(), JsprEngine()
    for engine in (whole, pieces):
        engine.ask(Request("GET", "hwInfo"))
    expected = whole.receive(data)
    found: list[jspr.Event] = []
    for piece in cut(data, points):
        found += pieces.receive(piece)
    assert found == expected
    assert len(pieces.receive(b'\r200 hwInfo {"imei": "1"}\r')) == 1


@FEW
@given(st.binary(min_size=1, max_size=400), st.lists(st.integers(1, 100), min_size=1, max_size=8), st.randoms())
def test_imt_segments_in_any_order(data: bytes, sizes: list[int], chance: Any) -> None:
    sending, receiving = Origination(data, 244, 1), Terminations()
    sending.message_id = 7
    asked: list[Message] = []
    total, start = sending.request["message_length"], 0
    while start < total:
        size = min(sizes[len(asked) % len(sizes)], total - start)
        asked.append(Message(299, "messageOriginateSegment", {"segment_start": start, "segment_length": size}))
        start += size
    bodies = [body for body in map(sending.segment, asked) if body is not None]
    chance.shuffle(bodies)
    for body in (*bodies, bodies[0]):
        receiving.segment(Message(299, "messageTerminateSegment", body))
    end = {"topic_id": 244, "message_id": 7, "final_mt_status": "complete"}
    assert receiving.end(Message(299, "messageTerminateStatus", end)) == data
    for body in bodies[1:]:
        receiving.segment(Message(299, "messageTerminateSegment", body))
    assert len(bodies) == 1 or receiving.end(Message(299, "messageTerminateStatus", end)) is None


NUMBERS = st.one_of(st.integers(-(2**40), 2**40), st.none(), st.text(max_size=5), st.booleans())


@FEW
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "segment", "end"]),
            st.dictionaries(
                st.sampled_from(
                    ["topic_id", "message_id", "segment_start", "segment_length", "data", "final_mt_status"]
                ),
                st.one_of(NUMBERS, st.sampled_from(["complete", "aGVsbG8=", "%%"])),
            ),
        ),
        max_size=20,
    )
)
def test_imt_any_numbers_at_all(steps: list[tuple[str, dict[str, Any]]]) -> None:
    receiving, sending = Terminations(), Origination(b"hello", 244, 1)
    for step, body in steps:
        message = Message(299, "messageTerminate", body)
        getattr(receiving, step)(message)
        sending.segment(message)
    assert len(receiving._open) <= imt_transfer.MOST_TERMINATIONS


# --- Notecard ---------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@FEW
@given(
    st.dictionaries(st.text(max_size=6).filter(lambda name: name != "crc"), JSON, max_size=4), st.integers(0, 65_535)
)
def test_notecard_requests_with_their_crc(request: dict[str, Any], sequence: int) -> None:
    line = notecard_wire.encode(request, sequence)
    assert notecard_wire.decode(line + b"\r", sequence, must_have_crc=True) == (request, True)
    assert notecard_wire.decode(notecard_wire.encode(request)) == (request, False)
    with pytest.raises(notecard_wire.SpoiltReply):
        notecard_wire.decode(line, (sequence + 1) & 0xFFFF)
    with pytest.raises(notecard_wire.SpoiltReply):
        notecard_wire.decode(notecard_wire.encode(request), sequence, must_have_crc=True)


@FEW
@given(ANY, CUTS)
def test_notecard_survives_any_bytes(data: bytes, points: list[int]) -> None:
    whole, pieces = notecard_wire.LineReader(), notecard_wire.LineReader()
    expected = whole.receive(data)
    assert [line for piece in cut(data, points) for line in pieces.receive(piece)] == expected
    for line in expected:
        try:
            notecard_wire.decode(line)
        except notecard_wire.SpoiltReply:
            continue


def test_notecard_corpus() -> None:
    """Every sample passes with and without a CRC, and every tag in them is read."""
    cases = [case for case in corpus("notecard_samples")["cases"] if isinstance(case["json"], dict)]
    for case in cases:
        line = notecard_wire.encode(case["json"], 7)
        assert notecard_wire.decode(line, 7) == (case["json"], True)
    said = [case["json"].get("err") for case in cases if case["json"].get("err")]
    assert said
    assert "no-ntn-module" in {tag for text in said for tag in notecard_wire.tags(text)}
    assert notecard_wire.trouble("no NTN module is connected {no-ntn-module}") is notecard_wire.Trouble.SETTINGS
    assert notecard_wire.trouble("not here {io} {not-supported}") is notecard_wire.Trouble.UNSUPPORTED
    assert notecard_wire.trouble("{ntn-idle}") is notecard_wire.Trouble.OTHER


# --- what is kept -----------------------------------------------------------------------------------------------------


@FEW
@given(st.one_of(st.binary(max_size=40), JSON.map(encode)))
def test_damaged_memory_is_forgotten(data: bytes) -> None:
    memory = Forgetful()
    memory.put("x", data)
    for kept in (Attempts(memory, "x"), Inbox(memory, "x"), SessionNote(memory, "x")):
        kept.load()
    attempts = Attempts(memory, "x")
    attempts.load()
    attempts.begin(Attempt(b"d", 1, "imei", 0.0, Outcome.OPEN))
    assert attempts.unfinished is not None
