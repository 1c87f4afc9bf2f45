"""A satellite site: a modem on a pseudo terminal, its gateway, and the ways between the gateway and the services.

Rules of this file: assembly and a clean end; what each part does is in its own file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rataccess_hil.hands import Hands
from rataccess_hil.lines import LineFiles
from rataccess_hil.part import Part
from rataccess_hil.pty_radio import PtyRadio
from rataccess_hil.satellite.delivery import Delivery
from rataccess_hil.satellite.directip import Disposition, Location, MtMessage
from rataccess_hil.satellite.directip_link import Address, MoSender, MtListener
from rataccess_hil.satellite.gateway import IridiumGateway
from rataccess_hil.satellite.http import HttpServer
from rataccess_hil.satellite.imt import USUAL_IMT_IMEI, Virtual9704
from rataccess_hil.satellite.imt_state import ImtTimings
from rataccess_hil.satellite.sbd import USUAL_IMEI, Virtual9603
from rataccess_hil.satellite.sbd_state import Timings
from rataccess_hil.satellite.sky import Sky
from rataccess_hil.satellite.web_mt import WebMt
from rataccess_hil.satellite.webhook import Body, HookPoster, lingo, rockblock_form, rockblock_json

HOOKS: dict[str, Callable[..., Body]] = {"form": rockblock_form, "json": rockblock_json, "lingo": lingo}
"""Forms of a web hook's body: RockBLOCK as a form or JSON, Cloudloop."""


class SatelliteSite(Part):
    """A 9603 or 9704 on a pseudo terminal at `link`, and an Iridium gateway.

    `servers` get every SBD message by DirectIP (with `confirmed`, they have to confirm it), `hooks` every message as a web
    post of a `HOOKS` form.  MT messages are taken by DirectIP at `listen`, and over HTTP at `web` where that is given.
    `session_seconds` makes everything over the air take about so long.  `lines` is a folder for the named pipe `supply`,
    the modem's ON/OFF pin.
    """

    def __init__(
        self,
        *,
        model: str = "9603",
        imei: str | None = None,
        servers: Sequence[Address] = (),
        confirmed: bool = False,
        hooks: Sequence[tuple[str, str]] = (),
        listen: Address = ("127.0.0.1", 0),
        web: Address | None = None,
        session_seconds: float | None = None,
        sky: Sky | None = None,
        link: Path | str | None = None,
        lines: Path | str | None = None,
        seed: int = 0,
    ) -> None:
        self.gateway = IridiumGateway()
        self.port = PtyRadio(link, seed=seed)
        self.modem = self._modem(model, imei, sky or Sky(), session_seconds, seed)
        self.senders = [MoSender(self.gateway, server, confirmed=confirmed) for server in servers]
        self.posters = [HookPoster(self.gateway, url, form=HOOKS[form]) for form, url in hooks]
        self.listener = MtListener(self.gateway, *listen)
        self.web = WebMt(self.gateway)
        self.web_server = HttpServer(self.web.handle, *web) if web is not None else None
        self.controls = SiteControls(self)
        self._lines = LineFiles(lines, {"supply": self.modem.supply}) if lines is not None else None
        self._open: contextlib.AsyncExitStack | None = None

    def _modem(
        self, model: str, imei: str | None, sky: Sky, seconds: float | None, seed: int
    ) -> Virtual9603 | Virtual9704:
        if model == "9603":
            timings = Timings() if seconds is None else Timings().with_sessions(seconds)
            known = imei or USUAL_IMEI
            return Virtual9603(self.port, self.gateway, imei=known, sky=sky, timings=timings, seed=seed)
        if model != "9704":
            raise ValueError(f"there is no model {model!r}; there are 9603 and 9704")
        quick = ImtTimings() if seconds is None else ImtTimings().quick(seconds)
        known = imei or USUAL_IMT_IMEI
        return Virtual9704(self.port, self.gateway, imei=known, sky=sky, timings=quick, seed=seed)

    async def open(self) -> None:
        """Make the port, listen, deliver."""
        async with contextlib.AsyncExitStack() as stack:
            parts = (self.port, self.modem, *self.senders, *self.posters, self.listener, self._lines, self.web_server)
            for part in parts:
                if part is not None:
                    stack.push_async_callback(part.aclose)
                    await part.open()
            self._open = stack.pop_all()

    async def aclose(self) -> None:
        """End it all; idempotent."""
        if self._open is not None:
            stack, self._open = self._open, None
            await stack.aclose()

    @property
    def address(self) -> str:
        """The port's address for a configuration: `pty:/path`."""
        return self.port.address

    def told(self) -> dict[str, Any]:
        """What a process says of itself once it can be used."""
        found = {"address": self.address, "imei": self.modem.imei, "mt": list(self.listener.address)}
        return found if self.web_server is None else {**found, "web": list(self.web_server.address)}

    def __repr__(self) -> str:
        return f"<SatelliteSite {self.modem!r} {self.gateway!r}>"


class SiteControls(Hands):
    """The hands on a site: those of its modem by their own names, and these."""

    def __init__(self, site: SatelliteSite) -> None:
        self._site = site

    def do(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        """Call a control of the site or of its modem, or `names`; raises `ValueError` for one that does not exist."""
        modem = self._site.modem.controls
        own = self.names()
        if name == "names":
            return own + modem.names()
        if name not in own and name not in modem.names():
            raise ValueError(f"there is no control {name!r}; there are {', '.join(own + modem.names())}")
        return super().do(name, arguments) if name in own else modem.do(name, arguments)

    def send(self, data: str, flush: bool = False, high: bool = False) -> int:
        """Submit an MT message (hex) for the modem; returns its status as DirectIP has it."""
        flags = (Disposition.FLUSH if flush else 0) | (Disposition.HIGH_PRIORITY if high else 0)
        return self._site.gateway.submit(MtMessage(self._site.modem.imei, bytes.fromhex(data), 0, flags)).status

    def location(self, latitude: float, longitude: float, cep_km: int = 3) -> None:
        """Where the network believes the modem to be, as it tells with each MO message."""
        self._site.gateway.of(self._site.modem.imei).location = Location(latitude, longitude, cep_km)

    def refuse_mt(self, status: int, count: int = 1) -> None:
        """Refuse the next `count` MT messages with this status (see `MtStatus`)."""
        self._site.gateway.refuse_next.extend([status] * count)

    def line(self, name: str, level: bool) -> None:
        """Drive `supply`, the ON/OFF pin."""
        if name != "supply":
            raise ValueError(f"{name!r} is no line; there is supply")
        self._site.modem.supply.write(level)

    def disconnect(self) -> None:
        """Unplug the port."""
        self._site.port.disconnect()

    def connect(self) -> None:
        """Plug it in again."""
        self._site.port.connect()

    def messages(self) -> list[str]:
        """The payloads (hex) of every MO message that the gateway took from the modem."""
        return [(each.payload or b"").hex() for each in self._site.gateway.of(self._site.modem.imei).mo]

    def stats(self) -> dict[str, Any]:
        """Everything that can be counted: the modem's, its credits, and what was delivered."""
        site = self._site
        ways: list[Delivery] = [*site.senders, *site.posters]
        return {
            **site.modem.controls.stats(),
            "delivered": sum(each.delivered for each in ways),
            "undelivered": sum(len(each.waiting) for each in ways),
            "failed_tries": sum(each.failed_tries for each in ways),
            "mt_taken": site.listener.taken,
            "mt_malformed": site.listener.malformed,
            "port": {"address": site.address, "in_use": site.port.in_use, "opened_times": site.port.opened_times},
        }

    def journal(self, last: int = 1000) -> list[dict[str, object]]:
        """The last entries of the port's journal."""
        return self._site.port.journal.dump()[-last:]
