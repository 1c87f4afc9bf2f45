"""A scripted radio, its driver and transport, and a listener that keeps everything it is told.

Rules of this file: no clock; what takes time sleeps on the event loop, so that virtual time moves it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from rataccess.clock import LoopClock
from rataccess.config.model import LinkSettings
from rataccess.driver import Bearer, Driver, Evidence, RadioStatus, Recovery
from rataccess.errors import Closed, PortLost, RadioNotFound, RadioSilent, RataccessError, TransportBroken
from rataccess.link import Link, LinkChange, LinkState, LinkTiming
from rataccess.objects import Service
from rataccess.transport import Endpoint, Handover, Hints, Packet, Transport

ENDPOINTS = {service: Endpoint("192.0.2.1", 5683) for service in Service}
PACKET = Packet(b"payload", Service.SOLUTION)
Trouble = BaseException | None


class FakeMemory(dict[str, bytes]):
    """A `Memory`; with `broken`, one whose disk is full."""

    broken: Exception | None = None
    puts = 0

    def get(self, key: str, default: Any = None) -> Any:
        if self.broken:
            raise self.broken
        return super().get(key, default)

    def put(self, key: str, value: bytes) -> None:
        self.puts += 1
        if self.broken:
            raise self.broken
        self[key] = value

    put_now = put


@dataclass
class Radio:
    """The world: one radio as it is now, and all that was done to it (with the time)."""

    hung: bool = False
    present: bool = True
    cured_by: str | None = None
    """The rung that helps a hung radio."""
    evidence: Evidence = Evidence.BEARER
    open_fails: list[Trouble] = field(default_factory=list)
    attach_fails: list[Trouble] = field(default_factory=list)
    start_fails: list[Trouble] = field(default_factory=list)
    status_fails: list[Trouble] = field(default_factory=list)
    attach_always: Trouble = None
    start_always: Trouble = None
    takes: float = 0.1
    rungs: Sequence[tuple[str, float, int]] = (
        ("reopen port", 10.0, 2),
        ("radio off/on", 30.0, 2),
        ("modem reset", 60.0, 1),
        ("power cut", 120.0, 1),
    )
    rung_takes: float = 1.0
    done: list[tuple[float, str]] = field(default_factory=list)
    drivers: list[FakeDriver] = field(default_factory=list)
    transports: list[FakeTransport] = field(default_factory=list)
    sent: list[Packet] = field(default_factory=list)

    def note(self, what: str) -> None:
        self.done.append((asyncio.get_running_loop().time(), what))

    def times(self, what: str) -> list[float]:
        return [at for at, name in self.done if name == what]

    def names(self) -> list[str]:
        return [name for _, name in self.done]

    @property
    def driver(self) -> FakeDriver:
        return self.drivers[-1]

    @property
    def transport(self) -> FakeTransport:
        return self.transports[-1]

    async def act(self, script: list[Trouble], always: Trouble = None) -> None:
        """Take time, and fail as scripted or as the radio's state demands."""
        await asyncio.sleep(self.takes)
        error = script.pop(0) if script else always
        if error is not None:
            raise error
        if not self.present:
            raise RadioNotFound("no such device")
        if self.hung:
            await asyncio.sleep(5.0)
            raise RadioSilent("no answer within 5 s")

    def make_driver(self) -> Driver:
        self.drivers.append(FakeDriver(self))
        return self.drivers[-1]

    def make_transport(self, driver: Driver, bearer: Bearer) -> Transport:
        assert driver is self.driver
        self.transports.append(FakeTransport(self))
        return self.transports[-1]

    def all_closed(self) -> bool:
        return not any(driver.is_open for driver in self.drivers) and not any(t.is_open for t in self.transports)

    def pull(self) -> None:
        """Unplug it: the port is lost under whoever has it open."""
        self.present = False

    def carrier(self, evidence: Evidence) -> None:
        """The radio tells of a change unasked."""
        self.evidence = evidence
        self.driver.announce(RadioStatus(evidence, f"carrier: {evidence.name}"))


class FakeDriver(Driver):
    def __init__(self, radio: Radio) -> None:
        super().__init__()
        self.radio = radio
        self.is_open = False

    @classmethod
    def create(cls, options: Any, context: Any) -> Driver:
        raise AssertionError("links are given a maker")

    async def open(self) -> None:
        assert not any(driver.is_open for driver in self.radio.drivers), "a port that is still held"
        self.radio.note("open")
        self.is_open = True
        try:
            await self.radio.act(self.radio.open_fails)
        except BaseException:
            self.is_open = False
            raise

    async def attach(self) -> Bearer:
        self.radio.note("attach")
        await self._ask(self.radio.attach_fails, self.radio.attach_always)
        self.radio.evidence = Evidence.BEARER
        return Bearer("lte-m")

    async def status(self) -> RadioStatus:
        self.radio.note("status")
        await self._ask(self.radio.status_fails)
        return RadioStatus(self.radio.evidence, "as asked")

    async def _ask(self, script: list[Trouble], always: Trouble = None) -> None:
        assert self.is_open
        if not self.radio.present:
            raise PortLost("the port vanished")
        await self.radio.act(script, always)

    async def aclose(self) -> None:
        await asyncio.sleep(0.01)
        self.is_open = False

    @property
    def recoveries(self) -> Sequence[Recovery]:
        return [
            Recovery(name, lambda name=name: self._recover(name), deadline, attempts)  # type: ignore[misc]
            for name, deadline, attempts in self.radio.rungs
        ]

    async def _recover(self, name: str) -> None:
        assert not any(transport.is_open for transport in self.radio.transports)
        self.radio.note(name)
        await asyncio.sleep(self.radio.rung_takes)
        if self.radio.cured_by == name:
            self.radio.hung = False
            self.radio.present = True


class FakeTransport(Transport):
    def __init__(self, radio: Radio) -> None:
        super().__init__(Hints("lte-m", 1200, response_time=0.5))
        self.radio = radio
        self.is_open = False
        self.inbox: asyncio.Queue[Packet | BaseException] = asyncio.Queue()
        self.send_fails: BaseException | None = None

    @classmethod
    def create(cls, **given: Any) -> Transport:
        raise AssertionError("links are given a maker")

    async def open(self) -> None:
        self.radio.note("start")
        await self.radio.act(self.radio.start_fails, self.radio.start_always)
        self.is_open = True

    async def send(self, packet: Packet) -> Handover | None:
        if not self.is_open:
            raise Closed("closed")
        await asyncio.sleep(self.radio.takes)
        if self.send_fails:
            raise self.send_fails
        self.radio.sent.append(packet)
        return Handover("7")

    async def receive(self) -> Packet:
        found = await self.inbox.get()
        if isinstance(found, BaseException):
            raise found
        return found

    async def aclose(self) -> None:
        await asyncio.sleep(0.01)
        self.is_open = False
        self.inbox.put_nowait(Closed("closed"))

    def break_down(self, error: BaseException | None = None) -> None:
        """The transport breaks by itself, noticed while receiving."""
        self.inbox.put_nowait(error or TransportBroken("socket gone"))


class Listener:
    def __init__(self) -> None:
        self.changes: list[LinkChange] = []
        self.ready: list[tuple[float, bool]] = []
        self.packets: list[Packet] = []
        self.refused: list[Service] = []
        self.hints = 0
        self.recoveries: list[tuple[str, float, bool]] = []
        self.charges: list[int] = []
        self.hook: Callable[[Link], None] | None = None
        self.told = asyncio.Event()

    def link_changed(self, link: Link, change: LinkChange) -> None:
        assert link.evidence is change.new
        assert link.ready <= (link.evidence >= Evidence.BEARER), "ready without a bearer"
        self.changes.append(change)
        self.told.set()
        if not self.ready or self.ready[-1][1] != link.ready:
            self.ready.append((change.at, link.ready))
        if self.hook:
            self.hook(link)

    def packet_received(self, link: Link, packet: Packet) -> None:
        self.packets.append(packet)

    def service_refused(self, link: Link, service: Service) -> None:
        self.refused.append(service)

    def hints_changed(self, link: Link) -> None:
        self.hints += 1

    def charged(self, link: Link, units: int) -> None:
        self.charges.append(units)

    def recovery_finished(self, link: Link, step: str, seconds: float, ok: bool) -> None:
        self.recoveries.append((step, seconds, ok))


class Bench:
    """One link on one radio."""

    def __init__(
        self,
        radio: Radio | None = None,
        *,
        memory: FakeMemory | None = None,
        clock: LoopClock | None = None,
        timing: LinkTiming | None = None,
        seed: int = 1,
        **settings: Any,
    ) -> None:
        self.radio = radio or Radio()
        self.memory = FakeMemory() if memory is None else memory
        self.clock = clock or LoopClock()
        self.listener = Listener()
        self.link = Link(
            "lte",
            LinkSettings(driver="fake", transport="fake", **settings),
            endpoints=ENDPOINTS,
            listener=self.listener,
            clock=self.clock,
            memory=self.memory,
            random=Random(seed),
            make_driver=self.radio.make_driver,
            make_transport=self.radio.make_transport,
            timing=timing,
        )

    async def __aenter__(self) -> Bench:
        self.link.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.link.aclose()
        assert self.link.state is LinkState.CLOSED
        assert not self.link.ready
        assert self.radio.all_closed()
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was leaked"

    async def until(self, condition: Callable[[Link], bool], limit: float = 86_400.0) -> float:
        """Wait (virtual time) until `condition`; returns the seconds it took.

        It is looked at on each change that the listener is told, and else in steps of 10 ms that grow to 5 s.
        """
        loop = asyncio.get_running_loop()
        begun, step = loop.time(), 0.01
        while not condition(self.link):
            assert loop.time() - begun < limit, f"not within {limit} s: {self.link}"
            self.listener.told.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(step, begun + limit - loop.time() + 0.01)):
                    await self.listener.told.wait()
            step = min(step * 1.02, 5.0)
        return loop.time() - begun

    async def up(self, limit: float = 86_400.0) -> float:
        return await self.until(lambda link: link.ready, limit)


def virtual(body: Callable[[], Any]) -> Any:
    """Run `body()` in a loop of its own with virtual time (for hypothesis, whose examples must not share a loop)."""
    import looptime

    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0, noop_cycles=0)) as runner:
        return runner.run(body())


__all__ = ["ENDPOINTS", "PACKET", "Bench", "FakeMemory", "Listener", "Radio", "RataccessError", "virtual"]
