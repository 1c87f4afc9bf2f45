"""The driver `lorawan_chip` on virtual chips, a virtual gateway and a virtual network that share no code with it."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from rataccess.driver import Evidence, KnowsTime, MovesMessages, RadioMessage, RadioStatus, Rationed
from rataccess.errors import (
    AttachFailed,
    Closed,
    ConfigurationError,
    KeyStoreError,
    NotNow,
    PacketTooLarge,
    PortLost,
    TransportBroken,
)
from rataccess.lorawan.airtime import Modulation
from rataccess.objects import Service
from rataccess.registry import driver as registered
from rataccess.tariff import Unit
from rataccess.transport import Downlink, Handover, Hints, Packet
from rataccess_drivers.lora.class_a import LoRaWanChipDriver
from rataccess_drivers.lora.class_a_doubt import UNHEARD
from rataccess_drivers.lora.class_a_radio import Margins
from rataccess_drivers.lora.mac import Listen
from rataccess_hil.lora import Misdeed
from rataccess_transports.lorawan import LoraWanTransport
from tests.lorawan.chip_rigs import APP_KEY, DEV_EUI, Field, attached, in_the_field

pytestmark = pytest.mark.looptime

CHIPS = ["sx1262", "sx1276"]


async def received(driver: LoRaWanChipDriver) -> RadioMessage:
    """What has come down by now."""
    async with asyncio.timeout(1):
        return await driver.receive_message()


async def arrived(field: Field) -> list[bytes]:
    """What the network's application has, once copies of other gateways would be there."""
    await asyncio.sleep(1)
    return [each.data for each in field.device.uplinks]


@pytest.mark.parametrize("chip", CHIPS)
async def test_join_uplink_downlink(chip: str) -> None:
    async with attached(chip) as (field, driver):
        assert field.device.joins == 1
        assert await driver.send_message(RadioMessage(b"first", 2)) is None
        status = await driver.status()
        assert (status.evidence, status.rat, status.operator) == (Evidence.BEARER, "lorawan", "000013")
        assert status.signal_dbm is not None
        field.device.send(b"order", 1)
        await driver.send_message(RadioMessage(b"second", 2))
        assert await received(driver) == RadioMessage(b"order", 1)
        assert await arrived(field) == [b"first", b"second"]
        assert field.chip.violations == []


@pytest.mark.parametrize("region", ["US915", "AU915", "IN865", "AS923"])
async def test_other_regions(region: str) -> None:
    async with in_the_field("sx1262", region) as field:
        driver = field.driver(**({"sub_band": 2} if region in ("US915", "AU915") else {}))
        try:
            await driver.open()
            await driver.attach()
            field.device.send(b"order", 1)
            await driver.send_message(RadioMessage(bytes(48), 2))
            assert await received(driver) == RadioMessage(b"order", 1)
        finally:
            await driver.aclose()


@pytest.mark.parametrize(("region", "offset"), [("EU868", 3), ("AS923", 5), ("IN865", 6), ("US915", 2)])
async def test_the_first_window_follows_the_offset(region: str, offset: int) -> None:
    """Where the two ends disagree on its data rate, the downlink is lost: it does not come in the second one too."""
    options = {"sub_band": 2} if region == "US915" else {}
    async with attached("sx1262", region, rx1_offset=offset, options=options) as (field, driver):
        field.device.send(b"order", 1)
        await driver.send_message(RadioMessage(b"x", 2))
        assert await received(driver) == RadioMessage(b"order", 1)


@pytest.mark.parametrize("chip", CHIPS)
async def test_downlink_in_rx2(chip: str) -> None:
    """The network is late for RX1: its answer comes at the slowest data rate a second later."""
    async with attached(chip, deduplication=1.1, rx_delay=1) as (field, driver):
        field.device.send(b"late", 2)
        await driver.send_message(RadioMessage(b"x", 2))
        assert await received(driver) == RadioMessage(b"late", 2)


async def test_windows_are_hit_by_a_host_that_wakes_up_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 20 ms of latency, and with none; both ends of what the option says."""
    sleep = asyncio.sleep
    for late in (0.0, 0.02):
        async with attached() as (field, driver):

            async def slow(seconds: float, late: float = late) -> None:
                await sleep(seconds + (late if seconds > 0.1 else 0))

            monkeypatch.setattr("rataccess_drivers.lora.class_a_radio.asyncio.sleep", slow)
            for _ in range(3):
                field.device.send(b"down", 2)
                await driver.send_message(RadioMessage(b"x", 2))
                assert await received(driver) == RadioMessage(b"down", 2)
            monkeypatch.setattr("rataccess_drivers.lora.class_a_radio.asyncio.sleep", sleep)


def test_windows_are_wide_enough() -> None:
    """Open before the earliest preamble, whenever the host wakes; for 6 symbols of the latest one."""
    margins = Margins(late=0.02, error=0.003)
    for factor, bandwidth, after in ((7, 125_000, 0.0), (12, 125_000, 6.0), (7, 500_000, 2.0), (12, 500_000, 16.0)):
        listen = Listen(1, 10.0, 868_100_000, Modulation(factor, bandwidth), after)
        start, symbols = margins.opening(listen, 0.001)
        error = 0.003 + 500e-6 * after  # a clock that is being set right (adjtimex(2))
        assert start + 0.02 + 0.001 <= 10.0 - error + 1e-9
        length = symbols * listen.modulation.symbol_time
        assert start + 0.001 + length >= 10.0 + error + 6 * listen.modulation.symbol_time - 1e-9
        assert symbols <= 248


@pytest.mark.parametrize("chip", CHIPS)
async def test_the_widest_margins_miss_no_window(chip: str) -> None:
    """US915's fastest downlink: what the options allow is more than a window can last, and the early end must not suffer."""
    options = {"sub_band": 2, "wake_latency": 0.05, "clock_error": 0.02, "data_rate": 3}
    async with attached(chip, "US915", options=options) as (field, driver):
        field.device.send(b"fast", 2)
        await driver.send_message(RadioMessage(b"x", 2))
        assert await received(driver) == RadioMessage(b"fast", 2)
        assert field.ether.log[-1].waveform.spreading_factor == 7


# --- hints ------------------------------------------------------------------------------------------------------------


async def test_hints() -> None:
    async with attached(options={"data_rate": 0, "confirmed": "always"}) as (field, driver):
        assert isinstance(driver, MovesMessages)
        assert isinstance(driver, Rationed)
        assert isinstance(driver, KnowsTime)
        hints = driver.message_hints
        assert (hints.rat, hints.unit, hints.overhead, hints.mtu) == ("lorawan", Unit.AIRTIME, 13, 51)
        assert (hints.downlink, hints.compact, hints.acknowledges_handover) == (Downlink.AFTER_UPLINK, True, True)
        assert hints.modulation == Modulation(12)
        assert hints.next_slot is None
        heard: list[Hints] = []
        undo = driver.on_message_hints(heard.append)
        field.device.command(b"\x03\x51\x07\x00\x01")  # LinkADRReq: DR5
        await driver.send_message(RadioMessage(b"x", 2))
        assert heard[-1].modulation == Modulation(7)
        assert heard[-1].mtu == 242 - 2, "the answer to the order goes with the next uplink"
        undo()
        await driver.send_message(RadioMessage(b"x", 2))
        assert driver.message_hints.mtu == 242
        assert heard[-1].mtu == 240


async def test_answers_to_the_network_do_not_take_the_place_of_data() -> None:
    """US915 at its slowest has 11 bytes: with the answers to two orders aboard, five of them."""
    async with in_the_field("sx1262", "US915") as field:
        driver = field.driver(sub_band=2, data_rate=0, min_data_rate=0, adr=False)
        try:
            await driver.open()
            await driver.attach()
            field.device.command(b"\x06\x06")  # DevStatusReq, twice
            await driver.send_message(RadioMessage(b"x", 2))
            assert driver.message_hints.mtu == 11
            assert await driver.send_message(RadioMessage(bytes(11), 2)) is None
        finally:
            await driver.aclose()


async def test_next_slot_passes() -> None:
    async with attached(options={"data_rate": 0, "adr": False}) as (_, driver):
        heard: list[Hints] = []
        driver.on_message_hints(heard.append)
        with pytest.raises(NotNow) as error:
            await exhaust(driver)
        with pytest.raises(NotNow):
            await exhaust(driver, 20)
        slot = driver.message_hints.next_slot
        assert slot is not None
        assert slot > 60
        assert error.value.retry_after > 60
        assert heard[-1].next_slot is not None
        allowance = next(each for each in driver.allowances() if each.name == "868-868.6 MHz, 1 %")
        assert (allowance.unit, allowance.limit) == (Unit.AIRTIME, 36_000)
        assert 0 <= allowance.left < 3000
        await asyncio.sleep(4000)
        assert heard[-1].next_slot is None
        await driver.send_message(RadioMessage(b"x", 2))


async def exhaust(driver: LoRaWanChipDriver, size: int = 51) -> None:
    """Send until nothing of that size may be sent."""
    for _ in range(40):
        await driver.send_message(RadioMessage(bytes(size), 2))


async def test_the_transport_lorawan_carries_packets_both_ways() -> None:
    async with attached(options={"confirmed": "always"}) as (field, driver):
        transport = LoraWanTransport(driver)
        await transport.open()
        try:
            field.device.send(b"for management", 1)
            assert await transport.send(Packet(b"from solution", Service.SOLUTION)) == Handover("FCnt 0")
            assert await transport.receive() == Packet(b"for management", Service.MANAGEMENT)
            assert transport.hints.mtu == driver.message_hints.mtu
        finally:
            await transport.aclose()
        assert await arrived(field) == [b"from solution"]
        assert field.device.uplinks[0].port == 2


async def test_too_large() -> None:
    async with attached(options={"data_rate": 0}) as (_, driver):
        with pytest.raises(PacketTooLarge) as error:
            await driver.send_message(RadioMessage(bytes(52), 2))
        assert error.value.limit == 51


async def test_confirmed_is_a_handover_or_not_known() -> None:
    async with attached(options={"confirmed": "always", "attempts": 2}) as (field, driver):
        assert await driver.send_message(RadioMessage(b"alarm", 2)) == Handover("FCnt 0")
        field.network.silent = True
        assert await driver.send_message(RadioMessage(b"alarm", 2)) is None
        assert await arrived(field) == [b"alarm"] * 3, "the second in two frames: nothing said that the first was heard"


async def test_device_time_is_known_to_a_second() -> None:
    async with attached(options={"ask_time": True}) as (field, driver):
        assert await driver.network_time() is None
        await driver.send_message(RadioMessage(b"x", 2))
        await asyncio.sleep(100)
        utc = await driver.network_time()
        assert utc is not None
        assert abs(utc - (field.network.epoch + asyncio.get_running_loop().time())) < 1
        asked = len(field.device.answers)
        await driver.send_message(RadioMessage(b"x", 2))
        assert len(field.device.answers) == asked, "not with each uplink"


async def test_link_check_is_in_the_status() -> None:
    async with attached(options={"link_check": True}) as (_, driver):
        await driver.send_message(RadioMessage(b"x", 2))
        assert "heard by 1 gateways" in (await driver.status()).detail


async def test_what_waits_at_the_network_is_fetched() -> None:
    async with attached() as (field, driver):
        for text in (b"one", b"two", b"three"):
            field.device.send(text, 2)
        await driver.send_message(RadioMessage(b"x", 2))
        got = [(await received(driver)).data for _ in range(3)]
        assert got == [b"one", b"two", b"three"]


# --- sessions ---------------------------------------------------------------------------------------------------------


async def test_restart_without_rejoin() -> None:
    async with attached() as (field, driver):
        await driver.send_message(RadioMessage(b"before", 2))
        await driver.aclose()
        again = field.driver()
        try:
            await again.open()
            assert (await again.status()).evidence is Evidence.BEARER
            await again.attach()
            field.device.send(b"down", 2)
            await again.send_message(RadioMessage(b"after", 2))
            assert await received(again) == RadioMessage(b"down", 2)
        finally:
            await again.aclose()
        assert field.device.joins == 1
        assert await arrived(field) == [b"before", b"after"]
        assert [each.counter for each in field.device.uplinks] == [0, 1], "an orderly end gives counters back"


async def test_a_killed_process_skips_counters() -> None:
    async with attached() as (field, driver):
        await driver.send_message(RadioMessage(b"before", 2))
        disk = dict(field.memory._values)
        await driver.send_message(RadioMessage(b"heard, then killed", 2))
        await driver.aclose()
        field.memory._values = disk  # nothing of the orderly end was kept
        again = field.driver()
        try:
            await again.open()
            await again.attach()
            await again.send_message(RadioMessage(b"after", 2))
        finally:
            await again.aclose()
        assert await arrived(field) == [b"before", b"heard, then killed", b"after"]
        assert field.device.uplinks[-1].counter == 64
        assert field.device.joins == 1


async def test_network_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    """First patience, then what may be wrong; the back-off is told."""
    caplog.set_level(logging.DEBUG)
    async with in_the_field() as field:
        field.device.accepts_joins = False
        driver = field.driver()
        try:
            await driver.open()
            for attempt in range(7):
                with pytest.raises(AttachFailed) as error:
                    await driver.attach()
                assert error.value.retry_after is not None
                with pytest.raises(AttachFailed, match="time between two"):
                    await driver.attach()
                assert ("is that the region here" in str(error.value)) is (attempt >= 5)
                await asyncio.sleep(error.value.retry_after)
            assert (await driver.status()).evidence is Evidence.RADIO
            field.device.accepts_joins = True
            await driver.attach()
            assert len(field.device.nonces) <= 8
        finally:
            await driver.aclose()
    assert APP_KEY.hex() not in caplog.text


async def test_wrong_key_is_named() -> None:
    async with in_the_field() as field:
        field.network.devices[DEV_EUI]._app_key = bytes(16)
        driver = field.driver()
        try:
            await driver.open()
            with pytest.raises(AttachFailed, match="answered join-request 1"):
                await driver.attach()  # to this network the request is forged: it says nothing
        finally:
            await driver.aclose()


async def test_rejoin_keeps_the_session_until_somebody_answers() -> None:
    async with attached() as (field, driver):
        await driver.send_message(RadioMessage(b"x", 2))
        names = [each.name for each in driver.recoveries]
        assert names == ["radio off/on", "reset line", "rejoin"]
        field.device.accepts_joins = False
        await driver.recoveries[-1].run()
        assert (await driver.status()).evidence is Evidence.REGISTERED
        await asyncio.sleep(20)
        await driver.attach()
        assert field.device.joins == 1
        assert (await driver.status()).evidence is Evidence.BEARER
        await driver.recoveries[-1].run()
        await driver.attach()  # too soon for another request: the old session is what there is
        assert len(field.device.nonces) == 1
        await driver.send_message(RadioMessage(b"still there", 2))
        field.device.accepts_joins = True
        await driver.recoveries[-1].run()
        await asyncio.sleep(20)
        await driver.attach()
        assert field.device.joins == 2
        await driver.send_message(RadioMessage(b"new session", 2))
        assert await arrived(field) == [b"x", b"still there", b"new session"]


async def test_a_session_is_kept_where_no_join_is_possible_any_more(caplog: pytest.LogCaptureFixture) -> None:
    async with attached() as (field, driver):
        (key,) = [each for each in field.memory._values if "/join/" in each]
        field.memory.put(key, b"\xff\xff")
        await driver.aclose()
        await driver.open()
        await driver.attach()
        (rejoin,) = [each for each in driver.recoveries if each.name == "rejoin"]
        await rejoin.run()
        await driver.attach()
        assert "keeps its session" in caplog.text
        await driver.send_message(RadioMessage(b"x", 2))
        assert await arrived(field) == [b"x"]
        assert field.device.joins == 1


@pytest.mark.parametrize("drops_copies", [True, False])
async def test_a_lost_acknowledgement_is_made_up_for(drops_copies: bool) -> None:
    """Also where the network answers no second copy of a frame, as LoRaWAN 1.0.4 has it."""
    async with attached(options={"confirmed": "always"}) as (field, driver):
        field.network.drops_copies = drops_copies
        field.device.misbehave(Misdeed.SILENCE)
        assert await driver.send_message(RadioMessage(b"alarm", 2)) is not None
        assert field.network.refused == {}


async def test_a_network_that_does_not_count_its_join_accepts_is_told_of() -> None:
    async with in_the_field() as field:
        field.device.join_nonce = 500
        driver = field.driver()
        try:
            await driver.open()
            await driver.attach()
            assert driver._mac is not None
            driver._mac.forget_session()
            field.device.join_nonce = 100
            await asyncio.sleep(30)
            with pytest.raises(AttachFailed, match="join_nonce"):
                await driver.attach()
        finally:
            await driver.aclose()


async def test_a_network_that_lost_the_session_is_joined_anew() -> None:
    async with attached(options={"confirmed": "always", "attempts": 1, "unacknowledged_limit": 3}) as (field, driver):
        told: list[RadioStatus] = []
        driver.on_status(told.append)
        field.device.session = None
        for _ in range(3):
            assert await driver.send_message(RadioMessage(b"lost", 2)) is None
            await asyncio.sleep(3)
        assert [each.evidence for each in told] == [Evidence.REGISTERED]
        await asyncio.sleep(20)
        await driver.attach()
        assert field.device.joins == 2
        assert told[-1].evidence is Evidence.BEARER
        assert await driver.send_message(RadioMessage(b"heard", 2)) is not None


async def test_a_network_that_is_silent_for_long_is_joined_anew() -> None:
    """Uplinks without a downlink are counted in steps of more than one where a payload goes again in another frame."""
    options = {"confirmed": "always", "attempts": 2, "unacknowledged_limit": 0}
    async with attached(options=options) as (field, driver):
        assert driver._mac is not None
        assert driver._mac.session is not None
        driver._mac._session = driver._mac.session.replace(adr_ack_cnt=UNHEARD - 3)
        field.network.silent = True
        seen = []
        for _ in range(3):
            await driver.send_message(RadioMessage(b"anybody?", 2))
            seen.append((await driver.status()).evidence)
            await asyncio.sleep(3)
        assert seen == [Evidence.BEARER, Evidence.REGISTERED, Evidence.REGISTERED]


@pytest.mark.parametrize("misdeed", [each for each in Misdeed if each is not Misdeed.SILENCE])
async def test_misdeeds_of_the_network_change_nothing(misdeed: Misdeed) -> None:
    async with attached() as (field, driver):
        field.device.send(b"genuine", 2)
        await driver.send_message(RadioMessage(b"x", 2))
        assert await received(driver) == RadioMessage(b"genuine", 2)
        kept = field.memory._values["driver/field/session"]
        field.device.misbehave(misdeed)
        field.device.send(b"evil", 2)
        assert await driver.send_message(RadioMessage(b"y", 2)) is None
        assert field.memory._values["driver/field/session"] == kept
        assert driver._mac is not None
        assert driver._mac.rejected.total() >= 1
        field.device.send(b"good again", 2)
        for _ in range(3):
            await driver.send_message(RadioMessage(b"z", 2))
        assert b"good again" in {each.data for each in driver._received}


async def test_adr_of_the_network_raises_the_data_rate() -> None:
    async with attached(options={"data_rate": 0}, adr_after=4) as (_, driver):
        for _ in range(8):
            await driver.send_message(RadioMessage(b"x", 2))
        modulation = driver.message_hints.modulation
        assert modulation is not None
        assert modulation.spreading_factor < 12


# --- trouble ----------------------------------------------------------------------------------------------------------


async def test_a_bus_that_fails_is_told_and_attach_repairs() -> None:
    async with attached() as (field, driver):
        told: list[RadioStatus] = []
        driver.on_status(told.append)
        receiving = asyncio.create_task(driver.receive_message())
        await asyncio.sleep(0)
        field.chip.unplug()
        with pytest.raises(TransportBroken):
            await driver.send_message(RadioMessage(b"x", 2))
        assert [each.evidence for each in told] == [Evidence.NONE]
        with pytest.raises(TransportBroken):
            await receiving
        with pytest.raises(PortLost):
            await driver.status()
        field.chip.faults.bus_error = None
        await driver.attach()
        assert told[-1].evidence is Evidence.BEARER
        await driver.send_message(RadioMessage(b"again", 2))
        assert await arrived(field) == [b"again"]


@pytest.mark.parametrize("chip", CHIPS)
async def test_reset_line_repairs_a_chip_that_hangs(chip: str) -> None:
    async with attached(chip) as (field, driver):
        field.chip.hang()
        with pytest.raises(TransportBroken):
            await driver.send_message(RadioMessage(b"x", 2))
        await driver.recoveries[1].run()
        await driver.attach()
        await driver.send_message(RadioMessage(b"again", 2))
        assert await arrived(field) == [b"again"]


async def test_cancelled_send_does_not_disturb_the_windows() -> None:
    async with attached() as (field, driver):
        field.device.send(b"down", 2)
        sending = asyncio.create_task(driver.send_message(RadioMessage(b"given up", 2)))
        await asyncio.sleep(0.3)
        sending.cancel()
        await asyncio.wait({sending})
        await driver.send_message(RadioMessage(b"next", 2))
        assert await received(driver) == RadioMessage(b"down", 2)
        assert await arrived(field) == [b"given up", b"next"]


async def test_closing_in_the_middle() -> None:
    async with attached() as (_, driver):
        sending = asyncio.create_task(driver.send_message(RadioMessage(b"x", 2)))
        receiving = asyncio.create_task(driver.receive_message())
        await asyncio.sleep(0.3)
        await driver.aclose()
        for each in (sending, receiving):
            with pytest.raises(Closed):
                await each


# --- configuration ----------------------------------------------------------------------------------------------------


async def test_configuration() -> None:
    assert registered("lorawan_chip") is LoRaWanChipDriver
    async with in_the_field() as field:
        for wrong, text in (
            ({"sub_band": 2}, "sub_band"),
            ({"data_rate": 7}, "LoRa data rates"),
            ({"min_data_rate": 9}, "LoRa data rates"),
        ):
            with pytest.raises(ConfigurationError, match=text):
                field.driver(**wrong)
        for secret in ({}, {"field.appkey": "00"}, {"field.appkey": "not hexadecimal, but secret"}):
            field.secrets.clear()
            field.secrets.update(secret)
            driver = field.driver()
            with pytest.raises(KeyStoreError, match=r"field\.appkey") as error:
                await driver.open()
            assert "secret" not in str(error.value)
            assert error.value.__cause__ is None
            assert field.chip.transfers == 0


async def test_a_key_as_network_servers_show_it() -> None:
    async with in_the_field() as field:
        field.secrets["field.appkey"] = field.secrets["field.appkey"].upper()
        field.secrets["field.appkey"] = ":".join(re.findall("..", field.secrets["field.appkey"]))
        driver = field.driver()
        try:
            await driver.open()
            await driver.attach()
        finally:
            await driver.aclose()
