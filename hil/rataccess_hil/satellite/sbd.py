"""The virtual 9602/9603 on a port, and what can be done to it.

Rules of this file: where the interpreter meets the event loop; no task, no thread.  Every public method of `SbdControls`
takes and returns plain values, so that the same names work through a control channel.
"""

from __future__ import annotations

import asyncio
from typing import Any

from rataccess_hil.hands import Hands
from rataccess_hil.lines import VirtualLine
from rataccess_hil.satellite.gateway import IridiumGateway
from rataccess_hil.satellite.on_port import OnPort
from rataccess_hil.satellite.port import RadioPort
from rataccess_hil.satellite.sbd_commands import COMMANDS
from rataccess_hil.satellite.sbd_core import SbdModem
from rataccess_hil.satellite.sbd_state import USUAL_STATUS, Break, Hang, Model, Step, Timings
from rataccess_hil.satellite.sky import Sky

USUAL_IMEI = "300234010753370"


class Virtual9603(OnPort):
    """A modem on a port (`MemoryPort` or `PtyRadio`), subscribed at a gateway.

    It is powered, started and in the network from the beginning where the sky allows.  Nothing is opened; `aclose` (or
    leaving the context) takes it off the loop.  `supply` is its ON/OFF pin (high is on), `core.ring_pin` its RI, `controls`
    all else.
    """

    def __init__(
        self,
        port: RadioPort,
        gateway: IridiumGateway,
        *,
        imei: str = USUAL_IMEI,
        sky: Sky | None = None,
        model: Model | None = None,
        timings: Timings | None = None,
        running: bool = True,
        seed: int = 0,
    ) -> None:
        self.gateway, self.sky = gateway, sky or Sky()
        self.core = SbdModem(
            gateway,
            COMMANDS,
            imei=imei,
            sky=self.sky,
            model=model or Model(),
            timings=timings or Timings(),
            seed=seed,
        )
        gateway.of(imei).ring = lambda: self.run(self.core.rung)
        self.core.find(running)
        self.supply = VirtualLine(self._powered, running)
        self.controls = SbdControls(self)
        super().__init__(port, self.core)
        self.sky.listeners.append(lambda: self.when_running(self.core.sky_changed))

    @property
    def imei(self) -> str:
        """Under which the gateway knows it."""
        return self.core.imei

    def _powered(self, level: bool) -> None:
        self.run(lambda: self.core.power(level))

    def __repr__(self) -> str:
        state = "awake" if self.core.awake else "starting" if self.core.powered else "off"
        return f"<Virtual9603 {self.imei} {state} momsn={self.core.momsn} {self.sky!r}>"


class SbdControls(Hands):
    """The hands on a virtual SBD modem."""

    def __init__(self, modem: Virtual9603) -> None:
        self._modem = modem

    # --- the air ------------------------------------------------------------------------------------------------------

    def sky(self, bars: int | None = None, rain: int | None = None, obstruction: float | None = None) -> None:
        """Set the most bars (0 to 5), the bars that rain takes, the share of passes that is hidden (0 to 1)."""
        self._modem.pump()
        if bars is not None:
            self._modem.sky.set(bars)
        self._modem.sky.spoil(rain, obstruction)

    def break_session(self, step: str = "after mo", status: int | None = None, count: int = 1) -> None:
        """Have the next `count` sessions break at a `Step` and end with this MO status (its usual one by default)."""
        where = Step(step)
        planned = Break(where, USUAL_STATUS[where] if status is None else status)
        self._modem.core.faults.breaks.extend([planned] * count)

    def status(self, status: int, count: int = 1) -> None:
        """Have the next `count` sessions end with this MO status; above 4, nothing is carried."""
        if not 0 < status <= 65:
            raise ValueError(f"an MO status to be forced is 1 to 65, not {status}")
        self._modem.core.faults.statuses.extend([status] * count)

    def traffic(self, seconds: float) -> None:
        """Traffic management for so long: status 38 and +SBDLOE."""
        self._modem.core.faults.traffic_until = asyncio.get_running_loop().time() + seconds

    def ring(self) -> None:
        """The constellation calls, whatever waits."""
        self._modem.run(self._modem.core.rung)

    # --- the hardware -------------------------------------------------------------------------------------------------

    def hang(self, how: str = "uart") -> None:
        """Stop working: see `Hang`."""
        self._modem.core.hang(Hang(how))

    def mend(self) -> None:
        """End every fault that does not need a power cut."""
        faults = self._modem.core.faults
        faults.breaks.clear()
        faults.statuses.clear()
        faults.locked = faults.antenna = faults.disabled = faults.busy = False
        faults.traffic_until = faults.stall_signal = 0.0

    def lock(self, on: bool = True) -> None:
        """AT+CULK says locked; status 16."""
        self._modem.core.faults.locked = on

    def antenna_fault(self, on: bool = True) -> None:
        """Status 33."""
        self._modem.core.faults.antenna = on

    def disable(self, on: bool = True) -> None:
        """SBD is off for now: status 37."""
        self._modem.core.faults.disabled = on

    def busy(self, on: bool = True) -> None:
        """Status 35."""
        self._modem.core.faults.busy = on

    def stall_signal(self, seconds: float) -> None:
        """Have AT+CSQ take so much longer."""
        self._modem.core.faults.stall_signal = seconds

    def power(self, on: bool) -> None:
        """Its ON/OFF pin."""
        self._modem.supply.write(on)

    def power_cut(self, seconds: float = 0.0) -> None:
        """Take its power, and give it back after `seconds`: buffers are gone, MOMSN is not."""
        core = self._modem.core

        def cut() -> None:
            core.power(False)
            core.schedule.after(seconds, lambda: core.power(True), hardware=True)

        self._modem.run(cut)

    def brown_out(self) -> None:
        """The supply collapses for a moment."""
        self._modem.run(self._modem.core.brown_out)

    def discharge(self, seconds: float) -> None:
        """The supercap is empty for so long: a session before it is full browns the modem out."""
        self._modem.core.charged_at = asyncio.get_running_loop().time() + seconds

    # --- looking ------------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Everything that can be counted."""
        core = self._modem.core
        counts = core.counts
        return {
            "imei": core.imei,
            "powered": core.powered,
            "hang": str(core.faults.hang or ""),
            "bars": core.bars(),
            "momsn": core.momsn,
            "registered": core.registered,
            "boots": counts.boots,
            "brown_outs": counts.brown_outs,
            "sessions": counts.sessions,
            "succeeded": counts.succeeded,
            "aborted": counts.aborted,
            "rings_heard": counts.rings_heard,
            "rings_missed": counts.rings_missed,
            "statuses": {str(status): count for status, count in sorted(counts.statuses.items())},
            **self._modem.gateway.stats().get(core.imei, {}),
        }
