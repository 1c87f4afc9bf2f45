"""A port's traffic as a text file: what `rataccess trace` writes and a replaying radio reads.

Rules of this file: text in, values out, and back; no I/O.  The format, version 1, is UTF-8 text, one entry a line:

    # rataccess transcript 1
    # port: usb:2c7c:0700#if2
    0.000000 ! opened
    0.000412 > AT+CSQ\\r
    0.003120 < \\r\\n+CSQ: 23,99\\r\\n\\r\\nOK\\r\\n

A line is the time in seconds since the beginning, a sign, and the rest of the line: `>` bytes that the program wrote to the
radio, `<` bytes that came from it, `!` something that happened to the port.  Bytes are themselves where they are printable
ASCII, except `\\` (written `\\\\`) and a blank at either end (`\\x20`); else `\\r`, `\\n`, `\\t` or `\\xNN`.  One line is
what one read gave: a reply may be cut anywhere.  Lines that begin with `#` and empty ones mean nothing, but for the first.
Times never go back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rataccess_hil.journal import Direction, Entry

HEAD = "# rataccess transcript 1"
_SIGNS = {Direction.TO_RADIO: ">", Direction.TO_HOST: "<", None: "!"}
_DIRECTIONS = {sign: direction for direction, sign in _SIGNS.items()}
_LINE = re.compile(r"(\d+(?:\.\d+)?) ([><!])(?: (.*))?")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([rnt\\]))")
_SHORT = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}
_WRITTEN = {ord(sign): f"\\{letter}" for letter, sign in _SHORT.items()}
_SAFE = re.compile(r"(?:[ -\[\]-~]|\\(?:x[0-9a-fA-F]{2}|[rnt\\]))*")


class BadTranscript(ValueError):
    """A line that is no entry; the message says which and what is allowed."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the host wrote, and what the radio said then until the host wrote again."""

    asked: bytes
    """Empty for what the radio said before anybody wrote."""
    said: tuple[tuple[float, bytes], ...] = ()
    """Pieces, each with the seconds since what came before it."""

    @property
    def prompts(self) -> bool:
        """Whether it ends with the radio waiting for a payload."""
        return b"".join(piece for _, piece in self.said).rstrip(b" ").endswith((b"\n>", b"\r>", b"\n@"))


def escape(data: bytes) -> str:
    """`data` as it stands in a line."""
    text = "".join(_WRITTEN.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in data)
    if text.startswith(" "):
        text = "\\x20" + text[1:]
    return text[:-1] + "\\x20" if text.endswith(" ") else text


def unescape(text: str) -> bytes:
    """The bytes that `text` stands for; raises `BadTranscript`."""
    if not _SAFE.fullmatch(text):
        raise BadTranscript(f"{text!r}: allowed are printable ASCII, \\r, \\n, \\t, \\\\ and \\xNN")
    found = _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else _SHORT[match[2]], text)
    return found.encode("latin-1")


def format_entry(entry: Entry) -> str:
    """One line, without its end."""
    note = "".join(sign if sign.isprintable() else "?" for sign in entry.note)
    return f"{entry.at:.6f} {_SIGNS[entry.direction]} {note if entry.direction is None else escape(entry.data)}".rstrip(
        " "
    )


def format_transcript(entries: Iterable[Entry], *comments: str) -> str:
    """A whole file; each of `comments` becomes a line."""
    lines = [HEAD, *(f"# {' '.join(comment.split())}" for comment in comments), *map(format_entry, entries)]
    return "\n".join(lines) + "\n"


def parse_transcript(text: str) -> list[Entry]:
    """The entries; raises `BadTranscript` where a line is none, a time goes back, or the first line is another."""
    lines = text.split("\n")
    if lines[0].strip() != HEAD:
        raise BadTranscript(f"line 1: found {lines[0][:60]!r}; a transcript begins with {HEAD!r}")
    entries: list[Entry] = []
    for number, line in enumerate(lines[1:], 2):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith("#"):
            continue
        entries.append(_entry(line, number))
        if len(entries) > 1 and entries[-2].at > entries[-1].at:
            raise BadTranscript(f"line {number}: the time goes back, from {entries[-2].at} to {entries[-1].at}")
    return entries


def _entry(line: str, number: int) -> Entry:
    match = _LINE.fullmatch(line)
    if match is None:
        raise BadTranscript(f"line {number}: found {line[:60]!r}; allowed: SECONDS then >, < or !, then bytes or words")
    direction, rest = _DIRECTIONS[match[2]], match[3] or ""
    if direction is None:
        return Entry(float(match[1]), None, note=rest)
    try:
        return Entry(float(match[1]), direction, unescape(rest))
    except BadTranscript as error:
        raise BadTranscript(f"line {number}: {error}") from None


def exchanges(entries: Sequence[Entry]) -> list[Exchange]:
    """The dialogue: entries of one direction in a row belong together; notes are left out."""
    found: list[Exchange] = []
    asked, said, before = b"", [], 0.0  # type: bytes, list[tuple[float, bytes]], float
    for entry in entries:
        if entry.direction is None:
            continue
        if entry.direction is Direction.TO_HOST:
            said.append((entry.at - before, entry.data))
        elif said:
            found.append(Exchange(asked, tuple(said)))
            asked, said = entry.data, []
        else:
            asked += entry.data
        before = entry.at
    return [*found, Exchange(asked, tuple(said))] if asked or said else found


def dialogue(pairs: Iterable[tuple[bytes, bytes]]) -> list[Entry]:
    """Entries for (what is asked, what is answered) without times, as a collection of replies has them."""
    return [
        Entry(0.0, direction, data)
        for pair in pairs
        for direction, data in zip((Direction.TO_RADIO, Direction.TO_HOST), pair, strict=True)
        if data
    ]
