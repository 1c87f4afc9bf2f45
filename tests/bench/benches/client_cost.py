"""What a running client costs: CPU of one acknowledged record, resident memory, and the start of its process.

Rules of this file: CPU is that of the client's process, all threads, user and system.
"""

from __future__ import annotations

import base64
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.bench import broker, processes, series
from tests.bench.bench import Bench, Contender, Metric, Unavailable, Values
from tests.bench.benches.wire_bytes import compact, sending
from tests.bench.desk import Desk, Program, own_environment
from tests.bench.fleet import LOOPBACK, WIFI_ONLY, Fleet, free_port
from tests.bench.lab import SERVER, Lab

_CELLULAR = """
[links.cell]
driver = "quectel"
transport = "at_socket"
order = 2
options = {{ port = "pty:{port}", apn = "internet" }}
"""


def _payloads(count: int) -> list[bytes]:
    return [compact(series.SINGLE)] * count


class Cost(Bench):
    name = "client-cpu"
    title = "Client CPU of one acknowledged record, on loopback"
    text = (
        "500 records, each acknowledged before the next; *stream*: 5,000 without waiting. Ours makes every "
        "record durable "
        "(two commits each when one by one: accepted, settled) and keeps its replay window; the others keep "
        "nothing. *in "
        "memory* has its store in memory (tmpfs), which takes the disk out."
    )
    metrics = (Metric("cpu", "us CPU/record"), Metric("rate", "records/s", "more", wall=True))
    count = 500
    many = 5000

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        with contextlib.ExitStack() as stack:
            enter = stack.enter_context
            device = enter(_loopback(desk))
            rows = [
                Contender("rataccess", partial(self._own, device, "one", self.count), "AsyncDevice, durable"),
                Contender("rataccess, stream", partial(self._own, device, "batch", self.many), "durable"),
            ]
            if Path("/dev/shm").is_dir():
                folder = Path(enter(tempfile.TemporaryDirectory(dir="/dev/shm")))
                quick = enter(_loopback(desk, folder))
                rows.insert(1, Contender("rataccess, in memory", partial(self._own, quick, "one", self.count)))
            running = enter(broker.running(desk))
            paho = enter(desk.peer("mqtt_client", "127.0.0.1", running.port, running.authority, 60, 100))
            paho.hear()
            port = free_port()
            enter(desk.peer("coap_server", "127.0.0.1", port, desk.room("coap"))).hear()
            aiocoap = enter(desk.peer("coap_client", "127.0.0.1", port, desk.room("coap")))
            aiocoap.hear()
            one, stream = sending(_payloads(self.count)), {**sending(_payloads(self.many)), "do": "stream"}
            rows += [
                Contender("paho-mqtt TLS", partial(_cost, paho, one, self.count), "QoS 1, one at a time"),
                Contender("paho-mqtt TLS, stream", partial(_cost, paho, stream, self.many), "QoS 1, 100 in flight"),
                Contender("aiocoap OSCORE", partial(_cost, aiocoap, one, self.count), "CON, one at a time"),
            ]
            yield rows

    def _own(self, program: Program, deed: str, count: int) -> Values:
        return _cost(program, {"do": deed, "series": "single", "count": count}, count)


def _cost(program: Program, command: dict[str, object], count: int) -> Values:
    program.tell(json.dumps(command))
    done = program.hear()
    return {"cpu": done["cpu"] / count * 1e6, "rate": count / (done["ended"] - done["began"])}


@contextlib.contextmanager
def _loopback(desk: Desk, state: Path | None = None) -> Iterator[Program]:
    """A device of ours on loopback, with its services; `state`: where its store is."""
    fleet = Fleet(desk, links=LOOPBACK)
    if state is not None:
        for each in list(fleet.state.iterdir()):
            (state / each.name).write_bytes(each.read_bytes())
            (state / each.name).chmod(0o600)
        text = fleet.config.read_text().replace(str(fleet.state), str(state))
        fleet.config = state / "rataccess.toml"
        fleet.config.write_text(text)
    with fleet.serving(), desk.client("sender", fleet.config) as program:
        program.hear()
        yield program


class Resident(Bench):
    name = "resident"
    title = "Resident memory of a running client"
    text = (
        "After 2,000 acknowledged records (ours: 50 at a time), of which ours keeps none. Ours: an IP interface "
        "and a (virtual) "
        "Quectel BG95 with "
        "its AT sockets, both attached. Peers: one connection, no link supervision, nothing durable."
    )
    metrics = (Metric("mb", "MB resident"),)
    runs = 7
    count = 2000
    together = 50
    beside = 3

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        with broker.running(desk) as running:
            paho = ("mqtt_client", "127.0.0.1", running.port, running.authority, 60, 100)
            yield [
                Contender("rataccess, Wi-Fi and cellular", partial(self._own, desk, True), "both links up", waits=True),
                Contender("rataccess, one IP link", partial(self._own, desk, False), waits=True),
                Contender(
                    "paho-mqtt TLS", lambda: self._peer(desk.peer(*paho), self.count), "one connection", waits=True
                ),
                Contender("aiocoap OSCORE", partial(self._aiocoap, desk), "one context; 300 records", waits=True),
            ]

    def _own(self, desk: Desk, cellular: bool) -> Values:
        with contextlib.ExitStack() as stack:
            fleet = Fleet(desk, links=LOOPBACK)
            stack.enter_context(fleet.serving())
            if cellular:
                stack.enter_context(_modem(desk, fleet))
            program = stack.enter_context(desk.client("sender", fleet.config))
            program.hear()
            for _ in range(self.count // self.together):  # all at once would measure the bench's own 2,000 tasks
                program.tell(json.dumps({"do": "batch", "series": "single", "count": self.together}))
                program.hear()
            if cellular:
                _attached(fleet)
            return {"mb": processes.resident_mb(program.process.pid)}

    def _aiocoap(self, desk: Desk) -> Values:
        port = free_port()
        with desk.peer("coap_server", "127.0.0.1", port, desk.room("coap")) as server:
            server.hear()
            return self._peer(desk.peer("coap_client", "127.0.0.1", port, desk.room("coap")), 300)

    def _peer(self, program: Program, count: int) -> Values:
        with program:
            program.hear()
            command = {"do": "one", "payloads": [base64.b64encode(each).decode() for each in _payloads(count)]}
            program.tell(json.dumps(command))
            program.hear()
            return {"mb": processes.resident_mb(program.process.pid)}


@contextlib.contextmanager
def _modem(desk: Desk, fleet: Fleet) -> Iterator[None]:
    """A virtual BG95 whose network knows the services, as the device's second link."""
    tty = fleet.folder / "tty"
    command = [desk.own_python, "-m", "rataccess_hil.modem", "--link", str(tty)]
    for port in fleet.ports.values():
        command += ["--nat", f"127.0.0.1:{port}=127.0.0.1:{port}"]
    with Program(command, environment=own_environment(), folder=fleet.folder) as modem:
        modem.hear()
        fleet.config.write_text(fleet.config.read_text() + _CELLULAR.format(port=tty))
        yield


def _attached(fleet: Fleet) -> None:
    """Wait until the cellular link is ready, as `rataccess status` tells."""
    from rataccess.cli.status import fetch

    end = time.monotonic() + 60
    while time.monotonic() < end:
        links = fetch(fleet.config)["links"]
        if links["cell"]["evidence"] in ("BEARER", "REACHABLE"):
            return
        time.sleep(0.1)
    raise Unavailable("the cellular link did not come up within 60 s")


class Start(Bench):
    name = "start"
    title = "From the start of the process to the first record, 600 ms round trip"
    text = (
        "300 ms each way, as NB-IoT may be. From starting Python to the arrival of the first event at the "
        "server, page cache "
        "warm. Everybody connects anew; ours and aiocoap have their keys. *bytes*: in the link until the arrival."
    )
    metrics = (Metric("ms", "ms"), Metric("bytes", "B to the first arrival"))
    delay = 300.0

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        with contextlib.ExitStack() as stack:
            labs = [stack.enter_context(Lab(desk, delay=self.delay)) for _ in range(3)]
            fleet = Fleet(desk, host=SERVER, inside=labs[0].server, links=WIFI_ONLY)
            stack.enter_context(fleet.serving())
            running = stack.enter_context(broker.running(desk, SERVER, labs[1].server))
            watcher = stack.enter_context(desk.peer("mqtt_watcher", running.watch_port, inside=labs[1].server))
            watcher.hear()
            mine, theirs, coap = (lab.device for lab in labs)
            paho = (SERVER, running.port, running.authority, 60)
            yield [
                Contender(
                    "rataccess",
                    lambda: self._own(labs[0], fleet, lambda: desk.client("sender", fleet.config, inside=mine)),
                ),
                Contender(
                    "paho-mqtt TLS",
                    lambda: self._peer(labs[1], watcher, lambda: desk.peer("mqtt_client", *paho, inside=theirs)),
                    "TCP and TLS 1.3",
                ),
                Contender(
                    "aiocoap OSCORE", lambda: self._aiocoap(desk, labs[2], coap), "server restarted with each run"
                ),
            ]

    def _own(self, lab: Lab, fleet: Fleet, begin: Callable[[], Program]) -> Values:
        before, began = len(fleet.records()), time.time()
        with begin() as program:
            program.hear()
            first = min(record.received_at for record in fleet.records()[before:])
        return self._values(lab, began, first)

    def _peer(self, lab: Lab, server: Program, begin: Callable[[], Program]) -> Values:
        server.heard()
        began = time.time()
        with begin() as program:
            program.hear()
            first = min(each["at"] for each in server.heard())
        return self._values(lab, began, first)

    def _aiocoap(self, desk: Desk, lab: Lab, inside: str) -> Values:
        # a new client with the same keys begins its numbers again, which the server's window would refuse
        port = free_port()
        with desk.peer("coap_server", SERVER, port, desk.room("coap"), inside=lab.server) as server:
            server.hear()
            return self._peer(
                lab, server, lambda: desk.peer("coap_client", SERVER, port, desk.room("coap"), inside=inside)
            )

    @staticmethod
    def _values(lab: Lab, began: float, first: float) -> Values:
        return {"ms": (first - began) * 1e3, "bytes": lab.count(began, first).bytes}
