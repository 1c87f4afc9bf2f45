"""Channels on a real store, without links: the exchange is played by the test.

Rules of this file: what stands in keeps what it was told; nothing is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from rataccess.access import Access
from rataccess.channel import AsyncChannel, AsyncManagementChannel, AsyncSolutionChannel, Parts, Receipts
from rataccess.channel.bridge import Bridge
from rataccess.clock import Clock, LoopClock, SystemClock
from rataccess.config.model import StoreSettings
from rataccess.errors import PacketTooLarge
from rataccess.exchange import Exchange
from rataccess.objects import Object, ReceiptState, Service, Urgency, decode, encode
from rataccess.store import Inbound, NewRecord, Record, Store
from rataccess.template import TemplateBook
from rataccess.transport import Hints

MTU = 100


class PlayedExchange:
    """What a channel asks of an exchange."""

    def __init__(self) -> None:
        self.arrivals: list[Urgency] = []
        self.expected: list[float] = []
        """Deadlines of the replies that are awaited now."""
        self.packets: list[bytes] = []
        self.room: int | None = MTU

    def accepted(self, new: NewRecord, number: int) -> None:
        self.arrivals.append(new.urgency)

    def expect(self, deadline: float, max_cost: float | None = None) -> Callable[[], None]:
        self.expected.append(deadline)
        return lambda: self.expected.remove(deadline)

    def packet_room(self) -> int | None:
        return self.room

    async def send_packet(self, data: bytes) -> None:
        if len(data) > (self.room or 0):
            raise PacketTooLarge(len(data), self.room or 0)
        self.packets.append(data)

    async def drained(self) -> None:
        await asyncio.Event().wait()


class Rig:
    """One store with both channels; `restart` closes them and opens them again."""

    def __init__(self, folder: Path, *, threaded: bool = False, **settings: object) -> None:
        self._folder, self._threaded = folder, threaded
        self._settings = StoreSettings(**settings)  # type: ignore[arg-type]
        self.clock: Clock = SystemClock() if threaded else LoopClock()
        self.reports: list[dict[str, object]] = []
        self.open()

    def open(self) -> None:
        self.store = Store.open(self._folder / "store.sqlite", self._settings, self.clock, threaded=self._threaded)
        self.receipts = Receipts()
        self.exchange = PlayedExchange()
        bridge = Bridge(asyncio.get_running_loop())
        self.hints = Hints("wifi", 1200)
        access = SimpleNamespace(
            links={"wifi": SimpleNamespace(link=SimpleNamespace(hints=self.hints), bytes_left=None, next_slot=None)},
            least_urgency=Urgency.BULK,
            current="wifi",
            explain=lambda: "because",
        )
        self.access = access

        def parts(service: Service) -> Parts:
            return Parts(
                self.store,
                cast("Access", access),
                cast("Exchange", self.exchange),
                self.receipts,
                bridge,
                self.clock,
                b"boot",
                TemplateBook(self.store, f"schema/{service}"),
                self.reports.append,
            )

        self.management = AsyncManagementChannel(parts(Service.MANAGEMENT))
        self.solution = AsyncSolutionChannel(parts(Service.SOLUTION))
        self.channels: dict[Service, AsyncChannel] = {
            Service.MANAGEMENT: self.management,
            Service.SOLUTION: self.solution,
        }
        for channel in self.channels.values():
            channel.begin()
        self.store.on_settled(
            lambda service, numbers, state: bridge.post(lambda: self.channels[service].moved(numbers, state))
        )

    async def close(self) -> None:
        for channel in self.channels.values():
            channel.close()
        await asyncio.to_thread(self.store.close) if self._threaded else self.store.close()
        await asyncio.sleep(0)

    async def restart(self) -> None:
        await self.close()
        self.open()

    def waiting(self, service: Service = Service.SOLUTION) -> list[Record]:
        """What is to be sent, by number."""
        found = [one for urgency in Urgency for one in self.store.waiting(service, urgency, 0, 10_000, 10**9)]
        return sorted(found, key=lambda one: one.number)

    def queued(self, queue: str, service: Service = Service.SOLUTION) -> list[Any]:
        return [decode(one.body) for one in self.waiting(service) if one.queue == queue]

    def sent(self, numbers: Sequence[int], service: Service = Service.SOLUTION) -> None:
        self.channels[service].moved(numbers, ReceiptState.SENT)

    def settle(self, numbers: Sequence[int], state: ReceiptState, service: Service = Service.SOLUTION) -> None:
        self.store.settle(service, numbers, state)

    def arrive(self, number: int, queue: str, value: Object, service: Service = Service.SOLUTION) -> None:
        """The service's record comes in, as reception does it."""
        self.arrive_raw(number, queue, encode(value), service)

    def arrive_raw(self, number: int, queue: str, body: bytes, service: Service = Service.SOLUTION) -> None:
        received = self.store.received(service)
        received.add(number)
        records = [Inbound(number, queue, body, 7.0)]
        self.store.receive(service, records, received)
        self.channels[service].objects_arrived(records)
