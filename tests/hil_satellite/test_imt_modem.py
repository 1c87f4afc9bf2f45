"""The virtual 9704: JSPR, messages in segments, and what can go wrong with them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.clock import LoopClock
from rataccess_hil.memory_port import MemoryPort
from rataccess_hil.satellite import ImtModel, IridiumGateway, Sky, Virtual9704, jspr
from rataccess_hil.satellite.imt_state import MO_STATUSES, MT_STATUSES
from tests.hil_satellite.terminal import Terminal, corpus

pytestmark = pytest.mark.looptime

Said = tuple[int, str, dict[str, Any]]


class World:
    """A 9704, its gateway and a host that speaks JSPR."""

    def __init__(self, **modem: Any) -> None:
        self.gateway = IridiumGateway(clock=LoopClock())
        self.port = MemoryPort()
        self.modem = Virtual9704(self.port, self.gateway, **modem)
        self.controls = self.modem.controls
        self.terminal = Terminal(self.port)

    async def __aenter__(self) -> World:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.terminal.close()
        await self.modem.aclose()

    async def line(self, seconds: float = 600.0) -> Said:
        """The next line."""
        code, target, text = (await self.terminal.until(b"\r", seconds=seconds)).decode().split(" ", 2)
        return int(code), target, json.loads(text)

    async def until(self, target: str, code: int = 299, seconds: float = 600.0) -> dict[str, Any]:
        """The content of the next line of this kind; others are passed over."""
        while True:
            found = await self.line(seconds)
            if found[:2] == (code, target):
                return found[2]

    async def ask(self, method: str, target: str, **content: Any) -> tuple[int, dict[str, Any]]:
        """A request and its answer; unasked lines are passed over."""
        self.terminal.write(f"{method} {target} {json.dumps(content)}\r")
        while (found := await self.line())[0] == 299:
            pass
        return found[0], found[2]

    async def start(self) -> None:
        """Up to the constellation."""
        await self.ask("GET", "apiVersion")
        assert (await self.ask("PUT", "apiVersion", active_version={"major": 1, "minor": 7, "patch": 0}))[0] == 200
        assert (await self.ask("PUT", "simConfig", interface="internal"))[0] == 200
        assert (await self.until("simStatus"))["sim_connected"]
        assert (await self.ask("PUT", "operationalState", state="active"))[0] == 200
        await self.until("operationalState")

    async def originate(self, payload: bytes, topic: int = 244, crc: bytes | None = None) -> str:
        """Send a message as a host should; returns the final status or the refusing response."""
        data = payload + (jspr.crc16(payload).to_bytes(2, "big") if crc is None else crc)
        code, told = await self.ask(
            "PUT", "messageOriginate", topic_id=topic, message_length=len(data), request_reference=1
        )
        assert code == 200
        if told["message_response"] != "message_accepted":
            return str(told["message_response"])
        while True:
            code, target, content = await self.line()
            if target == "messageOriginateStatus":
                assert content["message_id"] == told["message_id"]
                return str(content["final_mo_status"])
            if (code, target) == (299, "messageOriginateSegment"):
                start, length = content["segment_start"], content["segment_length"]
                assert length <= 1446
                content["data"] = base64.b64encode(data[start : start + length]).decode()
                self.terminal.write(f"PUT messageOriginateSegment {json.dumps(content)}\r")

    async def terminate(self) -> tuple[bytes, str]:
        """The next MT message without its CRC, and how it ended."""
        size = (await self.until("messageTerminate"))["message_length_max"]
        data = b""
        while True:
            _, target, content = await self.line()
            if target == "messageTerminateSegment":
                assert content["segment_start"] == len(data)
                data += base64.b64decode(content["data"])
                assert content["segment_length"] <= 1446
            if target == "messageTerminateStatus":
                if content["final_mt_status"] == "complete":
                    assert len(data) == size
                return data, str(content["final_mt_status"])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as made:
        yield made  # started by the test itself: virtual time is not yet here


async def test_wants_things_in_order() -> None:
    async with World() as world:
        assert (await world.ask("GET", "apiVersion"))[0] == 405, "the first line after opening"
        assert (await world.ask("GET", "hwInfo"))[0] == 400
        versions = (await world.ask("GET", "apiVersion"))[1]["supported_versions"]
        assert versions[0] == {"major": 1, "minor": 7, "patch": 0}
        assert (await world.ask("PUT", "apiVersion", active_version={"major": 9, "minor": 0, "patch": 0}))[0] == 408
        assert (await world.ask("PUT", "apiVersion", active_version=versions[0]))[1]["active_version"] == versions[0]
        assert (await world.ask("PUT", "apiVersion", active_version=versions[0])) == (402, {})
        assert (await world.ask("PUT", "operationalState", state="active"))[0] == 410
        assert (await world.ask("PUT", "simConfig", interface="internal"))[0] == 200
        assert (await world.until("simStatus"))["iccid"].startswith("8988169771")
        assert (await world.ask("PUT", "simConfig", interface="internal")) == (402, {})
        message = {"topic_id": 244, "message_length": 5, "request_reference": 1}
        assert (await world.ask("PUT", "messageOriginate", **message))[0] == 406
        assert (await world.ask("PUT", "operationalState", state="active"))[1] == {"state": "active", "reason": 0}
        assert await world.until("operationalState") == {"state": "active", "reason": 0}
        assert await world.until("constellationState") == {"constellation_visible": False, "signal_bars": 0}
        assert (await world.ask("PUT", "operationalState", state="active")) == (406, {})
        seen = await world.until("constellationState")
        assert (seen["constellation_visible"], seen["signal_bars"], seen["signal_level"]) == (True, 5, -108)
        assert (await world.ask("GET", "hwInfo"))[1]["imei"] == world.modem.imei
        topics = (await world.ask("GET", "messageProvisioning"))[1]["provisioning"]
        assert topics[0]["topic_id"] == 244
        assert topics[0]["priority"] == "High"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("NONSENSE", 405),
        ("GET hwInfo", 405),
        ("POST hwInfo {}", 401),
        ("PUT hwInfo {}", 401),
        ("GET nothing {}", 404),
        ('PUT simConfig {"interface":"none"}', 407),
        ('PUT simConfig {"interface": "none",}', 407),
        ('PUT simConfig {"interface": "elsewhere"}', 407),
        ('PUT messageOriginate {"topic_id": 244, "message_length": 100003, "request_reference": 1}', 403),
        ('PUT messageOriginateSegment {"topic_id": 244, "message_id": 9, "data": ""}', 406),
    ],
)
async def test_refuses(world: World, line: str, code: int) -> None:
    await world.start()
    world.terminal.write(line + "\r")
    while (found := await world.line())[0] == 299:
        pass
    assert found[0] == code


async def test_is_not_fussy_where_told() -> None:
    async with World(model=ImtModel(first_malformed=False, wants_blanks=False)) as world:
        world.terminal.write('PUT apiVersion {"active_version":{"major":1,"minor":6,"patch":1}}\r')
        assert (await world.line())[0] == 200


async def test_carries_messages_up(world: World) -> None:
    await world.start()
    large = bytes(range(256)) * 391
    for payload in (b"x", b"hello", bytes(1444), bytes(1445), large[:100_000]):
        assert await world.originate(payload) == "mo_ack_received"
    sent = world.gateway.of(world.modem.imei).mo
    assert [each.payload for each in sent] == [b"x", b"hello", bytes(1444), bytes(1445), large[:100_000]]
    assert {each.topic for each in sent} == {244}


async def test_carries_messages_down(world: World) -> None:
    await world.start()
    payloads = [b"hello", bytes(5000)]
    for payload in payloads:
        world.gateway.send(world.modem.imei, payload, topic=313)
    for payload in payloads:
        data, ended = await world.terminate()
        assert ended == "complete"
        assert data == jspr.with_crc(payload)
    assert world.gateway.queued(world.modem.imei) == 0


@pytest.mark.parametrize("status", [status for status in MO_STATUSES if status != "mo_ack_received"])
async def test_ends_with_any_status(world: World, status: str) -> None:
    await world.start()
    world.controls.status(status)
    assert await world.originate(b"up") == status
    assert world.controls.stats()["mo"] == 0
    assert await world.originate(b"up") == "mo_ack_received"


async def test_breaks_after_the_gateway_took_it(world: World) -> None:
    await world.start()
    world.controls.break_message()
    assert await world.originate(b"up") == "message_transfer_timeout"
    assert world.controls.stats()["mo"] == 1


async def test_checks_what_the_host_supplies(world: World) -> None:
    await world.start()
    assert await world.originate(b"up", crc=b"\0\0") == "user_supplied_crc_error"
    assert await world.originate(b"up", topic=999) == "subscription_invalid"
    begin = {"topic_id": 244, "message_length": 7, "request_reference": 2}
    number = (await world.ask("PUT", "messageOriginate", **begin))[1]["message_id"]
    asked = await world.until("messageOriginateSegment")
    await world.ask("PUT", "messageOriginateSegment", **{**asked, "data": base64.b64encode(b"short").decode()})
    assert (await world.until("messageOriginateStatus"))["final_mo_status"] == "segment_incorrect"
    number = (await world.ask("PUT", "messageOriginate", **begin))[1]["message_id"]
    assert (await world.until("messageOriginateStatus")) == {
        "topic_id": 244,
        "message_id": number,
        "final_mo_status": "segment_not_supplied",
    }


@pytest.mark.parametrize("status", MT_STATUSES[1:])
async def test_mt_messages_that_end_badly_come_again(world: World, status: str) -> None:
    await world.start()
    world.controls.mt_status(status)
    world.gateway.send(world.modem.imei, b"down")
    assert (await world.terminate())[1] == status
    assert (await world.terminate()) == (jspr.with_crc(b"down"), "complete")


async def test_garbles_what_comes_down(world: World) -> None:
    await world.start()
    world.controls.garble_mt()
    world.gateway.send(world.modem.imei, b"down")
    data, _ = await world.terminate()
    assert jspr.crc16(data[:-2]) != int.from_bytes(data[-2:], "big")


async def test_cancels(world: World) -> None:
    await world.start()
    world.controls.sky(0)
    told = (await world.ask("PUT", "messageOriginate", topic_id=244, message_length=5, request_reference=1))[1]
    named = {"topic_id": 244, "message_id": told["message_id"]}
    assert (await world.ask("PUT", "messageOriginateStatus", action="cancel", **named))[0] == 200
    assert (await world.until("messageOriginateStatus"))["final_mo_status"] == "message_cancelled_pre_transit"


async def test_waits_for_the_sky_and_expires(world: World) -> None:
    await world.start()
    world.controls.sky(0)
    assert not (await world.until("constellationState"))["constellation_visible"]
    await world.ask("PUT", "messageOriginate", topic_id=244, message_length=5, request_reference=1)
    ended = await world.until("messageOriginateStatus", seconds=700_000)
    assert ended["final_mo_status"] == "message_expired"


async def test_needs_sky_for_its_first_provisioning() -> None:
    async with World(provisioned=False) as world:
        await world.start()
        assert (await world.ask("GET", "messageProvisioning"))[1] == {"provisioning": []}
        wanted = {"topic_id": 244, "message_length": 5, "request_reference": 1}
        assert (await world.ask("PUT", "messageOriginate", **wanted))[0] == 418
        assert len((await world.until("messageProvisioning", seconds=2000))["provisioning"]) == 3
        assert await world.originate(b"up") == "mo_ack_received"


async def test_goes_silent_until_its_power_is_cut() -> None:
    async with World(model=ImtModel(silent_after=2)) as world:
        await world.start()
        world.controls.status("network_error", 2)
        for _ in range(2):
            assert await world.originate(b"up") == "network_error"
        world.terminal.write("GET hwInfo {}\r")
        assert await world.terminal.pause(1000) == b""
        world.controls.power_cut(1)
        assert (await world.until("bootInfo"))["image_type"] == "production"
        assert (await world.ask("GET", "hwInfo"))[0] == 400, "the version is forgotten"


async def test_junk_may_precede_a_line(world: World) -> None:
    await world.start()
    world.controls.junk("11ff")
    world.terminal.write("GET hwInfo {}\r")
    assert b"\x11\xff200 hwInfo " in await world.terminal.pause(1)


async def test_other_faults(world: World) -> None:
    await world.start()
    world.controls.refuse("hwInfo", 408)
    assert (await world.ask("GET", "hwInfo")) == (408, {})
    assert (await world.ask("GET", "firmware"))[1]["slot"] == "primary"
    async with World(sky=Sky(0)) as other:
        other.controls.card(False)
        await other.ask("GET", "apiVersion")
        await other.ask("PUT", "apiVersion", active_version={"major": 1, "minor": 7, "patch": 0})
        await other.ask("PUT", "simConfig", interface="internal")
        assert await other.until("simStatus") == {"card_present": False, "sim_connected": False}
        assert (await other.ask("PUT", "operationalState", state="active"))[0] == 410


def test_checksums_of_real_messages() -> None:
    for case in corpus("jspr_9704")["payloads"]:
        data = base64.b64decode(case["base64"])
        right = jspr.crc16(data[:-2]) == int.from_bytes(data[-2:], "big")
        assert right is case["expect"]["crc_ok"]
        if right:
            assert jspr.with_crc(case["expect"]["payload_text"].encode()) == data


def test_says_lines_as_real_ones_do() -> None:
    for case in corpus("jspr_9704")["lines"]:
        expect = case["expect"]
        made = jspr.answer(expect["code"], expect["target"], expect["json"])
        assert made.decode().replace(" ", "") == case["line"].replace(" ", "")


@settings(max_examples=80)
@given(st.binary(max_size=60) | st.text('GETPU {}:,"a1[]\\', max_size=30).map(str.encode))
def test_any_line_is_a_request_or_refused(line: bytes) -> None:
    for wants_blanks in (True, False):
        try:
            found = jspr.parse(line, wants_blanks=wants_blanks)
        except jspr.Refused:
            continue
        assert found.method in ("GET", "PUT")
        assert isinstance(found.content, dict)
