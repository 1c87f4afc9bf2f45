"""Our network server on its UDP port, before a virtual gateway that forwards packets for real."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rataccess.services import provisioning
from rataccess.services.ways.semtech.sessions import DeviceState, Session
from rataccess_hil.lora import Ether, VirtualGateway
from rataccess_hil.lora.end_device import EndDevice, Finished
from tests.ways.ways_world import APP_KEY, DEV_EUI, WaysWorld, acknowledged, record

FARM = '[[ways]]\nkind = "semtech"\nname = "farm"\nhost = "127.0.0.1"\nport = 0\n'


async def test_a_device_is_heard_and_answered_through_a_gateway(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, FARM)
    device = world.add()
    provisioning.set_app_key(world.settings, world.service, "SN1", APP_KEY)
    session = Session.begin(APP_KEY, dev_addr=0x12345, join_nonce=1, dev_nonce=1, net_id=0, rx_delay=1)
    ether = Ether(seed=1)
    radio = EndDevice(ether, seed=2)
    radio.rate, finished = 5, asyncio.Queue[Finished]()
    radio.on_finished = finished.put_nowait
    radio.personalise(session.dev_addr, session.keys.nwk_s_key, session.keys.app_s_key)
    async with world.running() as running:
        running.way("farm").network.restore(DeviceState(DEV_EUI, {}, 1, session))
        async with VirtualGateway(ether, running.way("farm").address):
            data, identity = record(device, 1)
            radio.send(data, 2, confirmed=True)
            async with asyncio.timeout(60):
                found = await finished.get()
        assert running.rows() == [(1, "readings", "lorawan")]
    assert found.ok
    assert found.downlink is not None
    assert 1 in acknowledged(device, found.downlink.data, identity)
