"""A service with ways in, on real sockets of this machine, and devices that speak the compact form.

Rules of this file: what the tests of this folder share; every port is the system's choice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rataccess.errors import StoreUnreachable
from rataccess.objects import Service
from rataccess.security import RequestIdentity
from rataccess.services import provisioning, settings
from rataccess.services.airway import Airway
from rataccess.services.running import Running, composed
from rataccess.services.ways.base import WayIn
from rataccess.wire import Message, decode_message, encode_message
from tests.services.service_world import FakeDevice, HandClock

DEV_EUI, IMEI = "0102030405060708", "300234063904190"
NAMES = {"deveui": DEV_EUI, "imei": IMEI, "lora": "0a0b0c", "notecard": "com.example:dev1"}
APP_KEY = bytes(range(16))


class WaysWorld:
    """One service of a folder, with the ways that `toml` configures."""

    def __init__(
        self, folder: Path, toml: str, service: Service = Service.SOLUTION, *, store: str | None = None
    ) -> None:
        self.folder, self.service = folder, service
        self.clock = HandClock()
        self.config = folder / f"{service}.toml"
        store = store or f"{service}.sqlite3"
        head = f'[{service}]\nhost = "127.0.0.1"\nport = 0\nstore = "{store}"\nkeys = "{service}.json"\n'
        self.config.write_text(head + toml.replace("[[ways]]", f"[[{service}.ways]]"))
        self.settings = settings.load(self.config, service, {})

    def add(self, serial_number: str = "SN1", **identities: str) -> FakeDevice:
        secret = bytes(16) + serial_number.encode()
        kid = provisioning.add_device(self.settings, self.service, serial_number, secret[-16:])
        provisioning.set_identities(self.settings, self.service, serial_number, identities or NAMES)
        return FakeDevice(serial_number, kid, secret[-16:], self.clock)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[RunningWorld]:
        async with composed(self.service, self.settings, self.clock) as parts:
            yield RunningWorld(self, parts)


class RunningWorld:
    """While it runs."""

    def __init__(self, world: WaysWorld, parts: Running) -> None:
        self.world, self.parts = world, parts
        self.core = parts.server._core

    def way(self, name: str) -> Any:
        assert self.parts.ways is not None
        found: WayIn = self.parts.ways[name]
        return found

    @property
    def counters(self) -> dict[str, int]:
        return dict(self.core.counters)

    @contextlib.contextmanager
    def store_away(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The store cannot be reached meanwhile."""

        def broken() -> Any:
            raise StoreUnreachable("away")

        with monkeypatch.context() as patch:
            patch.setattr(self.core.store, "transaction", broken)
            yield
        self.world.clock.passed += 2

    def rows(self, columns: str = "number, queue, link") -> list[tuple[object, ...]]:
        return self.core.store.execute(f"SELECT {columns} FROM records ORDER BY 1")


def compact(device: FakeDevice, message: Message | bytes, service: Service) -> tuple[bytes, RequestIdentity]:
    """A request in compact form."""
    body = message if isinstance(message, bytes) else encode_message(message, floor=None, now=device.clock.wall())
    return device.context.protect_compact(body, service)


def record(device: FakeDevice, number: int, value: object = 21.5, service: Service = Service.SOLUTION) -> Any:
    """A packet with one record, and what its answer is read with."""
    return compact(device, Message(records=[device.record(number, value, at=None)]), service)


def acknowledged(device: FakeDevice, answer: bytes, identity: RequestIdentity) -> Any:
    """The numbers that an answer acknowledges."""
    response = device.context.unprotect_compact_response(answer, identity)
    return decode_message(response.body, floor=0, now=device.clock.wall()).acknowledged


async def until(condition: Callable[[], bool]) -> None:
    """Returns once it is so: what is waited for happens on this event loop."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


class HeardBy:
    """Stands in for a service: keeps what a way hears, and may answer each with one packet."""

    def __init__(self) -> None:
        self.packets: list[tuple[bytes, Airway]] = []
        self.answer: Callable[[bytes, Airway], None] | None = None
        self.away = False
        """Whether nothing can be kept."""

    def __call__(self, batch: Any) -> bool:
        if self.away:
            return False
        for data, airway in batch:
            self.packets.append((data, airway))
            if self.answer is not None:
                self.answer(data, airway)
        return True
