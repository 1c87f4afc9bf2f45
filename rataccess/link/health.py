"""Asking the radio how it is, on time and in doubt.

Rules of this file: it asks and counts doubts; what follows from an answer is decided elsewhere.  It spends no network
bytes: `Driver.status` is between us and the radio.
"""

from __future__ import annotations

import logging

from rataccess.clock import Clock
from rataccess.driver import Evidence, RadioStatus
from rataccess.errors import PermanentError, PortLost, RadioNotFound, RadioSilent, RataccessError
from rataccess.link.remedy import Unproved
from rataccess.link.session import DriverDefect, Session
from rataccess.link.timing import LinkTiming

log = logging.getLogger("rataccess.link")

_FRESH = 1.0
"""A status this young (s) answers a doubt: many requests may go unanswered at once, the radio is asked once."""


class Health:
    """The doubts about one link, and what its radio said last."""

    def __init__(self, name: str, session: Session, clock: Clock, timing: LinkTiming) -> None:
        self._name = name
        self._session = session
        self._clock = clock
        self._timing = timing
        self._asked_at: float | None = None
        self._doubted_since = 0.0
        self.status: RadioStatus | None = None
        """The last answer or announcement."""
        self.doubts = 0
        """Since the last proof or start."""
        self.urgent = False
        """A doubt waits for its answer."""

    def doubt(self) -> None:
        """Requests went unanswered."""
        if not self.doubts:
            self._doubted_since = self._clock.monotonic()
        self.doubts += 1
        self.urgent = True

    def clear(self) -> None:
        """No doubts: proved, or started anew."""
        self.doubts = 0
        self.urgent = False

    async def check(self, patience: float) -> RadioStatus | None:
        """Ask the radio, quickly where it is doubted; `None` where it answers nonsense.

        Raises what `ask` raises, and `Unproved` when doubts have lasted `patience` seconds though the radio says all is
        well.
        """
        urgent, self.urgent = self.urgent, False
        status = self.status
        if not urgent or self._asked_at is None or self._clock.monotonic() - self._asked_at >= _FRESH:
            status = await self.ask(self._timing.doubt_limit if urgent else self._timing.watch_limit, certain=urgent)
        lasted = self._clock.monotonic() - self._doubted_since
        attached = status is None or status.evidence >= Evidence.BEARER
        if urgent and attached and self.doubts >= self._timing.doubts and lasted >= patience:
            raise Unproved(f"{self.doubts} doubts in {lasted:.0f} s while the radio says all is well")
        return status

    async def ask(self, limit: float, *, certain: bool) -> RadioStatus | None:
        """The radio's status within `limit` seconds, or `None` where it answers nonsense.

        Raises `RadioSilent`, `PortLost`, `RadioNotFound` and permanent errors.  `certain`: there is other evidence of
        trouble, so that silence counts at once (else it is asked twice: one lost answer is no reason to take a working
        link down) and so does a defect of the driver.
        """
        try:
            status = await self._asked(limit, certain)
        except (RadioSilent, PortLost, RadioNotFound, PermanentError):
            raise
        except RataccessError as error:
            if certain and isinstance(error, DriverDefect):
                raise
            log.info("link %s: no status: %s", self._name, error)
            return None
        self.status = status
        self._asked_at = self._clock.monotonic()
        return status

    async def _asked(self, limit: float, certain: bool) -> RadioStatus:
        try:
            return await self._session.status(limit)
        except RadioSilent:
            if certain:
                raise
        return await self._session.status(self._timing.doubt_limit)
