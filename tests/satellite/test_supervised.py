"""Satellite radios under supervision: they hang again and again, and the ladder brings them back by itself."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from rataccess.config.model import LinkSettings
from rataccess.errors import NotNow, TransportBroken
from rataccess.link import Link
from rataccess.objects import Service
from rataccess.transport import Packet
from tests.link.fakes import ENDPOINTS, Listener
from tests.satellite.test_broken_everywhere import Disk
from tests.satellite.test_satellite_repairs import WiredImt, WiredSbd

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize("kind", [WiredSbd, WiredImt])
async def test_a_modem_that_hangs_every_few_hours(kind: type[Any]) -> None:
    radio, disk = kind(), Disk()
    name = radio.transport_type.medium
    link = Link(
        name,
        LinkSettings(driver=name, transport=name),
        endpoints=ENDPOINTS,
        listener=Listener(),
        clock=radio.clock,
        memory=disk,
        random=Random(1),
        make_driver=lambda: radio.driver(disk),
        make_transport=lambda driver, bearer: radio.transport_type(driver),
    )
    link.start()
    sent = [bytes([0x20, number]) + b"record" for number in range(8)]
    for number, data in enumerate(sent):
        if number % 3 == 2:
            asyncio.get_running_loop().call_later(3.0 * number, radio.hang)
        await persist(link, Packet(data, Service.SOLUTION))
        await asyncio.sleep(3_600)
    await link.aclose()
    arrived = radio.up()
    assert len(arrived) == len(set(arrived))
    assert set(arrived) >= set(sent) - lost(sent)
    await radio.aclose()


def lost(sent: list[bytes]) -> set[bytes]:
    """What the network may have and does not: a message under way when the modem hung and lost its power."""
    return set(sent[2::3])


async def persist(link: Link, packet: Packet) -> None:
    for _ in range(400):
        try:
            await link.send(packet)
            return
        except NotNow as later:
            await asyncio.sleep(later.retry_after)
        except TransportBroken as error:
            if "may have this very message" in str(error):
                return
            await asyncio.sleep(30)
    raise AssertionError("the link does not come up again")
