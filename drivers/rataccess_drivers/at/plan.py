"""What tells the lines of one kind of command apart, worked out once and not for every line.

Rules of this file: derived from a `Command` and the URC table, never changed afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rataccess_drivers.at import results
from rataccess_drivers.at.urcs import UrcTable

_NAME = re.compile(r"AT([+#%^*$&!@_-][A-Za-z0-9_]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Plan:
    """How to read the reply of commands with the same prefixes, success and failure."""

    results: Mapping[str, bool]
    """Whole lines that end the reply, and whether well.  `OK` is missing where it is intermediate."""
    success_heads: tuple[str, ...]
    failure_heads: tuple[str, ...]
    """What lines that end the reply begin with."""
    certain: tuple[str, ...]
    """Prefixes of lines that are info lines whatever else they look like: no result and no entry of the URC table."""


def make_plan(prefixes: tuple[str, ...], success: tuple[str, ...], failure: tuple[str, ...], table: UrcTable) -> Plan:
    """The plan for one kind of command."""
    ends = dict.fromkeys(results.FAILURES, False) | dict.fromkeys(results.SUCCESSES - {"OK"}, True)
    ends = {line: ok for line, ok in ends.items() if line not in table.whole_lines}
    ends |= dict.fromkeys(failure, False) | dict.fromkeys(success, True)
    heads = (_heads(success), _heads(failure))
    certain = tuple(
        prefix
        for prefix in prefixes
        if prefix.endswith(":") and not prefix.startswith(heads[0] + heads[1]) and not table.disputes(prefix)
    )
    return Plan(ends, *heads, certain)


def _heads(words: Sequence[str]) -> tuple[str, ...]:
    """Of the words that end a reply, those that a line only begins with."""
    return tuple(
        word if word.endswith(":") else word + " " for word in words if word.endswith(":") or word == "CONNECT"
    )


def own_heads(text: str) -> tuple[str, ...]:
    """What info lines of the command `text` begin with, as far as its name tells: `AT+CSQ` gives `+CSQ:`."""
    match = _NAME.match(text)
    return (match[1].upper() + ":",) if match else ()


def prompt_finder(prompts: Sequence[str], found: Callable[[], None]) -> Callable[[bytes, int], int | None]:
    """What the framer asks at the beginning of each line; words (`READY`) have a line end and are left to the lines."""
    signs = b"|".join(re.escape(prompt.strip().encode()) for prompt in prompts if not prompt.isalpha())
    if not signs:
        return lambda data, position: None
    pattern = re.compile(rb"[\x00-\x20\x7f]*(?:" + signs + rb")")

    def find(data: bytes, position: int) -> int | None:
        match = pattern.match(data, position)
        if match is None:
            return None
        found()
        return match.end()

    return find
