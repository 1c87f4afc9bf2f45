"""What is known of the modem between its answers and its URCs, and how far up the evidence ladder that is.

Rules of this file: values and what is derived from them; no I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rataccess.driver import Evidence, RadioStatus
from rataccess_drivers.at.registration import Registration, RegistrationState
from rataccess_drivers.cellular.causes import reject_cause

_WORDS = {
    RegistrationState.IDLE: "not registered and not searching",
    RegistrationState.SEARCHING: "searching for a network",
    RegistrationState.DENIED: "registration denied",
    RegistrationState.UNKNOWN: "out of coverage",
    RegistrationState.HOME_SMS_ONLY: "registered for SMS only",
    RegistrationState.ROAMING_SMS_ONLY: "registered for SMS only",
    RegistrationState.EMERGENCY_ONLY: "registered for emergency calls only",
}


@dataclass(slots=True)
class Standing:
    """The latest knowledge; `evidence` and `detail` follow from it."""

    port: bool = False
    answers: bool = False
    sim: str = ""
    """The word of `AT+CPIN?`; empty while unknown."""
    registrations: dict[str, Registration] = field(default_factory=dict)
    """The last report of each domain (`CEREG` ...)."""
    context_active: bool = False
    why_no_context: str = ""
    rat: str | None = None
    operator: str | None = None
    signal_dbm: float | None = None
    signal_quality_db: float | None = None
    trouble: str = ""
    """What stands in the way beyond the rest: a restart, a power-down."""

    def forget_network(self) -> None:
        """The radio was off or the modem restarted: nothing of the network holds any more."""
        self.registrations.clear()
        self.context_active = False
        self.rat = self.operator = None
        self.signal_dbm = self.signal_quality_db = None

    @property
    def current(self) -> Registration | None:
        """The registration that carries data, or else the one that says most about why there is none."""
        reports = tuple(self.registrations.values())
        order = (
            lambda report: report.registered,
            lambda report: report.denied,
            lambda report: report.state is RegistrationState.SEARCHING,
        )
        for wanted in order:
            for report in reports:
                if wanted(report):
                    return report
        return reports[0] if reports else None

    @property
    def registered(self) -> bool:
        """Whether any domain can carry data."""
        return any(report.registered for report in self.registrations.values())

    @property
    def denied(self) -> Registration | None:
        """The report of a refusal, where no domain is registered and none still searches."""
        reports = tuple(self.registrations.values())
        if any(report.registered or report.state is RegistrationState.SEARCHING for report in reports):
            return None
        return next((report for report in reports if report.denied), None)

    @property
    def evidence(self) -> Evidence:
        """How far it has got."""
        if not self.port:
            return Evidence.NONE
        if not self.answers:
            return Evidence.PORT
        if self.sim != "READY":
            return Evidence.RADIO
        if not self.registered:
            return Evidence.SIM
        return Evidence.BEARER if self.context_active else Evidence.REGISTERED

    @property
    def detail(self) -> str:
        """One line for people."""
        if self.trouble:
            return self.trouble
        match self.evidence:
            case Evidence.NONE:
                return "the port is closed"
            case Evidence.PORT:
                return "the modem does not answer"
            case Evidence.RADIO:
                return f"SIM: {self.sim}" if self.sim else "the modem answers"
            case Evidence.SIM:
                return self.registration_words
            case Evidence.REGISTERED:
                return f"registered without data: {self.why_no_context or 'the PDP context is not active'}"
        where = f" in {self.operator}" if self.operator else ""
        return f"{self.rat or 'data'}{where}"

    @property
    def registration_words(self) -> str:
        """Why there is no registration."""
        report = self.current
        if report is None:
            return "not registered"
        if report.denied:
            return f"registration denied: {reject_cause(report.cause).meaning}"
        return _WORDS.get(report.state, f"registration state {report.stat}")

    def status(self) -> RadioStatus:
        """As the driver's answer."""
        return RadioStatus(
            self.evidence,
            self.detail,
            rat=self.rat,
            operator=self.operator,
            signal_dbm=self.signal_dbm,
            signal_quality_db=self.signal_quality_db,
        )
