"""A serial line as drivers of line-oriented radios use it: bytes in, bytes out, on the event loop.

Rules of this file: opening and nothing else; no byte is looked at.  A driver takes an `OpenByteLine`, so that a virtual
radio in memory can stand where the serial port is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from rataccess_drivers import ports
from rataccess_drivers.at.serialport import open_serial
from rataccess_drivers.at.stream import Stream


class ByteLine(Protocol):
    """An open line."""

    def write(self, data: bytes) -> None:
        """Take all of it; it goes out as fast as the line does.  Nothing on a closed or lost line."""
        ...

    def close(self) -> None:
        """Let go of it; idempotent.  Nothing is called any more."""
        ...


OpenByteLine = Callable[[str, int, Callable[[bytes], None], Callable[[OSError | str], None]], ByteLine]
"""Opens a line: port address, baud rate, `on_data`, and `on_lost`, which is called once at most."""


def open_byte_line(
    address: str, baudrate: int, on_data: Callable[[bytes], None], on_lost: Callable[[OSError | str], None]
) -> ByteLine:
    """The serial port at `address` (see `rataccess.bus`, or a device path), 8N1 without flow control, for us alone.

    Raises `ConfigurationError`, `RadioNotFound`, `PortBusy` or `PortLost`.
    """
    port = open_serial(ports.resolve(ports.port_at(address)), baudrate)
    return Stream(port, asyncio.get_running_loop(), on_data, on_lost)
