"""What a thousand records cost over each radio: bytes that are billed, credits, air time, money.

Rules of this file: ours is the whole device and the whole service in virtual time, over models of the networks; the peers
are arithmetic on the sizes of their payloads, with nothing added for security.  Nothing here depends on the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cbor2

from rataccess import Integer, Scaled, Template
from rataccess.lorawan import Modulation
from rataccess.objects import Service
from tests.bench import series
from tests.bench.bench import Bench, Contender, Metric, Values
from tests.bench.desk import Desk
from tests.system.four_rats import FourRats
from tests.system.radios import RATES, LoRaAir, SatelliteAir
from tests.system.test_invariants import SHM, in_virtual_time

COUNT = 1000
DAYS = 7
IP_HEADERS = 28
LORAWAN_HEADERS = 13
CREDIT_BYTES = 50
PRICE_OF_CREDIT = 0.12
PRICE_OF_MEGABYTE = 1.0
"""In some currency: what small users pay for SBD and for IoT cellular, about."""

READINGS = Template("readings", id=1, temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100), volt=Scaled(0, 5, 0.01))


@dataclass(frozen=True, slots=True)
class Rat:
    """A radio, and how its network counts a message of so many bytes."""

    name: str
    link: str
    lines: str
    rate: int | None = None
    """LoRaWAN's data rate in EU868."""

    def message(self, size: int) -> Values:
        """What one message of `size` bytes counts as."""
        if self.rate is not None:
            seconds = Modulation(RATES[self.rate][0]).time_on_air(size + LORAWAN_HEADERS)
            return {"bytes": size + LORAWAN_HEADERS, "airtime": seconds, "messages": 1}
        if self.link == "sat":
            credits_ = max(1, -(-size // CREDIT_BYTES))
            billed = credits_ * CREDIT_BYTES
            return {"bytes": billed, "credits": credits_, "cost": credits_ * PRICE_OF_CREDIT, "messages": 1}
        paid = {"cost": (size + IP_HEADERS) * PRICE_OF_MEGABYTE / 1e6} if self.link == "cellular" else {}
        return {"bytes": size + IP_HEADERS, "messages": 1, **paid}


RATS = (
    Rat("Wi-Fi", "wifi", "order = 1"),
    Rat("cellular", "cellular", "order = 1"),
    Rat("LoRaWAN SF7", "lora", "order = 1", rate=5),
    Rat("LoRaWAN SF12", "lora", "order = 1", rate=0),
    Rat("SBD", "sat", "order = 1"),
)


def one_by_one(rat: Rat, pack: Callable[[series.Value], bytes]) -> Values:
    """A message for each record."""
    total: dict[str, float] = {}
    for value in series.take("noisy", COUNT):
        for name, count in rat.message(len(pack(value))).items():
            total[name] = total.get(name, 0.0) + count
    return total


def ours(rat: Rat, *, template: bool) -> Values:
    """Enqueued every 10 s while the radio had no network, then sent; what both ends have is compared at the end."""
    found: dict[str, float] = {}

    async def scene() -> None:
        with tempfile.TemporaryDirectory(dir=SHM) as folder:
            world = FourRats(Path(folder), {rat.link: rat.lines})
            try:
                await _sent(world, rat, template)
                found.update(_counted(world, rat))
            finally:
                await world.stop()

    in_virtual_time(scene())
    return found


async def _sent(world: FourRats, rat: Rat, template: bool) -> None:
    air = world.airs[rat.link]
    if isinstance(air, LoRaAir) and rat.rate is not None:
        air.lossy = 0.0
        air.set_rate(rat.rate)
    elif isinstance(air, SatelliteAir):
        air.failing = air.twice = 0.0
    device = await world.start()
    await asyncio.sleep(60)
    if template:  # the service learns the template and the queue's name once in a device's life
        await device.solution.define(READINGS)
        await world.enqueue({"temp": 20.0, "hum": 50, "volt": 3.7})
        await asyncio.sleep(600)
    air.set_carrier(False)
    air.sent.clear()
    air.bytes_down = 0
    if isinstance(air, LoRaAir | SatelliteAir):
        air.spent.clear()
    for value in series.take("noisy", COUNT):
        await world.enqueue(dict(value))
        await asyncio.sleep(series.PERIOD)
    air.set_carrier(True)
    for _ in range(DAYS):  # of 51-byte packets at SF12 and 1 % air time, a thousand take more than a day
        await asyncio.sleep(86_400)
        if not world.accepted.keys() - world.delivered().keys():
            break
    if lost := world.accepted.keys() - world.delivered().keys():
        raise RuntimeError(f"{len(lost)} records did not arrive")


def _counted(world: FourRats, rat: Rat) -> Values:
    air = world.airs[rat.link]
    total: dict[str, float] = {}
    for service, data in air.sent:
        if service is Service.SOLUTION:
            for name, count in rat.message(len(data)).items():
                total[name] = total.get(name, 0.0) + count
    return total


class Rats(Bench):
    name = "rats"
    title = "What a thousand records cost over each RAT"
    text = (
        f"{COUNT:,} records of the noisy series, a record every 10 s, enqueued while the radio had no network (2.8 hours) "
        "and then sent: the whole device and service in virtual time over models of networks (`tests/system/radios.py`), "
        "LoRaWAN in EU868 with confirmed uplinks, SBD as the operator bills it. Uplink; ours carries the time of each "
        "capture and is protected end to end by OSCORE. The peers send a message for each record, JSON without blanks or "
        "a CBOR map, neither with a time nor protected; IP and UDP or LoRaWAN headers are counted for all. *airtime* "
        f"is the device's own. Prices: {PRICE_OF_CREDIT} a credit of 50 bytes, {PRICE_OF_MEGABYTE:g} a MB of cellular data."
    )
    metrics = (
        Metric("bytes", "B billed"),
        Metric("messages", "sent"),
        Metric("airtime", "s"),
        Metric("credits", "of 50 B"),
        Metric("cost", "money"),
    )
    runs = quick_runs = 1
    ratio_of = "bytes"

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        yield [each for rat in RATS for each in self._of(rat)]

    def _of(self, rat: Rat) -> Iterator[Contender]:
        yield Contender(f"rataccess, template, {rat.name}", lambda: ours(rat, template=True))
        yield Contender(f"rataccess, {rat.name}", lambda: ours(rat, template=False), "CBOR, no template")
        yield Contender(f"CBOR one by one, {rat.name}", lambda: one_by_one(rat, cbor2.dumps))
        yield Contender(f"JSON one by one, {rat.name}", lambda: one_by_one(rat, _json))


def _json(value: series.Value) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
