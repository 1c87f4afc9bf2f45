"""One command to a module and what comes back, until it is over.

Rules of this file: sans-I/O; events in, a verdict out; no clock.  What ends a command is data (`Command`), so that all
modules share one conversation.  Events that have nothing to do with the command leave it alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rataccess_drivers.lora.modules.events import Event, Kind


@dataclass(frozen=True, slots=True)
class Command:
    """What to write, and how to know that it is over."""

    text: str = field(repr=False)
    ends: frozenset[Kind]
    """Any of these ends it; a refusal and a restart always do."""
    shown: str = ""
    """For errors and logs; `text` where it is empty and the command holds no secret."""
    name: str = ""
    """Where set, values and refusals of other commands (`+NAME: ...`) are not meant."""
    expect: re.Pattern[str] | None = None
    """What a value must look like; others are not meant."""
    after: Kind | None = None
    """What must have come before anything else counts: some may be left from the command before."""
    enough: frozenset[Kind] = frozenset()
    """Where one of these has come, silence after it is not the module's: the line that ends the command was lost, or is one
    that its firmware does not say."""
    first: float = 5.0
    """Seconds until the first sign of an answer."""
    limit: float = 5.0
    """Seconds until its end."""

    @property
    def label(self) -> str:
        """For errors and logs."""
        return self.shown or self.text


class Transaction:
    """A command on its way."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.match: re.Match[str] | None = None
        """The value that was asked for."""
        self.heard = False
        """Whether anything at all has come that may be an answer."""
        self.over = False
        self.refusal: Event | None = None
        self.restarted = False
        self._kinds: set[Kind] = set()
        self._named = False
        self._echoed = False
        self._begun = command.after is None

    def take(self, event: Event) -> None:
        """One more line."""
        if self.over:
            return
        if not self._echoed and event.line == self.command.text:
            self._echoed = True
            return
        if self._meant(event):
            self.over = self._ends(event)
            self.heard = self._begun or self.over or self.refusal is not None
            if self.heard:  # what came before belongs to the command before
                self._kinds.add(event.kind)

    def _meant(self, event: Event) -> bool:
        if event.kind is Kind.OTHER:
            return False
        command = self.command
        if event.kind in (Kind.VALUE, Kind.REFUSED):
            return not command.name or event.name in ("", "AT", command.name)
        return event.kind is not Kind.DONE or not command.name or event.name in ("", command.name)

    def _ends(self, event: Event) -> bool:
        command = self.command
        match event.kind:
            case Kind.REFUSED:
                self.refusal = self.refusal or event
                return not event.prelude
            case Kind.ALREADY:  # some say it without saying that they begin
                return event.kind in command.ends
            case Kind.BOOTED if Kind.BOOTED not in command.ends:
                self.restarted = True
                return True
            case Kind.VALUE | Kind.BOOTED if command.expect is not None:
                found = command.expect.search(event.value or event.line)
                if found is not None and (event.name or not self._named):  # a chance line does not replace an answer
                    self.match, self._named = found, bool(event.name)
                return found is not None and event.kind in command.ends
        self._begun = self._begun or event.kind is command.after
        return self._begun and event.kind in command.ends

    def has(self, *kinds: Kind) -> bool:
        """Whether one of these has come since the command began."""
        return not self._kinds.isdisjoint(kinds)
