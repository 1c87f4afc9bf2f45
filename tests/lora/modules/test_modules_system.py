"""A whole device whose only radio is a LoRaWAN module: records reach the service through the virtual network, once each."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from rataccess import registry
from rataccess.driver import Driver, DriverContext
from rataccess.objects import Service
from rataccess.services.airway import Airway
from rataccess.services.keyfile import read_entries, write_entries
from rataccess_drivers.lora.modules.driver import ModuleDriver, Rak3172Driver
from rataccess_drivers.lora.modules.options import ModuleOptions
from rataccess_hil.lora import ReceivedUplink
from tests.lora.modules.virtual import EUI, KEY, PORTS, World, world
from tests.system.system_world import SystemWorld
from tests.system.test_invariants import SHM, in_virtual_time

IDENTITY = f"{EUI:016x}"


class BenchDriver(Driver):
    """Makes drivers for the virtual module of this moment."""

    options_type = ModuleOptions
    bench: ClassVar[World]

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> ModuleDriver:
        port: Any = cls.bench.port
        return Rak3172Driver(options, context, open_line=port.open_line, gpio_opener=cls.bench.open_wire)


registry.DRIVERS["bench_rak3172"] = f"{__name__}:BenchDriver"


class ModuleWorld(SystemWorld):
    """`lora` is a RAK3172 on a virtual network, whose uplinks the services take by FPort and answer."""

    def __init__(self, folder: Path, bench: World) -> None:
        super().__init__(folder, {"lora": "order = 1"})
        self.bench = BenchDriver.bench = bench
        options = {
            "port": "pty:/dev/module",
            "region": "EU868",
            "data_rate": 5,
            "join_eui": f"{bench.known.join_eui:016X}",
            "power_switch": {"line": 5},
        }
        link = msgspec.structs.replace(
            self.configuration.links["lora"], driver="bench_rak3172", transport="lorawan", options=options
        )
        self.configuration = msgspec.structs.replace(self.configuration, links={"lora": link})
        for service in Service:
            path = folder / f"{service}.json"
            write_entries(
                path, [msgspec.structs.replace(e, identities={"deveui": IDENTITY}) for e in read_entries(path)]
            )
        (folder / "device/secrets.toml").write_text(f'[lora]\nappkey = "{KEY.hex()}"\n')
        (folder / "device/secrets.toml").chmod(0o600)
        bench.server.on_uplink = lambda device, uplink: self._heard(uplink)
        self.uplinks = 0

    def _heard(self, uplink: ReceivedUplink) -> None:
        port = uplink.port or 0
        service = PORTS.get(port)
        core = self.services.get(service) if service else None
        if core is None:
            return
        self.uplinks += 1
        airway = Airway("lora", "deveui", IDENTITY, link="lorawan", room=51, heard_at=self.clock.wall())
        for answer, _ in core.process([(uplink.data, airway)]):
            self.bench.known.send(answer, port=port)


def test_records_over_a_module_that_hangs_and_a_gateway_that_is_away() -> None:
    async def scene() -> None:
        async with world("rak3172") as bench:
            with tempfile.TemporaryDirectory(dir=SHM) as folder:
                made = ModuleWorld(Path(folder), bench)
                await made.start()
                try:
                    for number in range(30):
                        await made.enqueue({"n": number})
                        await asyncio.sleep(20)
                        if number == 12:
                            bench.module.hang()
                        bench.gateway.online = not 20 <= number < 24
                    async with asyncio.timeout(8 * 3600):
                        while made.delivered() != made.accepted:
                            await asyncio.sleep(10)
                finally:
                    await made.stop()
                assert made.delivered() == made.accepted
                assert len(made.accepted) == 30
                assert bench.module.boots == 1
                assert made.uplinks <= 40, made.uplinks
                made.check_nonces()

    in_virtual_time(scene())
