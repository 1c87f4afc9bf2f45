"""The Notecard driver's dialogues with a Notecard from a script, in virtual time, over a serial port and over I2C."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rataccess.driver import Evidence, Forgetful, KnowsTime, LocatesItself, MovesMessages, RadioMessage
from rataccess.errors import AttachFailed, NotNow, PortLost, RadioSilent, TransportBroken, WrongRadio
from rataccess_drivers.satellite.notecard import NotecardOptions
from tests.satellite.notecard_script import ScriptedI2c, ScriptedNotecard, driver

pytestmark = pytest.mark.looptime

HELLO = RadioMessage(b"hello")


async def up(script: Any, memory: Forgetful | None = None, **options: Any) -> Any:
    modem = driver(script, memory, **options)
    await modem.open()
    await modem.attach()
    return modem


@pytest.fixture(params=["serial", "i2c"])
def bus(request: pytest.FixtureRequest) -> Any:
    """A Notecard, and what the driver is given."""
    notecard = ScriptedNotecard()
    return notecard, notecard if request.param == "serial" else ScriptedI2c(notecard)


async def test_a_message_both_ways(bus: Any) -> None:
    notecard, way = bus
    modem = await up(way, product="com.example:gateway")
    asked = [each["req"] for each in notecard.asked]
    assert asked[:4] == ["card.version", "hub.set", "note.template", "note.template"]
    assert notecard.asked[1] == {"req": "hub.set", "mode": "minimum", "product": "com.example:gateway"}
    assert (await modem.send_message(HELLO)).reference.startswith("dev:000000000000000 ")
    assert notecard.arrived == [b"hello"]
    long = bytes(range(230))
    await modem.send_message(RadioMessage(long))
    assert notecard.arrived[-1] == long
    for data in (b"\0\xff", long, b"same", b"same"):
        notecard.deliver(data)
    assert [(await modem.receive_message()).data for _ in range(4)] == [b"\0\xff", long, b"same", b"same"]
    assert (await modem.status()).evidence is Evidence.BEARER
    await modem.aclose()


async def test_chunks_and_pauses_on_i2c() -> None:
    notecard = ScriptedNotecard()
    way = ScriptedI2c(notecard)
    modem = await up(way, chunk=30)
    before, began = len(way.sizes), asyncio.get_running_loop().time()
    await modem.send_message(RadioMessage(bytes(230)))
    assert max(way.sizes) == 30
    assert len(way.sizes) - before > 10
    assert asyncio.get_running_loop().time() - began > 0.25 + 10 * 0.02
    way.nacks = 2
    await modem.status()
    await modem.aclose()
    assert way.closed


async def test_a_notecard_that_left_the_bus() -> None:
    way = ScriptedI2c(ScriptedNotecard())
    modem = await up(way)
    heard: list[Any] = []
    modem.on_status(heard.append)
    way.nacks = 1000
    with pytest.raises(PortLost, match="0x17"):
        await modem.status()
    assert heard[-1].evidence is Evidence.NONE
    with pytest.raises(PortLost):
        await modem.status()
    await modem.aclose()
    assert way.closed


async def test_i2c_runs_in_a_thread_that_ends() -> None:
    """In real time and with a real thread; the jailer sees whether it is left."""
    from rataccess_drivers.satellite.notecard_bus import Worker

    worker = Worker()
    assert await worker.run(lambda: 1 + 1) == 2
    await worker.aclose()
    await worker.aclose()


def test_serial_or_i2c() -> None:
    for wrong in ({}, {"port": "pty:/x", "i2c": 1}, {"i2c": 1, "outbox_port": 82}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, NotecardOptions)


async def test_satellite_settings() -> None:
    notecard = ScriptedNotecard()
    modem = await up(notecard, method="wifi-ntn", method_seconds=600)
    assert {"req": "card.transport", "method": "wifi-ntn", "seconds": 600} in notecard.asked
    template = next(each for each in notecard.asked if each["req"] == "note.template")
    assert template == {"req": "note.template", "format": "compact", "file": "rataccess.qo", "port": 81, "length": 230}
    await modem.aclose()
    notecard.answers["ntn.status"] = {"err": "no NTN module is connected {no-ntn-module}"}
    modem = driver(notecard, method="ntn")
    await modem.open()
    with pytest.raises(AttachFailed, match="no-ntn-module") as caught:
        await modem.attach()
    assert caught.value.retry_after
    await modem.aclose()


@pytest.mark.parametrize(
    "spoil", [lambda text: b"", lambda text: text[:-3], lambda text: text.replace(b"version", b"vers1on")]
)
async def test_spoilt_replies_are_asked_for_again(bus: Any, spoil: Any) -> None:
    notecard, way = bus
    notecard.spoil = [spoil]
    modem = await up(way)
    assert notecard.count("card.version") == 2
    await modem.aclose()


@pytest.mark.parametrize("how", ["lost", "spoilt"])
async def test_an_addition_that_was_not_seen_is_not_repeated(how: str) -> None:
    notecard = ScriptedNotecard()
    modem = await up(notecard)
    if how == "lost":
        notecard.reply_to_lose = "note.add"
    else:
        notecard.spoil, notecard.spoil_only = [lambda text: text[:5]], "note.add"
    assert await modem.send_message(HELLO)
    assert notecard.arrived == [b"hello"]
    assert notecard.count("note.add") == 1
    await modem.aclose()


async def test_an_addition_that_did_not_arrive_can_be_repeated() -> None:
    notecard = ScriptedNotecard()
    modem = await up(notecard)
    notecard.answers["note.add"] = {"err": "cannot interpret JSON {io}"}
    with pytest.raises(NotNow):
        await modem.send_message(HELLO)
    del notecard.answers["note.add"]
    assert await modem.send_message(HELLO)
    assert notecard.arrived == [b"hello"]
    await modem.aclose()


@pytest.mark.parametrize("after", [0.5, 3.0, 40.0])
@pytest.mark.parametrize("lost", ["", "note.add"])
async def test_killed_in_the_middle(after: float, lost: str) -> None:
    """The note is added once, whenever the process ends; and whoever asks again gets its handover."""
    notecard, memory = ScriptedNotecard(), Forgetful()
    notecard.network = False
    modem = await up_without_network(notecard, memory)
    notecard.reply_to_lose = lost
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(after)
    await modem.aclose()
    await asyncio.gather(sending, return_exceptions=True)
    notecard.network = True
    modem = await up(notecard, memory)
    assert await modem.send_message(HELLO)
    assert notecard.arrived == [b"hello"]
    assert await modem.send_message(HELLO)
    assert notecard.arrived == [b"hello", b"hello"]
    await modem.aclose()


async def up_without_network(notecard: ScriptedNotecard, memory: Forgetful) -> Any:
    notecard.answers["hub.sync.status"] = {"status": "{sync-begin}"}
    modem = await up(notecard, memory)
    del notecard.answers["hub.sync.status"]
    return modem


async def test_no_end_in_sight() -> None:
    """A note that waits for its network for longer than it is watched: nothing is known of it, and it is not lost."""
    notecard = ScriptedNotecard()
    notecard.answers["hub.sync.status"] = {"status": "{sync-begin}"}
    modem = await up(notecard, most_queued=2, sync_timeout=60.0)
    notecard.network = False
    assert await modem.send_message(HELLO) is None
    assert notecard.queued == [b"hello"]
    assert await modem.send_message(HELLO) is None
    with pytest.raises(NotNow, match="2 notes"):
        await modem.send_message(HELLO)
    await modem.aclose()


async def test_a_network_that_went_away() -> None:
    notecard = ScriptedNotecard()
    modem = await up(notecard)
    heard: list[Any] = []
    modem.on_status(heard.append)
    notecard.network = False
    await asyncio.sleep(20)
    assert [each.evidence for each in heard] == [Evidence.RADIO]
    assert modem.message_hints.next_slot == 300
    with pytest.raises(AttachFailed, match="network-down") as caught:
        await modem.attach()
    assert caught.value.retry_after == 300
    with pytest.raises(NotNow):
        await modem.send_message(HELLO)
    notecard.network = True
    await modem.attach()
    await modem.send_message(HELLO)
    await modem.aclose()


async def test_received_notes_survive_a_restart_once() -> None:
    notecard, memory = ScriptedNotecard(), Forgetful()
    modem = await up(notecard, memory)
    notecard.reply_to_lose = "nothing"
    notecard.deliver(b"first")
    notecard.inbound.append({"body": {"no": "payload"}, "time": 1})
    notecard.deliver(b"second")
    await asyncio.sleep(20)
    await modem.aclose()
    modem = await up(notecard, memory)
    assert [(await modem.receive_message()).data for _ in range(2)] == [b"first", b"second"]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(modem.receive_message(), 60)
    await modem.aclose()


async def test_a_note_that_could_not_be_taken_out_is_delivered_once() -> None:
    notecard, memory = ScriptedNotecard(), Forgetful()
    notecard.deliver(b"first")
    seen = dict(notecard.inbound[0])
    notecard.answers["note.get"] = seen  # it stays there, whatever it is told
    notecard.spoil, notecard.spoil_only = [lambda text: text, *[lambda text: b"{"] * 30], "note.get"
    modem = await up(notecard, memory)
    assert (await modem.receive_message()).data == b"first"
    await modem.aclose()
    notecard.spoil = []
    del notecard.answers["note.get"]
    modem = await up(notecard, memory)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(modem.receive_message(), 60)
    assert notecard.inbound == []
    await modem.aclose()


async def test_time_and_place() -> None:
    notecard = ScriptedNotecard()
    modem = await up(notecard)
    assert all(isinstance(modem, kind) for kind in (KnowsTime, LocatesItself, MovesMessages))
    assert await modem.network_time() is None
    assert await modem.locate() is None
    notecard.answers["card.time"] = {"time": 1599769214}
    notecard.answers["card.location"] = {"lat": 42.5776, "lon": -70.87134, "time": 1598554399}
    assert await modem.network_time() == 1599769214
    fix = await modem.locate()
    assert (fix.latitude, fix.longitude, fix.time) == (42.5776, -70.87134, 1598554399)
    await modem.aclose()


async def test_silence_and_strangers() -> None:
    notecard = ScriptedNotecard()
    notecard.answers["card.version"] = {"hello": 1}
    with pytest.raises(WrongRadio):
        await driver(notecard).open()
    del notecard.answers["card.version"]
    modem = await up(notecard)
    notecard.dead = True
    with pytest.raises(RadioSilent):
        await modem.status()
    with pytest.raises(TransportBroken):
        await modem.send_message(HELLO)
    await modem.aclose()
    with pytest.raises(RadioSilent):
        await driver(notecard).open()
    assert not notecard.port.in_use
