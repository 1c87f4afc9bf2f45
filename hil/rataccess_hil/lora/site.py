"""A LoRaWAN site: an ether, a virtual module on a port, and a gateway.

Rules of this file: putting together, opening and closing; what a module or a gateway does is theirs.  The port is a pseudo
terminal, so time is real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from rataccess_hil.lora.ether import Ether, Position
from rataccess_hil.lora.gateway import VirtualGateway
from rataccess_hil.lora.module import SerialModule
from rataccess_hil.lora.network_server import NetworkServer
from rataccess_hil.lora.rak3172 import VirtualRak3172
from rataccess_hil.lora.rn2483 import VirtualRn2483, VirtualRn2903
from rataccess_hil.lora.site_controls import SiteControls
from rataccess_hil.lora.wio_e5 import VirtualWioE5
from rataccess_hil.pty_radio import PtyRadio

MODULES: Mapping[str, type[SerialModule]] = {
    "rak3172": VirtualRak3172,
    "wio_e5": VirtualWioE5,
    "rn2483": VirtualRn2483,
    "rn2903": VirtualRn2903,
}
"""Every serial module by name."""


class LoraSite:
    """A module on a pseudo terminal in reach of a gateway.

    `server` is where the gateway sends its Semtech UDP; without one there is a network server of its own, which knows the
    module by `dev_eui` and `app_key`.
    """

    def __init__(
        self,
        *,
        model: str = "rak3172",
        server: tuple[str, int] | None = None,
        region: str = "EU868",
        dev_eui: int = 0x70B3D57ED0000001,
        app_key: bytes | None = None,
        gateway_eui: int = 0xAA555A0000000101,
        position: Position = (300.0, 0.0),
        link: Path | str | None = None,
        duty_cycle: bool = True,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.ether = Ether(seed)
        self.port = PtyRadio(link, seed=seed)
        more = {"dev_eui": dev_eui, "region": region, "position": position, "seed": seed, **(options or {})}
        self.module = MODULES[model](self.port, self.ether, **more)
        self.module.device.plan.duty_cycle = duty_cycle
        self.network = NetworkServer(region=region, seed=seed) if server is None else None
        if self.network is not None and app_key is not None:
            self.network.add_device(dev_eui, app_key)
        self.gateway = VirtualGateway(self.ether, server or self._own(), eui=gateway_eui, region=region, keepalive=5.0)
        self.controls = SiteControls(self)

    def _own(self) -> NetworkServer:
        assert self.network is not None
        return self.network

    @property
    def address(self) -> str:
        """The module's port."""
        return self.port.address

    async def open(self) -> None:
        """Plug in the module, switch on the gateway; raises `OSError` where its server's address makes no sense."""
        await self.port.open()
        try:
            await self.gateway.open()
        except BaseException:
            await self.port.aclose()
            raise

    async def aclose(self) -> None:
        """Take everything away; idempotent."""
        self.module.hang()
        await self.gateway.aclose()
        await self.port.aclose()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()
