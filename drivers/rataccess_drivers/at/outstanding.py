"""What may still come after a command has expired, and how to get the line back into step.

Rules of this file: counting only; no bytes are read here and no line is classified.

A modem answers in the order in which it was asked.  So the late result of the expired command comes first, if it comes at
all, and then one result for each probe.
"""

from __future__ import annotations

from rataccess_drivers.at.commands import Command
from rataccess_drivers.at.events import Answered
from rataccess_drivers.at.plan import own_heads
from rataccess_drivers.at.results import Final

_ESC = b"\x1b"
_PROBE = b"AT\r"


class Outstanding:
    """The replies that nobody waits for any more."""

    def __init__(self) -> None:
        self.expired: Command | None = None
        """The command of which a reply may still come."""
        self._heads: tuple[str, ...] = ()
        self._due = False
        """Whether its result is what comes next, if it comes."""
        self._reply_begun = False
        self.probes = 0
        """Probes of this resynchronisation."""
        self._unanswered = 0

    def expire(self, command: Command) -> None:
        """A reply to `command` is of no more use."""
        self.expired = command
        self._heads = command.prefixes or own_heads(command.text)
        self._due = True
        self._reply_begun = False
        self.begin()

    def begin(self) -> None:
        """A resynchronisation begins."""
        self.probes = self._unanswered = 0

    def probe(self) -> bytes:
        """The bytes of one more probe.

        Where a modem may still wait for a payload, it follows an ESC, which ends a prompt.  From the third probe on there
        are as many ESC as that payload had bytes: a modem that counts takes them for it (Quectel `AT+QISEND=id,n`).
        """
        self.probes += 1
        self._unanswered += 1
        stuck = len(self.expired.payload or b"") if self.expired else 0
        if self.probes == 1:
            return _ESC + b"\r" + _PROBE if stuck else _PROBE
        return _ESC * (max(stuck, 1) if self.probes > 2 else 1) + b"\r" + _PROBE

    def count(self, final: Final) -> Answered | None:
        """Whose result this is: the expired command's or a probe's; an event where a probe may have been answered."""
        is_ok = final.line == "OK"
        if self._due:
            # an OK that ends no such command may be intermediate, or a probe's after all
            self._due = is_ok and self.expired is not None and "OK" not in self.expired.success
            return Answered(sure=False) if is_ok else None
        self._unanswered = max(self._unanswered - 1, 0)
        return Answered(sure=self._unanswered == 0) if is_ok else None

    def settle(self) -> None:
        """No more is waited for; where results are missing, the expired command's may be among them."""
        if not self._due and not self._unanswered:
            self.expired = None

    # --- after that -------------------------------------------------------------------------------------------------

    def is_late(self, line: str) -> bool:
        """Whether a line that belongs to nothing else is an info line of the expired command."""
        return self.expired is not None and line.startswith(self._heads)

    def begin_reply(self) -> None:
        """Such a line has come: its result will follow."""
        self._reply_begun = True

    def deny_reply(self) -> None:
        """It was a URC that is missing in the table: the running command's own reply has begun after it."""
        self._reply_begun = False

    def take_result(self) -> bool:
        """Whether the result that has come now is the expired command's."""
        if not self._reply_begun:
            return False
        self._reply_begun = False
        self.expired = None
        return True
