"""The modem's side of the line: characters in, commands run one at a time, lines out.

Rules of this file: no command is known here.  One command line is open at a time; what is written meanwhile is swallowed,
or aborts a command that allows it (V.250 section 5.6.1).  URCs are said between whole lines, also in the middle of an
answer, and wait while the host is being asked for payload.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator

from rataccess_hil.modem.actions import Answer, AtError, Block, NoAnswer, Prompt, Step, Wait
from rataccess_hil.modem.grammar import Call, split_line
from rataccess_hil.modem.results import NUMERIC, error_line
from rataccess_hil.modem.schedule import Schedule, Timer
from rataccess_hil.modem.state import Faults, Settings

_LONGEST_LINE = 4096
_CR, _LF, _BACKSPACE, _CTRL_Z, _ESC = 0x0D, 0x0A, 0x08, 0x1A, 0x1B


class Terminal:
    """Runs command lines.  `execute` gives a command's answer, `put` takes what goes to the host."""

    def __init__(
        self,
        schedule: Schedule,
        faults: Faults,
        execute: Callable[[Call], Answer],
        put: Callable[[bytes], None],
        reply_after: float,
        escape_after: float,
    ) -> None:
        self.settings = Settings()
        self.swallowed = 0
        """Bytes that nobody looked at."""
        self._schedule = schedule
        self._faults = faults
        self._execute = execute
        self._put = put
        self._reply_after = reply_after
        self._escape_after = escape_after
        self.reset()

    def reset(self) -> None:
        """Forget everything: the firmware starts anew."""
        self._line = bytearray()
        self._last_line = ""
        self._after_cr = False
        self._busy = False
        self._calls: deque[Call] = deque()
        self._run: Generator[Step, bytes, str | None] | None = None
        self._abortable: Timer | None = None
        self._prompt: Prompt | None = None
        self._payload = bytearray()
        self._escape: Timer | None = None
        self._waiting: list[bytes] = []
        self._lines_said = 0
        self._speech: deque[bytes] = deque()
        self._speaking: Timer | None = None

    @property
    def busy(self) -> bool:
        """Whether a command line is open."""
        return self._busy

    # --- characters in ------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """What the host wrote."""
        position = 0
        while position < len(data):
            if self._prompt is not None:
                position += self._take_payload(data[position:])
            elif self._busy:
                position = self._take_while_busy(data, position)
            else:
                self._take_character(data[position])
                position += 1

    def _take_character(self, byte: int) -> None:
        follows_cr, self._after_cr = self._after_cr, byte == _CR
        if byte == _LF and follows_cr:
            return
        if self.settings.echo:
            self._put(bytes([byte]))
        if byte == _CR:
            line, self._line = bytes(self._line), bytearray()
            self._take_line(line)
        elif byte == _BACKSPACE:
            del self._line[-1:]
        elif byte == _ESC:
            self._line.clear()
        elif len(self._line) < _LONGEST_LINE:
            self._line.append(byte)

    def _take_while_busy(self, data: bytes, position: int) -> int:
        if data[position] == _LF and self._after_cr:
            self._after_cr = False
            return position + 1
        self._after_cr = False
        if self._abortable is not None and self._run is not None:
            self._abortable.cancel()
            self._abortable = None
            self._run.close()
            self._run = None
            self.swallowed += len(data) - position
            self._finish("ABORTED")
            return len(data)
        self.swallowed += 1
        return position + 1

    def _take_payload(self, data: bytes) -> int:
        assert self._prompt is not None
        if self._escape is not None:
            # It did not stand alone, so it is payload.
            self._escape.cancel()
            self._escape = None
            self._payload.append(_ESC)
        elif data == bytes([_ESC]):
            self._escape = self._schedule.after(self._escape_after, self._leave_prompt)
            return 1
        if self._prompt.size is None:
            used, complete = self._take_text(data)
        else:
            used = min(len(data), max(0, self._prompt.size - len(self._payload)))
            self._payload += data[:used]
            complete = len(self._payload) >= self._prompt.size
        if self.settings.echo and self.settings.payload_echo:
            self._put(data[:used])
        if complete:
            payload, self._payload, self._prompt = bytes(self._payload), bytearray(), None
            self._step(payload)
        return used

    def _take_text(self, data: bytes) -> tuple[int, bool]:
        for index, byte in enumerate(data):
            if byte == _CTRL_Z:
                return index + 1, True
            self._payload.append(byte)
        return len(data), False

    def _leave_prompt(self) -> None:
        self._escape = None
        self._prompt = None
        self._payload.clear()
        if self._run is not None:
            self._run.close()
            self._run = None
        self._finish("OK")

    def _take_line(self, line: bytes) -> None:
        text = line.decode("ascii", "replace")
        if text.strip().upper() == "A/":
            text = self._last_line
        start = text.upper().find("AT")
        if start < 0:
            return
        self._last_line = text
        self._busy = True
        self._lines_said = 0
        try:
            self._calls = deque(split_line(text[start + 2 :]))
        except AtError as error:
            self._calls = deque()
            line_ = error_line(error.code, self.settings.errors)
            self._after_reply_time(lambda: self._finish(line_))
            return
        self._after_reply_time(self._next_call)

    def _after_reply_time(self, run: Callable[[], None]) -> None:
        wait = self._reply_after + self._faults.slow
        if wait > 0:
            self._schedule.after(wait, run)
        else:
            run()

    # --- commands -----------------------------------------------------------------------------------------------------

    def _next_call(self) -> None:
        while self._calls:
            call = self._calls.popleft()
            try:
                if call.name in self._faults.ignored:
                    raise NoAnswer
                answer = self._execute(call)
            except NoAnswer:
                self._busy = False
                self._calls.clear()
                return
            except AtError as error:
                self._fail(error)
                return
            if not isinstance(answer, list):
                self._run = answer
                self._step(None)
                return
            for line in answer:
                self._say_line(line)
        self._finish("OK")

    def _step(self, value: bytes | None) -> None:
        self._abortable = None
        run = self._run
        if run is None:
            return
        try:
            while True:
                step = next(run) if value is None else run.send(value)
                value = None
                if isinstance(step, Wait):
                    timer = self._schedule.after(step.seconds, lambda: self._step(None))
                    self._abortable = timer if step.abortable else None
                    return
                if isinstance(step, Prompt):
                    self._say(b"\r\n> ")
                    self._prompt = step
                    return
                self._say_line(step)
        except StopIteration as stop:
            self._run = None
            final: str | None = stop.value
            if final is None:
                self._next_call()
            else:
                self._finish(final)
        except AtError as error:
            self._run = None
            self._fail(error)

    def _fail(self, error: AtError) -> None:
        self._calls.clear()
        self._finish(error_line(error.code, self.settings.errors))

    def _finish(self, final: str) -> None:
        self._interject("before final")
        if not self.settings.quiet:
            if self.settings.verbose:
                self._say(f"\r\n{self._spelt(final)}\r\n".encode())
            elif final in NUMERIC:
                self._say(f"{NUMERIC[final]}\r".encode())
            else:
                self._say(f"{final}\r\n".encode())
        self._busy = False
        self._calls.clear()
        waiting, self._waiting = self._waiting, []
        for urc in waiting:
            self._say(urc)

    # --- lines out ----------------------------------------------------------------------------------------------------

    def urc(self, line: str, payload: bytes | None = None) -> None:
        """Say something unasked."""
        spoken = f"\r\n{self._spelt(line)}\r\n".encode()
        if payload is not None:
            spoken += payload + b"\r\n"
        if self._prompt is not None:
            self._waiting.append(spoken)
        else:
            self._say(spoken)

    def _say_line(self, line: str | Block) -> None:
        if self._lines_said:
            self._interject("between")
        # The first line of an answer starts a new line of its own; those that follow do so by the one before.
        lead = "" if self._lines_said or not self.settings.verbose else "\r\n"
        self._lines_said += 1
        if isinstance(line, Block):
            self._say(f"{lead}{line.line}\r\n".encode() + line.data + b"\r\n")
        else:
            self._say(f"{lead}{self._spelt(line)}\r\n".encode())

    def _interject(self, where: str) -> None:
        once = self._faults.interjections[where]
        for line in (*once, *self._faults.chatter):
            self._say(f"\r\n{line}\r\n".encode())
        once.clear()

    def _spelt(self, line: str) -> str:
        for right, wrong in self._faults.typos.items():
            line = line.replace(right, wrong)
        return line

    def _say(self, data: bytes) -> None:
        if not self._faults.gap and not self._speech:
            self._put(data)
            return
        self._speech.append(data)
        if self._speaking is None:
            self._speaking = self._schedule.after(self._faults.gap, self._speak)

    def _speak(self) -> None:
        self._speaking = None
        if self._speech:
            self._put(self._speech.popleft())
        if self._speech:
            self._speaking = self._schedule.after(self._faults.gap, self._speak)
