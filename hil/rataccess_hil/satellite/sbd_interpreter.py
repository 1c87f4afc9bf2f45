"""The conversation of a virtual SBD modem: lines in, answers out, one command at a time.

Rules of this file: no command is known and nothing of satellites; what stands behind the conversation is `SbdModem`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from rataccess_hil.modem.schedule import Schedule, Timer
from rataccess_hil.satellite.sbd_grammar import Handler, split_line
from rataccess_hil.satellite.sbd_state import Counts, Faults, Hang, Model, Profile, Timings
from rataccess_hil.satellite.sbd_steps import Aborted, Answer, AtError, NoAnswer, Raw, Read, Step, Wait

if TYPE_CHECKING:
    from rataccess_hil.satellite.sbd_core import SbdModem

_LONGEST_LINE = 1024
_MOST_HELD = 4096
"""Bytes that flow control holds back, and bytes that may be typed ahead."""


class SbdInterpreter:
    """Echo, lines, binary input, flow control, unasked lines.  `output` fills with what it says."""

    def __init__(self, commands: Mapping[str, Handler], model: Model, timings: Timings, profile: Profile) -> None:
        self.model, self.timings, self.profile = model, timings, profile
        self.schedule = Schedule()
        self.output = bytearray()
        self.faults, self.counts = Faults(), Counts()
        self.awake = False
        """Powered and started."""
        self._commands = commands
        self._line = bytearray()
        self._typed = bytearray()
        self._answer: Answer | None = None
        self._driving = False
        self._step: Step | None = None
        self._read = bytearray()
        self._timer: Timer | None = None
        self._held = bytearray()
        self._urcs: list[str] = []

    def drop(self) -> None:
        """Forget the running command, what was typed, and what was to be said."""
        if self._answer is not None and not self._driving:
            self._answer.close()  # one that is being driven is closed by whoever drives it
        if self._timer is not None:
            self._timer.cancel()
        self._answer, self._step, self._timer = None, None, None
        for part in (self._line, self._typed, self._held, self._read, self.output):
            part.clear()
        self._urcs.clear()

    def hang(self, how: Hang) -> None:
        """Stop working."""
        self.drop()
        self.faults.hang = how

    # --- what it says -------------------------------------------------------------------------------------------------

    def say(self, data: bytes) -> None:
        """To the host, unless flow control holds it back."""
        if self.faults.hang is Hang.UART:
            return
        if self.profile.flow == 3 and self.model.three_wire:
            self._held += data[: _MOST_HELD - len(self._held)]
            return
        if self._held:
            self.output += self._held
            self._held.clear()
        self.output += data

    def line(self, text: str) -> None:
        """An information line."""
        self.say((f"\r\n{text}\r\n" if self.profile.verbose else f"{text}\r\n").encode("latin-1"))

    def urc(self, text: str) -> None:
        """Something unasked, as soon as no command runs."""
        if self.faults.hang is None and self.awake:
            self._urcs.append(text)
            self._speak_up()

    def _speak_up(self) -> None:
        if self._answer is None and not self._line:
            urcs, self._urcs = self._urcs, []
            for text in urcs:
                self.line(text)

    def _final(self, ok: bool) -> None:
        if not self.profile.quiet:
            if self.profile.verbose:
                self.say(b"\r\nOK\r\n" if ok else b"\r\nERROR\r\n")
            else:
                self.say(b"0\r" if ok else b"4\r")
        self._speak_up()

    # --- what it hears ------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """The host wrote."""
        if not self.awake or self.faults.hang is Hang.UART:
            self.counts.swallowed += len(data)
            return
        if self.faults.hang is Hang.BUSY:
            self._echo(data)
            return
        room = max(0, _MOST_HELD - len(self._typed))
        self._typed += data[:room]
        self.counts.swallowed += len(data) - len(data[:room])
        self._take()

    def _take(self) -> None:
        while self._typed:
            if isinstance(self._step, Wait):
                if not self._step.session:
                    return  # typed ahead: taken when the answer is out
                self._typed.clear()
                self._abort()
            elif isinstance(self._step, Read):
                self._collect(self._step)
            else:
                self._key(self._typed.pop(0))

    def _key(self, byte: int) -> None:
        self._echo(bytes([byte]))
        if byte == 13:
            text, self._line = self._line.decode("latin-1"), bytearray()
            self._obey(text)
        elif byte == 8:
            del self._line[-1:]
        elif byte != 10 and len(self._line) < _LONGEST_LINE:
            self._line.append(byte)

    def _echo(self, data: bytes) -> None:
        if self.profile.echo:
            self.say(data)

    def _collect(self, step: Read) -> None:
        if step.size is not None:
            wanted = step.size - len(self._read)
            self._read += self._typed[:wanted]
            del self._typed[:wanted]
            if len(self._read) < step.size:
                return
        else:
            text, ended, rest = bytes(self._typed).partition(b"\r")
            self._read += text
            self._typed[:] = rest
            if not ended:
                return
        self._go_on(bytes(self._read))

    # --- commands -----------------------------------------------------------------------------------------------------

    def _obey(self, text: str) -> None:
        text = text.strip(" \n\x00")
        if text[:2].upper() == "AT":
            self._answer = answer = self._run(text[2:])
            self._drive(lambda: next(answer))
        elif text:
            self._final(False)
        else:
            self._speak_up()

    def _run(self, body: str) -> Answer:
        yield Wait(self.timings.reply)
        for call in split_line(body):
            handler = self._commands.get(call.name)
            if handler is None:
                raise AtError
            yield from handler(cast("SbdModem", self), call)

    def _drive(self, move: Callable[[], Step]) -> None:
        """Let the running command go on by `move` until it waits for something, or ends."""
        answer = self._answer
        assert answer is not None
        if self._timer is not None:
            self._timer.cancel()
        self._step = None
        self._read.clear()
        self._driving = True
        try:
            step = move()
            while self._answer is answer and not self._waits_for(step):
                step = answer.send(b"")
            ended: bool | None = None
        except (StopIteration, Aborted):
            ended = True
        except AtError:
            ended = False
        except NoAnswer:
            self._answer = None
        finally:
            self._driving = False
        if self._answer is not answer:
            answer.close()  # power was cut in the middle, by what the gateway called
        elif ended is not None:
            self._answer = None
            self._final(ended)

    def _waits_for(self, step: Step) -> bool:
        if isinstance(step, str):
            self.line(step)
        elif isinstance(step, Raw):
            self.say(step.data)
        else:
            self._step = step
            self._timer = self.schedule.after(step.seconds, self._time_is_up)
            return True
        return False

    def _time_is_up(self) -> None:
        self._go_on(b"")
        self._take()

    def _go_on(self, data: bytes) -> None:
        answer = self._answer
        if answer is not None:
            self._drive(lambda: answer.send(data))

    def _abort(self) -> None:
        answer = self._answer
        assert answer is not None
        self.counts.aborted += 1
        self._drive(lambda: answer.throw(Aborted()))
