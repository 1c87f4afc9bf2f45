"""The values that cross the AT seam: what is asked, what came back, what came unasked.

Rules of this file: frozen values only, no I/O and no state.  Lines are `str` without CR and LF; announced binary blocks
are `bytes`, exactly as sent.

`Urc` and `Reply` are made for each line and command, so they set their fields through the slots: the `__init__` that
`dataclass` writes for a frozen class costs twice as much, which is a third of what the engine needs for a line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rataccess_drivers.at.grammar import Field, split_fields


@dataclass(frozen=True, slots=True)
class Command:
    """One command line and how its reply is recognised."""

    text: str
    """Without CR, for example `AT+QISEND=0,12`."""
    prefixes: tuple[str, ...] = ()
    """Heads of the info lines that belong to it, for example `+QIRD:`.

    While it runs, a line with one of them is an info line (but see `UrcPattern.when_solicited`); any other line is a URC
    where it matches the URC table, else it belongs to the command as well.
    """
    timeout: float = 5.0
    """Seconds until `RadioSilent`."""
    payload: bytes | None = None
    """Written when the modem prompts for it.  What ends it (Ctrl-Z of an SMS) is part of it."""
    success: tuple[str, ...] = ("OK",)
    """Final lines that mean success: `SEND OK`, `CONNECT` (which also matches `CONNECT 9600`).

    One that ends in a colon (`+CIPSEND:`) is the head of a line that ends the reply and is also its last info line.  A
    plain `OK` that is not listed is intermediate and left out.
    """
    failure: tuple[str, ...] = ()
    """Further final lines that mean failure; `ERROR`, `+CME ERROR:`, `NO CARRIER`, `SEND FAIL` ... always do."""
    binary: str | None = None
    """Head of an info line that announces raw bytes, which follow its CR LF: `+QIRD:`."""
    binary_field: int = 0
    """Which comma field of that line holds their number; from 0, or negative from the end."""
    aborts: bool = False
    """Whether a byte sent while it runs makes the modem give it up (V.250 clause 5.6.1)."""
    prompts: tuple[str, ...] = (">", "@")
    """What the modem writes when it wants `payload`; one of letters (`READY`, `CONNECT`) must be a whole line."""


@dataclass(frozen=True, slots=True, init=False)
class Reply:
    """What a modem answered to a command that succeeded."""

    lines: tuple[str, ...]
    """Info lines in order, without CR and LF."""
    payloads: tuple[bytes, ...]
    """Announced binary blocks, in order."""
    final: str
    """The line that ended it; numeric results (V0) appear as their words."""

    def __init__(self, lines: tuple[str, ...], payloads: tuple[bytes, ...] = (), final: str = "OK") -> None:
        _set_lines(self, lines)
        _set_payloads(self, payloads)
        _set_final(self, final)

    def values(self, prefix: str) -> list[list[Field]]:
        """The fields of each info line that begins with `prefix`, by `split_fields`."""
        return [split_fields(line[len(prefix) :]) for line in self.lines if line.startswith(prefix)]


@dataclass(frozen=True, slots=True, init=False)
class Urc:
    """An unsolicited result code: a line that no command asked for."""

    line: str
    payload: bytes | None
    """The binary block that it announced, see `UrcPattern.binary_field`."""

    def __init__(self, line: str, payload: bytes | None = None) -> None:
        _set_line(self, line)
        _set_payload(self, payload)


_set_lines, _set_payloads, _set_final = (vars(Reply)[name].__set__ for name in ("lines", "payloads", "final"))
_set_line, _set_payload = (vars(Urc)[name].__set__ for name in ("line", "payload"))


@dataclass(frozen=True, slots=True)
class UrcPattern:
    """One entry of a driver's URC table."""

    prefix: str
    """How the line begins; with a colon in it, the part before the colon is matched whole."""
    binary_field: int | None = None
    """Which comma field holds the number of raw bytes that follow the line; lines that lack the field announce none."""
    when_solicited: Callable[[str, str], bool] | None = None
    """Called with (line, text of the running command) where that command owns the line's prefix.

    Returns `True` where the line is a URC all the same, for example `+CEREG: 5` while `AT+CEREG?` runs; see
    `registration.is_registration_urc`.  `None`: such a line always belongs to the command.
    """
