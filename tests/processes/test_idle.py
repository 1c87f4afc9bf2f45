"""An idle device spends nothing: not a byte on the wire."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from rataccess.objects import Service
from rataccess_hil.access_point import RelayAccessPoint
from tests.processes.fleet import Fleet, until

QUIET = 3.0
"""Seconds of silence that are watched."""
LINK = """\
[links.air]
driver = "virtual_interface"
transport = "udp"
options = {{ control = "{control}" }}
"""


class CountedAccessPoint(RelayAccessPoint):
    """Tells when anything is carried."""

    def __init__(self, ports: dict[Service, int], control: Path) -> None:
        super().__init__([(("127.0.0.1", 0), ("127.0.0.1", port)) for port in ports.values()], control=control)
        self.carried = asyncio.Event()

    def _carry(self, deliver: object) -> None:
        self.carried.set()
        super()._carry(deliver)  # type: ignore[arg-type]


async def test_an_idle_device_sends_no_byte(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        for service in Service:
            await asyncio.to_thread(fleet.serve, service)
        async with CountedAccessPoint(fleet.ports, tmp_path / "air.sock") as air:
            public = {service: air.public(("127.0.0.1", port))[1] for service, port in fleet.ports.items()}
            fleet.configure(LINK.format(control=tmp_path / "air.sock"), public)
            fleet.write(1e6)  # one record, to the management service, and then nothing more
            stored = fleet.folder / "management.sqlite"
            await asyncio.to_thread(until, lambda: stored.exists() and fleet.stored(Service.MANAGEMENT), "delivery")
            await _silence(air, 0.5)  # the last answers are in
            before = air.stats()
            assert await _silence(air, QUIET) == 1
            assert air.stats() == before
            assert before["up_packets"] >= 1
            assert (await asyncio.to_thread(fleet.end, "writer", signal.SIGTERM)) == 0


async def _silence(air: CountedAccessPoint, seconds: float) -> int:
    """Wait for `seconds` without a packet; how often that had to begin."""
    for begun in range(1, 21):
        air.carried.clear()
        try:
            async with asyncio.timeout(seconds):
                await air.carried.wait()
        except TimeoutError:
            return begun
    raise AssertionError(f"never silent: {air.stats()}")
