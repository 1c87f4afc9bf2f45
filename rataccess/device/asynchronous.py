"""`AsyncDevice`: all floors put together.

Rules of this file: composition and life; each thing done here is one call to the floor that knows how.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rataccess.access import Access, Entry, Kind
from rataccess.channel import (
    AsyncChannel,
    AsyncManagementChannel,
    AsyncReceipt,
    AsyncSolutionChannel,
    Parts,
    Receipts,
)
from rataccess.channel.bridge import Bridge
from rataccess.clock import Clock, SystemClock
from rataccess.config import Configuration, load
from rataccess.device import build, requests
from rataccess.device.hints import HintChanges, HintsCallback, HintsWatch, State
from rataccess.device.snapshot import ControlSocket, snapshot
from rataccess.device.timekeeping import AdjustedClock
from rataccess.errors import Closed, DeadlineExceeded, StoreError
from rataccess.exchange import Exchange
from rataccess.keys import FileKeyStore, KeyStore
from rataccess.objects import ReceiptState, Service, Urgency, encode
from rataccess.store import Inbound, NewRecord, Store, StoreTrouble
from rataccess.template import TemplateBook
from rataccess.transport import Hints

_log = logging.getLogger("rataccess")

FLUSH_ON_CLOSE = 5.0
"""Seconds that leaving the `with` block waits for what is queued; the rest stays on disk for the next start."""
HEALTH_QUEUE = "$health"
LOOK_AT_CLOCK = 5.0
"""Seconds between looks whether the system has learned the time by itself (NTP)."""


class _Observer:
    """What one exchange tells its channel and the device."""

    def __init__(self, device: AsyncDevice, channel: AsyncChannel) -> None:
        self._device = device
        self._channel = channel

    def records_sent(self, numbers: Sequence[int]) -> None:
        self._channel.moved(numbers, ReceiptState.SENT)

    def records_delivered(self, numbers: Sequence[int]) -> None:
        self._channel.moved(numbers, ReceiptState.DELIVERED)

    def records_handed_over(self, numbers: Sequence[int]) -> None:
        self._channel.moved(numbers, ReceiptState.HANDED_OVER)

    def objects_arrived(self, objects: Sequence[Inbound]) -> None:
        self._channel.objects_arrived(objects)

    def time_told(self, wall: float) -> None:
        self._device.time_told(wall)

    def packet_arrived(self, data: bytes) -> None:
        self._channel.packets.arrived(data)

    def definitions_wanted(self, asked: Sequence[int]) -> None:
        self._channel.wanted(asked)


class AsyncDevice:
    """A client of exactly two services.  Make one with `AsyncDevice.open`; use it in one event loop.

    `management` and `solution` are its channels.  Leaving the `async with` block waits `FLUSH_ON_CLOSE` seconds at most
    for what is queued, then closes; records that were not delivered stay on disk.
    """

    management: AsyncManagementChannel
    solution: AsyncSolutionChannel

    def __init__(
        self, configuration: Configuration, *, clock: Clock | None = None, keys: KeyStore | None = None
    ) -> None:
        """Takes what it needs and opens nothing; `clock` and `keys` are for tests and for other key stores."""
        self.configuration = configuration
        self._clock = AdjustedClock(clock or SystemClock())
        self._keys = keys
        self._store: Store | None = None
        self._access: Access | None = None
        self._exchanges: dict[Service, Exchange] = {}
        self._control: ControlSocket | None = None
        self._boot = build.boot_identifier()
        self._clockwatch: asyncio.Task[None] | None = None
        self._receipts = Receipts()
        self._hints = HintsWatch(self._look_at_hints)
        self._closed = False
        self._told_trouble: StoreTrouble | None = None
        self.threaded_store = True
        """Whether the store has a writer thread of its own; off for simulations in virtual time."""

    @classmethod
    def open(cls, configuration: Configuration | Path | str | None = None) -> AsyncDevice:
        """A device for `async with`; the configuration is `rataccess.toml` with `RATACCESS_*` where none is given.

        Raises `ConfigurationError`.  What cannot be opened is told on entering the block: `KeyStoreError`, `StoreError`.
        """
        if not isinstance(configuration, Configuration):
            configuration = load(None if configuration is None else Path(configuration))
        return cls(configuration)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.configuration.device.serial_number}>"

    # --- life ----------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with contextlib.suppress(DeadlineExceeded, Closed):
                await self.flush(FLUSH_ON_CLOSE)
        finally:
            await self.aclose()

    async def start(self) -> None:
        """Open the store and the keys, begin supervision of every link and the exchanges with both services."""
        if self._closed or self._store is not None:
            raise Closed("a device is opened once; make a new one")
        state = Path(self.configuration.device.state)
        keys = self._keys or FileKeyStore.open(Path(self.configuration.device.keys or state))
        self._store = store = Store.open(
            state / "store.sqlite",
            self.configuration.store,
            self._clock,
            threaded=self.threaded_store,
            witness=build.witness(keys, state),
        )
        try:
            self._compose(store, keys)
            self._control = ControlSocket(
                state / "control.sock", self.snapshot, lambda line: requests.answers(self, line), requests.MOST_REQUEST
            )
            await self._control.open()
        except BaseException:
            await self.aclose()
            raise

    def _compose(self, store: Store, keys: KeyStore) -> None:
        source = random.Random()
        self._access = access = Access(self._clock, store)
        access.on_entry = self._decided
        access.on_change = self._hints.stir
        build.add_links(access, self.configuration, clock=self._clock, store=store, source=source, secret=keys.secret)
        bridge = Bridge(asyncio.get_running_loop())
        self._date()  # what an earlier run captured before time was known
        for service, context in build.contexts(keys, store).items():
            book = TemplateBook(store, f"schema/{service}")
            exchange = Exchange(
                service,
                store=store,
                context=context,
                access=access,
                clock=self._clock,
                random=source,
                ask_time=service is Service.MANAGEMENT and not self._clock.wall_known(),
                templates=book,
            )
            parts = Parts(store, access, exchange, self._receipts, bridge, self._clock, self._boot, book, self.report)
            channel: AsyncChannel
            if service is Service.MANAGEMENT:
                channel = self.management = AsyncManagementChannel(parts)
            else:
                channel = self.solution = AsyncSolutionChannel(parts)
            self._exchanges[service] = exchange
            channel.begin()
            exchange.start(_Observer(self, channel))
        store.on_settled(lambda service, numbers, state: bridge.post(lambda: self._settled(service, numbers, state)))
        access.start()
        self._clockwatch = asyncio.create_task(self._watch_clock(), name="rataccess clock")
        self._tell_trouble()

    def _tell_trouble(self) -> None:
        """Report what is wrong with the store's file, once for each new trouble."""
        trouble = self._store.trouble if self._store else None
        if trouble is not None and trouble != self._told_trouble:
            self._told_trouble = trouble
            self.report({"event": "store", "text": str(trouble)})

    async def aclose(self) -> None:
        """Close everything without waiting for records; idempotent.  Who waits for something gets `Closed`."""
        self._closed = True
        if self._clockwatch:
            self._clockwatch.cancel()
            await asyncio.wait({self._clockwatch})
        if self._control:
            await self._control.aclose()
        self._receipts.close()
        self._hints.close()
        for channel in self._channels:
            channel.close()
        for exchange in self._exchanges.values():
            await exchange.aclose()
        if self._access:
            await self._access.aclose()
        if self._store:
            store, self._store = self._store, None
            await asyncio.to_thread(store.close) if self.threaded_store else store.close()

    # --- what the floors below tell ------------------------------------------------------------------------------------

    def _settled(self, service: Service, numbers: Sequence[int], state: ReceiptState) -> None:
        for channel in self._channels:
            if channel.service is service:
                channel.moved(numbers, state)
        self._exchanges[service].settled(numbers)
        self._tell_trouble()

    def time_told(self, wall: float) -> None:
        """For the exchange: the management service says that it is `wall` now."""
        self._clock.learn(wall)
        self._date()

    async def _watch_clock(self) -> None:
        while not self._clock.wall_known():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(LOOK_AT_CLOCK)
        self._date()

    def _date(self) -> None:
        """Once time is known: date what was captured before."""
        if self._store is not None and (offset := self._clock.notice()) is not None:
            try:
                self._store.restamp(self._boot, offset)
            except StoreError as error:
                _log.error("records captured before time was known keep a wrong date: %s", error)
            for exchange in self._exchanges.values():
                exchange.dated(self._boot, offset)

    def _decided(self, entry: Entry) -> None:
        _log.info("%s: %s", entry.kind, entry.text)
        if entry.kind is Kind.RECOVERY:
            self.report({"event": "recovery", "text": entry.text})

    def report(self, body: dict[str, object]) -> None:
        """Tell the management service something about this device's health; kept and sent like any record."""
        if self._store is None:
            return
        now = self._clock.wall()
        record = NewRecord(
            service=Service.MANAGEMENT,
            queue=HEALTH_QUEUE,
            body=encode(body),
            urgency=Urgency.ROUTINE,
            captured_at=now,
            boot=self._boot,
            monotonic=self._clock.monotonic(),
            time_known=self._clock.wall_known(),
            expires_at=None,
            max_cost=None,
            links=(),
            replaces=None,
        )
        self.management.submit(record, _log_refusal)

    # --- the application's view ----------------------------------------------------------------------------------------

    @property
    def link(self) -> str | None:
        """The name of the link in use, or `None` without one."""
        return self.access.current

    @property
    def hints(self) -> Hints | None:
        """What the link in use can do right now, or `None` without one; `mtu` is the most that `packets.send` takes."""
        return self.solution.hints

    def on_hints(self, callback: HintsCallback) -> Callable[[], None]:
        """Have `callback` called with `hints` after each change of the link in use or of its hints.

        Returns what undoes that.  It is called in the event loop, once for all that changed at the same time, and must not
        block.  What it raises is logged.  It is not called for what holds already; read `hints` for that.
        """
        return self._hints.subscribe(callback)

    def hint_changes(self) -> HintChanges:
        """The same as an asynchronous iterator, for `async for`; see `HintChanges`."""
        return HintChanges(self._hints.watched)

    def _look_at_hints(self) -> State:
        return (self.access.current, self.hints) if self._access is not None and not self._closed else (None, None)

    def explain(self) -> str:
        """Why this link: the decision, every link, the latest decisions; for people."""
        return self.access.explain()

    def snapshot(self) -> dict[str, object]:
        """The device's state as plain values, as `rataccess status` shows it."""
        found = snapshot(self.configuration.device.serial_number, self.access, self.store)
        found["transfers"] = self._exchanges[Service.SOLUTION].transfers.plain()
        packets = sum(channel.packets.dropped for channel in self._channels)
        full = [str(service) for service, exchange in self._exchanges.items() if exchange.inflow.full]
        return {**found, "dropped": {"replies": self.solution.calls.dropped, "packets": packets}, "inbox_full": full}

    @property
    def access(self) -> Access:
        """The links and the decision log; raises `Closed` before opening."""
        if self._access is None:
            raise Closed("the device is not open")
        return self._access

    @property
    def store(self) -> Store:
        """The store; raises `Closed` while the device is not open."""
        if self._store is None:
            raise Closed("the device is not open")
        return self._store

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until every record of both channels is settled; `DeadlineExceeded` after `timeout` seconds."""
        if self._store is None:
            raise Closed("the device is not open")
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(_quietly(channel.flush(timeout))) for channel in self._channels]
        for wait in waits:
            if (error := wait.result()) is not None:
                raise error

    @property
    def _channels(self) -> list[AsyncChannel]:
        return [self.management, self.solution] if hasattr(self, "solution") else []


async def _quietly(waiting: Awaitable[None]) -> DeadlineExceeded | Closed | None:
    try:
        await waiting
    except (DeadlineExceeded, Closed) as error:
        return error
    return None


def _log_refusal(outcome: AsyncReceipt | Exception) -> None:
    if isinstance(outcome, Exception):
        _log.warning("a health report was not kept: %s", outcome)
