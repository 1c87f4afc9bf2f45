"""How old an event grows when the link that carries it dies, and what finding another costs.

Rules of this file: a fresh lab for each run; a failure comes at a random moment between two events.  Nobody is told of
the failure but by the network; peers that do not watch their links are given the new route in the same moment.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.bench import broker
from tests.bench.bench import Bench, Contender, Metric, Values
from tests.bench.desk import Desk, Failed, Program
from tests.bench.fleet import WIFI_AND_CELL, Fleet
from tests.bench.lab import SERVER, Lab, _ip

PERIOD = 0.25
"""Seconds between events."""
_BEFORE = 1.5
_PATIENCE = 150.0
"""Seconds: paho-mqtt with its default keep-alive takes two minutes."""
_LINGER = 0.7
"""Seconds after the first arrival in which what is older may still come."""
_PORT = 4433
Arrivals = Callable[[], list[tuple[int, float, float]]]
"""Number, creation and arrival (wall seconds) of the events so far."""


@dataclass
class Running:
    """A client that sends, and how to know what arrived."""

    lab: Lab
    client: Program
    arrivals: Arrivals


Start = Callable[[Desk], contextlib.AbstractContextManager[Running]]


@contextlib.contextmanager
def ours(desk: Desk) -> Iterator[Running]:
    with Lab(desk) as lab:
        fleet = Fleet(desk, host=SERVER, inside=lab.server, links=WIFI_AND_CELL)
        with fleet.serving(), desk.client("sender", fleet.config, inside=lab.device) as client:
            client.hear()
            yield Running(
                lab, client, lambda: [(int(b["n"]), float(b["t"]), at) for b, at in fleet.arrivals() if "n" in b]
            )


@contextlib.contextmanager
def paho(desk: Desk, keepalive: int) -> Iterator[Running]:
    with (
        Lab(desk) as lab,
        broker.running(desk, SERVER, lab.server) as running,
        desk.peer("mqtt_watcher", running.watch_port, inside=lab.server) as watcher,
    ):
        watcher.hear()
        arguments = (SERVER, running.port, running.authority, keepalive)
        with desk.peer("mqtt_client", *arguments, inside=lab.device) as client:
            client.hear()
            yield Running(lab, client, _told(watcher))


@contextlib.contextmanager
def served(desk: Desk, server: str, client: str, *more: str) -> Iterator[Running]:
    """A server and a client that take the same arguments."""
    with Lab(desk) as lab:
        if "mptcp" in more:
            for namespace in (lab.device, lab.server):
                _ip("-n", namespace, "mptcp", "limits", "set", "subflows", "2", "add_addr_accepted", "2")
            _ip("-n", lab.device, "mptcp", "endpoint", "add", "10.2.0.1", "dev", "cell", "subflow")
        certificate, key = broker.certificates(lab.folder, SERVER)
        with desk.peer(server, SERVER, _PORT, certificate, key, *more, inside=lab.server) as listening:
            listening.hear()
            with desk.peer(client, SERVER, _PORT, certificate, *more, inside=lab.device) as sending:
                sending.hear()
                yield Running(lab, sending, _told(listening))


def _told(program: Program) -> Arrivals:
    found: list[tuple[int, float, float]] = []

    def arrivals() -> list[tuple[int, float, float]]:
        said: list[dict[str, Any]] = program.heard()
        found.extend(
            (each["n"], each["t"], each["at"]) for each in said if each.get("n", -1) is not None and "n" in each
        )
        return found

    return arrivals


class Switching(Bench):
    name = "loss"
    title = "A link dies, a second one stands by, 60 ms round trip"
    metrics = (
        Metric("age", "ms"),
        Metric("recovery", "ms"),
        Metric("bytes", "B on the new link to the first delivery"),
        Metric("lost", "events"),
    )
    text = (
        "An event every 250 ms over `wifi`, with `cell` standing by, 30 ms each way. *carrier*: the interface "
        "loses its carrier; "
        "*silent*: packets vanish. *age*: the greatest time from making an event to its arrival at the server, "
        "of all that arrive "
        "after the failure. *recovery*: failure to first arrival, with the wait for the next event. The route "
        "is moved to "
        "`cell` in the same millisecond for paho-mqtt and aioquic, a gift that they do not get in the field; "
        "ours and MPTCP "
        "find out by themselves. Events are made durable before they are sent by ours only; MPTCP is a bare TLS "
        "connection "
        "with its second subflow ready. paho-mqtt's runs, which mostly wait, went on beside the others."
    )
    beside = 28

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        desk.peer_python  # noqa: B018 - made before the clock runs
        with Lab(desk):
            pass  # whether there can be one
        yield [each for silent in (False, True) for each in self._rows(desk, silent)]

    def _rows(self, desk: Desk, silent: bool) -> Iterator[Contender]:
        rows: list[tuple[str, Start, bool, str]] = [
            ("rataccess", ours, False, "both links supervised, durable store"),
            ("MPTCP", mptcp, False, "TLS over the kernel's MPTCP, subflow on cell ready"),
            ("aioquic", quic, True, "unbound socket, route moved for it"),
            ("paho-mqtt TLS, keep-alive 5", partial(paho, keepalive=5), True, "route moved for it"),
            ("paho-mqtt TLS, keep-alive 60", partial(paho, keepalive=60), True, "its default; route moved for it"),
        ]
        for name, start, moved, note in rows[: 4 if desk.quick else None]:  # the last takes two minutes
            run = partial(self._run, desk, start, moved, silent)
            yield Contender(f"{name}, {'silent' if silent else 'carrier'}", run, note, waits="paho" in name)

    def _run(self, desk: Desk, start: Start, moved: bool, silent: bool) -> Values:
        with start(desk) as running:
            time.sleep(_BEFORE)  # both links are up and quiet: the kernel tells of carriers at once then
            running.client.tell(json.dumps({"do": "steady", "period": PERIOD}))
            until(lambda: len(running.arrivals()) >= 4, 20.0)
            time.sleep(random.uniform(0, PERIOD))
            return _fail(running, moved, silent)


def mptcp(desk: Desk) -> contextlib.AbstractContextManager[Running]:
    return served(desk, "line_server", "line_client", "mptcp")


def quic(desk: Desk) -> contextlib.AbstractContextManager[Running]:
    return served(desk, "quic_server", "quic_client")


def until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"nothing arrived within {seconds:.0f} s")
        time.sleep(0.02)


def _fail(running: Running, moved: bool, silent: bool) -> Values:
    lab, failed = running.lab, time.time()
    lab.order(*(("silent", "wifi", 1) if silent else ("carrier", "wifi", 0)))
    if moved:
        lab.move_route()
    until(lambda: any(at > failed for _, _, at in running.arrivals()), _PATIENCE)
    time.sleep(_LINGER)
    found = running.arrivals()
    after = [(made, at) for _, made, at in found if at > failed]
    first = min(at for _, at in after)
    numbers = {number for number, made, _ in found if made < first}
    return {
        "age": max(at - made for made, at in after) * 1e3,
        "recovery": (first - failed) * 1e3,
        "bytes": lab.count(failed, first, "cell").bytes,
        "lost": max(numbers) + 1 - len({each for each in numbers if each >= 0}),
    }
