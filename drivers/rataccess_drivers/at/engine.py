"""The AT protocol, sans-I/O: what to write for a command, and what the modem's lines mean.

Rules of this file: bytes in, events out; no clock, no descriptor, no task.  The same bytes give the same events however
they are cut into chunks.  Any bytes at all are survived in bounded memory; what had to be thrown away is counted.

    start(command)    -> bytes to write; one command at a time
    receive(data)     -> events: Write; Done or Failed (the command is over); Urc; Answered
    expire()          the caller's time limit for the command has passed: the line is now out of step
    resync()          -> bytes to write, again and again until Answered(sure=True), or Answered and then settle()

After a command without an answer the late result of that and those of the probes must all have come before the line is
in step for sure.  A modem that dropped the command will never send that one; then silence after a probe's answer has to
do (`settle`), and a reply that comes still later is known by the head of its info lines.  `outstanding` keeps the count.

Framing is ITU-T V.250 clause 5.7.  Numeric results (V0) are understood until a verbose one was seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from rataccess_drivers.at import results
from rataccess_drivers.at.commands import Command, Reply, Urc, UrcPattern
from rataccess_drivers.at.events import Answered, Done, Event, Failed, Write
from rataccess_drivers.at.framing import Framer
from rataccess_drivers.at.outstanding import Outstanding
from rataccess_drivers.at.plan import Plan, make_plan, prompt_finder
from rataccess_drivers.at.results import Final
from rataccess_drivers.at.urcs import UrcTable, announced

__all__ = ["LINE_LIMIT", "REPLY_LIMIT", "Answered", "AtEngine", "Done", "Event", "Failed", "Write"]

# The longest lines seen are +CLAC lists (2 kB) and 1500 bytes in hexadecimal (Quectel `dataformat`).
LINE_LIMIT = 8192
# One reply: an operator scan, a certificate, a file listing.  More is garbage that happens to hold no final result.
REPLY_LIMIT = 1 << 18

# A driver has a few dozen kinds of commands; more are made up at run time and worked out again.
_MOST_PLANS = 128

# Commands after which the modem may answer in the other form, verbose or numeric.
_CHANGES_FORM = re.compile(r"AT(?:.*V[01]|Z|&F)", re.IGNORECASE)


class AtEngine:
    """One modem's command line.  `urcs` is the driver's URC table; limits are in bytes."""

    def __init__(
        self, urcs: Sequence[UrcPattern] = (), *, line_limit: int = LINE_LIMIT, reply_limit: int = REPLY_LIMIT
    ) -> None:
        self._table = UrcTable(urcs)
        self._match = self._table.match
        self._make_plan = lru_cache(_MOST_PLANS)(make_plan)
        self._idle, self._busy = self._idle_line, self._busy_line
        self._framer = Framer(self._idle, self._take_block, line_limit)
        self._framer.set_heads(self._table.binary_heads)
        self._feed = self._framer.feed
        self._reply_limit = reply_limit
        self._events: list[Event] = []
        self._discarded = 0
        self.stale = 0
        """Lines thrown away: late replies of expired commands, stray results."""
        self.in_step = True
        """Whether no reply but the running command's is outstanding; else `resync` before the next `start`."""
        self._verbose = False
        """Whether the modem's results are known to be words."""
        self._block_of: str | None = None
        self._block_stale = False
        # of the running command
        self._command: Command | None = None
        self._lines: list[str] = []
        self._payloads: list[bytes] = []
        self._size = 0
        self._echo = ""
        self._echoed = False
        self._known: Command | None = None
        self._plan: Plan = make_plan((), (), (), self._table)
        self._written = b""
        self._changes_form = False
        self._outstanding = Outstanding()

    def __repr__(self) -> str:
        state = self._framer.handle.__name__.strip("_").removesuffix("_line")
        return f"<AtEngine {state} discarded={self.discarded} stale={self.stale}>"

    @property
    def discarded(self) -> int:
        """Bytes thrown away: lines and replies beyond their limits, blocks that nobody waits for any more."""
        return self._discarded + self._framer.discarded

    @property
    def running(self) -> Command | None:
        """The command that has no final result yet."""
        return self._command

    # --- what the caller does -----------------------------------------------------------------------------------------

    def start(self, command: Command) -> bytes:
        """Begin `command`; returns what to write.

        Raises `RuntimeError` while another command runs or the line is out of step, and `ValueError` where the text
        holds a control character: it would end the command and begin another.
        """
        if self._command is not None or not self.in_step:
            raise RuntimeError("a command is running, or the line is out of step and has to be resynchronised")
        if command is not self._known:
            self._learn(command)
        self._command = command
        self._framer.handle = self._busy
        self._lines = []
        self._payloads = []
        self._size = 0
        self._echo = command.text
        self._echoed = False
        if command.payload is not None:
            self._framer.prompt = prompt_finder(command.prompts, self._answer_prompt)
        if command.binary is not None:
            expired = self._outstanding.expired
            late = expired.binary if expired is not None else None
            self._framer.set_heads((*self._table.binary_heads, command.binary, late or command.binary))
        if self._changes_form:
            self._verbose = False
        return self._written

    def _learn(self, command: Command) -> None:
        """What follows from the command alone; a driver that polls runs the same one again and again."""
        text = command.text
        if not text.isprintable():
            raise ValueError(f"AT command {text!r} holds a control character; quote() escapes those of a string")
        self._plan = self._make_plan(command.prefixes, command.success, command.failure, self._table)
        self._written = text.encode() + b"\r"
        self._changes_form = text[2:3] != "+" and _CHANGES_FORM.match(text) is not None
        self._known = command

    def expire(self) -> bytes:
        """The running command's time has passed, or its caller has gone: its reply is dropped whenever it comes.

        Returns what to write: one CR where the command can be aborted by it, else nothing.
        """
        command = self._command
        if command is None:
            return b""
        self._outstanding.expire(command)
        self._command = None
        self._lines = []
        self._payloads = []
        self._framer.prompt = None
        self._framer.handle = self._lost_line
        self.in_step = False
        return b"\r" if command.aborts else b""

    def resync(self) -> bytes:
        """Bytes that make the modem answer `OK`; also for a port whose history is unknown."""
        if self._command is not None:
            raise RuntimeError("a command is running: expire it first")
        if self._framer.handle != self._probing_line:
            self._framer.handle = self._probing_line
            self.in_step = False
            self._outstanding.begin()
        self._verbose = False
        data = self._outstanding.probe()
        if self._outstanding.probes > 1:
            # an announced block that never ends must not swallow the answers
            self._framer.drop_partial()
            self._block_of = None
        return data

    def settle(self) -> None:
        """After `Answered(sure=False)` and enough silence: take the line for in step."""
        if self._framer.handle == self._probing_line:
            self._back_in_step()

    def _back_in_step(self) -> None:
        self._outstanding.settle()
        self._framer.handle = self._idle
        self.in_step = True

    def receive(self, data: bytes) -> list[Event]:
        """What `data`, the next bytes from the modem, means; in order."""
        events: list[Event] = []
        self._events = events
        self._feed(data)
        return events

    # --- lines, by state ----------------------------------------------------------------------------------------------

    def _idle_line(self, line: str) -> int | None:
        """No command runs: whatever comes is unsolicited, but for stray results."""
        pattern = self._match(line)
        if pattern is not None:
            return self._urc(line, pattern)
        if self._outstanding.is_late(line):
            return self._late(line)
        final = self._any_final(line)
        if final is not None and not self._late_final() and final.line in results.OF_CALLS:
            line, final = final.line, None
        if final is None:
            self._events.append(Urc(line))
        else:
            self.stale += 1
        return None

    def _busy_line(self, line: str) -> int | None:
        plan, command = self._plan, self._command
        assert command is not None
        if line.startswith(plan.certain):
            if self._outstanding.expired is not None:
                self._outstanding.deny_reply()
            self._keep(line)
            return None if command.binary is None else self._announced_by(line, command)
        if self._echo and not self._lines and self._take_echo(line):
            return None
        if self._framer.prompt is not None and line in command.prompts:
            self._answer_prompt()
            return None
        word = self._word(line) if len(line) == 1 else line
        ok = plan.results.get(word)
        if ok is not None:
            self._verbose = word is line
            self._end(word, ok)
            return None
        return self._other_line(line, command, plan)

    def _other_line(self, line: str, command: Command, plan: Plan) -> int | None:
        """A line that is known by its beginning, if at all."""
        final = self._headed_final(line, command, plan)
        if final is not None:
            self._end(line, final.ok, final.code)
            return None
        pattern = self._match(line)
        owned = line.startswith(command.prefixes)
        if pattern is not None and not (owned and self._solicited(line, pattern, command)):
            return self._urc(line, pattern)
        if not owned and self._outstanding.is_late(line):
            return self._late(line)
        return self._info(line, command)

    def _lost_line(self, line: str) -> int | None:
        """A command has expired: what is not in the URC table is its late reply."""
        command = self._outstanding.expired
        owned = command is not None and line.startswith(command.prefixes)
        pattern = self._match(line)
        if pattern is not None and not (owned and command and self._solicited(line, pattern, command)):
            return self._urc(line, pattern)
        self.stale += 1
        final = self._any_final(line)
        if final is None:
            return self._stale_block(line)
        answered = self._outstanding.count(final)
        if answered is not None and self._framer.handle == self._probing_line:
            if answered.sure:
                self._back_in_step()
            self._events.append(answered)
        return None

    def _probing_line(self, line: str) -> int | None:
        """Probes are out."""
        line = line.lstrip("> ")
        return None if line in ("AT", "") else self._lost_line(line)

    # --- parts of a reply ---------------------------------------------------------------------------------------------

    def _take_echo(self, line: str) -> bool:
        """Whether `line` is the command's echo, or a piece of it: a URC may be written into the middle of an echo."""
        if line == self._echo:
            self._echo = ""
            self._echoed = True
            return True
        if len(line) > 1 and self._echo.startswith(line):
            self._echo = self._echo[len(line) :]
            return True
        return False

    def _headed_final(self, line: str, command: Command, plan: Plan) -> Final | None:
        """The result that `line` is by its beginning."""
        if line.startswith(plan.success_heads):
            if not line.startswith("CONNECT "):
                self._info(line, command)
            return Final(line, True)
        if line.startswith(plan.failure_heads):
            return Final(line, False)
        return self._any_final(line) if "ERROR:" in line or line.startswith("CONNECT ") else None

    def _any_final(self, line: str) -> Final | None:
        """The final result that `line` is for any command, verbose or numeric."""
        word = self._word(line) if len(line) == 1 else line
        final = results.classify(word)
        if final is not None:
            self._verbose = word is line
        return final

    def _word(self, line: str) -> str:
        """A numeric result (V0) as its word, as long as no verbose one has come; any other line as it is."""
        return line if self._verbose else results.NUMERIC.get(line, line)

    def _end(self, line: str, ok: bool, code: int | None = None) -> None:
        """A final result has come."""
        if self._outstanding.expired is not None and self._late_final():
            return
        self._command = None
        self._framer.prompt = None
        self._framer.handle = self._idle
        if ok:
            self._events.append(Done(Reply(tuple(self._lines), tuple(self._payloads), line)))
        else:
            self._events.append(Failed(line, code))

    def _info(self, line: str, command: Command) -> int | None:
        if line == "OK":
            return None  # intermediate, see Command.success
        self._keep(line)
        return self._announced_by(line, command)

    def _keep(self, line: str) -> None:
        self._size += len(line)
        if self._size > self._reply_limit:
            self._discarded += len(line)
        else:
            self._lines.append(line)

    def _announced_by(self, line: str, command: Command) -> int | None:
        if command.binary is None or not line.startswith(command.binary):
            return None
        return announced(line, command.binary, command.binary_field)

    def _urc(self, line: str, pattern: UrcPattern) -> int | None:
        if pattern.binary_field is not None:
            count = announced(line, pattern.prefix, pattern.binary_field)
            if count is not None:
                self._block_of = line
                return count
        self._events.append(Urc(line))
        return None

    def _take_block(self, block: bytes) -> None:
        line, self._block_of = self._block_of, None
        stale, self._block_stale = self._block_stale, False
        if line is not None:
            self._events.append(Urc(line, block))
        elif stale or self._command is None or self._size + len(block) > self._reply_limit:
            self._discarded += len(block)
        else:
            self._size += len(block)
            self._payloads.append(block)

    def _solicited(self, line: str, pattern: UrcPattern, command: Command) -> bool:
        """Whether a line that begins as the command's own info lines do is one, though it matches the URC table."""
        return pattern.when_solicited is None or not pattern.when_solicited(line, command.text)

    def _answer_prompt(self) -> None:
        assert self._command is not None
        assert self._command.payload is not None
        self._framer.prompt = None
        self._events.append(Write(self._command.payload))
        if self._echoed:
            self._framer.expect_echo(self._command.payload.rstrip(b"\x1a"))

    # --- what comes after its time ------------------------------------------------------------------------------------

    def _late(self, line: str) -> int | None:
        """An info line of an expired command, after the line was taken for in step."""
        self._outstanding.begin_reply()
        self.stale += 1
        return self._stale_block(line)

    def _late_final(self) -> bool:
        """Whether a final result is the expired command's."""
        late = self._outstanding.take_result()
        self.stale += late
        return late

    def _stale_block(self, line: str) -> int | None:
        expired = self._outstanding.expired
        count = self._announced_by(line, expired) if expired is not None else None
        self._block_stale = count is not None
        return count
