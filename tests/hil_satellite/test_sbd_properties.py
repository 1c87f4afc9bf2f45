"""What holds of the virtual 9603 whatever is done to it: no crash, nothing lost by the gateway, every credit accounted for.

Rules of this file: the interpreter without port and loop; time passes when a test says so.
"""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess_hil.satellite import USUAL_IMEI, IridiumGateway, Model, Sky, Step, Timings, credits_for
from rataccess_hil.satellite.sbd_commands import COMMANDS
from rataccess_hil.satellite.sbd_core import SbdModem
from rataccess_hil.satellite.sbd_state import USUAL_STATUS, Break


class Wall:
    """A date, and no more."""

    def wall(self) -> float:
        return 1_767_225_600.0

    def monotonic(self) -> float:
        raise AssertionError("only dates are asked of it")

    def wall_known(self) -> bool:
        return True


class Bench:
    """A modem and its gateway, both without a loop."""

    def __init__(self, bars: int = 5, **options: Any) -> None:
        self.gateway = IridiumGateway(clock=Wall())
        self.sky = Sky(bars)
        self.modem = SbdModem(
            self.gateway,
            COMMANDS,
            imei=USUAL_IMEI,
            sky=self.sky,
            model=Model(**options),
            timings=Timings(),
            seed=1,
        )
        self.modem.find(True)

    def pass_time(self, seconds: float) -> bytes:
        """Let time pass; what it said."""
        self.modem.run_until(self.modem.schedule.now + seconds)
        said = bytes(self.modem.output)
        self.modem.output.clear()
        return said

    def ask(self, command: bytes, seconds: float = 120.0) -> bytes:
        """A command, and what was said after so long."""
        self.modem.receive(command + b"\r")
        return self.pass_time(seconds)


commands = st.sampled_from(
    [b"AT", b"AT+SBDIX", b"AT+SBDWB=3", b"AT+SBDRB", b"AT+CSQ", b"ATE0", b"AT+SBDWT", b"AT+CIER=1,1,1"]
)
typed = st.binary(max_size=20) | commands.map(lambda command: command + b"\r")


@settings(max_examples=80)
@given(st.lists(st.tuples(typed, st.floats(0, 5)), max_size=8))
def test_any_bytes_leave_it_working(said: list[tuple[bytes, float]]) -> None:
    bench = Bench()
    for data, seconds in said:
        bench.modem.receive(data)
        bench.pass_time(seconds)
    bench.pass_time(200)
    bench.modem.power(False)
    bench.modem.power(True)
    bench.pass_time(10)
    assert bench.ask(b"AT+CGSN", 1) == b"AT+CGSN\r\r\n300234010753370\r\n\r\nOK\r\n"


breaks = st.none() | st.sampled_from(list(Step))
rounds = st.lists(
    st.tuples(st.binary(min_size=1, max_size=120), st.binary(max_size=120), breaks, st.booleans()), max_size=6
)


@settings(max_examples=60)
@given(rounds)
def test_every_message_and_credit_is_accounted_for(said: list[tuple[bytes, bytes, Step | None, bool]]) -> None:
    bench = Bench()
    gateway, modem = bench.gateway, bench.modem
    taken: list[bytes] = []
    read: dict[int, bytes] = {}
    submitted = [down for _, down, _, _ in said if down]
    for up, down, step, hears in said:
        if down:
            gateway.send(USUAL_IMEI, down)
        if step is not None:
            modem.faults.breaks.append(Break(step, USUAL_STATUS[step]))
        bench.sky.set(5 if hears else 0)
        modem.receive(b"AT+SBDWB=%d\r" % len(up))
        bench.pass_time(1)
        modem.receive(up + (sum(up) & 0xFFFF).to_bytes(2, "big"))
        bench.pass_time(1)
        found = re.search(rb"\+SBDIX: (\d+), (\d+), (\d+), (\d+), (\d+), (\d+)", bench.ask(b"AT+SBDIX"))
        assert found
        status, number, mt, mtmsn, length, queued = (int(field) for field in found.groups())
        if hears and step is not Step.BEFORE_MO:
            taken.append(up)
        if not hears and step is not None:
            modem.faults.breaks.clear()
        assert (status <= 4) is (hears and step not in (Step.BEFORE_MO, Step.AFTER_MO, Step.AFTER_ACK))
        assert modem.momsn == number + (hears and step not in (Step.BEFORE_MO, Step.AFTER_MO))
        assert queued == (gateway.queued(USUAL_IMEI) if status <= 4 else 0)
        if mt == 1:
            assert length == len(modem.buffers.mt or b"")
            read[mtmsn] = modem.buffers.mt or b""
    assert [each.payload for each in gateway.of(USUAL_IMEI).mo] == taken
    waiting = [each.payload for each in gateway.of(USUAL_IMEI).queue]
    delivered = submitted[: len(submitted) - len(waiting)]
    assert waiting == submitted[len(delivered) :]
    # What the modem read is what was submitted, in order; one may still wait, for the gateway did not hear of it.
    assert list(read.values()) == submitted[: len(read)]
    assert len(read) - len(delivered) in (0, 1)
    billed = sum(credits_for(len(each)) for each in taken) + sum(credits_for(len(each)) for each in delivered)
    assert gateway.credits(USUAL_IMEI) == billed


def test_power_may_go_in_the_middle_of_a_session() -> None:
    bench = Bench()
    bench.gateway.outlets.append(lambda message: bench.modem.power(False))
    bench.ask(b"AT+SBDWT=up", 1)
    assert b"+SBDIX" not in bench.ask(b"AT+SBDIX").replace(b"AT+SBDIX", b"")
    bench.gateway.outlets.clear()
    bench.modem.power(True)
    bench.pass_time(10)
    assert b"+SBDSX: 0, 0, 0, -1, 0, 0" in bench.ask(b"AT+SBDSX", 1)
    assert len(bench.gateway.of(USUAL_IMEI).mo) == 1


def test_what_is_typed_ahead_is_bounded() -> None:
    bench = Bench(bars=0)
    bench.modem.receive(b"AT+CSQ\r" + b"A" * 100_000)
    assert len(bench.modem._typed) <= 4096
    assert bench.modem.counts.swallowed > 90_000
