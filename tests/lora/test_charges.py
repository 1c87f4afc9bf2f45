"""What is charged to a link's budget beside its messages, against what the virtual radio really transmitted.

Whoever sends a message books it once, as the hints of that moment count it; the radio's driver charges the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rataccess.driver import Charges, MovesMessages, RadioMessage
from rataccess.errors import AttachFailed, NotNow, RataccessError
from rataccess_drivers.charging import AirtimeCharges
from rataccess_drivers.lora.modules.options import Confirmed
from rataccess_hil.lora import Ether, Station, VirtualChip
from tests.lora.modules.virtual import world
from tests.lora.private.site import SOLUTION, Site
from tests.lora.private.test_site import answer
from tests.lorawan import chip_rigs

pytestmark = pytest.mark.looptime


class Books:
    """As the access floor keeps them: a message once, unless it was surely not sent, and whatever is charged."""

    def __init__(self, driver: Any) -> None:
        assert isinstance(driver, MovesMessages)
        assert isinstance(driver, Charges)
        self._driver = driver
        self.billed = self.charged = 0
        driver.on_charge(self._charge)

    def _charge(self, units: int) -> None:
        assert units > 0
        self.charged += units

    async def send(self, data: bytes, port: int = 2) -> float:
        """Seconds for which the driver refused it; 0 where it was sent."""
        once = self._driver.message_hints.tariff.units(len(data))
        with contextlib.suppress(RataccessError):
            try:
                self.billed += once
                await self._driver.send_message(RadioMessage(data, port))
            except NotNow as refused:
                self.billed -= once
                return refused.retry_after
        return 0.0

    async def send_in_time(self, data: bytes) -> None:
        """After an uplink that was not acknowledged the network is given its time first (RETRANSMIT_TIMEOUT)."""
        while wait := await self.send(data):
            assert wait <= 3.0
            await asyncio.sleep(wait)

    def agree(self, ether: Ether, station: Station) -> int:
        """Each packet may have been rounded up by a millisecond; how many packets there were."""
        sent = [each for each in ether.log if each.station is station]
        on_air = 1000 * sum(each.end - each.start for each in sent)
        assert on_air <= self.billed + self.charged <= on_air + len(sent), (
            on_air,
            self.billed,
            self.charged,
            len(sent),
        )
        return len(sent)


# --- the counter itself -----------------------------------------------------------------------------------------------


def test_a_message_is_paid_for_once() -> None:
    told: list[int] = []
    charges = AirtimeCharges()
    undo = charges.on_charge(told.append)
    with charges.message(100):
        charges.spent(0.1)
    charges.spent(0.1)  # again
    with charges.message(100):
        charges.spent(0.15)  # MAC commands went along
    with charges.message(100):
        pass  # refused: nobody has paid for what comes next
    charges.spent(0.02)
    assert told == [100, 50, 20]
    undo()
    undo()
    charges.charge(7)
    assert told == [100, 50, 20]


# --- the MAC on a chip ------------------------------------------------------------------------------------------------


async def test_joins_repetitions_and_uplinks_without_a_message() -> None:
    async with chip_rigs.in_the_field() as field:
        driver = field.driver(confirmed="always", attempts=3, ask_time=True)
        books = Books(driver)
        try:
            field.gateway.online = False
            await driver.open()
            with pytest.raises(AttachFailed) as refused:
                await driver.attach()
            await asyncio.sleep(refused.value.retry_after or 0.0)
            field.gateway.online = True
            await driver.attach()
            assert books.billed == 0
            await books.send(bytes(20))  # with a question for the time
            assert books.agree(field.ether, field.chip.station) == 3
            field.gateway.online = False
            await books.send(bytes(11))
            assert books.agree(field.ether, field.chip.station) == 6
            field.gateway.online = True
            for number in range(3):
                field.device.send(bytes([number]), port=2)
            await books.send_in_time(bytes(5))
            assert books.agree(field.ether, field.chip.station) > 7
        finally:
            await driver.aclose()


async def test_a_message_that_the_duty_cycle_forbids_pays_for_nothing() -> None:
    async with chip_rigs.attached(options={"adr": False, "data_rate": 0}) as (field, driver):
        books = Books(driver)
        books.charged = round(1000 * field.chip.station.airtime)  # of joining
        for number in range(40):
            await books.send(bytes([number] * 40))
        count = books.agree(field.ether, field.chip.station)
        assert count < 30
        await driver._ask_to_rejoin()
        while not (joined := driver._rejoin):
            await asyncio.sleep(1)
        for _ in range(3):
            with contextlib.suppress(AttachFailed):
                await driver.attach()
            await asyncio.sleep(1800)
        assert joined
        assert books.agree(field.ether, field.chip.station) > count


async def test_a_message_whose_sender_has_gone_and_the_next_one() -> None:
    async with chip_rigs.attached(options={"confirmed": "always", "attempts": 3}) as (field, driver):
        books = Books(driver)
        books.charged = round(1000 * field.chip.station.airtime)
        field.gateway.online = False
        first = asyncio.create_task(books.send(bytes(50)))
        await asyncio.sleep(0.5)
        first.cancel()
        await asyncio.sleep(0.1)
        await books.send_in_time(bytes(3))
        assert books.agree(field.ether, field.chip.station) == 7


async def test_repetitions_that_the_network_asks_for_need_room_in_the_budget() -> None:
    async with chip_rigs.attached(options={"confirmed": "never"}) as (field, driver):
        books = Books(driver)
        books.charged = round(1000 * field.chip.station.airtime)
        assert driver.message_hints.repeats == 1
        field.device.command(_nb_trans(3))
        await books.send(b"one")
        field.gateway.online = False
        assert driver.message_hints.repeats == 3
        await books.send(b"two")
        assert books.agree(field.ether, field.chip.station) == 5


def _nb_trans(times: int) -> bytes:
    return bytes([0x03, 0xFF, 0x07, 0x00, times])


# --- private LoRa -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def a_node() -> AsyncIterator[tuple[Site, VirtualChip, Books]]:
    """A node that has found its hub, its chip, and its books."""
    site = Site()
    async with site.working():
        chip = site.chip()
        node = site.node(chip=chip)
        books = Books(node)
        try:
            await node.open()
            await node.attach()
            yield site, chip, books
        finally:
            await node.aclose()


async def test_polls_repetitions_and_acknowledgements() -> None:
    async with a_node() as (site, chip, books):
        assert books.agree(site.ether, chip.station) == 1
        for number in range(4):
            await books.send(SOLUTION + bytes([number] * 20))
            site.solution.say(answer(5, SOLUTION + bytes([number] * 30)))
        await asyncio.sleep(20)
        assert books.agree(site.ether, chip.station) >= 6
        site.ether.obstruct(chip.station, 200.0)
        await books.send(SOLUTION + bytes(100))
        assert books.agree(site.ether, chip.station) >= 9


async def test_a_message_that_was_never_sent_pays_for_no_acknowledgement() -> None:
    async with a_node() as (site, chip, books):
        with_nothing = asyncio.create_task(books.send(SOLUTION + bytes(50)))
        await asyncio.sleep(0)
        with_nothing.cancel()
        await asyncio.wait({with_nothing})
        books.billed = 0  # it was withdrawn before its turn
        site.solution.say(answer(5, SOLUTION + bytes(30)))
        await asyncio.sleep(5)
        assert books.agree(site.ether, chip.station) == 2


async def test_the_acknowledgement_before_a_message_is_not_taken_for_it() -> None:
    async with a_node() as (site, chip, books):
        site.solution.say(answer(5, SOLUTION + bytes(200)))
        while not any(each.station is site.hub_chip.station for each in list(site.ether.log)[2:]):
            await asyncio.sleep(0.005)
        await books.send(SOLUTION + bytes(50))  # waits for what is coming in, which is acknowledged first
        assert books.agree(site.ether, chip.station) == 3


# --- modules ----------------------------------------------------------------------------------------------------------

MODULES = ["rak3172", "wio_e5", "rn2483"]


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("confirmed", list(Confirmed))
async def test_modules(kind: str, confirmed: Confirmed) -> None:
    """Joins, what fetches downlinks, and repetitions that are told of (RUI3) or known (the stacks' usual eight)."""
    async with world(kind) as made:
        made.module.device.retries = 2 if kind == "rak3172" else 7
        radio = made.build(confirmed=confirmed, unacknowledged_limit=0)
        books = Books(radio)
        station = made.module.device.station
        await radio.open()
        try:
            await radio.attach()
            await books.send(b"one")
            assert books.agree(made.ether, station) == 2
            for number in range(3):
                made.known.send(bytes([number]), port=2)
            await books.send(b"two")
            await asyncio.sleep(60)
            before = books.agree(made.ether, station)
            assert before > 3 or kind != "wio_e5", "the others do not tell that more waits"
            made.gateway.online = False
            await books.send(bytes(20))
            times = {"rak3172": 3}.get(kind, 8) if confirmed is Confirmed.ALWAYS else 1
            assert books.agree(made.ether, station) == before + times
            assert times <= radio.message_hints.repeats
        finally:
            await radio.aclose()


@pytest.mark.parametrize("kind", MODULES)
async def test_an_uplink_whose_end_nobody_waits_for_counts_as_often_as_it_may_go_out(kind: str) -> None:
    async with world(kind) as made:
        made.module.device.retries = 7
        radio = made.build()
        books = Books(radio)
        await radio.open()
        try:
            await radio.attach()
            made.gateway.online = False
            sending = asyncio.create_task(books.send(b"gone"))
            await asyncio.sleep(1)
            sending.cancel()
            await asyncio.sleep(120)
            assert books.agree(made.ether, made.module.device.station) == 9
        finally:
            await radio.aclose()
