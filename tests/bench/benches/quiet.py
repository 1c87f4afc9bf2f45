"""What goes over links when nothing is wrong: hedges that jitter provokes, and bytes of an idle connection.

Rules of this file: `wifi` never fails here, so every packet on `cell` is a mistake.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from functools import partial

from tests.bench import broker
from tests.bench.bench import Bench, Contender, Metric, Values
from tests.bench.benches.switching import Start, mptcp, ours, until
from tests.bench.benches.wire_bytes import coap
from tests.bench.desk import Desk
from tests.bench.fleet import WIFI_AND_CELL, Fleet
from tests.bench.lab import SERVER, Lab

_CONDITIONS = (
    ("steady", ()),
    ("jitter 150 ms", (("jitter", "wifi", 150),)),
    ("stalls", (("stall", "wifi", 10, 300),)),
)


class Jitter(Bench):
    name = "jitter"
    title = "False hedges under jitter"
    text = (
        "20 events a second for 6 s over a `wifi` of 60 ms round trip, `cell` standing by and free. *jitter n*: "
        "each packet takes up to "
        "n ms longer, evenly; *stalls*: one packet in a hundred, and all behind it, 300 ms longer. What is "
        "counted went over `cell` "
        "although `wifi` never failed."
    )
    metrics = (
        Metric("packets", "packets on cell/100 events"),
        Metric("bytes", "B on cell/event"),
        Metric("age", "ms, oldest event"),
    )
    seconds = 6.0
    period = 0.05
    beside = 7

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        with Lab(desk):
            pass
        yield [
            Contender(f"{name}, {condition}", partial(self._run, desk, start, orders), note, waits=True)
            for condition, orders in _CONDITIONS
            for name, start, note in (("rataccess", ours, ""), ("MPTCP", mptcp, "its scheduler uses both links"))
            if name == "rataccess" or condition in ("jitter 150 ms", "stalls")
        ]

    def _run(self, desk: Desk, start: Start, orders: Sequence[tuple[object, ...]]) -> Values:
        with start(desk) as running:
            for order in orders:
                running.lab.order(*order)
            time.sleep(1.0)
            running.client.tell(json.dumps({"do": "steady", "period": self.period}))
            until(lambda: len(running.arrivals()) >= 4, 20.0)
            began = time.time()
            time.sleep(self.seconds)
            count = running.lab.count(began, time.time(), "cell")
            events = [(made, at) for _, made, at in running.arrivals() if at >= began]
        return {
            "packets": count.packets / len(events) * 100,
            "bytes": count.bytes / len(events),
            "age": max(at - made for made, at in events) * 1e3,
        }


class Idle(Bench):
    name = "idle"
    title = "Bytes of an idle connection"
    text = (
        "24 s without events, both links of ours up. Nothing varies, so one run each. paho-mqtt's "
        "default keep-alive of 60 s "
        "comes to a twelfth of the one of 5 s."
    )
    metrics = (Metric("bytes", "B/hour"),)
    runs = 1
    quick_runs = 1
    seconds = 24.0

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        with contextlib.ExitStack() as stack:
            enter = stack.enter_context
            mine, theirs = enter(Lab(desk)), enter(Lab(desk))
            fleet = Fleet(desk, host=SERVER, inside=mine.server, links=WIFI_AND_CELL)
            enter(fleet.serving())
            enter(desk.client("sender", fleet.config, inside=mine.device)).hear()
            running = enter(broker.running(desk, SERVER, theirs.server))
            arguments = (SERVER, running.port, running.authority, 5)
            enter(desk.peer("mqtt_client", *arguments, inside=theirs.device)).hear()
            aiocoap = enter(coap(desk))
            time.sleep(3.0)  # what follows an exchange (acknowledgements, unasked requests) is over
            rows = [
                ("rataccess, two links", mine),
                ("paho-mqtt TLS, keep-alive 5", theirs),
                ("aiocoap OSCORE", aiocoap.lab),
            ]
            yield [Contender(name, partial(self._run, lab), waits=True) for name, lab in rows]

    def _run(self, lab: Lab) -> Values:
        began = time.time()
        time.sleep(self.seconds)
        return {"bytes": lab.count(began).bytes * 3600 / self.seconds}
