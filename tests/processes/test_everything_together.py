"""One device and its services with everything switched on, as processes: templates, calls, packets, receivers, environment.

Rules of this file: what a newcomer would configure, over real sockets; what is asserted is what each end has, not what
some counter says.
"""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rataccess import Device, Integer, Scaled, Template, Text
from rataccess.errors import RemoteError, UnknownRoute
from rataccess.objects import Service
from tests.processes.fleet import Fleet, until

READINGS = Template("readings", temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100), note=Text(12, optional=True))
ROUTES = """
[[solution.receivers]]
name = "lines"
kind = "ndjson"
file = "lines.ndjson"

[solution.routes.price]
url = "http://127.0.0.1:{port}/price"
headers = {{ Authorization = {{ env = "PRICE_TOKEN" }} }}

[solution.routes.broken]
url = "http://127.0.0.1:{port}/broken"

[solution.routes.atlas]
url = "http://127.0.0.1:{port}/atlas"
method = "GET"
repeatable = true
response_limit = 1000000
"""
ATLAS = [{"street": number, "name": f"street {number}"} for number in range(3000)]


class Remote(BaseHTTPRequestHandler):
    """The third party that the solution service calls."""

    asked: list[tuple[str, str | None, Any]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers["Authorization"], body))
        if self.path == "/broken":
            self._answer(503, {"error": "closed on Sundays"})
        else:
            self._answer(200, {"zone": body["zone"], "price": 0.41})

    def do_GET(self) -> None:
        self._answer(200, ATLAS)

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def remote() -> Iterator[int]:
    Remote.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Remote) as server:
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def fleet(tmp_path: Path, remote: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with Fleet(tmp_path) as fleet:
        fleet.variables["PRICE_TOKEN"] = "Bearer of prices"
        configuration = tmp_path / "services.toml"
        configuration.write_text(configuration.read_text() + ROUTES.format(port=remote))
        for service in Service:
            fleet.serve(service)
        yield fleet
        for service in Service:
            assert fleet.end(str(service), signal.SIGTERM) == 0


def lines(fleet: Fleet, queue: str) -> list[Any]:
    path = fleet.folder / "lines.ndjson"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [each["body"] for each in found if each["queue"] == queue]


def test_templates_calls_packets_environment_and_inbound_objects_over_real_processes(fleet: Fleet) -> None:
    source = random.Random(1)
    readings: list[dict[str, object]] = [
        {"temp": round(source.uniform(-40, 85), 1), "hum": source.randrange(101)} for _ in range(400)
    ]
    readings[7]["note"] = ""
    with Device.open(fleet.config) as device:
        device.solution.define(READINGS)
        for reading in readings:
            device.solution.enqueue(reading, queue="readings")
        device.flush(30)

        assert device.solution.call("price", {"zone": "SE3"}, timeout=30) == {"zone": "SE3", "price": 0.41}
        with pytest.raises(RemoteError) as refusal:
            device.solution.call("broken", {}, timeout=30)
        assert (refusal.value.status, refusal.value.body) == (503, {"error": "closed on Sundays"})
        with pytest.raises(UnknownRoute):
            device.solution.call("nobody", None, timeout=30)
        assert device.solution.call("atlas", None, timeout=30) == ATLAS  # 100 kB, fetched in ranges

        assert device.hints is not None
        largest = bytes(source.randrange(256) for _ in range(device.hints.mtu))
        device.solution.packets.send(largest)

        fleet.command("fleet", "move", "P-1", "north", "-c", "services.toml")
        changes = device.management.env.changes()
        fleet.command("fleet", "env", "set", "--fleet", "north", "PERIOD=7", "-c", "services.toml")
        next(iter(changes))
        assert device.management.env.get_int("PERIOD", 60) == 7

        for number in range(2):
            fleet.command("fleet", "send", "P-1", json.dumps({"open": number}), "-c", "services.toml")
        first = device.solution.dequeue(timeout=30)
        assert first is not None
        with first as command:
            assert command == {"open": 0}
        second = device.solution.dequeue(timeout=30)
        assert second is not None
        assert second.value == {"open": 1}  # and is not acknowledged
    with Device.open(fleet.config) as device:
        again = device.solution.dequeue(timeout=30)
        assert again is not None
        assert again.value == {"open": 1}
        again.ack()
        assert device.solution.dequeue(timeout=0) is None

    until(lambda: len(lines(fleet, "readings")) >= len(readings), "all readings in the file of lines")
    until(lambda: lines(fleet, "$packets"), "the packet in the file of lines")
    assert lines(fleet, "readings") == readings
    assert Remote.asked[0] == ("/price", "Bearer of prices", {"zone": "SE3"})
    assert len(Remote.asked) == 2  # neither of them was made twice


def test_two_solution_services_on_one_port_and_one_postgresql_count_each_record_once(
    tmp_path: Path, postgres_url: str
) -> None:
    with Fleet(tmp_path) as fleet:
        configuration = tmp_path / "services.toml"
        text = configuration.read_text().replace('store = "solution.sqlite"', f'store = "{postgres_url}"')
        configuration.write_text(
            text + '\n[[solution.receivers]]\nname = "lines"\nkind = "ndjson"\nfile = "lines.ndjson"\n'
        )
        fleet.serve(Service.SOLUTION)
        fleet.serve(Service.SOLUTION, name="second")
        with Device.open(fleet.config) as device:
            for number in range(200):
                device.solution.enqueue({"number": number}, queue="samples")
                if number == 50:
                    fleet.end("second", signal.SIGKILL)
                if number == 100:
                    fleet.serve(Service.SOLUTION, name="third")
                if number == 150:
                    fleet.end("solution", signal.SIGKILL)
            device.solution.flush(60)
        until(lambda: len(lines(fleet, "samples")) >= 200, "all samples in the file of lines")
        assert sorted(each["number"] for each in lines(fleet, "samples")) == list(range(200))
        assert fleet.end("third", signal.SIGTERM) == 0
