"""Whether a LoRaWAN network may have lost a device's session: then it hears nothing and says nothing.

Rules of this file: counting only.
"""

from __future__ import annotations

from rataccess_drivers.lora.mac.session import Session

UNHEARD = 192
"""Uplinks without any downlink, with ADR, before the session is doubted: the back-off has had all its steps by then."""


class Doubt:
    """Of one device.  `limit`: see `LoRaWanChipOptions.unacknowledged_limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._unacknowledged = 0
        self._silences = 0
        """How many times `UNHEARD` uplinks have brought nothing since the last downlink."""

    def begin(self, session: Session | None) -> None:
        """With a session that was kept: what it was doubted for before is not told again."""
        self._unacknowledged, self._silences = 0, _silences(session)

    def after(self, session: Session | None, *, unacknowledged: bool) -> bool:
        """Whether the session is to be doubted after this uplink; told once, and again after as long a silence."""
        self._unacknowledged = self._unacknowledged + 1 if unacknowledged else 0
        before, self._silences = self._silences, _silences(session)
        lost = 0 < self._limit <= self._unacknowledged or self._silences > before
        if lost:
            self._unacknowledged = 0
        return lost and session is not None


def _silences(session: Session | None) -> int:
    return 0 if session is None else session.adr_ack_cnt // UNHEARD
