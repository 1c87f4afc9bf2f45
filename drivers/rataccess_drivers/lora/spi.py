"""The wires to a transceiver chip: SPI, and GPIO lines for reset, busy, interrupts and RF switches.

Rules of this file: bytes, levels and edges; no register and no command is known here.  python-periphery is imported when
something is opened, never before.  SPIError, GPIOError (both are OSError) and LookupError end here.

Whatever offers python-periphery's methods can stand where the hardware is: a virtual chip brings openers of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rataccess.errors import Closed, DriverError, MissingExtra, PortBusy, PortLost, RadioNotFound, RataccessError
from rataccess_drivers.lora.transceiver import ChipLine, TransceiverOptions


class SpiBus(Protocol):
    """What is used of `periphery.SPI`."""

    def transfer(self, data: bytes) -> bytes | bytearray | list[int]:
        """Shift `data` out and as many bytes in, within one chip select."""
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...


class GpioLine(Protocol):
    """What is used of `periphery.GPIO`."""

    @property
    def fd(self) -> int:
        """Readable when an edge has come."""
        ...

    def read(self) -> bool:
        """The level."""
        ...

    def write(self, value: bool) -> None:
        """Set the level."""
        ...

    def poll(self, timeout: float | None = None) -> bool:
        """Whether an edge came within `timeout` seconds."""
        ...

    def read_event(self) -> Any:
        """The oldest edge, with its `timestamp` in nanoseconds (CLOCK_MONOTONIC since Linux 5.7)."""
        ...

    def close(self) -> None:
        """Let go of the line."""
        ...


SpiOpener = Callable[[str, int, int], SpiBus]
"""Device, SPI mode, Hz."""
GpioOpener = Callable[[str, int | str, str, str], GpioLine]
"""Chip, line, direction (`in`, `high` or `low`, the latter two outputs with that first level), edge (`none`, `rising`)."""


@dataclass(frozen=True, slots=True)
class Openers:
    """Where SPI and GPIO come from."""

    spi: SpiOpener
    gpio: GpioOpener


def open_spi(device: str, mode: int, speed: int) -> SpiBus:
    """The SPI device of this machine, for this process alone; raises OSError or `MissingExtra`."""
    periphery = _periphery()
    bus = periphery.SPI(device, mode, speed)
    try:  # spidev itself lets anybody in
        fcntl.flock(bus.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        bus.close()
        raise
    found: SpiBus = bus
    return found


def open_gpio(chip: str, line: int | str, direction: str, edge: str) -> GpioLine:
    """The GPIO line of this machine; raises OSError, LookupError or `MissingExtra`."""
    found: GpioLine = _periphery().GPIO(chip, line, direction, edge=edge, label="rataccess")
    return found


def _periphery() -> Any:
    try:
        import periphery
    except ImportError as error:
        raise MissingExtra("transceivers on SPI need python-periphery, which is not installed") from error
    return periphery


# --- errors -----------------------------------------------------------------------------------------------------------


def _not_opened(what: str, error: OSError | LookupError) -> DriverError:
    number = getattr(error, "errno", None)
    if number in (errno.EBUSY, errno.EAGAIN):
        return PortBusy(f"{what} is in use by another process or driver")
    if number in (errno.EACCES, errno.EPERM):
        return PortBusy(f"{what} may not be opened by this user: add it to the groups spi and gpio")
    hint = "; switch SPI on (raspi-config, or dtparam=spi=on) and check the numbers" if number == errno.ENOENT else ""
    return RadioNotFound(f"{what} cannot be opened: {error}{hint}")


# --- interrupts -------------------------------------------------------------------------------------------------------


class Interrupts:
    """Rising edges of one or two lines, through the event loop.

    An edge can be lost (a line that stayed high): whoever waits has a limit and then asks the chip.
    """

    _OLDEST = 5.0
    """Seconds: a time stamp that is older, or yet to come, is of another clock than the event loop's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: list[GpioLine] = []
        self._event = asyncio.Event()
        self._at: float | None = None
        self._end: RataccessError | None = None

    def watch(self, line: GpioLine) -> None:
        """Watch another line; `close` ends that and closes it."""
        self._lines.append(line)
        asyncio.get_running_loop().add_reader(line.fd, self._readable, line)

    def clear(self) -> None:
        """Forget the edges up to now, also those that the event loop has not seen yet."""
        for line in self._lines:
            self._readable(line)
        if self._end is None:
            self._event.clear()
        self._at = None

    async def wait(self, limit: float) -> float | None:
        """The `loop.time()` of the first edge since `clear`, or `None` after `limit` seconds without one.

        Raises `PortLost` where a line failed and `Closed` where it was closed meanwhile.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, limit)):
                await self._event.wait()
        if self._end is not None:
            raise self._end
        return self._at

    def close(self, end: RataccessError) -> None:
        """Stop watching; whoever waits gets `end`."""
        lines, self._lines = self._lines, []
        for line in lines:
            asyncio.get_running_loop().remove_reader(line.fd)
            with contextlib.suppress(OSError):
                line.close()
        self._end = self._end or end
        self._event.set()

    def _readable(self, line: GpioLine) -> None:
        try:
            while line.poll(0):
                self._edge(line.read_event())
        except OSError as error:
            self.close(PortLost(f"an interrupt line of {self._name} failed: {error}"))

    def _edge(self, event: object) -> None:
        now = asyncio.get_running_loop().time()
        at = getattr(event, "timestamp", 0) / 1e9
        if self._at is None:
            self._at = at if 0 <= now - at < self._OLDEST and at else now
        self._event.set()


# --- all wires --------------------------------------------------------------------------------------------------------


class Wires:
    """Everything that leads to one chip.  The constructor opens nothing.

    Each method raises `PortLost` where the hardware fails, and `Closed` after `close`.
    """

    def __init__(self, options: TransceiverOptions, name: str, openers: Openers) -> None:
        self._options = options
        self._name = name
        self._openers = openers
        self._spi: SpiBus | None = None
        self._lines: dict[str, GpioLine] = {}
        self.interrupts = Interrupts(name)

    @property
    def where(self) -> str:
        """The SPI device, for messages."""
        return self._options.spi or ""

    def open(self) -> None:
        """Raises `RadioNotFound`, `PortBusy` or `MissingExtra`; nothing is left open then."""
        self.interrupts = Interrupts(self._name)
        options = self._options
        try:
            self._spi = self._opened(f"SPI device {self.where}", self._openers.spi, self.where, 0, options.speed)
            self._output("chip select", options.chip_select, "high")
            self._output("reset", options.reset, "high")
            self._output("rx enable", options.rx_enable, "low")
            self._output("tx enable", options.tx_enable, "low")
            self._take("busy", options.busy, "in", "none")
            for line in (options.irq, options.timeout_irq):
                if line is not None:
                    self.interrupts.watch(self._gpio("interrupt", line, "in", "rising"))
        except BaseException:
            self.close()
            raise

    def _output(self, role: str, line: ChipLine | None, level: str) -> None:
        self._take(role, line, level, "none")

    def _take(self, role: str, line: ChipLine | None, direction: str, edge: str) -> None:
        if line is not None:
            self._lines[role] = self._gpio(role, line, direction, edge)

    def _gpio(self, role: str, line: ChipLine, direction: str, edge: str) -> GpioLine:
        what = f"the {role} line ({line.line} of {line.chip})"
        found: GpioLine = self._opened(what, self._openers.gpio, line.chip, line.line, direction, edge)
        return found

    def _opened(self, what: str, opener: Callable[..., Any], *arguments: object) -> Any:
        try:
            return opener(*arguments)
        except (OSError, LookupError) as error:
            if isinstance(error, RataccessError):
                raise
            raise _not_opened(f"{what} of {self._name}", error) from error

    def close(self) -> None:
        """Let go of everything; idempotent, never fails."""
        self.interrupts.close(Closed(f"the transceiver of {self._name} is closed"))
        spi, self._spi = self._spi, None
        lines, self._lines = self._lines, {}
        for wire in (spi, *lines.values()):
            if wire is not None:
                with contextlib.suppress(OSError):
                    wire.close()

    def transfer(self, data: bytes) -> bytes:
        """Shift `data` out and as many bytes in; short, so it is done in the event loop."""
        if self._spi is None:
            raise Closed(f"the transceiver of {self._name} is closed")
        try:
            if (select := self._lines.get("chip select")) is None:
                return bytes(self._spi.transfer(data))
            select.write(False)
            try:
                return bytes(self._spi.transfer(data))
            finally:
                select.write(True)
        except OSError as error:
            raise PortLost(f"SPI device {self.where} of {self._name} failed: {error}") from error

    @property
    def busy(self) -> bool:
        """The level of the busy line; `False` where there is none."""
        line = self._lines.get("busy")
        try:
            return line is not None and line.read()
        except OSError as error:
            raise PortLost(f"the busy line of {self._name} failed: {error}") from error

    def set(self, role: str, level: bool) -> bool:
        """Drive a line (`reset`, `rx enable`, `tx enable`); whether there is one."""
        if (line := self._lines.get(role)) is None:
            return False
        try:
            line.write(level)
        except OSError as error:
            raise PortLost(f"the {role} line of {self._name} failed: {error}") from error
        return True
