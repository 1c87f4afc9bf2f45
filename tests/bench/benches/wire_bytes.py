"""Bytes on the wire: one by one, in batches of 60, and a day of telemetry.

Rules of this file: everything is counted where the packets pass, IP headers, acknowledgements and both directions
included; each client has a lab of its own, so that nobody else's packets are counted with it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.bench import broker, series
from tests.bench.bench import Bench, Contender, Metric, Values
from tests.bench.desk import Desk, Program
from tests.bench.fleet import WIFI_ONLY, Fleet
from tests.bench.lab import SERVER, Lab

METRICS = (
    Metric("bytes", "B/record"),
    Metric("up", "B/record"),
    Metric("down", "B/record"),
    Metric("packets", "packets/record"),
)
_SETTLE = 0.4
"""Seconds after the last answer in which acknowledgements may still come: TCP delays them by 40 ms."""
_COAP_PORT = 5683


@dataclass(frozen=True, slots=True)
class Line:
    """A client in its lab."""

    lab: Lab
    program: Program
    turn: threading.Lock = field(default_factory=threading.Lock)

    def measure(self, command: dict[str, Any], records: int) -> Values:
        """Have it send; bytes a record."""
        with self.turn:
            self.program.tell(json.dumps(command))
            began = self.program.hear()["began"]
            time.sleep(_SETTLE)
            count = self.lab.count(began)
        return {
            "bytes": count.bytes / records,
            "up": count.up / records,
            "down": count.down / records,
            "packets": count.packets / records,
        }


@contextlib.contextmanager
def ours(desk: Desk, *, template: bool = False) -> Iterator[Line]:
    """A device of ours, with one link; `template`: of the readings, known to the service."""
    with Lab(desk) as lab:
        fleet = Fleet(desk, host=SERVER, inside=lab.server, links=WIFI_ONLY)
        with fleet.serving(), desk.client("sender", fleet.config, inside=lab.device) as program:
            program.hear()
            line = Line(lab, program)
            if template:  # the service learns the template once, and the queue's name; later messages do not carry them
                line.measure({"do": "one", "series": "single", "count": 1, "template": True}, 1)
            time.sleep(_SETTLE)
            yield line


@contextlib.contextmanager
def mqtt(desk: Desk) -> Iterator[Line]:
    """paho-mqtt over TLS, connected."""
    with Lab(desk) as lab, broker.running(desk, SERVER, lab.server) as running:
        arguments = (SERVER, running.port, running.authority, 60)
        with desk.peer("mqtt_client", *arguments, inside=lab.device) as program:
            program.hear()
            time.sleep(_SETTLE)
            yield Line(lab, program)


@contextlib.contextmanager
def coap(desk: Desk) -> Iterator[Line]:
    """aiocoap with OSCORE."""
    with (
        Lab(desk) as lab,
        desk.peer("coap_server", SERVER, _COAP_PORT, desk.room("coap"), inside=lab.server) as server,
    ):
        server.hear()
        with desk.peer("coap_client", SERVER, _COAP_PORT, desk.room("coap"), inside=lab.device) as program:
            program.hear()
            yield Line(lab, program)


def compact(value: object) -> bytes:
    """JSON without blanks."""
    return json.dumps(value, separators=(",", ":")).encode()


def dated(kind: str, count: int) -> list[dict[str, float]]:
    """Values with the time of each, as peers have to send them in a batch."""
    began = 1_790_000_000
    return [{"at": began + round(i * series.PERIOD), **each} for i, each in enumerate(series.take(kind, count))]


def sending(payloads: Sequence[bytes], pause: float = 0.0) -> dict[str, Any]:
    """The command for a peer."""
    return {"do": "one", "payloads": [base64.b64encode(each).decode() for each in payloads], "pause": pause}


def row(
    name: str,
    line: Line,
    command: Callable[[], dict[str, Any]],
    records: int,
    note: str = "",
    runs: int | None = None,
) -> Contender:
    """A contender that sends `records` records by one command."""
    # beside each other: each has its own lab, and where packets are full, or single, bytes do not depend on haste
    return Contender(name, lambda: line.measure(command(), records), note, waits=True, runs=runs)


class OneByOne(Bench):
    name = "bytes-one"
    title = "Bytes of one acknowledged event"
    text = (
        'The event `{"temp":21.5,"hum":48,"volt":3.71}`, ten times, 0.25 s apart, over a path of 60 ms round trip. Counted '
        "in the link: IP packets of both directions, acknowledgements included; connections stand already "
        "(setting up "
        "is in *Start of the process*). Ours also carries the time of capture; the peers' events do not."
    )
    metrics = METRICS
    count = 10
    pause = 0.25

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        with ours(desk, template=True) as packing, ours(desk) as device, mqtt(desk) as paho, coap(desk) as aiocoap:
            one = sending([compact(series.SINGLE)] * self.count, self.pause)
            yield [
                row("rataccess, template", packing, lambda: self._own(True), self.count, "NON, answered"),
                row("rataccess", device, lambda: self._own(False), self.count, "CBOR map, no template"),
                row("paho-mqtt TLS", paho, lambda: one, self.count, "MQTT 3.1.1, QoS 1, TLS 1.3, kept, JSON"),
                row("aiocoap OSCORE", aiocoap, lambda: one, self.count, "CON, path /r, JSON"),
            ]

    def _own(self, template: bool) -> dict[str, Any]:
        return {"do": "one", "series": "single", "count": self.count, "template": template, "pause": self.pause}


class Batch(Bench):
    name = "bytes-batch"
    title = "Bytes a record, 60 records at once"
    text = (
        "Ten minutes of the smooth series, a record every 10 s with its time, sent at once. Ours: 60 records "
        "that are "
        "enqueued one by one and packed by the exchange. Peers: one message that the application has packed itself."
    )
    metrics = METRICS
    count = 60

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        with ours(desk, template=True) as packing, ours(desk) as device, mqtt(desk) as paho, coap(desk) as aiocoap:
            text = compact(dated("smooth", self.count))
            plain, small = sending([text]), sending([zlib.compress(text, 9)])
            rows = [
                row("rataccess, template", packing, lambda: own_batch("smooth", self.count, True), self.count),
                row("rataccess", device, lambda: own_batch("smooth", self.count, False), self.count, "no template"),
                row("paho-mqtt TLS, JSON", paho, lambda: plain, self.count, "one PUBLISH"),
                row("paho-mqtt TLS, JSON and zlib", paho, lambda: small, self.count, "one PUBLISH, zlib level 9"),
                row("aiocoap OSCORE, JSON", aiocoap, lambda: plain, self.count, "block-wise"),
                row("aiocoap OSCORE, JSON and zlib", aiocoap, lambda: small, self.count, "zlib level 9"),
            ]
            yield [replace(each, waits=False) for each in rows]  # how many share a packet is a matter of haste


def own_batch(kind: str, count: int, template: bool) -> dict[str, Any]:
    """The command for ours."""
    return {"do": "batch", "series": kind, "count": count, "template": template}


class Day(Bench):
    name = "bytes-day"
    title = "Bytes a record, a day of telemetry every 10 s"
    text = (
        "8,640 records with their times: *smooth* (a room, nothing random), *noisy* (the same with Gaussian "
        "noise of 0.3 "
        "degrees, 1 per cent, 10 mV) and *real* (load, busy share and used memory of a Linux machine at work, "
        "recorded in "
        "72 minutes). Ours: enqueued, then packed by the exchange into packets of the link's MTU (1,400). "
        "paho-mqtt: one "
        "message of zlib-packed JSON for each hour. Three runs of those that do not vary."
    )
    metrics = METRICS
    count = series.DAY

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        with ours(desk, template=True) as packing, ours(desk) as device, mqtt(desk) as paho:
            yield [each for kind in series.KINDS for each in self._of(kind, packing, device, paho)]

    def _of(self, kind: str, packing: Line, device: Line, paho: Line) -> Iterator[Contender]:
        values = dated(kind, self.count)
        hours = [zlib.compress(compact(values[i : i + 360]), 9) for i in range(0, self.count, 360)]
        command = sending(hours)
        yield row(f"rataccess, template, {kind}", packing, lambda: own_batch(kind, self.count, True), self.count)
        yield row(
            f"rataccess, {kind}", device, lambda: own_batch(kind, self.count, False), self.count, "no template", 3
        )
        yield row(f"paho-mqtt TLS, {kind}", paho, lambda: command, self.count, "JSON and zlib, a message an hour", 3)
