"""A whole device and both whole services in one virtual-time loop, joined by virtual links.

Rules of this file: the device is `AsyncDevice` as shipped, the services are `ServiceCore` as shipped, with their real
files; only links and time are virtual.  What must hold at the end is asked by `account`.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tests.system.air as air_module
from rataccess import registry
from rataccess.clock import LoopClock
from rataccess.config import Configuration, parse
from rataccess.device import AsyncDevice
from rataccess.errors import TransportBroken
from rataccess.keys import FileKeyStore
from rataccess.objects import Object, Service, Urgency, decode
from rataccess.security import peek
from rataccess.services import admin, provisioning, settings
from rataccess.services.core import ServiceCore
from rataccess.services.keyfile import KeyFile
from rataccess.services.store import open_store
from tests.system.air import Air

registry.DRIVERS["air"] = f"{air_module.__name__}:AirDriver"
registry.TRANSPORTS["air"] = f"{air_module.__name__}:AirTransport"

SERVICES = """
[management]
port = 1
store = "management.sqlite"
keys = "management.json"
[solution]
port = 2
store = "solution.sqlite"
keys = "solution.json"
"""
HEAD = """
[device]
serial_number = "T"
state = "{state}"
[management]
host = "192.0.2.1"
port = 1
[solution]
host = "192.0.2.1"
port = 2
{store}
"""


class SystemWorld:
    """Folder, links, services, device."""

    transports: Mapping[str, str] = {}
    """By link, where it is not `air`."""

    def __init__(self, folder: Path, links: Mapping[str, str], *, store: str = "", seed: int = 0) -> None:
        """`links`: name to the lines of its configuration."""
        self.folder = folder
        self.clock = LoopClock()
        self.random = random.Random(seed)
        self.services: dict[Service, ServiceCore] = {}
        self.airs = {name: self.air(name, seed + index) for index, name in enumerate(links)}
        (folder / "services.toml").write_text(SERVICES)
        keys = FileKeyStore.create(folder / "device", "T")
        for service in Service:
            kid = provisioning.add_device(folder / "services.toml", service, "T", keys.session_secret(service))
            keys.assign(service, kid)
        text = HEAD.format(state=folder / "device", store=store)
        for name, lines in links.items():
            transport = self.transports.get(name, "air")
            text += f'[links.{name}]\ndriver = "air"\ntransport = "{transport}"\n'
            text += f'options = {{ air = "{name}" }}\n{lines}\n'
        self.configuration: Configuration = parse(text, source="test", environ={})
        self.device: AsyncDevice | None = None
        self.accepted: dict[int, Object] = {}
        self.commands = 0
        """Objects given to the solution service for the device, numbered from 0."""
        self.faults: list[str] = []

    # --- services ------------------------------------------------------------------------------------------------------

    def air(self, name: str, seed: int) -> Air:
        """The medium of the link `name`."""
        return Air(name, self._carry, seed=seed)

    def start_service(self, service: Service) -> None:
        found = settings.load(self.folder / "services.toml", service)
        store = open_store(found.store)
        store.own()
        self.services[service] = ServiceCore(service, found, store, KeyFile(Path(found.keys)), self.clock)

    def kill_service(self, service: Service) -> None:
        core = self.services.pop(service, None)
        if core:
            core.store.close()

    def _carry(self, service: Service, data: bytes, link: str) -> list[bytes]:
        core = self.services.get(service)
        return [answer for answer, _ in core.process([(data, link)])] if core else []

    def tick(self) -> None:
        """Let the services send what they have unasked."""
        for service, core in self.services.items():
            for data, address in core.tick():
                self.airs[str(address)].answer(service, data)

    # --- device --------------------------------------------------------------------------------------------------------

    async def start_device(self) -> AsyncDevice:
        self.device = AsyncDevice(self.configuration, clock=self.clock)
        self.device.threaded_store = False
        await self.device.start()
        return self.device

    async def kill_device(self) -> None:
        """Everything that was not on disk is gone."""
        if self.device:
            await self.device.aclose()
            self.device = None

    async def crash_device(self) -> None:
        """As a power cut leaves it: what closing would still have written is not there."""
        if self.device:
            state, copy = self.folder / "device", self.folder / "as it was"
            shutil.copytree(state, copy, ignore=shutil.ignore_patterns("*.sock"))
            troubles = {name: air.trouble for name, air in self.airs.items()}
            for air in self.airs.values():
                air.trouble = lambda packet: TransportBroken(
                    "there is no power"
                )  # nothing leaves while it is taken down
            await self.kill_device()
            for name, air in self.airs.items():
                air.trouble = troubles[name]
            shutil.rmtree(state)
            copy.rename(state)
            state.chmod(0o700)

    async def start(self) -> AsyncDevice:
        for service in Service:
            self.start_service(service)
        return await self.start_device()

    async def stop(self) -> None:
        await self.kill_device()
        for service in Service:
            self.kill_service(service)

    async def enqueue(self, value: Object, **options: Any) -> int:
        assert self.device
        receipt = await self.device.solution.enqueue(value, **{"queue": "readings", **options})
        self.accepted[receipt.number] = value
        return receipt.number

    def delivered(self, service: Service = Service.SOLUTION) -> dict[int, Object]:
        """Number to value, as the service has them; a number that is there twice is a fault."""
        found: dict[int, Object] = {}
        for record in admin.records(self.folder / f"{service}.sqlite", limit=1_000_000):
            if record.number in found:
                self.faults.append(f"record {record.number} is stored twice")
            found[record.number] = decode(record.body)
        return found

    def check_nonces(self) -> None:
        """No two packets that left the device use one Partial IV with one key (RFC 8613 section 7.2)."""
        seen: set[tuple[Service, bytes]] = set()
        for air in self.airs.values():
            self.faults += air.faults
            for service, data in air.sent:
                if peek(data).kind != "request":
                    continue
                nonce = (service, _partial_iv(data))
                if nonce in seen:
                    self.faults.append(f"nonce {nonce} was used twice")
                seen.add(nonce)

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _partial_iv(data: bytes) -> bytes:
    """The Partial IV in the OSCORE option, the first option of what the device sends (RFC 8613 section 6.1)."""
    at = 4 + (data[0] & 15)
    assert data[at] >> 4 == 9, "the OSCORE option comes first"
    length, at = data[at] & 15, at + 1
    if length == 13:
        length, at = data[at] + 13, at + 1
    option = data[at : at + length]
    return option[1 : 1 + (option[0] & 7)]


URGENCIES = list(Urgency)
