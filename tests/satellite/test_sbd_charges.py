"""What a link's budget is charged, against what the gateway bills: messages both ways, and looks into an empty mailbox."""

from __future__ import annotations

import asyncio

import pytest

from rataccess.driver import Charges, RadioMessage
from rataccess_hil.satellite import credits_for
from tests.satellite.rigs import Sbd

pytestmark = pytest.mark.looptime


async def test_every_credit_is_accounted_for() -> None:
    radio = Sbd()
    modem = radio.driver(mailbox={"check_every": 600.0, "credits_a_day": 1_000})
    charging: Charges = modem
    assert isinstance(charging, Charges)
    charged: list[int] = []
    undo = charging.on_charge(charged.append)
    await modem.open()
    await modem.attach()
    sent = credits_for(120)
    await modem.send_message(RadioMessage(bytes(120)))
    assert charged == []
    await asyncio.sleep(1_500)
    empty = len(charged)
    assert empty >= 2
    assert set(charged) == {1}
    radio.down(bytes(130))
    message = await modem.receive_message()
    await asyncio.sleep(60)
    billed = radio.gateway.credits(radio.modem.imei)
    assert billed == sent + sum(charged) + credits_for(len(message.data))
    undo()
    await modem.aclose()
    await radio.aclose()
