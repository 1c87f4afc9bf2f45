"""What an exchange tells the floor above.

Rules of this file: an interface only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rataccess.store import Inbound


class Observer(Protocol):
    """What an exchange tells the floor above."""

    def records_sent(self, numbers: Sequence[int]) -> None:
        """They left the device for the first time or again."""

    def records_delivered(self, numbers: Sequence[int]) -> None:
        """The service has them; the store is about to write that down."""

    def records_handed_over(self, numbers: Sequence[int]) -> None:
        """The operator has them, whole."""

    def objects_arrived(self, objects: Sequence[Inbound]) -> None:
        """They are in the inbox."""

    def time_told(self, wall: float) -> None:
        """The service says that it is `wall` (seconds since 1970) now."""

    def packet_arrived(self, data: bytes) -> None:
        """An application packet, which nobody keeps or repeats."""

    def definitions_wanted(self, asked: Sequence[int]) -> None:
        """The service asks to be told these again: schemas by id, names of queues as -1 - id."""
