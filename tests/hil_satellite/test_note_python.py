"""The virtual Notecard under the vendor's own client, note-python: over serial and over I2C."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import serial

from rataccess_hil.pty_radio import PtyRadio
from rataccess_hil.satellite.notecard import BlockingUart, NotecardModel, VirtualNotecard
from tests.hil_satellite.terminal import corpus

notecard: Any = pytest.importorskip("notecard", reason="note-python is not installed")
binary_helpers, card, hub, note, ntn = (
    import_module(f"notecard.{name}") for name in ("binary_helpers", "card", "hub", "note", "ntn")
)


class Clock:
    """Time that passes where note-python sleeps, and by the machine's own pace nowhere."""

    def __init__(self) -> None:
        self.now = 1_767_225_600.0

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def time(self) -> float:
        """Now; a moment later each time, for loops that only look."""
        self.now += 0.0001
        return self.now

    monotonic = wall = time

    def wall_known(self) -> bool:
        """It is."""
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    fake = SimpleNamespace(sleep=made.sleep, time=made.time)
    monkeypatch.setattr("notecard.notecard.time", fake)
    monkeypatch.setattr("notecard.timeout.time", fake)
    return made


class Bench:
    """A virtual Notecard and note-python on it."""

    def __init__(self, virtual: VirtualNotecard, client: Any) -> None:
        self.virtual, self.client = virtual, client


Make = Callable[..., Bench]


@pytest.fixture(params=["serial", "i2c"])
def make(request: pytest.FixtureRequest, clock: Clock, tmp_path: Any) -> Make:
    def over_serial(**options: Any) -> Bench:
        uart = BlockingUart()
        virtual = VirtualNotecard(uart.port, clock=clock, monotonic=clock.time, **options)
        uart.wake = virtual.pump
        return Bench(virtual, notecard.OpenSerial(uart, lock_path=str(tmp_path / "lock")))

    def over_i2c(**options: Any) -> Bench:
        virtual = VirtualNotecard(clock=clock, monotonic=clock.time, **options)
        return Bench(virtual, notecard.OpenI2C(virtual.periphery_i2c(), 0, 0))

    return over_serial if request.param == "serial" else over_i2c


@pytest.fixture
def bench(make: Make) -> Bench:
    return make()


def test_answers_with_checksums(bench: Bench) -> None:
    found = card.version(bench.client)
    assert found["device"] == bench.virtual.device
    assert bench.client._card_supports_crc
    assert hub.set(bench.client, product="com.example:farm", mode="continuous")["crc"]
    assert hub.get(bench.client)["product"] == "com.example:farm"


def test_carries_notes_both_ways(bench: Bench, clock: Clock) -> None:
    hub.set(bench.client, product="com.example:farm", mode="continuous")
    body = {"temp": 21.5, "text": "x" * 700}
    assert note.add(bench.client, file="readings.qo", body=body, payload="AQID", sync=True)["total"] == 1
    clock.sleep(30)
    assert hub.status(bench.client)["connected"]
    (event,) = bench.virtual.notehub.events
    assert (event.file, event.body, event.payload, event.transport) == ("readings.qo", body, "AQID", "cell")
    with pytest.raises(Exception, match="note-noexist"):
        check(note.get(bench.client, file="commands.qi", delete=True))
    bench.virtual.notehub.send(bench.virtual.device, "commands.qi", {"on": True}, "BAUG")
    clock.sleep(30)
    found = note.get(bench.client, file="commands.qi", delete=True)
    assert (found["body"], found["payload"]) == ({"on": True}, "BAUG")
    assert "err" in note.get(bench.client, file="commands.qi", delete=True)


def check(reply: dict[str, Any]) -> dict[str, Any]:
    """The reply, unless it is an error."""
    if "err" in reply:
        raise RuntimeError(reply["err"])
    return reply


def test_sends_compact_notes_over_satellite(bench: Bench, clock: Clock) -> None:
    client, virtual = bench.client, bench.virtual
    virtual.controls.coverage(cell=False)
    hub.set(client, product="com.example:farm", mode="minimum")
    assert card.transport(client, method="ntn")["method"] == "ntn"
    assert "{template-incompatible}" in note.add(client, file="up.qo", payload="AQID")["err"]
    template = {"req": "note.template", "file": "up.qo", "format": "compact", "port": 50, "length": 200}
    assert check(client.Transaction(template))["bytes"] == 1
    for number in range(3):
        check(client.Transaction({"req": "note.add", "file": "up.qo", "payload": "AQI" + "DEF"[number]}))
    virtual.controls.sky(0)
    hub.sync(client)
    clock.sleep(100)
    assert "{network-down}" in hub.syncStatus(client)["status"]
    assert virtual.notehub.events == []
    virtual.controls.sky(4)
    virtual.notehub.send(virtual.device, "down.qi", None, "BAUG")
    hub.sync(client)
    clock.sleep(20)
    assert ntn.status(client)["status"] == "{ntn-busy}"
    clock.sleep(200)
    virtual.pump()
    assert [(each.payload, each.port, each.transport) for each in virtual.notehub.events] == [
        ("AQID", 50, "ntn"),
        ("AQIE", 50, "ntn"),
        ("AQIF", 50, "ntn"),
    ]
    assert check(note.get(client, file="down.qi", delete=True))["payload"] == "BAUG"
    assert ntn.status(client)["status"] == "{ntn-idle}"
    assert virtual.notehub.packets[virtual.device] == 3
    long = {"req": "note.add", "file": "up.qo", "payload": "AAAA" * 84}
    assert "longer than its template" in client.Transaction(long)["err"]
    check(client.Transaction({**template, "length": 300}))
    assert "{too-large}" in client.Transaction(long)["err"]


def test_moves_binary_data(bench: Bench) -> None:
    data = bytearray(bytes(range(256)) * 8 + b"\n\n\x00")
    binary_helpers.binary_store_transmit(bench.client, data[:1000], 0)
    binary_helpers.binary_store_transmit(bench.client, data[1000:], 1000)
    assert binary_helpers.binary_store_decoded_length(bench.client) == len(data)
    assert binary_helpers.binary_store_receive(bench.client, 0, len(data)) == data
    assert binary_helpers.binary_store_receive(bench.client, 500, 600) == data[500:1100]
    binary_helpers.binary_store_reset(bench.client)
    assert binary_helpers.binary_store_decoded_length(bench.client) == 0


def test_its_client_retries_what_went_wrong(bench: Bench) -> None:
    controls = bench.virtual.controls
    for spoil in (controls.fail, controls.drop_replies, controls.garble_replies, controls.heartbeats):
        spoil()
        assert card.version(bench.client)["name"].startswith("Blues")
    bench.virtual.core.receive(b'{"req":"card.ver')
    bench.client._reset_required = True
    assert check(card.version(bench.client))
    controls.fail("no such thing {not-supported}")
    assert "{not-supported}" in card.version(bench.client)["err"]


def test_commands_are_not_answered(bench: Bench) -> None:
    bench.client.Command({"cmd": "note.add", "file": "x.qo", "body": {"a": 1}})
    assert check(card.version(bench.client))
    assert bench.virtual.controls.stats()["notes"] == 1


def test_comes_back_after_a_restart(bench: Bench, clock: Clock) -> None:
    note.add(bench.client, file="x.qo", body={"a": 1})
    card.restart(bench.client)
    clock.sleep(10)
    bench.client._reset_required = True
    assert check(card.version(bench.client))
    assert bench.virtual.controls.stats()["notes"] == 1
    assert bench.virtual.controls.stats()["boots"] == 1


def test_old_firmware_knows_no_checksums(make: Make) -> None:
    bench = make(model=NotecardModel(checks=False, ntn=None))
    assert "crc" not in card.version(bench.client)
    assert not bench.client._card_supports_crc
    assert "{no-ntn-module}" in ntn.status(bench.client)["err"]


def test_loses_what_comes_without_a_pause(bench: Bench, clock: Clock) -> None:
    clock.sleep(1)
    bench.virtual.core.schedule.run_until(clock.time())
    bench.virtual.core.receive(b'{"req":"note.add","body":{"text":"' + b"x" * 700 + b'"}}\n')
    clock.sleep(1)
    bench.virtual.pump()
    assert bench.virtual.controls.stats()["lost_bytes"] > 100
    assert bench.virtual.controls.stats()["notes"] == 0


# --- every request of the public samples ------------------------------------------------------------------------------

Cases = dict[str, list[dict[str, Any]]]

STATEFUL: Cases = {
    "note.get": [{"req": "note.add", "file": "data.qi", "body": {"api-key1": "api-val1"}}],
    "var.get": [{"req": "var.set", "name": "status", "text": "open"}],
    "card.contact": [{"req": "card.contact", "name": "A", "org": "B", "role": "C", "email": "a@example.com"}],
    "hub.get": [{"req": "hub.set", "product": "a:b", "mode": "periodic", "outbound": 60, "inbound": 240, "sn": "s"}],
    "card.time": [{"req": "hub.set", "product": "a:b", "mode": "continuous"}],
}
"""What has to be done before the request makes sense."""
FURTHER = {
    "card.version": {"wifi"},
    "card.binary": {"connected"},
    "card.attn": {"payload", "time"},
    "note.get": {"payload", "deleted"},
    "note.template": {"format"},
    "env.get": {"text"},
    "card.transport": {"seconds", "allow", "umin"},
    "card.location.mode": {"seconds"},
    "card.location.track": {"stop", "sync"},
    "card.motion.mode": {"start", "stop", "sensitivity", "motion"},
    "card.motion.sync": {"start", "stop", "minutes", "count", "threshold"},
    "card.motion.track": {"start", "stop", "minutes", "count", "threshold", "file", "now"},
    "card.wifi": {"name", "org"},
    "card.wireless": {"count"},
    "ntn.config": {"network", "sku"},
}
"""Keys that no published response of the request shows, and which its documentation or request has."""


def samples() -> tuple[Cases, Cases]:
    """Published requests and responses, by request."""
    requests: Cases = {}
    responses: Cases = {}
    for case in corpus("notecard_samples")["cases"]:
        name = case["schema"].split(".notecard.api")[0]
        found = case["json"] if isinstance(case["json"], list) else [case["json"]]
        (requests if name.endswith(".req") else responses).setdefault(name.rpartition(".")[0], []).extend(found)
    return requests, responses


def ask(virtual: VirtualNotecard, request: dict[str, Any]) -> dict[str, Any]:
    """What the interpreter replies."""
    virtual.pump()
    return virtual.core._serve(request)


MISSING = {"note.get", "note.delete", "note.update", "var.get", "web", "web.get", "web.post", "web.put", "web.delete"}
"""Samples of these name things that are not there on a fresh Notecard, which says so."""


def test_knows_every_published_request(clock: Clock) -> None:
    requests, responses = samples()
    for name, published in requests.items():
        documented = {key for each in responses.get(name, []) for key in each} | FURTHER.get(name, set())
        virtual = VirtualNotecard(clock=clock, monotonic=clock.time)
        for before in STATEFUL.get(name, []):
            assert "err" not in (ask(virtual, before))
        clock.sleep(60)
        virtual.pump()
        for request in published:
            reply = ask(virtual, request)
            assert "{not-supported}" not in reply.get("err", ""), request
            assert "{bad-request}" not in reply.get("err", ""), (request, reply)
            if "err" in reply:
                bad_binary = name.startswith("card.binary") or (name, request.get("verify")) == ("note.template", True)
                assert name in MISSING or bad_binary, (request, reply)
            elif name in responses:
                assert set(reply) <= documented, (request, reply)


def test_replies_have_the_keys_of_published_responses(clock: Clock) -> None:
    requests, responses = samples()
    for name, published in responses.items():
        virtual = VirtualNotecard(clock=clock, monotonic=clock.time)
        for before in STATEFUL.get(name, []):
            ask(virtual, before)
        clock.sleep(60)
        virtual.pump()
        replies = [ask(virtual, request) for request in requests.get(name, [{"req": name}])]
        common = set[str].intersection(*(set(each) for each in published)) - {"err"}
        assert any(common <= set(reply) for reply in replies) or name in MISSING | NEEDS_MORE, (name, common, replies)


NEEDS_MORE = {"card.binary", "card.binary.get", "dfu.get", "card.attn", "env.get", "card.location.mode"}
"""What a published response shows here needs data that no single request makes."""


# --- a real terminal --------------------------------------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """note-python's pauses for a slow microcontroller, shortened: this one is none."""
    monkeypatch.setattr("notecard.notecard.CARD_REQUEST_SEGMENT_DELAY_MS", 1)
    monkeypatch.setattr("notecard.notecard.CARD_RESET_DRAIN_MS", 100)


async def test_over_a_real_terminal(hurried: None, tmp_path: Any) -> None:
    async with PtyRadio() as port, VirtualNotecard(port) as virtual:
        await asyncio.to_thread(_talk, str(port.link), str(tmp_path / "lock"))
        assert virtual.controls.stats()["requests"] == 2
    assert [file.name for file in virtual.core.files.files.values()] == ["x.qo"]


def _talk(path: str, lock: str) -> None:
    with serial.Serial(path, 9600) as uart:
        client = notecard.OpenSerial(uart, lock_path=lock)
        assert check(card.version(client))["sku"] == "NOTE-NBGL"
        assert check(note.add(client, file="x.qo", body={"a": 1}))["total"] == 1
