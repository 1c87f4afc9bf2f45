"""One command and what may come back, whole and cut anywhere."""

from __future__ import annotations

import pytest

from rataccess_drivers.at.commands import Command, Reply, Urc, UrcPattern
from rataccess_drivers.at.engine import AtEngine, Done, Failed, Write
from tests.at.at_play import URCS, play, play_every_way

CSQ = Command("AT+CSQ", ("+CSQ:",))
SEND = Command("AT+QISEND=0,5", payload=b"he\r\nO", success=("SEND OK",))
READ = Command("AT+QIRD=0,1500", ("+QIRD:",), binary="+QIRD:")


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n+CSQ: 20,99\r\n\r\nOK\r\n",
        b"AT+CSQ\r\r\n+CSQ: 20,99\r\n\r\nOK\r\n",
        b"AT+CSQ\r\n+CSQ: 20,99\r\nOK\r\n",
        b"\n+CSQ: 20,99\nOK\n",
        b"\r\r\n\r\n+CSQ: 20,99\r\r\n\r\r\nOK\r\r\n",
        b"\x00\x00\r\n+CSQ: 20,99\r\n\r\nOK\r\n",
        b"+CSQ: 20,99\r\n0\r",
        b"AT+CSQ\r+CSQ: 20,99\r\n0\r",
    ],
)
def test_reply_in_every_framing(data: bytes) -> None:
    assert play_every_way(CSQ, data) == [Done(Reply(("+CSQ: 20,99",)))]


@pytest.mark.parametrize(
    ("data", "final", "code"),
    [
        (b"\r\nERROR\r\n", "ERROR", None),
        (b"4\r", "ERROR", None),
        (b"\r\n+CME ERROR: 10\r\n", "+CME ERROR: 10", 10),
        (b"\r\n+CME ERROR: SIM not inserted\r\n", "+CME ERROR: SIM not inserted", 10),
        (b"\r\n+CMS ERROR: 500\r\n", "+CMS ERROR: 500", 500),
        (b"\r\n+CME ERROR: bananas\r\n", "+CME ERROR: bananas", None),
        (b"\r\nNO CARRIER\r\n", "NO CARRIER", None),
        (b"3\r", "NO CARRIER", None),
        (b"\r\nCOMMAND NOT SUPPORT\r\n", "COMMAND NOT SUPPORT", None),
        (b"\r\nABORTED\r\n", "ABORTED", None),
        (b"\r\nMODEM ERROR: 5\r\n", "MODEM ERROR: 5", 5),
    ],
)
def test_failure(data: bytes, final: str, code: int | None) -> None:
    assert play_every_way(CSQ, data) == [Failed(final, code)]


@pytest.mark.parametrize(
    ("command", "data", "event"),
    [
        (Command("ATD*99#", success=("CONNECT",)), b"\r\nCONNECT 115200\r\n", Done(Reply((), (), "CONNECT 115200"))),
        (Command("ATD*99#", success=("CONNECT",)), b"1\r", Done(Reply((), (), "CONNECT"))),
        (Command("AT+QICLOSE"), b"\r\nCLOSE OK\r\n", Done(Reply((), (), "CLOSE OK"))),
        (Command("AT+QIDEACT"), b"\r\nDEACT OK\r\n", Done(Reply((), (), "DEACT OK"))),
        (Command("AT+QISEND=0"), b"\r\nSEND FAIL\r\n", Failed("SEND FAIL", None)),
        (Command("AT+FOO", failure=("FOO FAIL",)), b"\r\nFOO FAIL\r\n", Failed("FOO FAIL", None)),
        (Command("AT+FOO", failure=("+FERR:",)), b"\r\n+FERR: 1,2\r\n", Failed("+FERR: 1,2", None)),
        (
            Command("AT+NETOPEN", success=("+NETOPEN:",)),
            b"\r\nOK\r\n\r\n+NETOPEN: 0\r\n",
            Done(Reply(("+NETOPEN: 0",), (), "+NETOPEN: 0")),
        ),
    ],
)
def test_results_of_vendors(command: Command, data: bytes, event: object) -> None:
    assert play_every_way(command, data) == [event]


def test_lines_that_only_look_like_results() -> None:
    lines = ("UNKNOWN COMMAND", "+CME ERROR:", "MODEM ERROR: apple", "OKAY", "CONNECT OK", "+QIGETERROR: 0,no ERROR: x")
    data = "".join(f"\r\n{line}\r\n" for line in lines).encode() + b"\r\nOK\r\n"
    assert play_every_way(Command("AT+FOO"), data) == [Done(Reply(lines))]


def test_digits_are_info_once_the_modem_was_verbose() -> None:
    engine = AtEngine()
    engine.start(Command("AT"))
    engine.receive(b"\r\nOK\r\n")
    engine.start(Command("AT+SBDWB=5"))
    assert engine.receive(b"\r\n0\r\n\r\nOK\r\n") == [Done(Reply(("0",)))]


def test_a_command_that_changes_the_form_is_answered_in_the_new_one() -> None:
    engine = AtEngine()
    engine.start(Command("AT"))
    engine.receive(b"\r\nOK\r\n")
    engine.start(Command("ATV0"))
    assert engine.receive(b"0\r") == [Done(Reply(()))]
    engine.start(Command("ATE0V1"))
    assert engine.receive(b"\r\nOK\r\n") == [Done(Reply(()))]


# --- prompts and payloads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [b"\r\n> ", b"\r\n>", b">", b"> \r\n", b"@", b"\r\n@", b"AT+QISEND=0,5\r\r\n> "])
def test_payload_is_written_at_the_prompt(prompt: bytes) -> None:
    events = play_every_way(SEND, prompt + b"\r\nSEND OK\r\n")
    assert events == [Write(SEND.payload or b""), Done(Reply((), (), "SEND OK"))]


def test_prompt_of_a_word_is_a_whole_line() -> None:
    command = Command("AT+SBDWB=5", payload=b"helloxx", prompts=("READY",))
    events = play_every_way(command, b"\r\nREADY\r\n\r\n> nothing\r\n\r\nOK\r\n")
    assert events == [Write(b"helloxx"), Done(Reply(("> nothing",)))]


def test_no_prompt_but_an_error() -> None:
    assert play_every_way(SEND, b"\r\nERROR\r\n") == [Failed("ERROR", None)]


def test_a_second_prompt_does_not_write_again() -> None:
    events = play_every_way(SEND, b"> \r\n> \r\nSEND OK\r\n")
    assert [event for event in events if isinstance(event, Write)] == [Write(SEND.payload or b"")]


def test_echoed_payload_is_dropped() -> None:
    """With ATE1 the payload comes back as well, and may look like anything."""
    command = Command("AT+CMGS=3", ("+CMGS:",), payload=b"OK\r\nERROR\r\n\x1a")
    data = b"AT+CMGS=3\r\r\n> OK\r\nERROR\r\n\r\n+CMGS: 7\r\n\r\nOK\r\n"
    assert play_every_way(command, data) == [Write(command.payload or b""), Done(Reply(("+CMGS: 7",)))]


def test_urc_before_and_after_the_prompt() -> None:
    events = play_every_way(SEND, b'\r\n+CMTI: "SM",1\r\n\r\n> \r\n+CREG: 5\r\n\r\nSEND OK\r\n')
    assert events == [
        Urc('+CMTI: "SM",1'),
        Write(SEND.payload or b""),
        Urc("+CREG: 5"),
        Done(Reply((), (), "SEND OK")),
    ]


# --- binary blocks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block", [b"", b"\r", b"\n", b"\r\n", b"\r\nOK\r\n", b"\r\nERROR\r\n+QIRD: 9\r\n", bytes(range(256))]
)
def test_announced_block_may_hold_anything(block: bytes) -> None:
    data = b"\r\n+QIRD: %d\r\n%b\r\n\r\nOK\r\n" % (len(block), block)
    assert play_every_way(READ, data) == [Done(Reply((f"+QIRD: {len(block)}",), (block,)))]


def test_several_blocks_and_their_lines_stay_in_order() -> None:
    data = b"\r\n+QIRD: 2\r\nab\r\n+QIRD: 3\r\ncde\r\n\r\nOK\r\n"
    assert play_every_way(READ, data) == [Done(Reply(("+QIRD: 2", "+QIRD: 3"), (b"ab", b"cde")))]


def test_length_in_another_field() -> None:
    command = Command("AT+USORD=3,4", ("+USORD:",), binary="+USORD:", binary_field=1)
    assert play_every_way(command, b"\r\n+USORD: 3,4\r\nOK\r\n\r\nOK\r\n") == [
        Done(Reply(("+USORD: 3,4",), (b"OK\r\n",)))
    ]
    last = Command("AT+X", ("+X:",), binary="+X:", binary_field=-1)
    assert play_every_way(last, b'+X: 1,"a",2\r\nxyOK\r\n') == [Done(Reply(('+X: 1,"a",2',), (b"xy",)))]


@pytest.mark.parametrize("line", ["+QIRD:", "+QIRD: x", "+QIRD: -1", "+QIRD: 99999999"])
def test_line_without_a_sensible_length_announces_nothing(line: str) -> None:
    assert play_every_way(READ, f"\r\n{line}\r\n\r\nOK\r\n".encode()) == [Done(Reply((line,)))]


def test_urc_with_a_block_between_everything() -> None:
    urc = b'\r\n+QIURC: "recv",1,6\r\n\r\nOK\r\n'
    wanted = Urc('+QIURC: "recv",1,6', b"\r\nOK\r\n")
    data = urc + b"\r\n+CSQ: 20,99\r\n" + urc + b"\r\nOK\r\n" + urc
    assert play_every_way(CSQ, data) == [wanted, wanted, Done(Reply(("+CSQ: 20,99",))), wanted]
    assert play_every_way(None, urc + urc) == [wanted, wanted]


def test_urc_that_lacks_the_length_has_no_block() -> None:
    data = b'\r\n+QIURC: "closed",1\r\n\r\n+QIURC: "pdpdeact",1,1\r\nx\r\n'
    assert play_every_way(None, data) == [Urc('+QIURC: "closed",1'), Urc('+QIURC: "pdpdeact",1,1'), Urc("x")]


# --- URCs -------------------------------------------------------------------------------------------------------------


def test_line_of_the_running_command_may_be_a_urc() -> None:
    read = Command("AT+CEREG?", ("+CEREG:",))
    data = b'\r\n+CEREG: 5\r\n\r\n+CEREG: 2,1,"1A2B","01D30173",7\r\n\r\n+CEREG: 2,"1A2B","01D30173",7\r\n\r\nOK\r\n'
    assert play_every_way(read, data) == [
        Urc("+CEREG: 5"),
        Urc('+CEREG: 2,"1A2B","01D30173",7'),
        Done(Reply(('+CEREG: 2,1,"1A2B","01D30173",7',))),
    ]


def test_without_a_rule_the_running_command_owns_its_lines() -> None:
    urcs = (UrcPattern("+CSQ:"),)
    assert play_every_way(CSQ, b"+CSQ: 1,2\r\nOK\r\n+CSQ: 3,4\r\n", urcs) == [
        Done(Reply(("+CSQ: 1,2",))),
        Urc("+CSQ: 3,4"),
    ]


def test_line_of_another_prefix_belongs_to_the_command_unless_the_table_has_it() -> None:
    data = b"\r\nManufacturer: x\r\n\r\nRDY\r\n\r\nOK\r\n"
    assert play_every_way(Command("ATI", ("Model:",)), data) == [Urc("RDY"), Done(Reply(("Manufacturer: x",)))]


def test_result_that_the_table_has_is_a_urc() -> None:
    urcs = (UrcPattern("NO CARRIER"),)
    assert play_every_way(CSQ, b"\r\nNO CARRIER\r\n+CSQ: 1,2\r\nOK\r\n", urcs) == [
        Urc("NO CARRIER"),
        Done(Reply(("+CSQ: 1,2",))),
    ]


def test_nothing_runs() -> None:
    assert play_every_way(None, b"\r\nRING\r\n\r\nOK\r\n\r\nNO CARRIER\r\nfoo\r\n", ()) == [
        Urc("RING"),
        Urc("NO CARRIER"),
        Urc("foo"),
    ]


def test_longer_prefix_wins_and_the_part_before_the_colon_is_whole() -> None:
    urcs = (UrcPattern("+Q:", 0), UrcPattern("+Q: 7"), UrcPattern("SMS"), UrcPattern("SMS DONE"))
    assert play_every_way(None, b"+Q: 2\r\nab+Q: 7\r\n+QX: 3\r\nSMS DONE\r\nSMS x\r\n", urcs) == [
        Urc("+Q: 2", b"ab"),
        Urc("+Q: 7"),
        Urc("+QX: 3"),
        Urc("SMS DONE"),
        Urc("SMS x"),
    ]


# --- echo -------------------------------------------------------------------------------------------------------------


def test_echo_torn_apart_by_a_urc() -> None:
    assert play_every_way(CSQ, b"AT+C\r\n+CREG: 5\r\nSQ\r\r\n+CSQ: 1,2\r\n\r\nOK\r\n") == [
        Urc("+CREG: 5"),
        Done(Reply(("+CSQ: 1,2",))),
    ]


def test_list_of_commands_that_holds_the_command_itself() -> None:
    lines = ("AT+CFUN", "AT+CLAC", "AT+COPS")
    data = b"\r\n" + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\nOK\r\n"
    assert play_every_way(Command("AT+CLAC"), data) == [Done(Reply(lines))]


# --- misuse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["AT\rAT+CFUN=0", 'AT+COPS=1,2,"x\n"', "AT\x1a", "AT\x00"])
def test_text_with_a_control_character_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        AtEngine().start(Command(text))


def test_one_command_at_a_time() -> None:
    engine = AtEngine()
    assert engine.start(CSQ) == b"AT+CSQ\r"
    assert engine.running is CSQ
    with pytest.raises(RuntimeError, match="running"):
        engine.start(CSQ)
    with pytest.raises(RuntimeError, match="running"):
        engine.resync()


def test_text_that_is_no_ascii() -> None:
    data = '\r\n+COPS: 0,0,"Telefónica",7\r\n'.encode() + b'+COPS: 0,0,"Telef\xf3nica",7\r\n\r\nOK\r\n'
    line = '+COPS: 0,0,"Telefónica",7'
    assert play_every_way(Command("AT+COPS?", ("+COPS:",)), data) == [Done(Reply((line, line)))]


def test_table_without_entries_and_a_command_without_prefixes() -> None:
    assert play(Command("AT"), [b"\r\nOK\r\n"], ()) == [Done(Reply(()))]
    assert repr(AtEngine(URCS)) == "<AtEngine idle discarded=0 stale=0>"
