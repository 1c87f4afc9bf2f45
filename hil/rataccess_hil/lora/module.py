"""What the virtual serial modules have in common: lines in and out, power, sleep, hangs, and the device inside.

Rules of this file: no vendor's word is known here.  A module sits on a port object (`MemoryPort`, `PtyRadio`: `on_bytes`,
`on_open`, `on_close`, `write`); its radio is an `EndDevice` on an ether.  Keys go in and never come out.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Protocol

from rataccess_hil.lines import VirtualLine
from rataccess_hil.lora.end_device import EndDevice, Finished
from rataccess_hil.lora.ether import Ether, Position

_LONGEST_LINE = 1200


class Port(Protocol):
    """A serial port's radio side."""

    on_bytes: Callable[[bytes], None]
    on_open: Callable[[], None]
    on_close: Callable[[], None]

    def write(self, data: bytes) -> None:
        """Say something to the host."""
        ...


class Bad(Exception):
    """A command that is refused; the text is what the module answers."""


class SerialModule(ABC):
    """A module.  `device` is its radio and stack.

    `dev_eui` is burnt in at the factory; `factory` leaves it as it came: nothing set, DevEUI of all ones, and whatever the
    module's firmware has for region and mode.  `reply_after` seconds pass before each answer.
    """

    model = "module"

    def __init__(
        self,
        port: Port,
        ether: Ether,
        *,
        region: str = "EU868",
        position: Position = (300.0, 0.0),
        dev_eui: int | None = None,
        reply_after: float = 0.005,
        boot_time: float = 0.5,
        name: str = "",
        seed: int = 0,
    ) -> None:
        self.port = port
        self.device = EndDevice(ether, region=region, position=position, name=name or self.model, seed=seed)
        self._burnt_in = 0xFFFFFFFFFFFFFFFF if dev_eui is None else dev_eui
        self.device.dev_eui = self._burnt_in
        self.device.on_sent = self._sent
        self.device.on_finished = self._finished
        self._reply_after, self._boot_time = reply_after, boot_time
        self.powered = True
        self.hung = False
        self.asleep = False
        self.boots = 0
        self.key_reads = 0
        """How often the host tried to read a key."""
        self.commands: list[str] = []
        """Command lines as received, keys included: for tests only."""
        self.swallowed = 0
        """Bytes that nobody looked at."""
        self.ignored: set[str] = set()
        """Beginnings of commands that get no answer."""
        self._overrides: dict[str, list[str]] = {}
        self._line = bytearray()
        self._todo: deque[str] = deque()
        self._answering = False
        self._booting = False
        self._mute = False
        self._before_answer: list[str] = []
        self._timers: set[asyncio.TimerHandle] = set()
        self.reset_line = VirtualLine(self._reset_driven)
        """Active high."""
        self.supply = VirtualLine(self.power, True)
        """High is power."""
        port.on_bytes = self.receive

    # --- what can be done to it ---------------------------------------------------------------------------------------

    def power(self, on: bool) -> None:
        """Give it its supply, or take it away in the middle of anything."""
        if on == self.powered:
            return
        self.powered = on
        self._cut()
        if on:
            self._start()

    def power_cut(self, seconds: float = 0.1) -> None:
        """Off, and on again so much later."""
        self.power(False)
        asyncio.get_running_loop().call_later(seconds, self.power, True)

    def hang(self) -> None:
        """Stop answering, with everything under way lost, until power or reset."""
        self._stop()
        self.device.stop()
        self.hung = True

    def crash(self) -> None:
        """Restart by itself, now."""
        self._cut()
        self._start()

    def brown_out(self) -> None:
        """Restart by itself, now, without a word, and with the settings that it was sold with."""
        self._cut()
        self._factory_settings()
        self._mute = True
        self._start()

    def _reset_driven(self, level: bool) -> None:
        if level:
            self._cut()
            self._booting = True
        elif self.powered:
            self._start()

    def interject(self, line: str) -> None:
        """Say this in the middle of the next answer."""
        self._before_answer.append(line)

    def unasked(self, line: str) -> None:
        """Say this now."""
        self._say(line)

    def ignore(self, beginning: str, on: bool = True) -> None:
        """Never answer commands that begin so."""
        (self.ignored.add if on else self.ignored.discard)(beginning)

    def override(self, beginning: str, *answers: str) -> None:
        """Answer the next commands that begin so with these lines, one each, and do nothing."""
        self._overrides.setdefault(beginning, []).extend(answers)

    def _override(self, line: str) -> str | None:
        for beginning, answers in self._overrides.items():
            if answers and line.startswith(beginning):
                return answers.pop(0)
        return None

    # --- life ---------------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._todo.clear()
        self._line.clear()
        self._answering = self._booting = self.asleep = False

    def _cut(self) -> None:
        self._stop()
        self.hung = False
        self.device.cut()
        self._forget()

    def _start(self) -> None:
        self._booting = True
        self._later(self._boot_time, self._booted)

    def _booted(self) -> None:
        self._booting = False
        self.boots += 1
        self._recall()
        mute, self._mute = self._mute, False
        for line in () if mute else self._banner():
            self._say(line)

    # --- lines --------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """What the host wrote."""
        if not self.powered or self.hung or self._booting:
            self.swallowed += len(data)
            return
        for byte in data:
            if self.asleep:
                self._heard_asleep(byte)
            else:
                self._character(byte)

    def _heard_asleep(self, byte: int) -> None:
        """A character while asleep: it wakes the module, and is lost."""
        self.swallowed += 1
        self._wake()

    def _wake(self) -> None:
        self.asleep = False

    def _character(self, byte: int) -> None:
        if byte in b"\r\n":
            line, self._line = bytes(self._line).decode("ascii", "replace"), bytearray()
            if line:
                self._take(line)
        elif len(self._line) < _LONGEST_LINE:
            self._line.append(byte)

    def _take(self, line: str) -> None:
        self._todo.append(line)
        if not self._answering:
            self._answering = True
            self._later(self._reply_after, self._next)

    def _next(self) -> None:
        if not self._todo:
            self._answering = False
            return
        line = self._todo.popleft()
        self.commands.append(line)
        if not any(line.startswith(each) for each in self.ignored):
            interjected, self._before_answer = self._before_answer, []
            for each in interjected:
                self._say(each)
            answer = self._override(line)
            if answer is None:
                self._execute(line)
            else:
                self._say(answer)
        if self._todo:
            self._later(self._reply_after, self._next)
        else:
            self._answering = False

    def _say(self, line: str) -> None:
        if self.powered and not self.hung:
            self.port.write(line.encode() + b"\r\n")

    def _later(self, seconds: float, run: Callable[[], None]) -> None:
        def due() -> None:
            self._timers.discard(handle)
            run()

        handle = asyncio.get_running_loop().call_later(seconds, due)
        self._timers.add(handle)

    # --- the module's own ---------------------------------------------------------------------------------------------

    @abstractmethod
    def _execute(self, line: str) -> None:
        """Answer a command line."""

    @abstractmethod
    def _banner(self) -> list[str]:
        """What it says when it has started."""

    @abstractmethod
    def _forget(self) -> None:
        """What a loss of power forgets."""

    @abstractmethod
    def _recall(self) -> None:
        """What it knows again when it has started."""

    @abstractmethod
    def _factory_settings(self) -> None:
        """What it is set to when it is sold."""

    @abstractmethod
    def _sent(self) -> None:
        """An uplink is out."""

    @abstractmethod
    def _finished(self, finished: Finished) -> None:
        """A join or an uplink is over."""

    def __repr__(self) -> str:
        state = "hung" if self.hung else "asleep" if self.asleep else "on" if self.powered else "off"
        return f"<{type(self).__name__} {self.device.dev_eui:016X} {state}>"


def hex_bytes(text: str, size: int | None = None) -> bytes:
    """Hexadecimal digits to bytes; raises `ValueError` for anything else, or another size."""
    plain = text.strip()
    if not all(character in "0123456789abcdefABCDEF" for character in plain):
        raise ValueError(text)
    data = bytes.fromhex(plain)
    if size is not None and len(data) != size:
        raise ValueError(text)
    return data
