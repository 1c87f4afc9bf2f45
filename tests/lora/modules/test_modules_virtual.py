"""The drivers against virtual modules, which were written without knowing them, on a virtual network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rataccess.driver import Evidence, KnowsTime, RadioMessage, RadioStatus
from rataccess.errors import AttachFailed, NotNow, PacketTooLarge, RadioSilent, TransportBroken, WrongRadio
from rataccess.transport import Handover
from rataccess_drivers.lora.modules.driver import ModuleDriver
from rataccess_hil.lora import RN2483_101, RN2483_103, RUI3_1, RUI3_FIRST, WISBLOCK
from tests.lora.modules.virtual import EUI, KEY, KINDS, World, world

pytestmark = pytest.mark.looptime

ALL = ["rak3172", "wio_e5", "rn2483"]


@asynccontextmanager
async def attached(
    kind: str, built: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[World, ModuleDriver]]:
    async with world(kind, **(built or {})) as made:
        radio = made.build(**options)
        await radio.open()
        try:
            await radio.attach()
            yield made, radio
        finally:
            await radio.aclose()


@pytest.mark.parametrize("kind", ALL)
async def test_join_send_receive(kind: str) -> None:
    async with attached(kind) as (made, radio):
        assert made.known.session is not None
        assert radio.dev_eui == f"{EUI:016X}"
        made.known.send(b"down", port=1)
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)
        assert (made.known.uplinks[-1].data, made.known.uplinks[-1].port) == (b"up", 2)
        assert await radio.receive_message() == RadioMessage(b"down", 1)
        largest = RadioMessage(bytes(range(radio.message_hints.mtu)), 1)
        assert isinstance(await radio.send_message(largest), Handover)
        assert made.known.uplinks[-1].data == largest.data
        assert (await radio.status()).evidence is Evidence.BEARER
        assert made.module.key_reads == 0


@pytest.mark.parametrize("kind", ALL)
async def test_one_join_for_many_runs_of_the_program(kind: str) -> None:
    async with attached(kind) as (made, radio):
        await radio.aclose()
        for _ in range(3):
            successor = made.build()
            await successor.open()
            await successor.attach()
            assert isinstance(await successor.send_message(RadioMessage(b"again", 2)), Handover)
            await successor.aclose()
        assert len(made.known.nonces) == 1


@pytest.mark.parametrize("kind", ALL)
async def test_unconfirmed(kind: str) -> None:
    async with attached(kind, confirmed="never") as (made, radio):
        assert await radio.send_message(RadioMessage(b"up", 2)) is None
        assert made.known.uplinks[-1].data == b"up"


@pytest.mark.parametrize("kind", ALL)
async def test_out_of_reach(kind: str) -> None:
    async with world(kind) as made:
        made.gateway.online = False
        radio = made.build()
        await radio.open()
        with pytest.raises(AttachFailed, match="no network has accepted") as caught:
            await radio.attach()
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 100
        made.gateway.online = True
        await asyncio.sleep(caught.value.retry_after)
        await radio.attach()
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)
        await radio.aclose()


@pytest.mark.parametrize("kind", ALL)
async def test_wrong_key_is_not_accepted_and_a_right_one_later_is(kind: str) -> None:
    async with world(kind) as made:
        made.secrets["lora.appkey"] = "00" * 16
        radio = made.build()
        await radio.open()
        with pytest.raises(AttachFailed):
            await radio.attach()
        made.secrets["lora.appkey"] = KEY.hex(" ")
        await radio.attach()
        await radio.aclose()


@pytest.mark.parametrize("kind", ALL)
async def test_gateway_that_is_lost(kind: str) -> None:
    async with attached(kind, unacknowledged_limit=2) as (made, radio):
        told: list[RadioStatus] = []
        radio.on_status(told.append)
        made.gateway.online = False
        assert await radio.send_message(RadioMessage(b"1", 2)) is None
        assert told == []
        assert await radio.send_message(RadioMessage(b"2", 2)) is None
        await asyncio.sleep(0)
        assert [status.evidence for status in told] == [Evidence.RADIO]
        with pytest.raises(AttachFailed):
            await radio.attach()
        made.gateway.online = True
        await radio.attach()
        assert isinstance(await radio.send_message(RadioMessage(b"3", 2)), Handover)
        assert len({uplink.data for uplink in made.known.uplinks}) == len(made.known.uplinks)


@pytest.mark.parametrize("kind", ALL)
async def test_hang_while_sending(kind: str) -> None:
    async with attached(kind) as (made, radio):
        sending = asyncio.create_task(radio.send_message(RadioMessage(b"once", 2)))
        await asyncio.sleep(0.02)
        made.module.hang()
        with pytest.raises(TransportBroken, match="not known"):
            await sending
        with pytest.raises(RadioSilent):
            await radio.recoveries[0].run()
        made.module.power_cut()
        await asyncio.sleep(1)
        await radio.recoveries[0].run()
        await radio.attach()
        assert isinstance(await radio.send_message(RadioMessage(b"next", 2)), Handover)
        assert [uplink.data for uplink in made.known.uplinks].count(b"once") <= 1


@pytest.mark.parametrize("kind", ALL)
async def test_crash_between_uplinks(kind: str) -> None:
    async with attached(kind) as (made, radio):
        made.module.crash()
        await asyncio.sleep(2)
        with pytest.raises(TransportBroken):
            await radio.send_message(RadioMessage(b"lost", 2))
        await radio.attach()
        assert isinstance(await radio.send_message(RadioMessage(b"next", 2)), Handover)
        assert [uplink.data for uplink in made.known.uplinks] == [b"next"]


@pytest.mark.parametrize("kind", ALL)
async def test_reset_by_command(kind: str) -> None:
    async with attached(kind) as (made, radio):
        boots = made.module.boots
        await radio.recoveries[1].run()
        assert made.module.boots == boots + 1
        await radio.attach()
        assert isinstance(await radio.send_message(RadioMessage(b"next", 2)), Handover)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("rung", ["reset line", "power cut"])
async def test_recovery_by_wire(kind: str, rung: str) -> None:
    async with attached(kind, reset=4, power_switch=5) as (made, radio):
        made.module.hang()
        (step,) = (each for each in radio.recoveries if each.name == rung)
        async with asyncio.timeout(step.deadline):
            await step.run()
        await radio.attach()
        assert isinstance(await radio.send_message(RadioMessage(b"next", 2)), Handover)


@pytest.mark.parametrize("kind", ALL)
async def test_limits_follow_the_data_rate(kind: str) -> None:
    async with attached(kind) as (made, radio):
        assert radio.message_hints.mtu == 242
        made.module.device.rate = 0
        made.module.device.adr = False
        with pytest.raises(PacketTooLarge) as caught:
            await radio.send_message(RadioMessage(bytes(200), 2))
        assert caught.value.limit == radio.message_hints.mtu == 51
        modulation = radio.message_hints.modulation
        assert modulation is not None
        assert modulation.spreading_factor == 12
        assert isinstance(await radio.send_message(RadioMessage(bytes(51), 2)), Handover)
        # A RAK3172 has sent an empty one first, for MAC commands that might have taken the room.
        assert [uplink.data for uplink in made.known.uplinks if uplink.data] == [bytes(51)]


@pytest.mark.parametrize("kind", ALL)
async def test_duty_cycle(kind: str) -> None:
    async with attached(kind, confirmed="never", data_rate=0, adr=False) as (made, radio):
        made.module.device.plan.duty_cycle = True
        refused: NotNow | None = None
        sent = 0
        while refused is None and sent < 10:
            try:
                assert await radio.send_message(RadioMessage(bytes(50), 2)) is None
                sent += 1
            except NotNow as error:
                refused = error
        assert refused is not None
        assert refused.retry_after >= 1
        assert len(made.known.uplinks) == sent > 0
        await asyncio.sleep(400)
        assert await radio.send_message(RadioMessage(b"x", 2)) is None


async def test_p2p_and_another_region_are_repaired() -> None:
    async with attached("rak3172", {"point_to_point": True, "built_for": "US915"}) as (made, radio):
        assert made.module.boots >= 2
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)


async def test_wio_in_test_mode_and_another_region_is_repaired() -> None:
    async with attached("wio_e5", {"mode": "TEST", "built_for": "US915"}) as (_, radio):
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)


@pytest.mark.parametrize("kind", ["rak3172", "wio_e5"])
@pytest.mark.parametrize("region", ["US915", "AU915", "AS923", "IN865"])
async def test_other_regions(kind: str, region: str) -> None:
    sub_band = 2 if region in ("US915", "AU915") else None
    async with attached(kind, {"region": region}, region=region, sub_band=sub_band) as (made, radio):
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)
        assert made.known.uplinks[-1].data == b"up"


async def test_an_rn2903_with_a_sub_band() -> None:
    async with attached("rn2903", {"region": "US915"}, region="US915", sub_band=2) as (made, radio):
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)
        assert made.known.uplinks[-1].data == b"up"


async def test_several_downlinks_are_fetched() -> None:
    async with attached("wio_e5") as (made, radio):
        for number in range(3):
            made.known.send(bytes([number]), port=2)
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)
        assert [(await radio.receive_message()).data for _ in range(3)] == [b"\0", b"\1", b"\2"]


@pytest.mark.parametrize("kind", ALL)
async def test_another_module_on_the_port(kind: str) -> None:
    for other in ALL:
        if other != kind:
            async with world(other) as made:
                made.kind = kind
                made.driver = KINDS[kind][1]
                radio = made.build()
                with pytest.raises(WrongRadio):
                    await radio.open()
                await radio.aclose()


@pytest.mark.parametrize("kind", ALL)
async def test_sleep(kind: str) -> None:
    async with attached(kind, sleep=True) as (_, radio):
        for number in range(3):
            assert isinstance(await radio.send_message(RadioMessage(bytes([number]), 2)), Handover)
            await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("kind", "built"),
    [
        ("rak3172", {"firmware": RUI3_1, "echo": True}),
        ("rak3172", {"firmware": WISBLOCK}),
        ("wio_e5", {"length_comma": False}),
        ("rn2483", {"firmware": RN2483_101}),
        ("rn2483", {"firmware": RN2483_103}),
    ],
)
async def test_firmware_variants(kind: str, built: dict[str, Any]) -> None:
    async with attached(kind, built) as (made, radio):
        made.known.send(b"down", port=1)
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)
        assert await radio.receive_message() == RadioMessage(b"down", 1)
        await radio.aclose()
        successor = made.build()
        await successor.open()
        await successor.attach()
        assert len(made.known.nonces) == 1
        made.gateway.online = False
        assert await successor.send_message(RadioMessage(b"unheard", 2)) is None
        await successor.aclose()


async def test_a_firmware_that_does_not_tell_the_end_of_an_unconfirmed_uplink() -> None:
    async with attached("rak3172", {"firmware": RUI3_FIRST}, confirmed="never") as (made, radio):
        made.known.send(b"down", port=1)
        for data in (b"one", b"two"):
            assert await radio.send_message(RadioMessage(data, 2)) is None
        assert [uplink.data for uplink in made.known.uplinks if uplink.data] == [b"one", b"two"]
        assert await radio.receive_message() == RadioMessage(b"down", 1)
        assert (await radio.status()).evidence is Evidence.BEARER


async def test_a_module_that_takes_all_bytes_for_payload() -> None:
    async with attached("rak3172", {"transparent": True}) as (_, radio):
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)


@pytest.mark.parametrize("sleep", [False, True])
async def test_a_module_that_another_program_left_to_sleep_after_each_command(sleep: bool) -> None:
    async with world("wio_e5") as made:
        made.module.receive(b"AT+LOWPOWER=AUTOON\r\n")
        await asyncio.sleep(1)
        assert made.module.asleep
        radio = made.build(sleep=sleep)
        await radio.open()
        await radio.attach()
        for data in (b"one", b"two"):
            assert isinstance(await radio.send_message(RadioMessage(data, 2)), Handover)
        await radio.aclose()


@pytest.mark.parametrize("kind", ALL)
async def test_a_module_that_lost_its_settings_with_its_power_and_did_not_say_so(kind: str) -> None:
    async with attached(kind) as (made, radio):
        made.module.brown_out()
        await asyncio.sleep(2)
        with pytest.raises(TransportBroken):
            await radio.send_message(RadioMessage(b"lost", 2))
        await radio.attach()
        assert isinstance(await radio.send_message(RadioMessage(b"next", 2)), Handover)
        assert [uplink.data for uplink in made.known.uplinks] == [b"next"]
        assert made.module.device.adr


async def test_mac_commands_that_take_the_room_of_an_uplink() -> None:
    async with attached("wio_e5") as (made, radio):
        made.module.device.rate, made.module.device.adr = 0, False
        made.module.device.answers = bytes(51)
        with pytest.raises(NotNow):
            await radio.send_message(RadioMessage(b"up", 2))
        await asyncio.sleep(10)
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)
        assert [uplink.data for uplink in made.known.uplinks] == [b"", b"up"]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("rak3172", "+EVT:RX_C:-60:9:MULTICAST:2:AA55FF"),
        ("wio_e5", '+MSGHEX: PORT: 2; RX: "AA55FF"'),
        ("rn2483", "mac_rx 2 AA55FF"),
    ],
)
async def test_downlinks_in_the_middle_of_answers(kind: str, line: str) -> None:
    async with attached(kind) as (made, radio):
        for _ in range(3):
            made.module.interject(line)
            assert (await radio.status()).evidence is Evidence.BEARER
        assert [(await radio.receive_message()).data for _ in range(3)] == [b"\xaa\x55\xff"] * 3
        made.module.interject(line)
        await radio.send_message(RadioMessage(b"up", 2))
        assert (await radio.receive_message()).data == b"\xaa\x55\xff"


@pytest.mark.parametrize("kind", ALL)
async def test_crash_while_joining(kind: str) -> None:
    async with world(kind) as made:
        radio = made.build()
        await radio.open()
        attaching = asyncio.create_task(radio.attach())
        await asyncio.sleep(3)
        made.module.crash()
        with pytest.raises((AttachFailed, RadioSilent)):
            await attaching
        await radio.attach()
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)
        await radio.aclose()


@pytest.mark.parametrize("kind", ALL)
async def test_a_question_that_is_never_answered_is_no_end(kind: str) -> None:
    """Firmwares differ in what they know: what can be done without is."""
    beginning = {"rak3172": "AT+LPM", "wio_e5": "AT+LW", "rn2483": "mac get upctr"}[kind]
    async with attached(kind, sleep=kind == "rak3172") as (made, radio):
        made.module.ignore(beginning)
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)
        assert isinstance(await radio.send_message(RadioMessage(b"up", 2)), Handover)


@pytest.mark.parametrize("kind", ALL)
async def test_link_check_and_signal(kind: str) -> None:
    async with attached(kind, link_check=True) as (made, radio):
        made.known.send(b"down", port=1)
        await radio.send_message(RadioMessage(b"up", 2))
        status = await radio.status()
        if kind != "rn2483":  # tells of them only when it is asked
            assert "link margin" in status.detail
            assert status.signal_dbm is not None
            assert status.signal_dbm < 0


async def test_time_of_the_network() -> None:
    async with world("rak3172") as made:
        made.clock.known = False
        radio = made.build()
        assert isinstance(radio, KnowsTime)
        await radio.open()
        await radio.attach()
        assert await radio.network_time() is None
        await radio.send_message(RadioMessage(b"up", 2))
        now = made.server.epoch + asyncio.get_running_loop().time()
        assert await radio.network_time() == pytest.approx(now, abs=3)
        await radio.aclose()
