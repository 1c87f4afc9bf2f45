"""Output lines wired to a radio: its power key, its reset line, its supply switch.

Rules of this file: lines and levels only; how long which level lasts is for the drivers.  python-periphery is imported when
a GPIO line is opened, never before.  `True` is the active level, whatever the wiring makes of it.  GPIOError and OSError
end here.

A line is a GPIO (character device, Linux GPIO ABI) or a file that takes `0` and `1`: the `value` of a line exported by
sysfs, the `brightness` of an LED class device that drives a transistor, or a named pipe of a virtual radio.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from rataccess.errors import ConfigurationError, MissingExtra, RadioNotFound


class LineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where an output line is: `line` of `chip`, or `file`."""

    chip: Annotated[str, Meta(pattern=r"^/")] = "/dev/gpiochip0"
    line: Annotated[int, Meta(ge=0)] | str | None = None
    """Number (offset) or name of the line on the chip."""
    file: Annotated[str, Meta(pattern=r"^/")] | None = None
    active_low: bool = False
    """Whether a low level (a `0`) is the active one: wired without a transistor in between."""

    def __post_init__(self) -> None:
        if (self.line is None) == (self.file is None):
            raise ValueError("an output line needs either `line` (of a GPIO chip) or `file`")


class OutputLine(Protocol):
    """One wire."""

    def write(self, value: bool) -> None:
        """Make it active or not; raises `RadioNotFound` where the hardware refuses."""
        ...

    def close(self) -> None:
        """Let go of it; idempotent."""
        ...


OpenLine = Callable[[LineSettings, bool], OutputLine]
"""Opens a line with a first level; tests and virtual radios have their own."""


def open_line(settings: LineSettings, initial: bool = False) -> OutputLine:
    """The line, driven to `initial` at once.

    Raises `RadioNotFound` (no such chip, line or file, held by somebody else, no permission) or `MissingExtra`.
    """
    if settings.file is not None:
        line = _FileLine(settings.file, settings.active_low)
        line.write(initial)
        return line
    return _GpioLine(settings, initial)


class _FileLine:
    def __init__(self, path: str, active_low: bool) -> None:
        self._path = path
        self._active_low = active_low

    def write(self, value: bool) -> None:
        level = b"1" if value != self._active_low else b"0"
        try:
            # A named pipe that nobody reads must not block.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(descriptor, level)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RadioNotFound(f"the output line {self._path} cannot be driven: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is held."""


class _GpioLine:
    def __init__(self, settings: LineSettings, initial: bool) -> None:
        try:
            from periphery import GPIO, GPIOError
        except ImportError as error:
            raise MissingExtra("GPIO lines need python-periphery, which is not installed") from error
        self._where = f"line {settings.line} of {settings.chip}"
        self._errors: tuple[type[Exception], ...] = (GPIOError, OSError, LookupError)
        # periphery takes the first level as that of the wire, and every later one as the logical one.
        first = "high" if initial != settings.active_low else "low"
        try:
            self._gpio = GPIO(settings.chip, settings.line, first, inverted=settings.active_low, label="rataccess")
        except self._errors as error:
            raise RadioNotFound(f"GPIO {self._where} cannot be opened: {error}") from error
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"GPIO {self._where} makes no sense: {error}") from error

    def write(self, value: bool) -> None:
        try:
            self._gpio.write(value)
        except self._errors as error:
            raise RadioNotFound(f"GPIO {self._where} cannot be driven: {error}") from error

    def close(self) -> None:
        try:
            self._gpio.close()
        except self._errors as error:
            raise RadioNotFound(f"GPIO {self._where} cannot be released: {error}") from error


_held: dict[tuple[str, str], OutputLine] = {}


def hold_line(settings: LineSettings, initial: bool, opener: OpenLine = open_line) -> OutputLine:
    """The line, kept open until the process ends.

    For a supply switch: a GPIO that is released goes back to being an input (Linux, pinctrl drivers), and the radio
    would lose its supply whenever its driver is closed.  Raises as `open_line`.
    """
    if opener is not open_line:
        return opener(settings, initial)
    key = (settings.file or settings.chip, str(settings.line))
    if key not in _held:
        _held[key] = opener(settings, initial)
    return _held[key]
