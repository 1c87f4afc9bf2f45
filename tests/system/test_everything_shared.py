"""Everything switched on, with two processes of the solution service on one store: each datagram comes to either or both."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

import pytest

from rataccess.errors import StoreError
from rataccess.objects import Service
from rataccess.services import admin, settings
from rataccess.services.core import ServiceCore
from rataccess.services.keyfile import KeyFile
from rataccess.services.store import open_store
from tests.system.everything_world import EverythingWorld, full_disks
from tests.system.test_everything import LINKS, TROUBLE, do, end, long_script
from tests.system.test_invariants import SHM, in_virtual_time


class SharedWorld(EverythingWorld):
    """The second process takes what comes to it, whether the first is there or not."""

    def __init__(self, folder: Path, url: str, seed: int) -> None:
        super().__init__(folder, LINKS, seed=seed)
        enrolled = admin.list_devices(self.stores[Service.SOLUTION])
        self.stores[Service.SOLUTION] = url
        with open_store(url) as store:
            for each in enrolled:
                store.device(each.serial_number, each.kid)
        configuration = folder / "services.toml"
        configuration.write_text(configuration.read_text().replace('"solution.sqlite"', f'"{url}"'))
        self.second: ServiceCore | None = None

    def start_service(self, service: Service) -> None:
        super().start_service(service)
        if service is Service.SOLUTION:
            self.start_second()

    def start_second(self) -> None:
        found = settings.load(self.folder / "services.toml", Service.SOLUTION)
        self.end_second()
        self.second = ServiceCore(
            Service.SOLUTION, found, open_store(found.store), KeyFile(Path(found.keys)), self.clock
        )
        self.fill_at_will(self.second)

    def end_second(self) -> None:
        if self.second is not None:
            self.second.store.close()
        self.second = None

    def kill_service(self, service: Service) -> None:
        super().kill_service(service)
        if service is Service.SOLUTION:
            self.end_second()

    def _carry(self, service: Service, data: bytes, link: str) -> list[bytes]:
        if service is not Service.SOLUTION or self.second is None:
            return super()._carry(service, data, link)
        which = self.random.choice(["first", "second", "both", "other way round"])
        answers = super()._carry(service, data, link) if which in ("first", "both") else []
        if which != "first":
            answers += [answer for answer, _ in self.second.process([(data, link)])]
        if which == "other way round":
            answers += super()._carry(service, data, link)
        return answers

    def tick(self) -> None:
        super().tick()
        if self.second is not None:
            with contextlib.suppress(StoreError):
                for data, address in self.second.tick():
                    self.airs[str(address)].answer(Service.SOLUTION, data)


def run(url: str, seed: int, length: int) -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory(dir=SHM) as folder:
            made = SharedWorld(Path(folder), url or str(Path(folder) / "solution.sqlite"), seed)
            with full_disks(made):
                try:
                    await made.start()
                    for deed, link, service, pause in long_script(seed, length):
                        await do(made, deed, link, service)
                        if deed in TROUBLE and made.random.random() < 0.3 and Service.SOLUTION in made.services:
                            made.start_second()
                        await asyncio.sleep(pause)
                    await end(made)
                finally:
                    await made.stop()

    in_virtual_time(scene())


@pytest.mark.parametrize("seed", [1])
def test_whichever_of_two_services_hears_each_promise_is_kept(seed: int) -> None:
    run("", seed, 60)


def test_whichever_of_two_services_on_one_postgresql_hears_each_promise_is_kept(postgres_url: str) -> None:
    run(postgres_url, 3, 40)
