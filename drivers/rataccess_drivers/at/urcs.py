"""The URC table of a driver, compiled: which entry, if any, does a line match.

Rules of this file: one dictionary look-up for a line with a colon, whatever the size of the table.
"""

from __future__ import annotations

from collections.abc import Sequence

from rataccess_drivers.at.commands import UrcPattern
from rataccess_drivers.at.grammar import split_raw, whole_number

# A block is at most what one socket read may return (1500 bytes for Quectel, 8192 for Nordic) with room to spare.  A
# larger number is a garbled line, and waiting for that many bytes would swallow minutes of replies.
MOST_BINARY = 1 << 16


class UrcTable:
    """Compiled patterns; where two match, the longer prefix wins."""

    def __init__(self, patterns: Sequence[UrcPattern]) -> None:
        self._patterns = tuple(patterns)
        self._by_head: dict[str, list[UrcPattern]] = {}
        loose = []
        for pattern in sorted(patterns, key=lambda entry: -len(entry.prefix)):
            head, colon, _ = pattern.prefix.partition(":")
            if colon:
                self._by_head.setdefault(head, []).append(pattern)
            else:
                loose.append(pattern)
        # most heads have one entry, which is the head itself: found by the look-up alone
        self._plain = {
            head: entries[0]
            for head, entries in self._by_head.items()
            if [head + ":"] == [each.prefix for each in entries]
        }
        self._loose = {pattern.prefix: pattern for pattern in reversed(loose)}
        self._loose_prefixes = tuple(pattern.prefix for pattern in loose)
        self.binary_heads = tuple(pattern.prefix for pattern in patterns if pattern.binary_field is not None)
        self.whole_lines = frozenset(self._loose)
        """Prefixes without a colon: these lines are URCs even where they would otherwise be results."""

    def match(self, line: str) -> UrcPattern | None:
        """The entry for `line`."""
        head, colon, _ = line.partition(":")
        if colon:
            plain = self._plain.get(head)
            if plain is not None:
                return plain
            for pattern in self._by_head.get(head, ()):
                if line.startswith(pattern.prefix):
                    return pattern
        if line.startswith(self._loose_prefixes):
            return next(self._loose[prefix] for prefix in self._loose_prefixes if line.startswith(prefix))
        return None

    def disputes(self, prefix: str) -> bool:
        """Whether a line that begins with `prefix` may be a URC although a command owns the prefix."""
        return any(
            pattern.when_solicited is not None
            and (prefix.startswith(pattern.prefix) or pattern.prefix.startswith(prefix))
            for pattern in self._patterns
        )


def announced(line: str, prefix: str, field: int) -> int | None:
    """How many raw bytes follow `line`: the integer in comma field `field` after `prefix`, or `None` for none."""
    fields = split_raw(line[len(prefix) :].removeprefix(":"))
    if not -len(fields) <= field < len(fields):
        return None
    count = whole_number(fields[field])
    return count if count is not None and 0 <= count <= MOST_BINARY else None
