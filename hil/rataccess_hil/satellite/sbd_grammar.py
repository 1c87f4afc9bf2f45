"""Command lines of an SBD modem: text in, calls out.

Rules of this file: nothing is executed.  Basic commands may follow one another (`E1&K0`); an extended one takes the rest
of the line, for the text of SBDWT may hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rataccess_hil.satellite.sbd_steps import Answer, AtError

if TYPE_CHECKING:
    from rataccess_hil.satellite.sbd_core import SbdModem

_EXTENDED = re.compile(r"([+*-][A-Za-z]+)(\d*)(=\?|\?|=(.*))?$", re.DOTALL)
_BASIC = re.compile(r"(&?[A-Za-z])(\d*)")


@dataclass(frozen=True, slots=True)
class Call:
    """One command."""

    name: str
    """Upper case, with its sign and without its number: `+SBDD`, `*R`, `&K`, `E`."""
    number: str = ""
    """The digits behind the name: 0 in `+SBDD0`."""
    value: str | None = None
    """What follows `=`; `None` where nothing does."""
    asks: bool = False
    """Whether a question mark follows."""

    def choice(self, highest: int, default: int | None = None) -> int:
        """The number or the value, from 0 to `highest`; `AtError` where it is none, or missing without a default."""
        text = self.value if self.value is not None else self.number
        if text == "" and default is not None:
            return default
        if not re.fullmatch(r"\d{1,5}", text) or int(text) > highest:
            raise AtError
        return int(text)


Handler = Callable[["SbdModem", Call], Answer]


def split_line(body: str) -> list[Call]:
    """The commands of a line without its `AT`; raises `AtError` where it is none.

    >>> [(call.name, call.number, call.value) for call in split_line("E1&K0+SBDWB=5")]
    [('E', '1', None), ('&K', '0', None), ('+SBDWB', '', '5')]
    """
    calls = []
    rest = body.strip(" ")
    while rest:
        if rest[0] in "+*-":
            found = _EXTENDED.match(rest)
            if found is None:
                raise AtError
            name, number, form, value = found.groups()
            calls.append(Call(name.upper(), number, value, form in ("?", "=?")))
            break
        basic = _BASIC.match(rest)
        if basic is None:
            raise AtError
        calls.append(Call(basic.group(1).upper(), basic.group(2)))
        rest = rest[basic.end() :].lstrip(" ")
    return calls
