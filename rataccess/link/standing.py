"""How a link stands, and telling so: evidence, readiness, hints.

Rules of this file: values and callbacks, no task, no driver, no transport.  A listener is told after the values have
changed and before anything else happens; what it raises is logged and goes no further.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from rataccess.clock import Clock
from rataccess.driver import Bearer, Evidence
from rataccess.errors import ServiceRefused
from rataccess.link.listener import LinkChange, LinkListener
from rataccess.link.states import LinkState
from rataccess.objects import Service
from rataccess.tariff import Unit
from rataccess.transport import Hints, Packet

if TYPE_CHECKING:
    from rataccess.config.model import LinkSettings

log = logging.getLogger("rataccess.link")
NOT_STARTED = "not started"


class Standing:
    """The visible side of a `Link`."""

    def __init__(
        self, name: str, settings: LinkSettings, listener: LinkListener, clock: Clock, unit: Unit = Unit.BYTE
    ) -> None:
        self.name = name
        self.settings = settings
        self.unit = unit
        """What its network counts."""
        self.evidence: Evidence = Evidence.NONE
        self.state: LinkState = LinkState.IDLE
        self.detail = NOT_STARTED
        self.hints: Hints | None = None
        """What the transport can do now; while down, what it could do last; `None` before the first time."""
        self.bearer: Bearer | None = None
        self.ready = False
        """Whether packets may be sent."""
        self.faulty = False
        """Past the last rung of the ladder or permanently wrong, and not attached since."""
        self.changed_at = 0.0
        """Monotonic time of the last change that was told to the listener."""
        self._listener = listener
        self._clock = clock
        self._held = not settings.hot

    def __repr__(self) -> str:
        flags = "".join(f" {word}" for word, on in (("held", self._held), ("faulty", self.faulty)) if on)
        return f"<Link {self.name} {self.evidence.name} {self.state}{flags}: {self.detail}>"

    @property
    def held(self) -> bool:
        """Whether the link is told to stay down."""
        return self._held

    def _set(self, evidence: Evidence, cause: str, *, ready: bool | None = None, faulty: bool | None = None) -> None:
        """Take over what is new, then tell the listener where it matters to it."""
        before = (self.evidence, self.ready, self.faulty)
        self.evidence, self.detail = evidence, cause
        self.ready = self.ready if ready is None else ready
        self.faulty = self.faulty if faulty is None else faulty
        if before != (self.evidence, self.ready, self.faulty):
            self.changed_at = self._clock.monotonic()
            self._tell(self._listener.link_changed, LinkChange(before[0], evidence, cause, self.changed_at))

    def _hinted(self, hints: Hints) -> None:
        """The configuration knows the price better than the transport does."""
        budget = self.settings.budget
        merged = replace(
            hints,
            cost_per_byte=self.settings.cost_per_byte or hints.cost_per_byte,
            cost_per_unit=self.settings.cost_per_unit or hints.cost_per_unit,
            billing_quantum=max(hints.billing_quantum, budget.billing_quantum if budget else 1),
        )
        if merged != self.hints:
            self.hints = merged
            self._tell(self._listener.hints_changed)

    def _received(self, packet: Packet) -> None:
        self._tell(self._listener.packet_received, packet)

    def _charged(self, units: int) -> None:
        self._tell(self._listener.charged, units)

    def _refused(self, refused: ServiceRefused) -> None:
        try:
            service = Service(refused.service)
        except ValueError:
            log.warning("link %s: a service of the name %r refused", self.name, refused.service)
            return
        self._tell(self._listener.service_refused, service)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(self, *arguments)
        except Exception:
            log.exception("link %s: the listener failed", self.name)
