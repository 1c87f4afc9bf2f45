"""Contexts and sockets of the virtual modem: as strict as the real thing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rataccess_hil.modem import Air
from rataccess_hil.modem.actions import OpenSocket, Resolve, SendDatagram
from rataccess_hil.modem.data import BUFFER
from tests.hil.bench import Bench


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.online()
    return made


# --- contexts ---------------------------------------------------------------------------------------------------------


def test_a_context_has_an_address_and_cannot_be_activated_twice(bench: Bench) -> None:
    assert bench.ask("AT+QIACT?") == ['+QIACT: 1,1,1,"10.64.0.2"', "OK"]
    assert bench.ask("AT+CGPADDR=1") == ['+CGPADDR: 1,"10.64.0.2"', "OK"]
    assert bench.ask("AT+QIACT=1", 2.0) == ["ERROR"]
    assert bench.ask("AT+QIDEACT=1", 2.0) == ["OK"]
    assert bench.ask("AT+QIACT?") == ["OK"]
    assert bench.ask("AT+QIACT=1", 2.0) == ["OK"]
    assert bench.ask("AT+QIACT=17") == ["+CME ERROR: 50"]


def test_no_context_without_a_network_or_against_its_will() -> None:
    bench = Bench(air=Air(coverage=False))
    assert bench.ask("AT+QIACT=1", 2.0) == ["+CME ERROR: 30"]
    bench = Bench(air=Air(refuses_context=133))
    assert bench.ask("AT+QIACT=1", 2.0) == ["+CME ERROR: 133"]
    assert bench.ask("AT+QIGETERROR") == ["+QIGETERROR: 561,open PDP context failed", "OK"]


def test_a_lost_context_must_be_given_up_first(bench: Bench) -> None:
    serial = bench.socket()
    assert bench.do(lambda modem: modem.data.lose(1)) == ['+QIURC: "pdpdeact",1']
    assert bench.closed() == [serial]
    assert bench.ask("AT+QISEND=0,5") == ["ERROR"]
    assert bench.ask("AT+QIACT=1", 2.0) == ["ERROR"]
    assert bench.ask("AT+QIDEACT=1", 2.0) == ["OK"]
    assert bench.ask("AT+QIACT=1", 2.0) == ["OK"]
    assert bench.ask("AT+QIACT?") == ['+QIACT: 1,1,1,"10.64.0.3"', "OK"], "another address"


def test_a_context_outlives_a_short_loss_of_coverage_only(bench: Bench) -> None:
    for seconds, lost in ((50.0, []), (70.0, ['+QIURC: "pdpdeact",1'])):
        bench.modem.air.coverage = False
        bench.modem.registration.evaluate()
        assert bench.hear(seconds) == lost
        bench.modem.air.coverage = True
        bench.modem.registration.evaluate()
        bench.hear(20.0)


def test_the_radio_off_takes_the_context(bench: Bench) -> None:
    bench.ask("AT+CGEREP=1")
    assert bench.ask("AT+CFUN=0", 2.0) == ["+CGEV: NW PDN DEACT 1", '+QIURC: "pdpdeact",1', "OK"]


def test_the_attach_context_is_up_with_registration() -> None:
    bench = Bench()
    assert bench.ask("AT+CGACT?;+CGATT?") == ["+CGACT: 1,1", "+CGATT: 1", "OK"]
    assert bench.ask("AT+CGPADDR=1") == ['+CGPADDR: 1,"10.64.0.1"', "OK"]
    assert bench.ask("AT+CGCONTRDP=1")[0].startswith('+CGCONTRDP: 1,5,"","10.64.0.1.255.255.255.0"')
    assert bench.ask("AT+CGACT=0,1", 2.0) == ["+CME ERROR: 171"]
    assert bench.ask("AT+CGATT=0", 2.0) == ["OK"]
    assert bench.ask("AT+CGATT?") == ["+CGATT: 0", "OK"]
    assert bench.ask("AT+QIACT=1", 2.0) == ["+CME ERROR: 30"]


def test_defining_contexts() -> None:
    bench = Bench()
    assert bench.ask('AT+CGDCONT=1,"IPV4V6","iot.example"') == ["OK"]
    assert bench.ask("AT+CGDCONT?") == ['+CGDCONT: 1,"IPV4V6","iot.example","0.0.0.0",0,0,0,0', "OK"]
    assert bench.ask('AT+CGDCONT=1,"X25","a"') == ["+CME ERROR: 50"]
    assert bench.ask('AT+CGDCONT=17,"IP","a"') == ["+CME ERROR: 50"]
    assert bench.ask("AT+CGDCONT=1") == ["OK"]
    assert bench.ask("AT+CGDCONT?") == ["OK"]


# --- sockets ----------------------------------------------------------------------------------------------------------


def test_nothing_is_sent_before_a_socket_is_open() -> None:
    bench = Bench()
    assert bench.ask("AT+QISEND=0,5") == ["ERROR"]
    assert bench.ask("AT+QIRD=0,1500") == ["ERROR"]
    assert bench.ask('AT+QIOPEN=1,0,"UDP","198.51.100.7",5683,0,0', 1.0) == ["OK", "+QIOPEN: 0,561"]
    assert bench.ask("AT+QISEND=0,5") == ["ERROR"]


def test_a_socket_that_is_opening_cannot_send_yet(bench: Bench) -> None:
    assert bench.ask('AT+QIOPEN=1,0,"UDP","198.51.100.7",5683,0,0', 1.0) == ["OK"]
    assert bench.ask("AT+QISEND=0,5") == ["ERROR"]
    assert bench.ask('AT+QIOPEN=1,0,"UDP","198.51.100.7",5683,0,0', 1.0) == ["OK", "+QIOPEN: 0,563"]


def test_a_failed_open_frees_the_number(bench: Bench) -> None:
    bench.ask('AT+QIOPEN=1,0,"UDP","198.51.100.9",1,0,0', 1.0)
    opened = next(action for action in bench.actions if isinstance(action, OpenSocket))
    assert bench.do(lambda modem: modem.data.opened(opened.serial, 566)) == ["+QIOPEN: 0,566"]
    assert bench.ask("AT+QIGETERROR") == ["+QIGETERROR: 566,socket connect failed", "OK"]
    bench.socket()


def test_twelve_sockets_and_no_more(bench: Bench) -> None:
    for index in range(12):
        bench.socket(index)
    assert bench.ask('AT+QIOPEN=1,12,"UDP","198.51.100.7",5683,0,0', 1.0) == ["ERROR"]
    assert bench.ask("AT+QIGETERROR") == ["+QIGETERROR: 552,invalid parameters", "OK"]
    assert len(bench.ask("AT+QISTATE?")) == 13
    assert bench.ask("AT+QISTATE=1,3") == ['+QISTATE: 3,"UDP","198.51.100.7",5683,0,2,1,3,0,"usbat"', "OK"]
    assert bench.ask("AT+QISTATE=0,2") == ["OK"]


@pytest.mark.parametrize(
    ("service", "mode", "error"), [("TCP", 0, 555), ("TCP LISTENER", 0, 555), ("UDP", 2, 555), ("UDP", 0, 0)]
)
def test_what_is_not_built_says_so(bench: Bench, service: str, mode: int, error: int) -> None:
    said = bench.ask(f'AT+QIOPEN=1,0,"{service}","198.51.100.7",5683,0,{mode}', 1.0)
    assert said == (["OK", f"+QIOPEN: 0,{error}"] if error else ["OK"])


def test_payload_of_up_to_1460_bytes(bench: Bench) -> None:
    bench.socket()
    assert bench.ask("AT+QISEND=0,1461") == ["ERROR"]
    bench.write(b"AT+QISEND=0,1460\r")
    bench.wait(0.1)
    bench.write(b"x" * 1460)
    assert bench.hear(1.0) == ["SEND OK"]
    assert bench.sent() == [b"x" * 1460]
    assert bench.ask("AT+QISEND=0,0") == ["+QISEND: 1460,1460,0", "OK"]


def test_a_full_buffer_fails_and_can_be_tried_again(bench: Bench) -> None:
    bench.socket()
    for full, final in ((True, "SEND FAIL"), (False, "SEND OK")):
        bench.modem.faults.buffer_full = full
        bench.write(b"AT+QISEND=0,2\r")
        bench.wait(0.1)
        bench.write(b"hi")
        assert bench.hear(1.0) == [final]
    assert bench.sent() == [b"hi"]


def test_a_socket_lost_while_payload_is_typed(bench: Bench) -> None:
    bench.socket()
    bench.write(b"AT+QISEND=0,2\r")
    bench.wait(0.1)
    bench.do(lambda modem: modem.data.lose(1))
    bench.write(b"hi")
    assert bench.hear(1.0) == ["ERROR", '+QIURC: "pdpdeact",1']
    assert bench.sent() == []


def test_hexadecimal_payload(bench: Bench) -> None:
    bench.socket()
    assert bench.ask('AT+QISENDEX=0,"000D0A1BFF"', 1.0) == ["SEND OK"]
    assert bench.sent() == [b"\x00\r\n\x1b\xff"]
    for wrong in ("0", "xy", "", "00" * 513):
        assert bench.ask(f'AT+QISENDEX=0,"{wrong}"', 1.0) == ["ERROR"]


def test_news_of_data_is_told_once_until_all_is_read(bench: Bench) -> None:
    serial = bench.socket()
    assert bench.datagram(serial, b"one\r\nOK\r\n") == b'\r\n+QIURC: "recv",0\r\n'
    assert bench.datagram(serial, b"two") == b""
    assert bench.ask("AT+QIRD=0,0") == ["+QIRD: 12,0,12", "OK"]
    bench.write(b"AT+QIRD=0,1500\r")
    assert bench.wait(0.1) == b"\r\n+QIRD: 9\r\none\r\nOK\r\n\r\n\r\nOK\r\n", "one datagram at a time"
    assert bench.datagram(serial, b"three") == b"", "two is still there"
    assert bench.ask("AT+QIRD=0")[:2] == ["+QIRD: 3", "two"]
    assert bench.ask("AT+QIRD=0,2")[:2] == ["+QIRD: 2", "th"]
    assert bench.ask("AT+QIRD=0,1500")[:2] == ["+QIRD: 3", "ree"]
    assert bench.ask("AT+QIRD=0,1500") == ["+QIRD: 0", "OK"]
    assert bench.ask("AT+QIRD=0,0") == ["+QIRD: 17,17,0", "OK"]
    assert bench.datagram(serial, b"four") == b'\r\n+QIURC: "recv",0\r\n'
    assert bench.ask("AT+QIRD=0,1501") == ["ERROR"]


def test_pushed_data_comes_with_its_length(bench: Bench) -> None:
    serial = bench.socket(mode=1)
    assert bench.datagram(serial, b"\r\nOK\r\n") == b'\r\n+QIURC: "recv",0,6\r\n\r\nOK\r\n\r\n'
    assert bench.ask('AT+QICFG="dataformat",0,1') == ["OK"]
    assert bench.datagram(serial, b"\r\nOK") == b'\r\n+QIURC: "recv",0,4\r\n0D0A4F4B\r\n'


def test_received_data_as_hexadecimal_text(bench: Bench) -> None:
    serial = bench.socket()
    assert bench.ask('AT+QICFG="dataformat",0,1') == ["OK"]
    assert bench.ask('AT+QICFG="dataformat"') == ['+QICFG: "dataformat",0,1', "OK"]
    bench.datagram(serial, b"\x00\r\n")
    assert bench.ask("AT+QIRD=0,1500") == ["+QIRD: 3", "000D0A", "OK"]
    assert bench.ask('AT+QICFG="dataformat",1,1') == ["+CME ERROR: 50"]


def test_a_udp_service_names_the_peer_of_each_datagram(bench: Bench) -> None:
    serial = bench.socket(service="UDP SERVICE")
    assert bench.ask("AT+QISEND=0,2") == ["ERROR"]
    bench.write(b'AT+QISEND=0,2,"198.51.100.8",7\r')
    bench.wait(0.1)
    bench.write(b"hi")
    assert bench.hear(1.0) == ["SEND OK"]
    assert [action.to for action in bench.actions if isinstance(action, SendDatagram)] == [("198.51.100.8", 7)]
    bench.datagram(serial, b"yo")
    assert bench.ask("AT+QIRD=0") == ['+QIRD: 2,"198.51.100.7",5683', "yo", "OK"]


def test_an_overfull_socket_loses_what_is_new(bench: Bench) -> None:
    serial = bench.socket()
    for _ in range(BUFFER // 1024 + 3):
        bench.datagram(serial, b"x" * 1024)
    assert bench.modem.data.overflowed == 3
    assert bench.ask("AT+QIRD=0,0")[0] == f"+QIRD: {BUFFER},0,{BUFFER}"


def test_a_socket_closed_by_the_far_end_keeps_its_number(bench: Bench) -> None:
    serial = bench.socket()
    bench.datagram(serial, b"last")
    assert bench.do(lambda modem: modem.data.close_by_peer(0)) == ['+QIURC: "closed",0']
    assert bench.ask("AT+QIRD=0")[1] == "last"
    assert bench.ask("AT+QISEND=0,2") == ["ERROR"]
    assert bench.ask('AT+QIOPEN=1,0,"UDP","198.51.100.7",5683,0,0', 1.0) == ["OK", "+QIOPEN: 0,563"]
    assert bench.ask("AT+QICLOSE=0", 1.0) == ["OK"]
    bench.socket()


def test_closing_what_is_opening_or_not_there(bench: Bench) -> None:
    assert bench.ask("AT+QICLOSE=5,3", 1.0) == ["OK"]
    bench.ask('AT+QIOPEN=1,0,"UDP","198.51.100.7",5683,0,0')
    assert bench.ask("AT+QICLOSE=0", 2.0) == ["OK"]
    assert not any(isinstance(action, OpenSocket) for action in bench.actions)
    bench.ask('AT+QIOPEN=1,0,"UDP","198.51.100.7",5683,0,0', 1.0)
    opened = next(action for action in bench.actions if isinstance(action, OpenSocket))
    bench.ask("AT+QICLOSE=0", 1.0)
    assert bench.do(lambda modem: modem.data.opened(opened.serial, 0)) == [], "its answer comes too late"
    assert bench.closed()[-1] == opened.serial


def test_a_datagram_without_coverage_is_lost_in_the_air(bench: Bench) -> None:
    serial = bench.socket()
    bench.modem.air.coverage = False
    bench.modem.registration.evaluate()
    assert bench.ask('AT+QISENDEX=0,"00"', 1.0) == ["SEND OK"]
    assert bench.sent() == []
    assert bench.datagram(serial, b"x") == b""


def test_names(bench: Bench) -> None:
    assert bench.ask('AT+QIDNSGIP=1,"a.example"', 1.0) == ["OK"]
    assert bench.ask('AT+QIDNSGIP=1,"b.example"', 1.0) == ["ERROR"], "one at a time"
    assert bench.actions[-1] == Resolve("a.example")
    assert bench.do(lambda modem: modem.data.resolved("a.example", ["192.0.2.1", "192.0.2.2"])) == [
        '+QIURC: "dnsgip",0,2,600',
        '+QIURC: "dnsgip","192.0.2.1"',
        '+QIURC: "dnsgip","192.0.2.2"',
    ]
    bench.ask('AT+QIDNSGIP=1,"c.example"', 1.0)
    assert bench.do(lambda modem: modem.data.resolved("c.example", [])) == ['+QIURC: "dnsgip",565']
    assert bench.ask('AT+QIDNSGIP=2,"a.example"') == ["ERROR"]


@settings(max_examples=25, deadline=None)
@given(datagrams=st.lists(st.binary(min_size=1, max_size=300), max_size=8), most=st.integers(1, 1500))
def test_what_is_read_is_what_came(datagrams: list[bytes], most: int) -> None:
    bench = Bench()
    bench.online()
    serial = bench.socket()
    for data in datagrams:
        bench.datagram(serial, data)
    read = b""
    while True:
        bench.write(f"AT+QIRD=0,{most}\r".encode())
        said = bench.wait(0.1)
        head, _, rest = said.removeprefix(b"\r\n+QIRD: ").partition(b"\r\n")
        if head == b"0":
            break
        read += rest[: int(head)]
        assert rest[int(head) :] == b"\r\n\r\nOK\r\n"
    assert read == b"".join(datagrams)


class SocketLife(RuleBasedStateMachine):
    """Whatever happens in whatever order, the modem's own account of its sockets agrees with the world's."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(starts_with_supply=True)
        self.asked: set[int] = set()

    def _take(self) -> list[OpenSocket]:
        return [a for a in self.bench.actions if isinstance(a, OpenSocket) and a.serial not in self.asked]

    @rule(index=st.integers(0, 2))
    def open(self, index: int) -> None:
        self.bench.ask(f'AT+QIOPEN=1,{index},"UDP","198.51.100.7",5683,0,0', 1.0)

    @rule(index=st.integers(0, 2))
    def close(self, index: int) -> None:
        self.bench.ask(f"AT+QICLOSE={index}", 1.0)

    @rule()
    def activate(self) -> None:
        self.bench.ask("AT+QIACT=1", 2.0)

    @rule()
    def deactivate(self) -> None:
        self.bench.ask("AT+QIDEACT=1", 2.0)

    @rule()
    def lose(self) -> None:
        self.bench.do(lambda modem: modem.data.lose(1))

    @rule()
    def restart(self) -> None:
        self.bench.do(lambda modem: modem.restart(), 20.0)
        self.bench.ask("ATE0")

    @precondition(lambda self: self._take())
    @rule(error=st.sampled_from([0, 566]))
    def answer(self, error: int) -> None:
        opened = self._take()[0]
        self.asked.add(opened.serial)
        self.bench.do(lambda modem: modem.data.opened(opened.serial, error))

    @invariant()
    def the_world_has_exactly_the_open_sockets(self) -> None:
        told = [line for line in self.bench.ask("AT+QISTATE?") if line.startswith("+QISTATE")]
        connected = {line.split(",")[0] for line in told if line.split(",")[5] == "2"}
        sockets = self.bench.modem.data.sockets
        assert connected == {f"+QISTATE: {index}" for index, socket in sockets.items() if socket.state == 2}
        closed = set(self.bench.closed())
        assert all(socket.serial not in closed for socket in sockets.values() if socket.state in (1, 2))
        opened = {action.serial for action in self.bench.actions if isinstance(action, OpenSocket)}
        alive = {socket.serial for socket in sockets.values() if socket.state in (1, 2)}
        # What was opened is either still there, or was closed, or failed.
        assert opened - alive - closed <= self.asked


TestSocketLife = SocketLife.TestCase
TestSocketLife.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
