"""How the virtual modem finds its network, and tells of it.

Rules of this file: registration only.  States and report shapes follow 3GPP TS 27.007 sections 7.2, 10.1.20 and 10.1.22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rataccess_hil.modem.schedule import Timer
from rataccess_hil.modem.state import REGISTERED, Hang, Stat

if TYPE_CHECKING:
    from rataccess_hil.modem.core import Modem

COMMANDS = ("+CREG", "+CGREG", "+CEREG")


class Registration:
    """The state of registration, and what drives it."""

    def __init__(self, modem: Modem) -> None:
        self._modem = modem
        self.stat = Stat.IDLE
        self.deregistered = False
        """COPS=2."""
        self.manual: str | None = None
        """The operator that COPS=1 asked for, as a number."""
        self.time_known_since: float | None = None
        self._search: Timer | None = None

    def reset(self) -> None:
        """Radio off: nothing is known any more."""
        self._stop_search()
        self.stat = Stat.IDLE
        self.deregistered = False
        self.manual = None
        self.time_known_since = None

    @property
    def registered(self) -> bool:
        """Whether data may flow."""
        return self.stat in REGISTERED

    @property
    def wanted(self) -> Stat:
        """Where a search would end now."""
        air = self._modem.air
        if not air.coverage:
            return Stat.SEARCHING
        if air.denied is not None or self.manual not in (None, air.mcc + air.mnc):
            return Stat.DENIED
        return Stat.ROAMING if air.roaming else Stat.HOME

    @property
    def may_search(self) -> bool:
        """Whether the radio is on, and there is a SIM that may be used."""
        modem = self._modem
        usable = modem.sim_ready and modem.sim.present and modem.sim.state() == "READY"
        hung = modem.faults.hang is Hang.RADIO
        return modem.alive and modem.function == 1 and usable and not hung and not self.deregistered

    def settle(self) -> None:
        """Be where a search would end, at once and without a word."""
        self.stat = self.wanted if self.may_search else Stat.IDLE
        if self.registered:
            self._learn_time()

    def evaluate(self) -> None:
        """Something has changed: coverage, the SIM, the radio, the network's mind."""
        if not self._modem.alive:
            return
        if not self.may_search:
            self._stop_search()
            self._become(Stat.IDLE)
        elif self.wanted is Stat.SEARCHING:
            self._stop_search()
            self._become(Stat.SEARCHING)
        elif self.wanted is not self.stat and self._search is None:
            self._become(Stat.SEARCHING)
            self._search = self._modem.schedule.after(self._modem.timings.register, self._found)

    def _found(self) -> None:
        self._search = None
        if self.may_search:
            self._become(self.wanted)

    def _stop_search(self) -> None:
        if self._search is not None:
            self._search.cancel()
            self._search = None

    def _become(self, stat: Stat) -> None:
        if stat is self.stat:
            return
        was, self.stat = self.registered, stat
        for command in COMMANDS:
            if self._modem.settings.registration[command]:
                self._modem.urc(self.report(command, solicited=False))
        if self.registered and not was:
            self._attached()
        elif was and not self.registered:
            self._modem.data.lost_coverage()

    def _attached(self) -> None:
        modem = self._modem
        self._learn_time()
        modem.data.found_coverage()
        if modem.settings.event_reports:
            modem.urc("+CGEV: ME PDN ACT 1")
        if modem.settings.zone_reports and modem.air.tells_time:
            modem.urc(f'+CTZV: "{modem.air.zone:+03d}"')

    def _learn_time(self) -> None:
        if self._modem.air.tells_time and self.time_known_since is None:
            self.time_known_since = self._modem.schedule.now

    def report(self, command: str, *, solicited: bool) -> str:
        """`+CEREG: ...` as a URC or as the answer to the read command."""
        modem = self._modem
        kind = modem.settings.registration[command]
        fields = [str(kind)] if solicited else []
        fields.append(str(int(self.stat)))
        place: list[str] = []
        if kind >= 2 and self.registered:
            cell = modem.air.cell
            place = [f'"{cell.area:X}"', f'"{cell.identity:X}"', str(modem.personality.access_technology)]
        cause: list[str] = []
        if kind in (3, 5) and self.stat is Stat.DENIED:
            cause = ["0", str(modem.air.denied if modem.air.denied is not None else 11)]
        saving: list[str] = []
        if kind in (4, 5) and self.registered and modem.kept.psm:
            saving = [f'"{modem.kept.active_time}"', f'"{modem.kept.periodic_tau}"']
        if cause or saving:
            place = place or ["", "", ""]
        if saving:
            cause = cause or ["", ""]
        return f"{command}: {','.join([*fields, *place, *cause, *saving])}"
