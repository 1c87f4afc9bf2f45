"""What holds of the virtual 9704 whatever is done to it.

Rules of this file: the interpreter without port and loop; time passes when a test says so.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess_hil.satellite import ImtBreak, ImtModel, ImtTimings, IridiumGateway, Sky, credits_for, jspr
from rataccess_hil.satellite.imt_core import ImtModem
from tests.hil_satellite.test_sbd_properties import Wall

IMEI = "300258060000010"
VERSION = {"active_version": {"major": 1, "minor": 7, "patch": 0}}


class Bench:
    """A modem, its gateway, and a host that supplies the segments it is asked for."""

    def __init__(self) -> None:
        self.gateway = IridiumGateway(clock=Wall())
        self.modem = ImtModem(
            self.gateway,
            imei=IMEI,
            sky=Sky(),
            model=ImtModel(first_malformed=False),
            timings=ImtTimings(),
            provisioned=True,
            seed=1,
        )
        self.modem.find(True)
        self.sending = b""
        self.ended: list[str] = []
        self.received: list[bytes] = []
        self._down = b""

    def start(self) -> None:
        """Up to the constellation."""
        for target, content in (
            ("apiVersion", VERSION),
            ("simConfig", {"interface": "internal"}),
            ("operationalState", {"state": "active"}),
        ):
            self.put(target, content)
        self.pass_time(30)

    def put(self, target: str, content: dict[str, Any]) -> None:
        """A request."""
        self.modem.receive(f"PUT {target} {json.dumps(content)}\r".encode())

    def pass_time(self, seconds: float) -> None:
        """Let time pass, a second at a time, and answer what is asked."""
        end = self.modem.schedule.now + seconds
        while self.modem.schedule.now < end:
            self.modem.run_until(min(end, self.modem.schedule.now + 1))
            lines = bytes(self.modem.output).split(b"\r")[:-1]
            self.modem.output.clear()
            for each in lines:
                code, target, text = each.decode().split(" ", 2)
                if code == "299":
                    self._heard(target, json.loads(text))

    def _heard(self, target: str, content: dict[str, Any]) -> None:
        if target == "messageOriginateSegment":
            start, length = content["segment_start"], content["segment_length"]
            content["data"] = base64.b64encode(self.sending[start : start + length]).decode()
            self.put(target, content)
        elif target == "messageOriginateStatus":
            self.ended.append(content["final_mo_status"])
        elif target == "messageTerminateSegment":
            self._down += base64.b64decode(content["data"])
        elif target == "messageTerminateStatus":
            data, self._down = self._down, b""
            if content["final_mt_status"] == "complete":
                assert jspr.with_crc(data[:-2]) == data
                self.received.append(data[:-2])


sizes = st.integers(1, 40) | st.integers(1440, 1450) | st.integers(1, 6000)
rounds = st.lists(
    st.tuples(sizes, st.integers(0, 3000), st.none() | st.sampled_from(list(ImtBreak)), st.booleans()), max_size=4
)


@settings(max_examples=30)
@given(rounds)
def test_every_message_and_credit_is_accounted_for(said: list[tuple[int, int, ImtBreak | None, bool]]) -> None:
    bench = Bench()
    bench.start()
    taken, submitted = [], []
    for number, (up, down, where, times_out) in enumerate(said):
        payload = bytes([number]) * up
        if down:
            submitted.append(bytes([number]) * down)
            bench.gateway.send(IMEI, submitted[-1], topic=244)
        if times_out:
            bench.modem.faults.mt_statuses.append("message_timed_out")
        if where is not None:
            bench.modem.faults.breaks.append((where, "network_error"))
        bench.sending = jspr.with_crc(payload)
        wanted = {"topic_id": 244, "message_length": len(bench.sending), "request_reference": 1}
        bench.put("messageOriginate", wanted)
        bench.pass_time(120)
        assert bench.ended[-1] == ("mo_ack_received" if where is None else "network_error")
        if where is not ImtBreak.BEFORE_GATEWAY:
            taken.append(payload)
    assert len(bench.ended) == len(said)
    assert [each.payload for each in bench.gateway.of(IMEI).mo] == taken
    assert bench.received == submitted
    assert bench.gateway.queued(IMEI) == 0
    assert bench.gateway.credits(IMEI) == sum(credits_for(len(each)) for each in (*taken, *submitted))


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"GET hwInfo {}\r", b"PUT simConfig []\r"]), max_size=6))
def test_any_bytes_leave_it_working(said: list[bytes]) -> None:
    bench = Bench()
    for data in said:
        bench.modem.receive(data)
        bench.pass_time(1)
    bench.modem.receive(b"\r")
    bench.modem.output.clear()
    bench.modem.receive(b"GET apiVersion {}\r")
    assert bytes(bench.modem.output).startswith(b"200 apiVersion ")


def test_a_line_without_end_is_given_up() -> None:
    bench = Bench()
    bench.modem.receive(b"x" * 10_000)
    assert b"405 MALFORMED {}\r" in bench.modem.output
