"""How long a backlog takes over a path of 60 ms round trip.

Rules of this file: the backlog is there before the path is; the clock starts when the path does.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence

from tests.bench import broker
from tests.bench.bench import Bench, Contender, Metric, Values
from tests.bench.benches import wire_bytes
from tests.bench.desk import Desk
from tests.bench.lab import SERVER, Lab


class Drain(Bench):
    name = "drain"
    title = "A backlog of 10,000 records, 60 ms round trip"
    text = (
        "Ours: the carrier is off, 10,000 records are enqueued (durable), the carrier comes back; seconds from there to the "
        "last acknowledgement, finding the link again included. paho-mqtt: 10,000 messages in memory, seconds from "
        "`connect` to the last PUBACK. aiocoap sends one request a round trip; 30 events."
    )
    metrics = (
        Metric("rate", "records/s", "more"),
        Metric("seconds", "s for 10,000"),
        Metric("cpu", "us of client CPU/record"),
        Metric("bytes", "B/record"),
    )
    count = 10_000

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        with Lab(desk) as lab, broker.running(desk, SERVER, lab.server) as running, wire_bytes.coap(desk) as aiocoap:
            yield [
                Contender("rataccess", lambda: self._ours(desk, False), "no template"),
                Contender("rataccess, template", lambda: self._ours(desk, True)),
                Contender("paho-mqtt TLS, 20 in flight", lambda: self._paho(desk, lab, running, 20), "its default"),
                Contender("paho-mqtt TLS, 200 in flight", lambda: self._paho(desk, lab, running, 200)),
                Contender("aiocoap OSCORE", lambda: self._aiocoap(aiocoap), "one request a round trip", runs=2),
            ]

    def _ours(self, desk: Desk, template: bool) -> Values:
        # a device of its own each time: a carrier that goes a fourth time within a minute counts as flapping, and waits
        with wire_bytes.ours(desk, template=template) as device:
            device.lab.order("carrier", "wifi", 0)
            deed = {"do": "backlog", "series": "noisy", "count": self.count, "template": template}
            device.program.tell(json.dumps(deed))
            device.program.hear()
            began = time.time()
            device.lab.order("carrier", "wifi", 1)
            done = device.program.hear()
            seconds = done["ended"] - began
            time.sleep(0.2)
            sent = device.lab.count(began).bytes / self.count
        cpu = done["cpu"] / self.count * 1e6
        return {"rate": self.count / seconds, "seconds": seconds, "cpu": cpu, "bytes": sent}

    def _paho(self, desk: Desk, lab: Lab, running: broker.Broker, in_flight: int) -> Values:
        # 20 in flight are 20 a round trip: a tenth of the backlog says it in a tenth of the time
        count = self.count if in_flight > 100 else self.count // 10
        arguments = (SERVER, running.port, running.authority, 60, in_flight, count)
        with desk.peer("mqtt_client", *arguments, inside=lab.device) as program:
            program.hear()
            done = program.hear()
        seconds, sent = done["ended"] - done["began"], lab.count(done["began"], done["ended"]).bytes
        rate = count / seconds
        return {"rate": rate, "seconds": self.count / rate, "cpu": done["cpu"] / count * 1e6, "bytes": sent / count}

    def _aiocoap(self, line: wire_bytes.Line) -> Values:
        count = 30
        line.program.tell(json.dumps(wire_bytes.sending([b'{"temp":21.5,"hum":48,"volt":3.71}'] * count)))
        done = line.program.hear()
        seconds = done["ended"] - done["began"]
        rate, sent = count / seconds, line.lab.count(done["began"]).bytes
        return {"rate": rate, "seconds": self.count / rate, "cpu": done["cpu"] / count * 1e6, "bytes": sent / count}
