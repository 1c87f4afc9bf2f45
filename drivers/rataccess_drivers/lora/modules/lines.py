"""Bytes of a module's port as lines.

Rules of this file: bytes in, text out; nothing is understood here.  A line without end is given up, so that noise takes no
memory: what belonged to it is thrown away up to the next line end.
"""

from __future__ import annotations

import re

LONGEST = 1_200
"""Characters; the longest line of a module is a downlink of 242 bytes in hexadecimal digits with blanks between."""

_ENDS = re.compile(rb"[\r\n]+")
_SECRET = re.compile(r"(?:[0-9A-Fa-f]{2}[ :,-]?){16,}")


class LineReader:
    """Cuts a stream of bytes into lines, without their ends; empty ones are left out."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._rest = b""
        self._skipping = False
        self.given_up = 0
        """Lines that were too long."""

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` ends."""
        *whole, rest = _ENDS.split(self._rest + data)
        lines: list[str] = []
        for part in whole:
            if not self._skipping:
                self._take(part, lines)
            self._skipping = False
        if self._skipping or len(rest) > self._longest:
            self.given_up += not self._skipping
            self._skipping, rest = True, b""
        self._rest = rest
        return lines

    def _take(self, part: bytes, lines: list[str]) -> None:
        if len(part) > self._longest:
            self.given_up += 1
            return
        text = "".join(char for char in part.decode("ascii", "ignore") if char.isprintable()).strip()
        if text:
            lines.append(text)

    def clear(self) -> None:
        """What was begun belongs to nobody any more."""
        self._rest, self._skipping = b"", False


def redacted(line: str) -> str:
    """For errors and logs: without what may be a key, at most 80 characters."""
    return _SECRET.sub("...", line)[:80]
