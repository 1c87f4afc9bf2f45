"""How much one device may take of a service.

Rules of this file: pure; times are given, in seconds of the monotonic clock.
"""

from __future__ import annotations

BURST = 5.0
"""Seconds of a rate that may come at once: what has waited comes in bursts."""


class Allowance:
    """Messages and bytes a second, each as a bucket that fills steadily and that a large message may overdraw.

    A rate of 0 is no limit.  Only what has proved genuine is charged: nobody can use up what belongs to another.
    """

    __slots__ = ("_at", "_bytes", "_messages", "byte_rate", "message_rate")

    def __init__(self, message_rate: float, byte_rate: float) -> None:
        self.message_rate, self.byte_rate = message_rate, byte_rate
        self._messages, self._bytes = message_rate * BURST, byte_rate * BURST
        self._at: float | None = None

    def __repr__(self) -> str:
        return f"<Allowance {self._messages:.0f} messages, {self._bytes:.0f} bytes>"

    def open(self, now: float) -> bool:
        """Whether another message may be taken."""
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._messages = min(self.message_rate * BURST, self._messages + passed * self.message_rate)
        self._bytes = min(self.byte_rate * BURST, self._bytes + passed * self.byte_rate)
        return not (self.message_rate and self._messages < 1) and not (self.byte_rate and self._bytes <= 0)

    def charge(self, messages: int, size: int) -> None:
        """So much was taken."""
        self._messages -= messages
        self._bytes -= size
