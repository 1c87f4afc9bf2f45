"""Our network server before virtual gateways and devices that know nothing of it: ether, radio and codec are the virtual
hardware's own.

Rules of this file: what the tests of the way `semtech` share; virtual time, datagrams handed over in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest

from rataccess.services import provisioning
from rataccess.services.airway import Airway
from rataccess.services.keyfile import KeyFile
from rataccess.services.store import ServiceStore
from rataccess.services.ways import settings
from rataccess.services.ways.base import Surroundings
from rataccess.services.ways.semtech import SemtechWay, way
from rataccess.services.ways.udp import UdpSocket
from rataccess_hil.lora import Ether, VirtualGateway
from rataccess_hil.lora.end_device import EndDevice, Finished
from tests.ways.ways_world import APP_KEY, HeardBy, WaysWorld

T = TypeVar("T")
DEV_EUI = 0x70B3D57ED0000001


class Inline:
    """A handle on the store that does its work at once: virtual time does not wait for threads."""

    def __init__(self, path: Path) -> None:
        self._store = ServiceStore.open(path)
        self.broken: Exception | None = None

    async def do(self, work: Callable[[ServiceStore], T]) -> T:
        if self.broken is not None:
            raise self.broken
        return work(self._store)

    async def aclose(self) -> None:
        self._store.close()


class InMemory(UdpSocket):
    """A socket whose datagrams go straight to the gateway that asked."""

    async def listening(self, host: str, port: int) -> None:
        """Nothing to open."""

    def send(self, data: bytes, address: Any = None) -> bool:
        address(data)
        return True


class Farm:
    """A network server, gateways and one device."""

    def __init__(self, folder: Path, gateways: int = 1, **options: Any) -> None:
        self.folder = folder
        self.settings = settings.SemtechSettings(name="farm", **options)
        self.world = WaysWorld(folder, "")
        self.world.add("SN1", deveui=f"{DEV_EUI:016x}")
        provisioning.set_app_key(self.world.settings, self.world.service, "SN1", APP_KEY)
        self.counted: Counter[str] = Counter()
        self.heard = HeardBy()
        self.heard.answer = lambda data, airway: self.way.send(airway, b"re:" + data)
        self.ether = Ether(seed=3)
        self.gateways = [
            VirtualGateway(
                self.ether,
                self,
                region=self.settings.region,
                eui=0xAA + index,
                name=f"gateway-{index}",
                position=(200.0 * index, 50.0),
                tmst_offset=2**32 - 3_000_000,  # the counter wraps during each test
                keepalive=10.0,
            )
            for index in range(gateways)
        ]
        self.device = EndDevice(self.ether, region=self.settings.region, seed=5)
        self.device.dev_eui, self.device.join_eui = DEV_EUI, 0x0102030405060708
        self.device.set_app_key(APP_KEY)
        self.device.rate = 3 if self.device.region.fixed else 5
        self.device.plan.duty_cycle = False
        self._finished: asyncio.Queue[Finished] = asyncio.Queue()
        self.device.on_finished = self._finished.put_nowait
        self.datagrams: list[bytes] = []
        self.make_way()

    def make_way(self) -> None:
        """What a start of the service makes."""
        self.store = Inline(self.folder / "farm.sqlite3")
        around = Surroundings(
            self.world.service,
            self.world.clock,
            self._count,
            KeyFile(Path(self.world.settings.keys)),
            lambda name: self.store,
            {},
            Random(1),
        )
        self.way = SemtechWay(self.settings, around, "solution.ways[0]")

    def _count(self, cause: str) -> None:
        self.counted[cause] += 1

    def datagram(self, data: bytes, answer: Callable[[bytes], None]) -> None:
        """A gateway's, as `InMemoryServer` has it."""
        self.datagrams.append(data)
        self.way._take(data, answer)

    async def kill(self) -> None:
        """The service is killed where it stands, and begins again."""
        await self.way._close()
        await self.store.aclose()
        self.way._store = None
        await self.restart()

    async def restart(self) -> None:
        """The service ends and begins again."""
        await self.way.aclose()
        self.make_way()
        await self.way.start(self.heard)
        for each in self.gateways:
            each._pull()
        await asyncio.sleep(0.5)

    async def join(self) -> Finished:
        self.device.join()
        return await self._finished.get()

    async def send(self, data: bytes, port: int = 2, *, confirmed: bool = False) -> Finished:
        self.device.send(data, port, confirmed=confirmed)
        return await self._finished.get()

    @property
    def airways(self) -> list[Airway]:
        return [airway for _, airway in self.heard.packets]


@contextlib.asynccontextmanager
async def farm(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, joined: bool = True, **options: Any
) -> AsyncIterator[Farm]:
    """All of it, running; joined where not said otherwise."""
    monkeypatch.setattr(way, "UdpSocket", InMemory)
    made = Farm(folder, **options)
    await made.way.start(made.heard)
    for each in made.gateways:
        await each.open()
    await asyncio.sleep(0.5)
    try:
        if joined:
            assert (await made.join()).ok
        yield made
    finally:
        for each in made.gateways:
            await each.aclose()
        await made.way.aclose()
