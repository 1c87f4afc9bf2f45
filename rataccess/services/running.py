"""Running a service as a process, until it is told to stop.

Rules of this file: puts the parts together and minds the signals; prints nothing, logs through `logging`.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from rataccess.clock import Clock, SystemClock
from rataccess.objects import Service
from rataccess.services import settings
from rataccess.services.core import ServiceCore
from rataccess.services.forward import Forwarder
from rataccess.services.keyfile import KeyFile
from rataccess.services.server import Server
from rataccess.services.settings import ServerSettings, SolutionSettings
from rataccess.services.store import ServiceStore


def run(service: Service, config_path: Path, *, listening: Callable[[str, int], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was received and return.

    `listening` is called with host and port once datagrams are taken.  Raises `ConfigurationError`, `KeyStoreError`,
    `StoreError` where it cannot start, and `StoreCorrupt` where it cannot go on.
    """
    asyncio.run(_run(service, settings.load(config_path, service), listening))


async def _run(service: Service, found: ServerSettings, listening: Callable[[str, int], None] | None) -> None:
    async with serving(service, found) as server:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        if listening is not None:
            listening(*server.address)
        await server.run()


@contextlib.asynccontextmanager
async def serving(service: Service, found: ServerSettings, clock: Clock | None = None) -> AsyncIterator[Server]:
    """A server that listens while the block lasts."""
    store = ServiceStore.open(Path(found.store))
    try:
        store.own()
        core = ServiceCore(service, found, store, KeyFile(Path(found.keys)), clock or SystemClock())
        forwarder = None
        if isinstance(found, SolutionSettings) and found.ndjson is not None:
            forwarder = Forwarder(store, Path(found.ndjson), service)
        server = Server(core, found.host, found.port, forwarder)
        try:
            server.open()
            yield server
        finally:
            server.close()
    finally:
        store.close()
