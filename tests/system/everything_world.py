"""A whole device and whole services with everything switched on, every trouble at hand, and an account at the end.

Rules of this file: on top of `SystemWorld` it adds what an application and an operator do (templates, calls with the desk
as shipped, packets, inbound objects, fleets, named objects), and more kinds of trouble.  What a deed promises is written
down when it is done; `account` compares the promises with what the two ends have.  Each law that is broken is a sentence in
`faults`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from rataccess import Bool, Bytes, Enum, Integer, Real, Scaled, Template, Text
from rataccess.errors import (
    BudgetExceeded,
    CallError,
    CallOutcomeUnknown,
    CallTimeout,
    Closed,
    DiskFull,
    NotNow,
    PacketTooLarge,
    StoreError,
    TransportBroken,
    UnknownRoute,
)
from rataccess.objects import Object, Service, Urgency, decode, encode
from rataccess.services import admin
from rataccess.services.calls.desk import CallDesk
from rataccess.services.calls.remote import NOTHING, Outcome
from rataccess.services.calls.routes import Route
from rataccess.services.calls.settings import RouteSettings
from rataccess.services.core import ServiceCore
from rataccess.services.store import PendingCall, ServiceStore, open_store
from rataccess.store.database import Database
from tests.system.system_world import SystemWorld

T = TypeVar("T")

READINGS = {
    "temp": Scaled(-40, 85, 0.1),
    "hum": Integer(0, 100),
    "ok": Bool(),
    "mode": Enum("auto", "hand"),
    "note": Text(12, optional=True),
}
FIRST = Template("readings", id=1, **READINGS)
SECOND = Template("readings", id=2, **READINGS, volt=Real(64, optional=True))
"""What `FIRST` has grown into."""
EVENTS = Template("events", kind=Enum("open", "shut"), picture=Bytes(6000, optional=True))
FLOATS = Template("floats", id=3, x=Real(64), y=Integer(-5, 5, optional=True), z=Scaled(0, 5, 0.01, optional=True))
TEMPLATES = (FIRST, SECOND, EVENTS, FLOATS)

ROUTES = ("soon", "slow", "never", "large", "broken")
ODDITIES: tuple[Object, ...] = (
    True, 1, 1.0, False, 0, -0.0, None, "", b"", math.nan, math.inf, [], {}, {1: "a", "1": 1}, [True, 1, [None]], 2**64,
)  # fmt: skip


def same(one: object, other: object) -> bool:
    """Equal in content and in type, NaN included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [(type(key), key) for key in one]
        return sorted(map(repr, keys)) == sorted(repr((type(key), key)) for key in other) and all(
            same(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return (one == other and math.copysign(1, one) == math.copysign(1, other)) or (one != one and other != other)
    return one == other


class Handle:
    """A desk's own handle on a store, used in the loop's thread."""

    def __init__(self, world: EverythingWorld) -> None:
        self._world = world
        self._store = open_store(world.stores[Service.SOLUTION])

    async def do(self, work: Callable[[ServiceStore], T]) -> T:
        await asyncio.sleep(0.001)
        if Service.SOLUTION in self._world.full:
            raise DiskFull("no room")
        return work(self._store)

    async def aclose(self) -> None:
        self._store.close()


class Desk(CallDesk):
    """The desk as shipped; the remote is not."""

    world: EverythingWorld

    async def _carry_out(self, call: PendingCall, route: Route) -> Outcome:
        asked: Any = decode(call.body)
        number, wait = asked
        self.world.made[number] += 1
        seconds = min(route.settings.deadline, call.expires_at - self._clock.wall())
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await asyncio.sleep(math.inf if call.name == "never" else wait)
        except TimeoutError:
            return Outcome(3, reason="late")
        if call.name == "large":
            return Outcome(200, encode([number, b"r" * 20_000]))
        return Outcome(503, NOTHING) if call.name == "broken" else Outcome(200, encode([number, "done"]))


class EverythingWorld(SystemWorld):
    """The device's application, the operator, and trouble; all that was promised."""

    def __init__(self, folder: Path, links: Mapping[str, str], *, store: str = "", seed: int = 0) -> None:
        super().__init__(folder, links, store=store, seed=seed)
        self.stores = {service: str(folder / f"{service}.sqlite") for service in Service}
        self.full: set[Service | str] = set()
        """Whose disk takes nothing: a service's, or `device`'s."""
        self._full_from, self._full_to = 0.0, -math.inf
        self.altering = 0.0
        self.queues: dict[int, str] = {}
        """Of what was accepted."""
        self.perhaps: dict[int, Object] = {}
        """Accepted with a deadline that may pass."""
        self.made: Counter[int] = Counter()
        self.called: dict[int, tuple[str, bool, float, float]] = {}
        """By number of the call: route, whether it is repeatable, timeout, begin."""
        self.outcomes: dict[int, object] = {}
        self.packets_up: list[bytes] = []
        self.packets_down: list[bytes] = []
        self.packets_received: list[bytes] = []
        self.acknowledged: dict[int, float] = {}
        self.shown: set[int] = set()
        """Objects that are with the application, by number."""
        self.carried_out: list[object] = []
        self.put: dict[str, Object] = {}
        self.billed: dict[str, dict[int, int]] = {}
        self.desk: Desk | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._background: list[asyncio.Task[Any]] = []
        for air in self.airs.values():
            self._bill(air.name)
            air.carry = self._carry_badly

    # --- what is switched on --------------------------------------------------------------------------------------------

    def start_service(self, service: Service) -> None:
        super().start_service(service)
        core = self.services[service]
        self.fill_at_will(core)
        if service is Service.SOLUTION:
            routes = {name: RouteSettings(url="http://127.0.0.1/", deadline=20.0) for name in ROUTES}
            self.desk = Desk(routes, "", self.clock, self.tick, store=Handle(self))
            self.desk.world = self
            core.on_calls = self.desk.wake
            self.desk.start()

    def fill_at_will(self, core: ServiceCore) -> None:
        """Have its store keep nothing while its disk is full."""
        keep = core.store.commit

        def commit(*arguments: Any) -> None:
            if core.service in self.full:
                raise DiskFull("no room")
            keep(*arguments)

        core.store.commit = commit  # type: ignore[method-assign,assignment]

    async def end_service(self, service: Service, *, killed: bool) -> None:
        """In order, or as a power cut leaves it."""
        if service is Service.SOLUTION and self.desk is not None:
            if killed:
                for task in self.desk._tasks():
                    task.cancel()
            desk, self.desk = self.desk, None
            await desk.aclose(0.0 if killed else 5.0)
        self.kill_service(service)

    async def start(self) -> Any:
        device = await super().start()
        self._background = [asyncio.create_task(self._tick_for_ever())]
        return device

    async def start_device(self) -> Any:
        device = await super().start_device()
        self.shown.clear()
        self._go(self._receive_packets(device))
        return device

    async def stop(self) -> None:
        self.full.clear()
        await self.kill_device()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, *self._tasks, return_exceptions=True)
        for service in Service:
            await self.end_service(service, killed=True)

    def tick(self) -> None:
        for service, core in self.services.items():
            with contextlib.suppress(StoreError):
                for data, address in core.tick():
                    for each in self._altered([data]):
                        self.airs[str(address)].answer(service, each)

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.tick()

    def full_disk(self, full: bool) -> None:
        """The device's disk takes nothing any more, or something again."""
        if full and "device" not in self.full:
            self.full.add("device")
            self._full_from = self.clock.monotonic()
        elif not full and "device" in self.full:
            self.full.discard("device")
            self._full_to = self.clock.monotonic()

    def written_at(self) -> float:
        """Up to when what nobody waited for is surely on the device's disk."""
        now = self.clock.monotonic()
        return self._full_from if now < self._full_to + 5.0 else now

    def _carry_badly(self, service: Service, data: bytes, link: str) -> list[bytes]:
        return self._altered(self._carry(service, self._altered([data])[0], link))

    def _altered(self, packets: list[bytes]) -> list[bytes]:
        out = []
        for packet in packets:
            if packet and self.random.random() < self.altering:
                at = self.random.randrange(len(packet))
                packet = packet[:at] + bytes([packet[at] ^ 1 << self.random.randrange(8)]) + packet[at + 1 :]
            out.append(packet)
        return out

    def _bill(self, name: str) -> None:
        """Count what leaves over that link, as its budget does."""
        budget, air = self.configuration.links[name].budget, self.airs[name]
        if budget is None:
            return
        take, billed = air.take, self.billed.setdefault(name, {})

        def counted(packet: Any) -> None:
            period, quantum = int(self.clock.wall() // budget.period), budget.billing_quantum
            billed[period] = billed.get(period, 0) + -(-len(packet.data) // quantum) * quantum
            take(packet)

        air.take = counted  # type: ignore[method-assign]

    def _go(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what the application does --------------------------------------------------------------------------------------

    async def send(self, value: Object, queue: str, **options: Any) -> None:
        """Enqueue; what was accepted has to arrive."""
        assert self.device
        template, expected = options.get("template"), value
        if template is not None:
            expected = template.canonical(value)
        try:
            receipt = await self.device.solution.enqueue(value, queue=queue, **options)
        except DiskFull:
            return
        (self.perhaps if "ttl" in options else self.accepted)[receipt.number] = expected
        self.queues[receipt.number] = queue

    async def reading(self, template: Template, **options: Any) -> None:
        """A record of one of the two definitions of `readings`."""
        draw = self.random
        value: dict[str, Any] = {
            "temp": draw.choice([21.5, -40, 85.0, math.nan, round(draw.uniform(-40, 85), 1)]),
            "hum": draw.choice([0, 100, draw.randrange(101)]),
            "ok": draw.random() < 0.5,
            "mode": draw.choice(["auto", "hand"]),
        }
        if draw.random() < 0.3:
            value["note"] = draw.choice(["", "ok", "é" * 6])
        if template is SECOND and draw.random() < 0.5:
            value["volt"] = draw.choice([0.0, -0.0, math.nan, 3.7, draw.random()])
        await self.send(value, "readings", template=template, **options)

    async def event(self, **options: Any) -> None:
        value: dict[str, Any] = {"kind": self.random.choice(["open", "shut"])}
        if self.random.random() < 0.3:
            value["picture"] = bytes(self.random.choice([0, 10, 6000]))
        await self.send(value, "events", template=EVENTS, **options)

    async def floats(self, **options: Any) -> None:
        value: dict[str, Any] = {"x": self.random.choice([0.0, -0.0, math.nan, math.inf, self.random.random()])}
        if self.random.random() < 0.5:
            value["y"] = self.random.randrange(-5, 6)
        if self.random.random() < 0.5:
            value["z"] = self.random.choice([0, 5, math.nan, 2.5])
        await self.send(value, "floats", template=FLOATS, **options)

    async def plain(self, **options: Any) -> None:
        value = self.random.choice([*ODDITIES, b"l" * 5000])
        await self.send(value, f"plain{self.random.randrange(2)}", **options)

    def call(self, name: str, *, repeatable: bool, timeout: float, wait: float) -> None:
        """Call in the background; `wait`: the remote's seconds."""
        number = len(self.called)
        self.called[number] = name, repeatable, timeout, self.clock.monotonic()
        self._go(self._call(number, name, repeatable, timeout, wait))

    async def _call(self, number: int, name: str, repeatable: bool, timeout: float, wait: float) -> None:
        assert self.device
        outcome: object
        try:
            outcome = await self.device.solution.call(name, [number, wait], timeout=timeout, repeatable=repeatable)
        except (CallError, Closed, StoreError) as error:
            outcome = error
        assert number not in self.outcomes
        self.outcomes[number] = outcome
        late = self.clock.monotonic() - self.called[number][3] - timeout
        if late > 0.01:
            self.faults.append(f"call {number} ended {late:.2f} s after its time")

    async def packet(self) -> None:
        assert self.device
        data = f"up {len(self.packets_up)}".encode()
        with contextlib.suppress(NotNow, BudgetExceeded, TransportBroken, PacketTooLarge, StoreError):
            self.packets_up.append(data)
            await self.device.solution.packets.send(data)

    async def _receive_packets(self, device: Any) -> None:
        with contextlib.suppress(Closed):
            while True:
                self.packets_received.append(await device.solution.packets.receive())

    async def take(self, how: str) -> None:
        """One inbound object, if there is one, and what becomes of it."""
        assert self.device
        item = await self.device.solution.dequeue(0)
        if item is None:
            return
        if item.number in self.acknowledged:
            self.faults.append(f"object {item.number} came again after it was acknowledged")
        if item.number in self.shown:
            self.faults.append(f"object {item.number} was shown twice in one run")
        if item.queue != "commands":
            self.faults.append(f"an object of the queue {item.queue} was shown")
        self.shown.add(item.number)
        if how == "acknowledge":
            item.ack()
            self.carried_out.append(item.value)
            self.acknowledged[item.number] = self.clock.monotonic()
        elif how == "give back":
            item.give_back()
            self.shown.discard(item.number)

    async def put_object(self) -> None:
        assert self.device
        name, value = f"object{self.random.randrange(2)}", len(self.put) + self.random.random()
        with contextlib.suppress(DiskFull):
            await self.device.solution.put(name, value)
            self.put[name] = value

    # --- what the operator does -----------------------------------------------------------------------------------------

    def command(self) -> None:
        size = 3000 if self.random.random() < 0.2 else 0
        admin.enqueue_inbound(self.stores[Service.SOLUTION], "T", "commands", [self.commands, bytes(size)])
        self.commands += 1

    def post_packet(self) -> None:
        data = f"down {len(self.packets_down)}".encode()
        admin.post_packet(self.stores[Service.SOLUTION], "T", data, seconds=20.0)
        self.packets_down.append(data)

    def environment(self) -> None:
        draw, store = self.random, self.stores[Service.MANAGEMENT]
        if draw.random() < 0.3:
            admin.set_fleets(store, "T", draw.sample(["north", "south", "hot"], draw.randrange(4)))
        owner: dict[str, str] = {"fleet": draw.choice(["north", "south", "hot"])}
        if draw.random() < 0.3:
            owner = {"serial_number": "T"}
        value = draw.choice([None, str(draw.randrange(100))])
        admin.set_env(store, {draw.choice(["PERIOD", "LEVEL"]): value}, **owner)

    # --- the account ----------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Trouble is over: give everything the time that it may take."""
        assert self.device
        for seconds in range(400):
            waiting = [each for url in self.stores.values() for each in admin.list_devices(url)]
            if seconds > 3 and not self._tasks_of_calls() and not any(each.waiting or each.calls for each in waiting):
                break
            await self.send({"hello": 1}, "hello")
            await self.device.management.enqueue({"hello": 1}, queue="hello")
            await asyncio.sleep(1)
        await self.device.flush(900)
        while (before := len(self.acknowledged)) >= 0:
            await self.take("acknowledge")
            if len(self.acknowledged) == before:
                break

    def _tasks_of_calls(self) -> bool:
        return len(self.outcomes) < len(self.called)

    def account(self) -> list[str]:
        """What was promised against what is there; the faults."""
        assert self.device
        self._account_for_records()
        self._account_for_calls()
        self._account_for_packets()
        self._account_for_objects()
        self.check_nonces()
        for name, periods in self.billed.items():
            budget = self.configuration.links[name].budget
            assert budget
            self.faults += [
                f"{billed} bytes were billed over {name} in period {period}, the budget has {budget.limit}"
                for period, billed in periods.items()
                if billed > budget.limit
            ]
        env = admin.merged_env(self.stores[Service.MANAGEMENT], "T")
        if dict(self.device.management.env) != env:
            self.faults.append(f"the environment is {dict(self.device.management.env)}, not {env}")
        return self.faults

    def _account_for_records(self) -> None:
        records = admin.records(self.stores[Service.SOLUTION], limit=10**6)
        own = {record.number: record for record in records}
        there = {number: decode(record.body) for number, record in own.items()}
        self.faults += [f"{len(records) - len(own)} records are there twice"] if len(own) < len(records) else []
        mine = {n: value for n, value in there.items() if not own[n].queue.startswith("$")}
        for number in sorted(self.accepted.keys() - mine.keys()):
            self.faults.append(f"record {number} ({self.queues[number]}) was accepted and is not there")
        for number, value in mine.items():
            if number not in self.accepted and number not in self.perhaps:
                self.faults.append(f"record {number} is there, and nobody enqueued it")
                continue
            expected = self.accepted.get(number, self.perhaps.get(number))
            if not same(value, expected):
                self.faults.append(f"record {number} is {value!r:.80}, and was {expected!r:.80}")
            if own[number].queue != self.queues[number]:
                self.faults.append(f"record {number} is in {own[number].queue}, not in {self.queues[number]}")
        for info in admin.list_devices(self.stores[Service.SOLUTION]):
            if info.blocks or info.parked or info.unfinished or info.calls or info.waiting:
                self.faults.append(f"left over at the service: {info}")
        for name, value in self.put.items():
            found = admin.get_object(self.stores[Service.SOLUTION], "T", name)
            if not same(found, value):
                self.faults.append(f"the object {name} is {found!r}, not {value!r}")

    def _account_for_calls(self) -> None:
        for number, (name, repeatable, _, _) in self.called.items():
            made, outcome = self.made[number], self.outcomes.get(number)
            if made > 1 and not repeatable:
                self.faults.append(f"call {number} of {name} was made {made} times")
            if not isinstance(outcome, Exception):
                expected = [number, b"r" * 20_000 if name == "large" else "done"]
                if outcome != expected or not made or name in ("never", "broken"):
                    self.faults.append(f"call {number} of {name}, made {made} times: {outcome!r:.60}")
            elif isinstance(outcome, CallTimeout) and not outcome.sent and made:
                self.faults.append(f"call {number} of {name} was made, and it was said that it never left")
            elif isinstance(outcome, UnknownRoute) and name != "missing":
                self.faults.append(f"call {number}: {outcome}")
            elif isinstance(outcome, CallOutcomeUnknown) and repeatable:
                self.faults.append(f"call {number} is repeatable: {outcome}")

    def _account_for_packets(self) -> None:
        store = open_store(self.stores[Service.SOLUTION])
        with contextlib.closing(store):
            rows = store.execute("SELECT body FROM records WHERE number IS NULL")
        came = Counter(decode(body) for (body,) in rows)
        self.faults += [f"packet {data!r} arrived {n} times" for data, n in came.items() if n > 1]
        self.faults += [f"packet {data!r} was never sent" for data in came if data not in self.packets_up]
        down = Counter(self.packets_received)
        self.faults += [f"packet {data!r} came {n} times" for data, n in down.items() if n > 1]
        self.faults += [f"packet {data!r} was never posted" for data in down if data not in self.packets_down]

    def _account_for_objects(self) -> None:
        seen = [value[0] for value in self.carried_out if isinstance(value, list)]
        if sorted(set(seen)) != list(range(self.commands)):
            self.faults.append(f"objects carried out: {seen} of {self.commands}")


@contextlib.contextmanager
def full_disks(world: EverythingWorld) -> Iterator[None]:
    """While `world.full` has `device`, the store of the device commits nothing."""
    commit = Database.commit

    def faulty(database: Database) -> None:
        if "device" in world.full:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        commit(database)

    with mock.patch.object(Database, "commit", faulty):
        yield


URGENCIES = list(Urgency)
