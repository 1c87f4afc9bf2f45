"""Commands without an answer: a late one is never taken for the next command's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rataccess_drivers.at.commands import Command, Reply, Urc
from rataccess_drivers.at.engine import Answered, AtEngine, Done, Failed
from tests.at.at_play import URCS, pieces

SLOW = Command("AT+QPING=1", ("+QPING:",))
NEXT = Command("AT+CSQ", ("+CSQ:",))
OK = b"\r\nOK\r\n"


def expired(command: Command = SLOW) -> AtEngine:
    engine = AtEngine(URCS)
    engine.start(command)
    assert engine.expire() == b""
    assert engine.running is None
    assert not engine.in_step
    return engine


def test_no_command_before_the_line_is_in_step() -> None:
    engine = expired()
    with pytest.raises(RuntimeError, match="out of step"):
        engine.start(NEXT)


def test_late_reply_before_the_probe_counts_for_the_expired_command() -> None:
    engine = expired()
    assert engine.receive(b"\r\n+QPING: 0,1\r\n" + OK) == []
    assert engine.resync() == b"AT\r"
    assert engine.receive(OK) == [Answered(sure=True)]
    assert engine.in_step
    assert engine.stale == 3


def test_late_reply_after_the_probe_was_sent() -> None:
    engine = expired()
    engine.resync()
    assert engine.receive(b"\r\n+QPING: 0,1\r\n" + OK) == [Answered(sure=False)]
    assert not engine.in_step
    assert engine.receive(OK) == [Answered(sure=True)]
    engine.start(NEXT)
    assert engine.receive(b"+CSQ: 1,2\r\n" + OK) == [Done(Reply(("+CSQ: 1,2",)))]


def test_late_error_after_the_probe_was_sent() -> None:
    engine = expired()
    engine.resync()
    assert engine.receive(b"\r\n+CME ERROR: 30\r\n") == []
    assert engine.receive(OK) == [Answered(sure=True)]


def test_command_that_the_modem_dropped() -> None:
    """Its result never comes; silence after a probe's answer has to do."""
    engine = expired()
    engine.resync()
    assert engine.receive(OK) == [Answered(sure=False)]
    engine.settle()
    engine.start(NEXT)
    assert engine.receive(b"+CSQ: 1,2\r\n" + OK) == [Done(Reply(("+CSQ: 1,2",)))]


def test_reply_that_comes_even_after_that_is_known_by_its_head() -> None:
    engine = expired()
    engine.resync()
    engine.receive(OK)
    engine.settle()
    engine.start(NEXT)
    assert engine.receive(b"\r\n+QPING: 0,1\r\n" + OK) == []
    assert engine.receive(b"+CSQ: 1,2\r\n" + OK) == [Done(Reply(("+CSQ: 1,2",)))]
    assert engine.receive(b"\r\n+QPING: 0,1\r\n") == [Urc("+QPING: 0,1")]


def test_late_reply_while_nothing_runs() -> None:
    engine = expired()
    engine.resync()
    engine.receive(OK)
    engine.settle()
    assert engine.receive(b"\r\n+QPING: 0,1\r\n" + OK) == []
    engine.start(NEXT)
    assert engine.receive(OK) == [Done(Reply(()))]


def test_late_block_is_skipped_whatever_it_holds() -> None:
    engine = expired(Command("AT+QIRD=0", ("+QIRD:",), binary="+QIRD:"))
    assert engine.receive(b"\r\n+QIRD: 18\r\n\r\nOK\r\n+CREG: 1\r\n\r\n") == []
    assert engine.receive(OK) == []
    engine.resync()
    assert engine.receive(OK) == [Answered(sure=True)]
    assert engine.discarded == 18


def test_block_that_never_ends_does_not_swallow_the_answers_for_ever() -> None:
    engine = AtEngine(URCS)
    engine.start(Command("AT+QIRD=0", ("+QIRD:",), binary="+QIRD:"))
    engine.receive(b"\r\n+QIRD: 1500\r\nhalf")
    engine.expire()
    engine.resync()
    assert engine.receive(OK) == []
    engine.resync()
    assert engine.receive(OK) == [Answered(sure=False)]


def test_intermediate_ok_of_an_expired_command_is_no_result() -> None:
    """Else its own result would count for the probe, and the probe's for the next command."""
    engine = expired(Command("AT+QISEND=0", success=("SEND OK",)))
    engine.resync()
    assert engine.receive(OK) == [Answered(sure=False)]
    assert engine.receive(b"\r\nSEND OK\r\n") == []
    assert engine.receive(OK) == [Answered(sure=True)]


def test_urcs_are_told_meanwhile() -> None:
    engine = expired(Command("AT+CEREG?", ("+CEREG:",)))
    assert engine.receive(b'\r\n+CEREG: 5\r\n\r\n+CEREG: 2,1,"1","2",7\r\n') == [Urc("+CEREG: 5")]
    engine.resync()
    assert engine.receive(b"\r\nRDY\r\n") == [Urc("RDY")]


def test_stuck_prompt_is_left_by_escape_and_then_by_filling() -> None:
    """A Quectel that waits for 7 bytes takes them from whatever comes."""
    engine = expired(Command("AT+QISEND=0,7", payload=b"1234567", success=("SEND OK",)))
    assert engine.resync() == b"\x1b\rAT\r"
    assert engine.resync() == b"\x1b\rAT\r"
    assert engine.resync() == b"\x1b" * 7 + b"\rAT\r"
    assert engine.receive(b"> \r\nSEND OK\r\n" + OK) == [Answered(sure=False)]


def test_probes_of_a_sleeping_modem_may_all_be_lost_but_the_last() -> None:
    engine = AtEngine()
    for _ in range(4):
        engine.resync()
    assert engine.receive(OK) == [Answered(sure=False)]
    engine.settle()
    engine.start(Command("AT"))
    assert engine.receive(OK) == [Done(Reply(()))]


def test_abortable_command_is_aborted() -> None:
    engine = AtEngine()
    engine.start(Command("AT+COPS=?", aborts=True))
    assert engine.expire() == b"\r"
    assert engine.expire() == b""


def test_numeric_modem_answers_probes_too() -> None:
    engine = AtEngine()
    engine.resync()
    assert engine.receive(b"AT\r0\r") == [Answered(sure=True)]


def test_digits_are_info_after_a_probe_was_answered_in_words() -> None:
    engine = AtEngine()
    engine.resync()
    engine.receive(OK)
    engine.start(Command("AT+SBDWB=5"))
    assert engine.receive(b"\r\n0\r\n" + OK) == [Done(Reply(("0",)))]


def test_probe_that_draws_an_error_is_repeated() -> None:
    engine = AtEngine()
    engine.resync()
    assert engine.receive(b"\r\nERROR\r\n") == []
    assert not engine.in_step
    engine.resync()
    assert engine.receive(OK) == [Answered(sure=True)]


@given(
    late=st.sampled_from([b"", OK, b"\r\nERROR\r\n", b"\r\n+QPING: 0,1\r\n" + OK, b"\r\n+CME ERROR: 30\r\n"]),
    probes=st.integers(1, 4),
    cuts=st.lists(st.integers(0, 500), max_size=6),
)
def test_in_order_modem_is_never_misread(late: bytes, probes: int, cuts: list[int]) -> None:
    """Whatever the modem did with the expired command, the next command gets its own reply, if answers keep their order."""
    engine = expired()
    for _ in range(probes):
        engine.resync()
    for piece in pieces(late + OK * probes, cuts):
        engine.receive(piece)
    engine.settle()
    engine.start(NEXT)
    events = [event for piece in pieces(b"\r\n+CSQ: 1,2\r\n" + OK, cuts) for event in engine.receive(piece)]
    assert events == [Done(Reply(("+CSQ: 1,2",)))]
    engine.start(NEXT)
    assert engine.receive(b"\r\n+CME ERROR: 3\r\n") == [Failed("+CME ERROR: 3", 3)]
