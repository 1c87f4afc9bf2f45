"""The command line of an Iridium SBD modem, sans-I/O: what to write for a command, and what the modem's bytes mean.

Rules of this file: bytes in, events out; no clock, no descriptor, no task.  The same bytes give the same events however
they are cut.  Any bytes at all are survived in bounded memory.

It is not the AT engine of `rataccess_drivers.at` because two things differ.  `AT+SBDRB` gives raw bytes without any line
that announces them: they begin after the echo, and their first two say how many they are.  And nothing may be written
while a session is open, so that a line out of step cannot be probed: here the echo of the next command puts it in step.
A reply that comes late is thrown away because it comes before that echo, or lacks the line that the command promises.
"""

from __future__ import annotations

from dataclasses import dataclass

LINE_LIMIT = 512
"""Bytes of a line; the longest known is a firmware version of under 100."""
BLOCK_LIMIT = 2000
"""Bytes that `AT+SBDRB` may announce; a 9602 has at most 270, the 9522 1890."""
_RESULT_COMMAS = 5
"""`+SBDIX:` has six fields; no other line that comes unasked has as many."""
_URC_HEADS = ("SBDRING", "+CIEV:", "+AREG:")
_HARDWARE = "HARDWARE FAILURE"
"""Said when the modem starts, or instead of an answer: subsystem and number follow."""
_FAILURES = ("ERROR", "+CME ERROR", "+CMS ERROR", _HARDWARE)


@dataclass(frozen=True, slots=True)
class Command:
    """One command and how its reply is known."""

    text: str
    timeout: float = 30.0
    """Seconds until the whole reply must be there; 30 is what SparkFun's driver gives a modem."""
    head: str = ""
    """How an info line begins without which the reply is none."""
    digit: bool = False
    """Whether the reply has a line that is one digit, as those of `AT+SBDWB` and `AT+SBDD` have."""
    payload: bytes | None = None
    """Written after `READY`."""
    block: bool = False
    """Whether the reply is raw bytes (`AT+SBDRB`)."""
    echoed: bool = True
    """Whether the modem is known to echo; only the first commands after opening do without."""
    patient: bool = False
    """Whether an OK without the line that `head` promises is none.  Some firmware says one before the result of a session,
    which must not be taken for over: asking what came of it would end it."""


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes for the modem."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Echoed:
    """The modem has taken the command: its serial port lives, whatever comes of the rest."""


@dataclass(frozen=True, slots=True)
class Urc:
    """A line that no command asked for."""

    line: str


@dataclass(frozen=True, slots=True)
class Done:
    """The command is over."""

    ok: bool
    lines: tuple[str, ...] = ()
    block: bytes | None = None
    final: str = "OK"


Event = Write | Echoed | Urc | Done


class SbdEngine:
    """One modem's command line."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._command: Command | None = None
        self._lines: list[str] = []
        self._block: bytes | None = None
        self._wants_block = False
        self._in_step = False  # the running command's echo has come
        self._payload_echo = b""
        self._late = 0
        self._events: list[Event] = []
        self.discarded = 0
        """Bytes thrown away: late replies, noise."""

    def __repr__(self) -> str:
        running = self._command.text if self._command else "idle"
        return f"<SbdEngine {running} discarded={self.discarded}>"

    @property
    def running(self) -> Command | None:
        """The command whose reply is awaited."""
        return self._command

    def start(self, command: Command) -> bytes:
        """Begin `command`; returns what to write.  Raises `RuntimeError` while another one runs."""
        if self._command is not None:
            raise RuntimeError(f"{self._command.text} is still running")
        self.discarded += len(self._buffer)
        self._buffer.clear()
        self._command = command
        self._lines, self._block = [], None
        self._in_step = not command.echoed
        self._wants_block = command.block and self._in_step
        return command.text.encode("ascii") + b"\r"

    def expire(self) -> None:
        """The running command's time has passed, or its caller is gone: its reply is dropped whenever it comes."""
        if self._command is not None:
            self._command = None
            self._late = min(self._late + 1, 8)
        self._wants_block = False
        self._payload_echo = b""
        self.discarded += len(self._buffer)
        self._buffer.clear()

    def receive(self, data: bytes) -> list[Event]:
        """What the next bytes mean, in order."""
        self._events = []
        self._buffer += data
        while self._step():
            pass
        return self._events

    # --- bytes --------------------------------------------------------------------------------------------------------

    def _step(self) -> bool:
        """Take one line or block; whether there may be more."""
        buffer = self._buffer
        if self._payload_echo:
            return self._take_payload_echo()
        while buffer and buffer[0] in b"\r\n":
            del buffer[0]
        if not buffer:
            return False
        if self._wants_block and buffer[0] <= BLOCK_LIMIT >> 8:
            return self._take_block()
        end = min((at for at in (buffer.find(b"\r"), buffer.find(b"\n")) if at >= 0), default=-1)
        if end < 0:
            if len(buffer) > LINE_LIMIT:
                self.discarded += len(buffer)
                buffer.clear()
            return False
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        if len(line) <= LINE_LIMIT:
            self._line(line.decode("latin-1").strip())
        else:
            self.discarded += len(line)
        return True

    def _take_block(self) -> bool:
        """The length and all that it announces; more than any modem has is noise, dropped to the end of the line."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        size = int.from_bytes(buffer[:2], "big")
        if size > BLOCK_LIMIT:
            self._wants_block = False
            return True
        if len(buffer) < size + 4:
            return False
        self._block = bytes(buffer[: size + 4])
        del buffer[: size + 4]
        self._wants_block = False
        return True

    def _take_payload_echo(self) -> bool:
        """Drop a payload that comes back; some firmware echoes it and some does not."""
        echo, buffer = self._payload_echo, self._buffer
        if len(buffer) < len(echo):
            if echo.startswith(bytes(buffer)):
                return False
        elif buffer.startswith(echo):
            del buffer[: len(echo)]
        self._payload_echo = b""
        return bool(buffer)

    # --- lines --------------------------------------------------------------------------------------------------------

    def _line(self, line: str) -> None:
        command = self._command
        if self._unasked(line, command):
            self._events.append(Urc(line))
        elif command is None:
            self._stale(line)
        elif not self._in_step:
            self._before_echo(line, command)
        elif line == "READY" and command.payload is not None:
            self._payload_echo = command.payload
            self._events.append(Write(command.payload))
        elif line == "OK" or line.startswith(_FAILURES):
            self._final(line, command)
        else:
            self._lines.append(line)
            if len(self._lines) > 64:
                self._stale(self._lines.pop())

    def _unasked(self, line: str, command: Command | None) -> bool:
        if line.startswith(_HARDWARE):
            return command is None or not self._in_step
        return line.startswith(_URC_HEADS) and not (command and command.head and line.startswith(command.head))

    def _before_echo(self, line: str, command: Command) -> None:
        if line.endswith(command.text):
            self._in_step = True
            self._wants_block = command.block
            self._events.append(Echoed())
        elif command.head and line.startswith(command.head):  # the echo was spoilt, but this is no other's reply
            self._in_step = True
            self._lines.append(line)
            self._events.append(Echoed())
        else:
            self._stale(line)

    def _final(self, line: str, command: Command) -> None:
        if line == "OK" and not self._complete(command):
            if command.patient:
                self._lines.clear()
                return
            if self._late:
                self._late -= 1
                self._lines.clear()
                return
            line = "OK without its reply"
        self._late = 0 if command.head else self._late
        self._command = None
        self._wants_block = False
        self._events.append(Done(line == "OK", tuple(self._lines), self._block, line))

    def _complete(self, command: Command) -> bool:
        """Whether what the command promises has come."""
        if command.block:
            return self._block is not None
        if command.digit:
            return any(len(each) == 1 and each.isdigit() for each in self._lines)
        if command.patient and any(each.count(",") >= _RESULT_COMMAS for each in self._lines):
            return True  # the result of a session, though its head was spoilt
        return not command.head or any(each.startswith(command.head) for each in self._lines)

    def _stale(self, line: str) -> None:
        self.discarded += len(line)
