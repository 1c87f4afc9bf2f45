"""What Notecards in the field do and one on a bench does not: chatter, long silence on I2C, networks that stay away."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from rataccess.config.model import BudgetSettings, LinkSettings
from rataccess.device.build import checked
from rataccess.driver import Evidence, RadioMessage
from rataccess.errors import AttachFailed, ConfigurationError, NotNow, RadioSilent, TransportBroken
from rataccess.tariff import Unit
from rataccess_drivers.satellite.notecard_bus import I2cBus
from tests.satellite.notecard_script import Inline, ScriptedI2c, ScriptedNotecard, driver

pytestmark = pytest.mark.looptime

HELLO = RadioMessage(b"hello")


async def up(script: Any, **options: Any) -> Any:
    modem = driver(script, **options)
    await modem.open()
    await modem.attach()
    return modem


async def test_something_that_talks_without_a_pause_is_given_up() -> None:
    """A receiver of satellite navigation on the same port, say."""
    notecard = ScriptedNotecard()
    notecard.dead = True

    async def chatter() -> None:
        while True:
            await asyncio.sleep(0.2)
            notecard.write(b"$GNGGA,092725.00,4717.11399,N,00833.91590,E,1,08,1.01,499.6,M,48.0,M,,*5B\r\n")

    talking = asyncio.create_task(chatter())
    with pytest.raises(RadioSilent):
        await asyncio.wait_for(driver(notecard).open(), 1000)
    talking.cancel()


@pytest.mark.parametrize("body", [b"", b"x" * 20])
async def test_an_i2c_bus_that_always_has_something(body: bytes) -> None:
    """It says that bytes wait and gives none, or gives bytes that are no line: whoever reads is told in time."""
    way = ScriptedI2c(ScriptedNotecard())

    def endless(*messages: Any) -> None:
        asked = len(messages[-1]) - 2
        piece = body[:asked]
        for at, byte in enumerate((bytes([20, len(piece)]) + piece).ljust(asked + 2, b"\0")):
            messages[-1].buf[at] = byte

    way.i2c_rdwr = endless  # type: ignore[method-assign]
    bus = I2cBus("note", 1, 0x17, 250, lambda number: way, lambda lost: None, Inline())
    await bus.open()
    with pytest.raises(RadioSilent):
        await asyncio.wait_for(bus.read_line(3.0), 10)
    await bus.aclose()


async def test_an_answer_of_another_length_than_it_says_is_asked_for_again() -> None:
    notecard = ScriptedNotecard()
    way = ScriptedI2c(notecard)
    modem = await up(way)
    usual = way.i2c_rdwr
    wrong = [True]

    def once(*messages: Any) -> None:
        usual(*messages)
        if len(messages) == 2 and len(messages[1]) > 2 and wrong:
            messages[1].buf[1] = wrong.pop() * 255

    way.i2c_rdwr = once  # type: ignore[method-assign]
    assert (await modem.status()).evidence is Evidence.BEARER
    assert not wrong
    await modem.aclose()


async def test_a_notecard_that_is_busy_for_some_seconds_is_not_lost() -> None:
    notecard = ScriptedNotecard()
    way = ScriptedI2c(notecard)
    modem = await up(way)
    way.nacks = 8
    assert (await modem.status()).evidence is Evidence.BEARER
    usual = way.i2c_rdwr
    failures = [errno.ENXIO, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN]

    def failing(*messages: Any) -> None:
        if failures:
            raise OSError(failures.pop(), "the host's driver")
        usual(*messages)

    way.i2c_rdwr = failing  # type: ignore[method-assign]
    assert await modem.send_message(HELLO)
    await modem.aclose()


async def test_status_does_not_wait_behind_a_long_request() -> None:
    """A synchronisation or a search may take a Notecard half a minute; that is no silence."""
    notecard = ScriptedNotecard()
    modem = await up(notecard)
    notecard.reply_to_lose = "file.changes.pending"
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(1)
    begun = asyncio.get_running_loop().time()
    assert (await modem.status()).evidence is Evidence.BEARER
    assert await modem.network_time() is None
    assert await modem.locate() is None
    assert asyncio.get_running_loop().time() == begun
    assert await sending
    await modem.aclose()


async def test_copies_do_not_gather_while_the_network_is_away() -> None:
    """Whatever is sent again meanwhile would leave with the first, and be paid for each time."""
    notecard = ScriptedNotecard()
    notecard.answers["hub.sync.status"] = {"status": "{sync-begin}"}
    modem = await up(notecard, sync_timeout=60.0)
    notecard.network = False
    assert await modem.send_message(HELLO) is None
    for again in (b"the same records", b"protected anew"):
        with pytest.raises(NotNow, match="1 notes wait"):
            await modem.send_message(RadioMessage(again))
    assert notecard.queued == [b"hello"]
    notecard.network = True
    with pytest.raises(NotNow):
        await modem.send_message(RadioMessage(b"a third time"))  # this has the Notecard look for its network
    assert notecard.arrived == [b"hello"]
    assert await modem.send_message(RadioMessage(b"next"))
    await modem.aclose()


async def test_without_a_product_nothing_is_queued() -> None:
    notecard = ScriptedNotecard()
    notecard.answers["hub.get"] = {"device": "dev:000000000000000", "mode": "minimum", "product": ""}
    modem = driver(notecard)
    await modem.open()
    with pytest.raises(AttachFailed, match="product-noexist") as caught:
        await modem.attach()
    assert caught.value.retry_after == 300
    await modem.aclose()
    await (await up(notecard, product="com.example.you:gateway")).aclose()
    notecard.answers["hub.get"] = {"device": "dev:000000000000000", "product": "com.example.you:gateway"}
    await (await up(notecard)).aclose()


async def test_a_hub_that_throttles_is_waited_for() -> None:
    notecard = ScriptedNotecard()
    modem = await up(notecard)
    notecard.answers["hub.sync.status"] = {"status": "waiting to retry {device-delay-15}", "seconds": 900}
    await asyncio.sleep(20)
    with pytest.raises(NotNow) as caught:
        await modem.send_message(HELLO)
    assert caught.value.retry_after == 900
    await modem.aclose()


def test_counted_as_the_contract_counts() -> None:
    """Notes, or bytes with a least size for each."""

    def unit(billed: str, **prices: Any) -> Unit:
        options = {"i2c": 1, "product": "com.example.you:gateway", "billed": billed}
        return checked("note", LinkSettings(driver="notecard", transport="notecard", options=options, **prices)).unit

    assert unit("messages", cost_per_unit=0.1) is Unit.MESSAGE
    assert unit("bytes", cost_per_byte=0.00075, budget=BudgetSettings(bytes=18_000, billing_quantum=50)) is Unit.BYTE
    with pytest.raises(ConfigurationError, match="cost_per_unit"):
        unit("bytes", cost_per_unit=0.1)
    with pytest.raises(ConfigurationError, match="budget"):
        unit("messages", budget=BudgetSettings(bytes=18_000))


async def test_hints_say_what_is_counted() -> None:
    notecard = ScriptedNotecard()
    modem = driver(notecard, billed="bytes")
    assert modem.message_hints.tariff.units(100) == 126
    assert driver(notecard).message_hints.tariff.units(100) == 1


@pytest.mark.parametrize(
    ("status", "known"),
    [
        ({"status": "completed {sync-end}", "completed": 7}, False),
        ({"status": "syncing over cell {sync-begin}", "seconds": 1}, False),
        ({"status": "completed {sync-end}", "completed": 5000}, True),
        ({"status": "waiting {sync-none}"}, True),
        ({}, True),
    ],
)
async def test_a_note_that_nobody_saw_may_have_left_already(status: dict[str, Any], known: bool) -> None:
    """No answer to its addition, and it does not wait: it was sent by a synchronisation that ran, or it was never there."""
    notecard = ScriptedNotecard()
    modem = await up(notecard)
    notecard.answers["hub.sync.status"] = status
    notecard.answers["note.add"] = {}  # what became of it is not to be seen
    notecard.reply_to_lose = "note.add"
    with pytest.raises(NotNow, match="not known"):
        await modem.send_message(HELLO)
    del notecard.answers["note.add"]
    if known:
        assert await modem.send_message(HELLO)
    else:
        with pytest.raises(TransportBroken, match="may have this very message"):
            await modem.send_message(HELLO)
    assert await modem.send_message(RadioMessage(b"other"))
    await modem.aclose()


async def test_an_answer_that_nobody_waits_for_any_more_is_not_the_next_one_s() -> None:
    """Old firmware knows no CRC, and so no sequence numbers; only silence puts both sides in step again."""
    notecard = ScriptedNotecard()
    notecard.crc = False
    modem = await up(notecard, poll_every=3600.0)
    await asyncio.sleep(5)
    usual = notecard.write
    notecard.write = lambda data: asyncio.get_running_loop().call_later(0.3, usual, data)  # type: ignore[assignment]
    asking = asyncio.create_task(modem.status())
    await asyncio.sleep(0.1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    notecard.answers["card.time"] = {"time": 1_700_000_000}
    assert await modem.network_time() == 1_700_000_000
    await modem.aclose()
