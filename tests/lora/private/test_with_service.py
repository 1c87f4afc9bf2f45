"""From a node over virtual chips, hub and UDP to a service that runs, and back: real sockets, real time, real records."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from rataccess.clock import SystemClock
from rataccess.driver import DriverContext, RadioMessage
from rataccess_drivers.lora.private.bridge import Bridge, BridgeSettings
from rataccess_drivers.lora.private.driver import LoraPrivateDriver
from rataccess_drivers.lora.private.options import NodeOptions
from rataccess_hil.lora import Ether
from tests.lora.chips.virtual import options, virtual_chip
from tests.ways.ways_world import WaysWorld, acknowledged, record, until

RELAY = '[[ways]]\nkind = "relay"\nname = "relay"\nhost = "127.0.0.1"\nport = 0\n'
NETWORK: dict[str, Any] = {"network": 0x2A, "spreading_factor": 7, "bandwidth": 250_000, "attempts": 8}


async def test_a_record_is_delivered_and_acknowledged(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, RELAY)
    device = world.add(lora="2a0005")
    ether = Ether(1)
    hub_chip, chip = virtual_chip("sx1262", ether), virtual_chip("sx1276", ether, position=(100.0, 0.0))
    async with world.running() as running:
        host, port = running.way("relay").address[:2]
        settings = BridgeSettings(
            transceiver=options("sx1262"), solution=f"{host}:{port}", management="127.0.0.1:9", **NETWORK
        )
        bridge = Bridge(settings, SystemClock(), open_spi=hub_chip.open_spi, open_gpio=hub_chip.open_gpio)
        node = LoraPrivateDriver(
            NodeOptions(transceiver=options("sx1276"), address=5, **NETWORK),
            DriverContext("node", SystemClock()),
            open_spi=chip.open_spi,
            open_gpio=chip.open_gpio,
            chance=random.Random(1),
        )
        serving = asyncio.create_task(bridge.run())
        try:
            await until(lambda: bridge.working)
            await node.open()
            await node.attach()
            packet, identity = record(device, 1)
            assert await node.send_message(RadioMessage(packet)) is not None
            async with asyncio.timeout(20):
                answer = await node.receive_message()
            assert 1 in acknowledged(device, answer.data, identity)
            assert running.rows() == [(1, "readings", "lora_private")]
        finally:
            await node.aclose()
            serving.cancel()
            await asyncio.wait({serving})
