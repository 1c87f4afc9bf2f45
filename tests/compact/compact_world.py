"""A whole device and whole services in virtual time, joined by links in compact form besides the usual ones.

Rules of this file: what a network of LoRaWAN or a satellite does to packets (downlinks after uplinks only, mailboxes,
prices), and nothing of how the device or the service answer to it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from rataccess.lorawan.airtime import Modulation
from rataccess.objects import Service
from rataccess.services.airway import Airway
from rataccess.services.keyfile import read_entries, write_entries
from rataccess.tariff import Unit
from rataccess.transport import Downlink
from tests.system.system_world import SystemWorld
from tests.system.test_invariants import SHM

LORA = Modulation(spreading_factor=7)
LORAWAN = {
    "compact": True, "downlink": Downlink.AFTER_UPLINK, "unit": Unit.AIRTIME, "modulation": LORA, "overhead": 13,
    "response_time": 2.0,
}  # fmt: skip
SATELLITE = {
    "compact": True, "downlink": Downlink.ON_SESSION, "unit": Unit.CREDIT, "billing_quantum": 50, "cost_per_unit": 0.1,
    "acknowledges_handover": True, "response_time": 20.0,
}  # fmt: skip
AIRWAYS = {
    "lora": Airway("lora", "deveui", "0102030405060708", link="lorawan", room=51),
    "sat": Airway("sat", "imei", "300234010753370", link="sbd", room=270, unasked=True, dear=True),
}
LINKS = {"lora": "order = 2", "sat": "order = 3", "lte": "order = 1\nfailback_after = 1"}


class CompactWorld(SystemWorld):
    """`lora` is LoRaWAN class A, `sat` a satellite with a mailbox, all others are IP."""

    def __init__(self, folder: Path, links: Mapping[str, str], *, services: str = "", **options: Any) -> None:
        super().__init__(folder, links, **options)
        self.mailbox: list[tuple[Service, bytes]] = []
        self.holding = False
        """Whether what networks have heard stays with them."""
        self.held: list[tuple[Service, bytes, str, float]] = []
        for name, hints, mtu in (("lora", LORAWAN, 51), ("sat", SATELLITE, 340)):
            if name in self.airs:
                self.airs[name].hints, self.airs[name].mtu = dict(hints), mtu
        names = {airway.kind: airway.name for airway in AIRWAYS.values()}
        for service in Service:
            path = folder / f"{service}.json"
            write_entries(path, [msgspec.structs.replace(each, identities=names) for each in read_entries(path)])
        if services:
            text = (folder / "services.toml").read_text()
            for section in ("[management]\n", "[solution]\n"):
                text = text.replace(section, section + services + "\n")
            (folder / "services.toml").write_text(text)

    def _carry(self, service: Service, data: bytes, link: str) -> list[bytes]:
        if link not in AIRWAYS:
            return super()._carry(service, data, link)
        if self.holding:
            self.held.append((service, data, link, self.clock.wall()))
            return []
        return self._hear(service, data, link, self.clock.wall())

    def let_go(self) -> None:
        """What networks have kept arrives, in any order; it is too late for an answer."""
        held, self.held = self.held, []
        self.random.shuffle(held)
        for each in held:
            self._hear(*each)

    def _hear(self, service: Service, data: bytes, link: str, heard_at: float) -> list[bytes]:
        core, airway = self.services.get(service), AIRWAYS[link]._replace(heard_at=heard_at)
        if core is None:
            return []
        answers = core.process([(data, airway)])
        if link == "lora":
            assert all(len(answer) <= airway.room for answer, _ in answers)
            return [answer for answer, _ in answers]
        self.mailbox += [(service, answer) for answer, _ in answers]
        return []

    def tick(self) -> None:
        for service, core in self.services.items():
            for data, address in core.tick():
                if not isinstance(address, Airway):
                    self.airs[str(address)].answer(service, data)
                elif address.way == "sat":
                    self.mailbox.append((service, data))
                else:
                    self.faults.append(f"unasked over {address}")

    def session(self) -> None:
        """A satellite session empties the mailbox."""
        waiting, self.mailbox = self.mailbox, []
        for service, data in waiting:
            self.airs["sat"].answer(service, data)

    def solution_packets(self, name: str) -> list[bytes]:
        return [data for service, data in self.airs[name].sent if service is Service.SOLUTION]


@asynccontextmanager
async def compact_world(**options: Any) -> AsyncIterator[CompactWorld]:
    with tempfile.TemporaryDirectory(dir=SHM) as folder:
        made = CompactWorld(Path(folder), options.pop("links", LINKS), **options)
        try:
            await made.start()
            yield made
        finally:
            await made.stop()


async def until(condition: Any, seconds: float = 3600.0) -> None:
    """Wait for `condition` in virtual time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.25)
