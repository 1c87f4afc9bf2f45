"""Who answers on a port, by how it answers: to name the wrong module.

Rules of this file: text in, a name out; nothing is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rataccess_drivers.lora.modules.events import Kind, Pattern, read

_SIGNS = (
    (re.compile(r"\+[A-Z]+: ?(?:OK|ERROR\(-\d+\)).*"), "a Wio-E5"),
    (re.compile(r"(RN\d{4}\w?) .*"), ""),
    (re.compile(r"invalid_param"), "an RN2483 or RN2903"),
    (re.compile(r"AT_[A-Z_]+"), "a RAK module (RUI3)"),
    (re.compile(r"ERROR: ?-?\d+"), "a RAK module with a firmware before RUI3 (RAK811, RAK4200)"),
    (re.compile(r"OK|ERROR|\+CME ERROR.*"), "a modem with AT commands (a RAK module with RUI3, or a cellular one)"),
)


def who_answers(lines: Iterable[str], table: Sequence[Pattern]) -> str | None:
    """The kind of module that says such things, other than the one whose `table` it is; `None` where nothing is known."""
    said = [line for line in lines if not _own(line, table)]
    for sign, name in _SIGNS:
        match = next((found for line in said if (found := sign.fullmatch(line))), None)
        if match is not None:
            return name or f"an {match.group(1)}"
    return None


def _own(line: str, table: Sequence[Pattern]) -> bool:
    """Whether the module of that table says such things: late, or to a command that it did not get whole."""
    event = read(table, line)
    return event.kind in (Kind.OK, Kind.REFUSED, Kind.BOOTED) or (event.kind is Kind.VALUE and event.name != "")


def normal_eui(text: str) -> str:
    """An EUI as 16 capital digits without separators."""
    return re.sub(r"[^0-9A-Fa-f]", "", text).upper()


def unset(eui: str) -> bool:
    """Whether it is what a module has that was never given one."""
    return not eui or set(eui) <= {"0"} or set(eui) <= {"F"}
