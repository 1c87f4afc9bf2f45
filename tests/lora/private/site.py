"""A site: a hub and its nodes on virtual chips, two services in memory."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from rataccess.clock import LoopClock
from rataccess.driver import DriverContext, Forgetful
from rataccess.transport import Endpoint
from rataccess_drivers.lora.private.bridge import Bridge, BridgeSettings
from rataccess_drivers.lora.private.driver import LoraPrivateDriver
from rataccess_drivers.lora.private.options import NodeOptions
from rataccess_hil.lora import Ether, VirtualChip
from tests.lora.chips.virtual import options, virtual_chip

NETWORK = 0x2A
SOLUTION, MANAGEMENT = b"\x20", b"\x00"
"""First bytes of packets in compact form."""


class MemoryUplink:
    """A service at the other end of the bridge's way to it."""

    def __init__(self, service: Endpoint, on_datagram: Callable[[bytes], None]) -> None:
        self.service = service
        self.say = on_datagram
        self.heard: deque[bytes] = deque()
        self.reachable = True
        self.closed = False

    async def send(self, datagram: bytes) -> bool:
        if self.reachable:
            self.heard.append(datagram)
        return self.reachable

    def close(self) -> None:
        self.closed = True


class Site:
    """One ether, one bridge."""

    def __init__(self, *, hub: str = "sx1262", seed: int = 1, **settings: Any) -> None:
        self.ether = Ether(seed)
        self.clock = LoopClock()
        self.settings = {"network": NETWORK, "spreading_factor": 7, **settings}
        self.hub_chip = virtual_chip(hub, self.ether, name="hub")
        self.uplinks: list[MemoryUplink] = []
        self.memory = Forgetful()
        self.bridge = self.new_bridge(hub)
        self._seed = seed

    @property
    def management(self) -> MemoryUplink:
        return self.uplinks[-2]

    @property
    def solution(self) -> MemoryUplink:
        return self.uplinks[-1]

    def new_bridge(self, hub: str = "sx1262", **more: Any) -> Bridge:
        settings = BridgeSettings(
            transceiver=options(hub), management="m.example:1", solution="s.example:2", **{**self.settings, **more}
        )
        return Bridge(
            settings,
            self.clock,
            self.memory,
            open_spi=self.hub_chip.open_spi,
            open_gpio=self.hub_chip.open_gpio,
            open_uplink=self._uplink,
            chance=random.Random(7),
        )

    def _uplink(self, service: Endpoint, on_datagram: Callable[[bytes], None]) -> MemoryUplink:
        self.uplinks.append(MemoryUplink(service, on_datagram))
        return self.uplinks[-1]

    def chip(self, kind: str = "sx1276", **more: Any) -> VirtualChip:
        return virtual_chip(kind, self.ether, **{"position": (100.0, 0.0), **more})

    def node(
        self,
        address: int = 5,
        *,
        kind: str = "sx1276",
        chip: VirtualChip | None = None,
        memory: Forgetful | None = None,
        **more: Any,
    ) -> LoraPrivateDriver:
        virtual = chip or self.chip(kind)
        context = DriverContext(f"node{address}", self.clock, memory=memory or Forgetful())
        return LoraPrivateDriver(
            NodeOptions(transceiver=options(kind), address=address, **{**self.settings, **more}),
            context,
            open_spi=virtual.open_spi,
            open_gpio=virtual.open_gpio,
            chance=random.Random(address),
        )

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Site]:
        """With its bridge at work."""
        running = asyncio.create_task(self.bridge.run())
        try:
            while not self.bridge.working and not running.done():
                await asyncio.sleep(0.01)
            yield self
        finally:
            running.cancel()
            await asyncio.wait({running})
            assert running.cancelled(), running.exception()


async def heard(uplink: MemoryUplink, count: int = 1) -> list[bytes]:
    """The next frames that came to a service; at most a minute."""
    async with asyncio.timeout(60):
        while len(uplink.heard) < count:
            await asyncio.sleep(0.05)
    return [uplink.heard.popleft() for _ in range(count)]
