"""Opening and closing of serial ports: pyserial's and the system's errors become the library's.

Rules of this file: descriptors and their settings; nothing of AT.  A port is 8N1 without flow control, raw and
non-blocking, and belongs to one process: flock (which pyserial, pppd and ModemManager respect) and, on anything but a
pseudo terminal, TIOCEXCL, which refuses every opener but root's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import termios

import serial

from rataccess.errors import DriverError, PortBusy, PortLost, RadioNotFound
from rataccess_drivers import ports

_BUSY = (errno.EBUSY, errno.EWOULDBLOCK, errno.EACCES, errno.EPERM)
_GONE = (errno.ENOENT, errno.ENODEV, errno.ENXIO)


def open_serial(path: str, baudrate: int) -> serial.Serial:
    """Open `path` for this process alone.

    Raises `RadioNotFound` (no such device), `PortBusy` (naming who holds it, where that can be seen; also where
    permission is refused) or `PortLost` (it is no terminal, or failed while it was set up).
    """
    try:
        port = serial.Serial(path, baudrate, exclusive=True, dsrdtr=False, rtscts=False, timeout=0, write_timeout=0)
    except (OSError, serial.SerialException, termios.error, ValueError) as error:
        raise _translated(path, error) from error
    try:
        _set_up(port.fileno(), path)
    except (OSError, termios.error) as error:
        port.close()
        raise PortLost(f"{path} failed while it was set up: {error}") from error
    return port


def close_serial(port: serial.Serial) -> None:
    """Close at once: what the modem has not taken is thrown away, or a dead one holds the close up for 30 s."""
    with contextlib.suppress(OSError, termios.error):
        termios.tcflush(port.fileno(), termios.TCOFLUSH)
    with contextlib.suppress(OSError, termios.error):
        fcntl.ioctl(port.fileno(), termios.TIOCNXCL)
    with contextlib.suppress(OSError):
        port.close()


def _set_up(fd: int, path: str) -> None:
    os.set_blocking(fd, False)
    settings = termios.tcgetattr(fd)
    # pyserial leaves VMIN at 0, with which "nothing yet" and "hung up" are both a read of 0 bytes (termios(3))
    settings[6][termios.VMIN] = 1
    settings[6][termios.VTIME] = 0
    termios.tcsetattr(fd, termios.TCSANOW, settings)
    # A virtual radio keeps its end of the terminal open, so the mark would outlive a process that was killed.
    if not os.path.realpath(path).startswith("/dev/pts/"):
        fcntl.ioctl(fd, termios.TIOCEXCL)


def _translated(path: str, error: Exception) -> DriverError:
    number = getattr(error, "errno", None)
    if number in _GONE:
        return RadioNotFound(f"there is no {path}: the radio is unplugged, off or still starting")
    if number in (errno.EACCES, errno.EPERM):
        return PortBusy(
            f"{path} may not be opened by this user: add it to the group that owns the file (often dialout)"
        )
    if number in _BUSY:
        holder = ports.holder(path)
        return PortBusy(f"{path} is in use by {holder or 'another process, which this user may not see'}")
    return PortLost(f"{path} cannot be opened as a serial port: {error}")
