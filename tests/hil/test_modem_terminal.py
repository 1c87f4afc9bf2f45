"""The virtual modem's line: echo, results, prompts, and what happens to bytes that come at the wrong time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess_hil.modem import COMMANDS, Timings
from rataccess_hil.modem.actions import AtError
from rataccess_hil.modem.grammar import Call, Form, split_fields, split_line
from tests.hil.bench import Bench


def cold_settings() -> Bench:
    bench = Bench(warm=False)
    bench.modem.start_warm()
    return bench


def test_echoes_exactly_what_was_typed_until_told_not_to() -> None:
    bench = cold_settings()
    bench.write(b"aT\r")
    assert bench.wait(0.1) == b"aT\r\r\nOK\r\n"
    bench.write(b"ATE0\r")
    assert bench.wait(0.1) == b"ATE0\r\r\nOK\r\n"
    bench.write(b"AT\r")
    assert bench.wait(0.1) == b"\r\nOK\r\n"


def test_terse_results_are_digits() -> None:
    bench = Bench()
    assert bench.ask("ATV0") == ["0\r"]
    bench.write(b"AT+CSQ\r")
    assert bench.wait(0.1) == b"+CSQ: 23,99\r\n0\r"
    bench.write(b"AT+NOPE\r")
    assert bench.wait(0.1) == b"4\r"


def test_quiet_says_no_result() -> None:
    bench = Bench()
    assert bench.ask("ATQ1") == []
    assert bench.ask("AT+CSQ") == ["+CSQ: 23,99"]
    assert bench.ask("ATQ0") == ["OK"]


@pytest.mark.parametrize(("level", "answer"), [(0, "ERROR"), (1, "+CME ERROR: 516"), (2, "+CME ERROR: not fixed now")])
def test_three_ways_to_fail(level: int, answer: str) -> None:
    bench = Bench()
    assert bench.ask("AT+QGPS=1") == ["OK"]
    assert bench.ask(f"AT+CMEE={level}") == ["OK"]
    assert bench.ask("AT+QGPSLOC=2") == [answer]
    assert bench.ask("AT+NOPE") == ["ERROR"]


def test_joined_commands_stop_at_the_first_error() -> None:
    bench = Bench()
    assert bench.ask("AT+CSQ;+CFUN?;+CGATT?") == ["+CSQ: 23,99", "+CFUN: 1", "+CGATT: 1", "OK"]
    assert bench.ask("AT+CSQ;+NOPE;+CFUN?") == ["+CSQ: 23,99", "ERROR"]
    assert bench.ask("ATE0V1;+CMEE=1;&F") == ["OK"]


def test_tolerates_line_feeds_and_noise_before_a_command() -> None:
    bench = Bench()
    bench.write(b"\xff\x00garbage AT+CFUN?\r\nAT+CFUN?\r\n")
    bench.modem.run_until(0.2)
    # The second line came while the first was open, so it was swallowed.
    assert bench.hear(0.1) == ["+CFUN: 1", "OK"]
    assert bench.modem.terminal.swallowed == len(b"AT+CFUN?\r\n")
    bench.write(b"AT+CFUN?\r\n")
    assert bench.hear(0.1) == ["+CFUN: 1", "OK"]


def test_a_line_without_at_is_not_answered() -> None:
    bench = Bench()
    assert bench.ask("HELLO") == []
    assert bench.ask("") == []


def test_backspace_and_repeat() -> None:
    bench = Bench()
    bench.write(b"AT+CFUX\x08N?\r")
    assert bench.hear(0.1) == ["+CFUN: 1", "OK"]
    assert bench.ask("A/") == ["+CFUN: 1", "OK"]


def test_any_byte_aborts_a_scan_and_nothing_else() -> None:
    bench = Bench()
    bench.write(b"AT+COPS=?\r\n")
    assert bench.wait(1.0) == b"", "the line feed belongs to the command line"
    bench.write(b"A")
    assert bench.hear(0.1) == ["ABORTED"]
    assert bench.ask("AT") == ["OK"]
    bench.ask('AT+QICSGP=1,1,"apn"')
    bench.write(b"AT+QIACT=1\r")
    bench.wait(0.5)
    bench.write(b"AT\r")
    assert bench.hear(2.0) == ["OK"], "one answer, that of QIACT"
    assert bench.modem.terminal.swallowed == 4


def test_scan_runs_to_its_end() -> None:
    bench = Bench()
    bench.write(b"AT+COPS=?\r")
    assert bench.hear(44.0) == []
    assert bench.hear(2.0) == ['+COPS: (2,"Virtual Cellular","Virtual ","00101",8),,(0-4),(0-2)', "OK"]


def test_a_prompt_takes_every_byte() -> None:
    bench = Bench()
    bench.online()
    bench.socket()
    everything = bytes(range(256))
    bench.write(b"AT+QISEND=0,256\r")
    assert bench.wait(0.1) == b"\r\n> "
    bench.write(everything[:100])
    bench.write(everything[100:] + b"AT\r")
    assert bench.hear(1.0) == ["SEND OK"], "what follows the payload is swallowed while the command is open"
    assert bench.sent() == [everything]


def test_escape_leaves_a_prompt_only_when_it_stands_alone() -> None:
    bench = Bench()
    bench.online()
    bench.socket()
    bench.write(b"AT+QISEND=0,5\r")
    bench.wait(0.1)
    bench.write(b"\x1b")
    bench.write(b"AT\r1")
    assert bench.hear(1.0) == ["SEND OK"]
    assert bench.sent() == [b"\x1bAT\r1"]
    bench.write(b"AT+QISEND=0,5\r")
    bench.wait(0.1)
    bench.write(b"\x1b")
    assert bench.hear(1.0) == ["OK"]
    assert bench.ask("AT") == ["OK"]
    assert len(bench.sent()) == 1


def test_a_forgotten_prompt_eats_the_next_command() -> None:
    bench = Bench()
    bench.online()
    bench.socket()
    bench.write(b"AT+QISEND=0,100\r")
    bench.wait(0.1)
    assert bench.ask("AT", 10.0) == []
    assert bench.ask("AT", 10.0) == []


def test_payload_without_a_length_ends_with_ctrl_z() -> None:
    bench = Bench()
    bench.online()
    bench.socket()
    bench.write(b"AT+QISEND=0\r")
    assert bench.wait(0.1) == b"\r\n> "
    bench.write(b"hello\x1a")
    assert bench.hear(1.0) == ["SEND OK"]
    assert bench.sent() == [b"hello"]


def test_payload_is_echoed_unless_told_not_to() -> None:
    bench = Bench()
    bench.online()
    bench.socket()
    bench.ask("ATE1")
    bench.write(b"AT+QISEND=0,2\r")
    bench.wait(0.1)
    bench.write(b"hi")
    assert bench.wait(1.0) == b"hi\r\nSEND OK\r\n"
    bench.ask("AT+QISDE=0")
    bench.write(b"AT+QISEND=0,2\r")
    bench.wait(0.1)
    bench.write(b"hi")
    assert bench.wait(1.0) == b"\r\nSEND OK\r\n"


def test_urcs_wait_while_payload_is_asked_for() -> None:
    bench = Bench()
    bench.online()
    serial = bench.socket()
    bench.write(b"AT+QISEND=0,2\r")
    bench.wait(0.1)
    assert bench.datagram(serial, b"early") == b""
    bench.write(b"hi")
    assert bench.hear(1.0) == ["SEND OK", '+QIURC: "recv",0']


def test_urcs_fall_between_the_lines_of_an_answer() -> None:
    bench = Bench()
    bench.modem.faults.interjections["between"].append("+QIND: SMS DONE")
    bench.modem.faults.interjections["before final"].append('+QIURC: "pdpdeact",1')
    bench.write(b"ATI\r")
    assert bench.wait(0.1) == (
        b"\r\nQuectel\r\n"
        b"\r\n+QIND: SMS DONE\r\n"
        b"BG95-M3\r\nRevision: BG95M3LAR02A04\r\n"
        b'\r\n+QIURC: "pdpdeact",1\r\n'
        b"\r\nOK\r\n"
    )
    assert bench.ask("ATI") == ["Quectel", "BG95-M3", "Revision: BG95M3LAR02A04", "OK"]
    bench.modem.faults.chatter = ["+CEREG: 2"]
    assert bench.ask("ATI").count("+CEREG: 2") == 3


def test_slow_answers_and_gaps_between_lines() -> None:
    bench = Bench()
    bench.modem.faults.slow = 5.0
    assert bench.ask("AT", 4.9) == []
    assert bench.hear(0.2) == ["OK"]
    bench.modem.faults.slow = 0.0
    bench.modem.faults.gap = 2.0
    assert bench.ask("ATI", 2.1) == ["Quectel"]
    assert bench.hear(2.0) == ["BG95-M3"]
    assert bench.hear(4.0) == ["Revision: BG95M3LAR02A04", "OK"]


def test_firmware_typos_and_unanswered_commands() -> None:
    bench = Bench()
    bench.modem.faults.typos["NOCONN"] = "NOCON"
    assert '"NOCON"' in bench.ask('AT+QENG="servingcell"')[0]
    bench.modem.faults.ignored.add("+CSQ")
    assert bench.ask("AT+CSQ", 60.0) == []
    assert bench.ask("AT") == ["OK"]


def test_a_command_line_is_taken_apart_as_v250_says() -> None:
    assert split_line('E0+CGDCONT=1,"IP","a;b,c";+CSQ;+COPS=?') == [
        Call("E", Form.SET, ("0",)),
        Call("+CGDCONT", Form.SET, ("1", '"IP"', '"a;b,c"')),
        Call("+CSQ", Form.EXECUTE),
        Call("+COPS", Form.TEST),
    ]
    assert split_line("s3=13&f") == [Call("S", Form.SET, ("3", "13")), Call("&F", Form.EXECUTE)]
    assert split_fields(' 1 ,, "a,b"') == ["1", "", '"a,b"']
    with pytest.raises(AtError):
        split_line("+CSQ!")


@pytest.mark.parametrize("values", [("x",), ("-1",), ("8",), ("",), ()])
def test_numbers_out_of_range_are_refused(values: tuple[str, ...]) -> None:
    with pytest.raises(AtError) as failure:
        Call("+X", Form.SET, values).number(0, 0, 7)
    assert failure.value.code == 50


DIALOGUE = (
    b"AT\rATE0\rAT+CMEE=1\rAT+CSQ;+CFUN?\rAT+NOPE\rATI\r"
    b'AT+QICSGP=1,1,"apn"\rAT+CEREG=5\rAT+CEREG?\rAT+QENG="servingcell"\r'
)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, len(DIALOGUE)), max_size=12))
def test_it_does_not_matter_how_the_bytes_are_cut(cuts: list[int]) -> None:
    def say(pieces: list[bytes]) -> bytes:
        bench = Bench(warm=False, timings=Timings().scaled(0))
        bench.modem.start_warm()
        for piece in pieces:
            bench.write(piece)
        return bench.wait(10.0)

    edges = [0, *sorted(cuts), len(DIALOGUE)]
    pieces = [DIALOGUE[start:end] for start, end in itertools.pairwise(edges)]
    whole = say([DIALOGUE])
    assert say(pieces) == whole
    assert whole.count(b"OK\r\n") == 9


@settings(max_examples=60, deadline=None)
@given(
    writes=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                lambda name, tail: f"AT{name}{tail}\r".encode(),
                st.sampled_from(sorted(COMMANDS)),
                st.sampled_from(
                    ["", "?", "=?", "=", "=0", "=1", "=1,1", '="x"', '=1,0,"UDP","h",1', "=,,,", '="SC",1']
                ),
            ),
        ),
        max_size=12,
    )
)
def test_nothing_that_is_written_breaks_it(writes: list[bytes]) -> None:
    bench = Bench()
    for data in writes:
        bench.write(data)
        bench.wait(0.5)
    # Whatever state that led to, a power cut always leads out of it.
    bench.do(lambda modem: modem.set_line("supply", False))
    bench.do(lambda modem: modem.set_line("supply", True))
    bench.do(lambda modem: modem.set_line("power_key", True), 0.575)
    bench.do(lambda modem: modem.set_line("power_key", False), 10.0)
    assert bench.modem.alive
    assert bench.ask("ATE0V1Q0", 1.0)[-1] == "OK"
