"""A month in the life of a device with four radios: rain, lorries, a modem that hangs daily, restarts; in virtual time."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import rataccess.link.link as link_module
from rataccess import Integer, Scaled, Template
from rataccess.link.timing import LinkTiming
from rataccess.objects import Service, Urgency
from tests.system.four_rats import FourRats
from tests.system.test_invariants import SHM, in_virtual_time

Deed = Callable[[], object]

DAY = 86_400.0
DAYS = 30
READINGS = Template("readings", id=1, temp=Scaled(-40, 85, 0.1), level=Integer(0, 4000))


class Month:
    """What happens to one device; each trouble by its own dice, so that one more changes no other."""

    def __init__(self, world: FourRats, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.alarms: dict[int, float] = {}
        self.hangs = 0

    def dice(self, name: str) -> random.Random:
        return random.Random(f"{self.seed} {name}")

    async def sampling(self) -> None:
        """A reading every ten minutes, about ten alarms and one large object a day."""
        dice, device = self.dice("samples"), self.world.device
        assert device is not None
        level = 2000
        while True:
            await asyncio.sleep(600)
            level = min(4000, max(0, level + dice.randrange(-3, 4)))
            await self.world.enqueue({"temp": round(dice.uniform(-10, 30), 1), "level": level}, template=READINGS)
            if dice.random() < 10 / 144:
                number = await self.world.enqueue({"leak": level}, queue="alarms", urgency=Urgency.ALARM)
                self.alarms[number] = self.world.clock.wall()
            if dice.random() < 1 / 144:
                await self.world.enqueue(dice.randbytes(2000), queue="pictures", urgency=Urgency.BULK)

    async def trouble(self, name: str, every: float, lasts: float, begin: Deed, end: Deed) -> None:
        """Now and then, for a while."""
        dice = self.dice(name)
        while True:
            await asyncio.sleep(dice.expovariate(1 / every))
            begin()
            await asyncio.sleep(dice.expovariate(1 / lasts))
            end()

    def troubles(self) -> list[asyncio.Task[None]]:
        world, lora, sat = self.world, self.world.lora, self.world.sat
        wifi, cellular = world.airs["wifi"], world.airs["cellular"]
        site, covered, sky = (
            partial(setattr, wifi, "silent"),
            partial(setattr, lora, "covered"),
            partial(setattr, sat, "sky"),
        )
        plans: dict[str, tuple[float, float, Deed, Deed]] = {
            "router restarts": (DAY, 600.0, lambda: wifi.set_carrier(False), lambda: wifi.set_carrier(True)),
            "the site's uplink": (3 * DAY, 0.6 * DAY, lambda: site(True), lambda: site(False)),
            "cellular": (1.5 * DAY, 0.5 * DAY, lambda: cellular.set_carrier(False), lambda: cellular.set_carrier(True)),
            "the modem hangs": (DAY, 60.0, self.hang, lambda: None),
            "a lorry": (0.2 * DAY, 7200.0, lambda: covered(False), lambda: covered(True)),
            "data rate": (0.5 * DAY, 0.2 * DAY, lambda: lora.set_rate(0), lambda: lora.set_rate(5)),
            "rain": (DAY, 7200.0, lambda: sky(False), lambda: sky(True)),
        }
        return [asyncio.create_task(self.trouble(name, *plan)) for name, plan in plans.items()]

    def hang(self) -> None:
        self.world.airs["cellular"].hung = True
        self.hangs += 1

    async def storm(self) -> None:
        """For three days neither the site's own network nor cellular works, and LoRa has its gateway half of the time."""
        world = self.world
        await asyncio.sleep(10 * DAY)
        for _ in range(36):
            for name in ("wifi", "cellular"):
                world.airs[name].set_carrier(False)
            world.lora.covered = not world.lora.covered
            await asyncio.sleep(2 * 3600)
        for name in ("wifi", "cellular"):
            world.airs[name].set_carrier(True)
        world.lora.covered = True

    async def ticking(self) -> None:
        while True:
            await asyncio.sleep(300)
            self.world.tick()

    async def services_restart(self) -> None:
        dice = self.dice("services")
        while True:
            await asyncio.sleep(dice.expovariate(1 / (3 * DAY)))
            service = dice.choice(list(Service))
            self.world.kill_service(service)
            await asyncio.sleep(dice.uniform(10, 3600))
            self.world.start_service(service)

    def all_well(self) -> None:
        """The month is over and everything works."""
        for air in self.world.airs.values():
            air.set_carrier(True)
            air.silent = air.hung = False
        self.world.lora.covered = self.world.sat.sky = True
        for service in set(Service) - set(self.world.services):
            self.world.start_service(service)


@pytest.mark.parametrize("seed", [1])
def test_a_month_of_four_radios(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing lost, nothing doubled, nothing over budget, nothing paid twice."""
    monkeypatch.setattr(
        link_module, "LinkTiming", partial(LinkTiming, watch_every=900.0)
    )  # a look a quarter of an hour

    async def scene() -> None:
        with tempfile.TemporaryDirectory(dir=SHM) as folder:
            world = FourRats(Path(folder), seed=seed)
            world.watch(monkeypatch)
            await world.start()
            month = Month(world, seed)
            works = (month.sampling, month.ticking, month.services_restart, month.storm)
            tasks = [asyncio.create_task(work()) for work in works]
            tasks += month.troubles()
            try:
                await asyncio.sleep(DAYS * DAY)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                month.all_well()
                assert world.device
                await world.device.flush(6 * 3600)
                judge(world, month)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await world.stop()

    in_virtual_time(scene())


def judge(world: FourRats, month: Month) -> None:
    assert not world.account()
    assert len(world.accepted) > 4000
    assert month.hangs > 10
    assert len(world.airs["cellular"].recovered_by) > 5
    used = {name: sum(counted.values()) for name, counted in world.bought.items()}
    assert min(used.values()) > 0, f"every radio was needed: {used}"
    twice = {number: count for number, count in world.bought["sat"].items() if count > 1}
    assert not twice, f"paid twice: {twice}"
    assert set(world.bought["sat"]) <= set(month.alarms), "only alarms go by satellite"
