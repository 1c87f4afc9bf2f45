"""A service's HTTP interface over a store with devices in it: what the tests of this folder share."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from rataccess.clock import SystemClock
from rataccess.objects import Service
from rataccess.services import provisioning, settings
from rataccess.services.api import ApiServer
from rataccess.services.receivers import Receivers
from rataccess.services.settings import ServerSettings
from rataccess.services.store import open_store

TOKEN = "correct-horse-battery-staple"
ENVIRON = {"API_TOKEN": TOKEN}
AUTHORISED = {"authorization": f"Bearer {TOKEN}"}
TEXT = """\
[{service}]
host = "127.0.0.1"
port = 0
store = "{store}"
keys = "{service}.json"
[{service}.api]
port = 0
token = {{ env = "API_TOKEN" }}
"""


class ApiWorld:
    """One service in a folder."""

    def __init__(self, folder: Path, service: Service, store: str = "s.sqlite") -> None:
        self.folder, self.service = folder, service
        self.config = folder / "services.toml"
        self.config.write_text(TEXT.format(service=service, store=store))
        self.settings: ServerSettings = settings.load(self.config, service, {})
        open_store(self.settings.store).close()
        self.store = self.settings.store

    def add(self, serial_number: str, *fleets: str) -> bytes:
        """Enrol a device."""
        secret = random.Random(serial_number).randbytes(16)
        return provisioning.add_device(self.config, self.service, serial_number, secret, fleets=fleets)

    @asynccontextmanager
    async def client(
        self, *, headers: dict[str, str] | None = None, receivers: Receivers | None = None
    ) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the running server, over a real socket on loopback."""
        server = ApiServer(self.service, self.settings, SystemClock(), environ=ENVIRON, receivers=receivers)
        await server.start()
        try:
            host, port = server.address
            given = AUTHORISED if headers is None else headers
            base = f"http://{host}:{port}"
            async with httpx.AsyncClient(base_url=base, headers=given, trust_env=False, verify=False) as client:
                yield client  # plain HTTP: reading certificates costs more than a test
        finally:
            await server.aclose()


def of(response: httpx.Response, status: int = 200) -> Any:
    """The JSON of an answer that must have this status."""
    assert response.status_code == status, (response.status_code, response.text)
    return response.json()
