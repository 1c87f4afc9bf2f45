"""The virtual RockBLOCK 9704 on a port, and what can be done to it.

Rules of this file: no JSPR; every public method of `ImtControls` takes and returns plain values, so that the same names
work through a control channel.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from rataccess_hil.hands import Hands
from rataccess_hil.lines import VirtualLine
from rataccess_hil.satellite.gateway import IridiumGateway
from rataccess_hil.satellite.imt_core import ImtModem
from rataccess_hil.satellite.imt_state import MO_STATUSES, MT_STATUSES, ImtBreak, ImtModel, ImtTimings
from rataccess_hil.satellite.on_port import OnPort
from rataccess_hil.satellite.port import RadioPort
from rataccess_hil.satellite.sky import Sky

USUAL_IMT_IMEI = "300258060000010"


class Virtual9704(OnPort):
    """A 9704 on a port (`MemoryPort` or `PtyRadio`), subscribed at a gateway.

    It is powered, started and `provisioned` from the beginning, and inactive, as after a start.  `supply` is its power
    (high is on), `controls` all else.
    """

    def __init__(
        self,
        port: RadioPort,
        gateway: IridiumGateway,
        *,
        imei: str = USUAL_IMT_IMEI,
        sky: Sky | None = None,
        model: ImtModel | None = None,
        timings: ImtTimings | None = None,
        running: bool = True,
        provisioned: bool = True,
        seed: int = 0,
    ) -> None:
        self.gateway, self.sky = gateway, sky or Sky()
        self.core = ImtModem(
            gateway,
            imei=imei,
            sky=self.sky,
            model=model or ImtModel(),
            timings=timings or ImtTimings(),
            provisioned=provisioned,
            seed=seed,
        )
        self.core.find(running)
        self.supply = VirtualLine(self._powered, running)
        self.controls = ImtControls(self)
        super().__init__(port, self.core)
        port.on_open = self.core.opened
        gateway.of(imei).ring = lambda: self.run(self.core.look)
        self.sky.listeners.append(lambda: self.when_running(self.core.look))

    @property
    def imei(self) -> str:
        """Under which the gateway knows it."""
        return self.core.imei

    def _powered(self, level: bool) -> None:
        self.run(lambda: self.core.power(level))

    def __repr__(self) -> str:
        core = self.core
        state = core.state if core.awake else "starting" if core.powered else "off"
        return f"<Virtual9704 {self.imei} {state}{' silent' if core.faults.silent else ''} {self.sky!r}>"


class ImtControls(Hands):
    """The hands on a virtual 9704."""

    def __init__(self, modem: Virtual9704) -> None:
        self._modem = modem

    def sky(self, bars: int | None = None, rain: int | None = None, obstruction: float | None = None) -> None:
        """Set the most bars (0 to 5), the bars that rain takes, the share of passes that is hidden (0 to 1)."""
        self._modem.pump()
        if bars is not None:
            self._modem.sky.set(bars)
        self._modem.sky.spoil(rain, obstruction)

    def status(self, status: str, count: int = 1) -> None:
        """Have the next `count` MO messages end with this final status (see `MO_STATUSES`), unknown to the gateway."""
        if status not in MO_STATUSES:
            raise ValueError(f"{status!r} is no final status; there are {', '.join(MO_STATUSES)}")
        self._modem.core.faults.statuses.extend([status] * count)

    def break_message(
        self, where: str = "after gateway", status: str = "message_transfer_timeout", count: int = 1
    ) -> None:
        """Have the next `count` MO messages break (see `ImtBreak`) and end with this status."""
        self._modem.core.faults.breaks.extend([(ImtBreak(where), status)] * count)

    def mt_status(self, status: str, count: int = 1) -> None:
        """Have the next `count` MT messages end with this final status (see `MT_STATUSES`)."""
        if status not in MT_STATUSES:
            raise ValueError(f"{status!r} is no final status; there are {', '.join(MT_STATUSES)}")
        self._modem.core.faults.mt_statuses.extend([status] * count)

    def garble_mt(self, count: int = 1) -> None:
        """Alter a byte of each of the next `count` MT messages, which the modem does not notice."""
        self._modem.core.faults.garble_mt = count

    def refuse(self, target: str, code: int, count: int = 1) -> None:
        """Answer the next `count` requests for a target with this code."""
        self._modem.core.faults.codes.setdefault(target, deque()).extend([code] * count)

    def junk(self, data: str) -> None:
        """Say these bytes (hex) before the next line."""
        self._modem.core.faults.junk = bytes.fromhex(data)

    def card(self, present: bool) -> None:
        """Whether a SIM is in."""
        self._modem.core.faults.card = present

    def hang(self) -> None:
        """Silent until its power is cut or its USB bound anew."""
        self._modem.core.faults.silent = True

    def replug(self) -> None:
        """Its USB is unbound and bound; the supply stays."""
        self._modem.core.faults.silent = False

    def power(self, on: bool) -> None:
        """Its supply."""
        self._modem.supply.write(on)

    def power_cut(self, seconds: float = 0.0) -> None:
        """Take its power, and give it back after `seconds`; `bootInfo` follows."""
        core = self._modem.core

        def cut() -> None:
            core.power(False)
            core.schedule.after(seconds, lambda: core.power(True), hardware=True)

        self._modem.run(cut)

    def stats(self) -> dict[str, Any]:
        """Everything that can be counted."""
        core = self._modem.core
        counts = core.counts
        return {
            "imei": core.imei,
            "powered": core.powered,
            "state": core.state,
            "silent": core.faults.silent,
            "provisioned": core.provisioned,
            "bars": core.bars(),
            "boots": counts.boots,
            "requests": counts.requests,
            "refused": counts.refused,
            "acknowledged": counts.mo,
            "brought": counts.mt,
            **self._modem.gateway.stats().get(core.imei, {}),
        }
