"""What records cost on the air when they travel in blocks: a whole device and service, all datagrams of both directions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from math import pi, sin
from typing import Any

import pytest

from rataccess import Integer, Scaled, Template
from rataccess.objects import Service
from tests.system.air import Air
from tests.system.system_world import SystemWorld
from tests.system.test_invariants import LINKS, in_virtual_time, until_delivered, world

IP_UDP = 28
"""Bytes of an IPv4 and a UDP header."""
ONE = {"wifi": LINKS["wifi"]}
DAY = 8640
READINGS = Template("readings", temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100), volt=Scaled(0, 5, 0.01))


class Meter:
    """Bytes and datagrams of the solution service over one air, with IP and UDP headers."""

    def __init__(self, air: Air) -> None:
        self.up, self.down = list[int](), list[int]()
        take, answer = air.take, air.answer

        def counted_take(packet: Any) -> None:
            if packet.service is Service.SOLUTION:
                self.up.append(len(packet.data))
            take(packet)

        def counted_answer(service: Service, data: bytes) -> None:
            if service is Service.SOLUTION:
                self.down.append(len(data))
            answer(service, data)

        air.take, air.answer = counted_take, counted_answer  # type: ignore[method-assign]

    @property
    def total(self) -> int:
        return sum(self.up) + sum(self.down) + IP_UDP * (len(self.up) + len(self.down))


def smooth(source: random.Random) -> Iterator[dict[str, Any]]:
    """A day of a good sensor: what changes within 10 s is mostly its last digit."""
    humidity, volt = 48.0, 3.9
    for n in range(DAY):
        humidity = min(95.0, max(20.0, humidity + source.gauss(0, 0.05)))
        volt -= 0.00003
        day = 12 + 8 * sin(2 * pi * n / DAY)
        yield {
            "temp": round(day + source.gauss(0, 0.06), 1),
            "hum": round(humidity + source.gauss(0, 0.2)),
            "volt": round(volt + source.gauss(0, 0.003), 2),
        }


def noisy(source: random.Random) -> Iterator[dict[str, Any]]:
    """A day of a bad one: a degree, two per cent and 20 mV of white noise."""
    for n in range(DAY):
        yield {
            "temp": round(12 + 8 * sin(2 * pi * n / DAY) + source.gauss(0, 1), 1),
            "hum": min(100, max(0, round(48 + source.gauss(0, 2)))),
            "volt": round(3.7 + source.gauss(0, 0.02), 2),
        }


# Measured: 0.90 and 1.92 bytes a record.  The entropy of the noise alone is 1.4 bytes a record in the second series.
@pytest.mark.parametrize(("series", "most"), [(smooth, 1.2), (noisy, 2.4)])
def test_a_day_of_telemetry_costs_at_most_four_bytes_a_record_all_told(
    series: Callable[[random.Random], Iterator[dict[str, Any]]], most: float
) -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            assert made.device
            await made.device.solution.define(READINGS)
            await until_delivered(made, 60)
            made.airs["wifi"].set_carrier(False)
            source = random.Random(7)
            for value in series(source):
                await made.enqueue(value, template=READINGS)
                made.clock._start += 10 + source.gauss(0, 0.005)  # much cheaper than to let the whole device live a day
            meter = Meter(made.airs["wifi"])
            made.airs["wifi"].set_carrier(True)
            await until_delivered(made, 600)
            await asyncio.sleep(5)
            assert _of_the_app(made) == made.accepted
            cost = meter.total / DAY
            assert cost <= most, f"{cost:.2f} bytes a record, {len(meter.up)} datagrams up, {len(meter.down)} down"
            assert max(meter.up) <= made.airs["wifi"].mtu

    in_virtual_time(scene())


def _of_the_app(made: SystemWorld) -> dict[int, Any]:
    """What was delivered, but for the definitions of templates."""
    return {number: value for number, value in made.delivered().items() if isinstance(value, dict)}
