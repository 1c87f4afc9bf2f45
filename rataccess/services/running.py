"""Running a service as a process, until it is told to stop.

Rules of this file: puts the parts together and minds the signals; prints nothing, logs through `logging`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rataccess.clock import Clock, SystemClock
from rataccess.config.check import refusal
from rataccess.errors import ConfigurationError, KeyStoreError, MissingExtra
from rataccess.objects import Service
from rataccess.services import provisioning, settings
from rataccess.services.calls import CallDesk
from rataccess.services.core import ServiceCore
from rataccess.services.keyfile import KeyFile
from rataccess.services.receivers import NdjsonSettings, Receivers, ReceiverSettings
from rataccess.services.retention import Retention
from rataccess.services.schemas import templates
from rataccess.services.server import Server
from rataccess.services.settings import ServerSettings, SolutionSettings
from rataccess.services.store import NDJSON, ServiceStore, open_store
from rataccess.services.storethread import StoreThread
from rataccess.services.ways.ways import Ways

if TYPE_CHECKING:
    from rataccess.services.api import ApiServer

logger = logging.getLogger("rataccess.services")


@dataclass(frozen=True, slots=True)
class Running:
    """The parts of a service that runs."""

    server: Server
    receivers: Receivers | None = None
    calls: CallDesk | None = None
    api: ApiServer | None = None
    ways: Ways | None = None


def run(service: Service, config_path: Path, *, listening: Callable[[str, int], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was received and return.

    `listening` is called with host and port once datagrams are taken.  Raises `ConfigurationError`, `KeyStoreError`,
    `StoreError` where it cannot start, and `StoreCorrupt` where it cannot go on.
    """
    asyncio.run(_run(service, settings.load(config_path, service), listening))


async def _run(service: Service, found: ServerSettings, listening: Callable[[str, int], None] | None) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):  # before anything begins: it may be told to stop while it starts
        loop.add_signal_handler(number, told.set)
    async with serving(service, found) as server:
        if listening is not None:
            listening(*server.address)
        ending = asyncio.create_task(_stop(server, told), name="signals")
        try:
            await server.run()
        finally:
            ending.cancel()
            await asyncio.wait([ending])


async def _stop(server: Server, told: asyncio.Event) -> None:
    await told.wait()
    logger.info("told to stop")
    server.stop()


@contextlib.asynccontextmanager
async def serving(service: Service, found: ServerSettings, clock: Clock | None = None) -> AsyncIterator[Server]:
    """A server that listens while the block lasts, and all that belongs to it."""
    async with composed(service, found, clock) as running:
        yield running.server


@contextlib.asynccontextmanager
async def composed(service: Service, found: ServerSettings, clock: Clock | None = None) -> AsyncIterator[Running]:
    """All parts of a service, running while the block lasts.  What is wrong with one is found before any begins."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        store = stack.enter_context(open_store(found.store))
        store.own()
        parts = _parts(_core(service, found, store, clock), found, clock)
        await _start(parts, found, clock, stack)
        yield parts


def _core(service: Service, found: ServerSettings, store: ServiceStore, clock: Clock) -> ServiceCore:
    try:
        moved = provisioning.move_fleets(found, service)
    except KeyStoreError as error:  # then both are looked at, as long as they differ
        logger.warning("fleets stay in the key file: %s", error)
    else:
        if moved:
            logger.info("fleets moved from the key file into the store", extra={"devices": moved})
    known = templates(found.schemas)
    return ServiceCore(service, found, store, KeyFile(Path(found.keys)), clock, templates=known)


def _parts(core: ServiceCore, found: ServerSettings, clock: Clock) -> Running:
    """All of it, none of it begun.  Raises one `ConfigurationError` that lists every part's mistakes."""
    server = Server(core, found.host, found.port)
    mistakes: list[str] = []
    receivers = calls = api = ways = None
    if isinstance(found, SolutionSettings):
        with _gathered(mistakes):
            receivers = Receivers(receivers_of(found), found.store, clock)
            core.on_records = receivers.wake
        with _gathered(mistakes):
            calls = CallDesk(found.routes, found.store, clock, server.wake)
            core.on_calls = calls.wake
    with _gathered(mistakes):
        api = _api(core.service, found, clock, receivers, calls)
    with _gathered(mistakes):
        ways = _ways(core, found, server, clock)
    if mistakes:
        raise refusal(mistakes)
    return Running(server, receivers, calls, api, ways)


def _ways(core: ServiceCore, found: ServerSettings, server: Server, clock: Clock) -> Ways | None:
    if not found.ways:
        return None
    return Ways(
        core.service,
        found.ways,
        server,
        keys=found.keys,
        store=found.store,
        count=core.count,
        clock=clock,
        repeats_after=found.answer_dear_after,
        shared=core.store.shared,
    )


@contextlib.contextmanager
def _gathered(mistakes: list[str]) -> Iterator[None]:
    try:
        yield
    except MissingExtra:
        raise
    except ConfigurationError as error:
        mistakes += str(error).splitlines()


def _api(
    service: Service, found: ServerSettings, clock: Clock, receivers: Receivers | None, calls: CallDesk | None
) -> ApiServer | None:
    if found.api is None:
        return None
    try:
        from rataccess.services.api import ApiServer  # heavy, and an extra: imported on use
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"the HTTP interface needs {error.name}; pip install 'rataccess[services]', or remove [{service}.api]"
        ) from error
    return ApiServer(service, found, clock, receivers=receivers, calls=calls)


async def _start(parts: Running, found: ServerSettings, clock: Clock, stack: AsyncExitStack) -> None:
    """In an order whose reverse is the order of the end: what is received last is still forwarded."""
    if parts.receivers is not None:
        stack.push_async_callback(parts.receivers.aclose)
    if parts.calls is not None:
        stack.push_async_callback(parts.calls.aclose)
    if parts.api is not None:
        stack.push_async_callback(parts.api.aclose)
    stack.callback(parts.server.close)
    parts.server.open()
    if parts.receivers is not None:
        parts.receivers.start()
    if parts.calls is not None:
        parts.calls.start()
    if parts.ways is not None:
        stack.push_async_callback(parts.ways.aclose)
        await parts.ways.start()
    if parts.api is not None:
        await parts.api.start()
    if found.keep_records is not None:
        names = [each.name for each in receivers_of(found)] if isinstance(found, SolutionSettings) else []
        retention = Retention(found.keep_records, names, StoreThread(found.store, "retention"), clock)
        stack.push_async_callback(retention.aclose)
        retention.start()


def receivers_of(found: SolutionSettings) -> list[ReceiverSettings]:
    """The receivers, `ndjson` among them."""
    if found.ndjson is None:
        return list(found.receivers)
    return [NdjsonSettings(name=NDJSON, file=found.ndjson), *found.receivers]
