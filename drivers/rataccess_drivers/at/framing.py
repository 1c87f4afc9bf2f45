"""Bytes into lines and blocks.

Rules of this file: it knows CR, LF and counts, and nothing of what a line means.  The same bytes give the same calls
however they are cut.  Whole chunks are split at C speed; no loop runs over bytes.

CR and LF each end a line and empty lines mean nothing, so that CR LF, CR CR LF (an echo), a lone CR (numeric results) and
a lone LF are all the same.  Only after a line that announces raw bytes does the exact end matter: CR LF counts as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

LineHandler = Callable[[str], int | None]
"""Called with each line; returns how many raw bytes follow it, or `None` where it announces none."""

# What cannot begin a line: NUL from a waking UART, XON and XOFF, ESC that is echoed.  Blanks can (Wavecom's names).
_CONTROLS = bytes(range(0x20)).replace(b"\t", b"") + b"\x7f"
_LF = 0x0A
_BLANK = 0x20


class Framer:
    """Cuts a stream.  `handle` may be replaced at any time, also by itself; `heads` are the beginnings of the lines for
    which it may return a number, and must be set before such a line comes."""

    def __init__(
        self,
        handle: LineHandler,
        on_block: Callable[[bytes], None],
        line_limit: int,
    ) -> None:
        self.handle = handle
        self.prompt: Callable[[bytes, int], int | None] | None = None
        """While set, called with the data and each position where a line begins; a prompt has no line end.

        Returns the position after the prompt, or `None` where there is none.
        """
        self._on_block = on_block
        self._line_limit = line_limit
        self.discarded = 0
        """Bytes of lines that were too long."""
        self._heads: tuple[bytes, ...] = ()
        self._rest = b""
        self._overflow = False
        self._skip = -1
        """A byte that belongs to what came before, if it is the next one: the LF of a CR LF, the blank of a prompt."""
        self._missing = 0
        self._block: list[bytes] = []
        self._echo = b""

    def set_heads(self, heads: Iterable[str]) -> None:
        """What lines that may announce a block begin with."""
        self._heads = tuple(dict.fromkeys(head.encode() for head in heads))

    def expect_echo(self, payload: bytes) -> None:
        """Drop `payload` where it comes back as the very next bytes."""
        self._echo = payload

    def drop_partial(self) -> None:
        """Forget an unfinished line or block: the modem will not finish it."""
        self.discarded += len(self._rest) + sum(map(len, self._block))
        self._rest = self._echo = b""
        self._missing = 0
        self._block = []
        self._overflow = False
        self._skip = -1

    def feed(self, data: bytes) -> None:
        """Take the next bytes and make the calls that they complete."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position, end = 0, len(data)
        while position < end:
            if self._skip >= 0:
                position += data[position] == self._skip
                self._skip = -1
            elif self._missing:
                position = self._take_block(data, position)
            elif self._echo:
                position = self._take_echo(data, position)
            elif self.prompt is not None and not self._overflow and (after := self.prompt(data, position)) is not None:
                position = after
                self._skip = _BLANK
            else:
                position = self._take_lines(data, position)

    def _take_lines(self, data: bytes, position: int) -> int:
        """Handle lines up to the first that may announce a block, or else all; returns the new position."""
        if data[-1] == _LF:
            end = len(data)
        else:
            end = max(data.rfind(b"\n", position), data.rfind(b"\r", position)) + 1
            if end <= position:
                return self._take_rest(data, position)
        if self._overflow:
            return self._end_overflow(data, position)
        if self.prompt is not None:
            end = _line_end(data, position)
        elif self._heads:
            end = self._announcement_end(data, position, end)
        count = None
        lines = data[position:end].splitlines()
        if end - position > self._line_limit:
            lines = [line for line in lines if not self._too_long(len(line))]
        for line in lines:
            if line and (line[0] > _BLANK or (line := _without_controls(line))):
                try:
                    text = line.decode()
                except UnicodeDecodeError:
                    text = line.decode("latin-1")  # in which any bytes are text
                count = self.handle(text)
        if count is not None:
            # the LF of this line's CR LF, which may not have come yet, is no part of the block
            self._skip = _LF if data[end - 1] != _LF else -1
            self._missing = count
            if not count:
                self._on_block(b"")
        return end

    def _announcement_end(self, data: bytes, position: int, end: int) -> int:
        """Where the first line that holds one of the heads ends, or `end`."""
        first = end
        for head in self._heads:
            found = data.find(head, position, first)
            if found >= 0:
                first = found
        return end if first == end else _line_end(data, first)

    def _too_long(self, length: int) -> bool:
        if length <= self._line_limit:
            return False
        self.discarded += length
        return True

    def _take_rest(self, data: bytes, position: int) -> int:
        rest = data[position:]
        if self._overflow:
            self.discarded += len(rest)
        elif self._too_long(len(rest)):
            self._overflow = True
        else:
            self._rest = rest
        return len(data)

    def _end_overflow(self, data: bytes, position: int) -> int:
        """Drop the end of a line whose beginning was dropped."""
        end = _line_end(data, position)
        self.discarded += end - 1 - position
        self._overflow = False
        return end

    def _take_block(self, data: bytes, position: int) -> int:
        piece = data[position : position + self._missing]
        self._block.append(piece)
        self._missing -= len(piece)
        if not self._missing:
            block = b"".join(self._block)
            self._block = []
            self._on_block(block)
        return position + len(piece)

    def _take_echo(self, data: bytes, position: int) -> int:
        rest = data[position:]
        if self._echo.startswith(rest) and len(rest) < len(self._echo):
            self._rest = rest
            return len(data)
        echo, self._echo = self._echo, b""
        return position + len(echo) if rest.startswith(echo) else position


def _line_end(data: bytes, position: int) -> int:
    """The position after the first CR or LF at or after `position`; there must be one."""
    newline = data.find(b"\n", position)
    if newline < 0:
        return data.find(b"\r", position) + 1
    carriage_return = data.find(b"\r", position, newline)
    return (newline if carriage_return < 0 else carriage_return) + 1


def _without_controls(line: bytes) -> bytes:
    """A line that does not begin with a letter, without what cannot begin one; empty where nothing is left but blanks."""
    line = line.lstrip(_CONTROLS)
    return b"" if line.isspace() else line
