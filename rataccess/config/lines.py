"""In which line of a TOML file a key stands, for error messages.

Rules of this file: text that `tomllib` has accepted in, line numbers out.  It never raises: what it cannot follow has no
line, and the error names the file only.  (`tomllib` itself does not say where a value stood.)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

Path = tuple[str, ...]

_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' r"|'''.*?'''(?:'{0,2})" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'", re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}\n#]*")
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)")
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


def find_lines(text: str) -> dict[Path, int]:
    """The line, counted from 1, in which each table and key first stands."""
    scanner = _Scanner(text)
    with suppress(_Lost, RecursionError):  # the file is valid TOML all the same; the lines found so far are right
        scanner.scan()
    return scanner.lines


class _Lost(Exception):
    """The text goes on otherwise than expected."""


class _Scanner:
    """Reads keys, and skips values except for the keys of inline tables."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._tables: dict[Path, int] = {}

    def scan(self) -> None:
        prefix: Path = ()
        while self._skip() < len(self._text):
            if self._text[self._at] == "[":
                brackets = 2 if self._text.startswith("[[", self._at) else 1
                self._at += brackets
                line, prefix = self._current_line(), self._key(())
                self._expect("]" * brackets)
                if brackets == 2:
                    self._next_item(prefix, line)
            else:
                self._pair(prefix)

    def _next_item(self, path: Path, line: int) -> None:
        inner = {each: count for each, count in self._tables.items() if each[: len(path)] != path}
        self._tables = inner | {path: self._tables.get(path, -1) + 1}
        self._note(path, line)

    def _skip(self) -> int:
        """Past white space and comments."""
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at

    def _expect(self, what: str) -> None:
        self._skip()
        if not self._text.startswith(what, self._at):
            raise _Lost
        self._at += len(what)

    def _key(self, prefix: Path) -> Path:
        """A dotted key; notes where it stands."""
        path = prefix
        while True:
            self._skip()
            path = (*path, self._key_part())
            self._note(path, self._current_line())
            self._skip()
            if not self._text.startswith(".", self._at):
                return path
            self._at += 1

    def _note(self, path: Path, line: int) -> None:
        """Keep the line of `path`, and of the same key in the list's item that it stands in, as `("list", "[0]", "key")`."""
        self.lines.setdefault(path, line)
        if self._tables:
            self.lines.setdefault(self._indexed(path), line)

    def _indexed(self, path: Path) -> Path:
        indexed: Path = ()
        for length in range(1, len(path) + 1):
            indexed = (*indexed, path[length - 1])
            if path[:length] in self._tables:
                indexed = (*indexed, f"[{self._tables[path[:length]]}]")
        return indexed

    def _key_part(self) -> str:
        found = _BARE_KEY.match(self._text, self._at) or _STRING.match(self._text, self._at)
        if not found:
            raise _Lost
        self._at = found.end()
        part = found[0]
        if part[0] == "'":
            return part[1:-1]
        return _ESCAPE.sub(_unescape, part[1:-1]) if part[0] == '"' else part

    def _current_line(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _pair(self, prefix: Path) -> None:
        path = self._key(prefix)
        self._expect("=")
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip()
        if self._text.startswith("[", self._at):
            self._items("]", lambda: self._value(path))
        elif self._text.startswith("{", self._at):
            self._items("}", lambda: self._pair(path))
        else:
            found = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            if not found or not found[0]:
                raise _Lost
            self._at = found.end()

    def _items(self, end: str, item: Callable[[], None]) -> None:
        self._at += 1
        while True:
            self._skip()
            if self._text.startswith(end, self._at):
                self._at += 1
                return
            if self._text.startswith(",", self._at):
                self._at += 1
                continue
            item()


def _unescape(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] in "uU" and len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPED.get(code, code)
