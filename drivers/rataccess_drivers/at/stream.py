"""The bytes of an open serial port on the event loop: read when there are some, written as far as the port takes them.

Rules of this file: no bytes are looked at.  Every failure of the descriptor ends in one call of `on_lost`; after that, and
after `close`, nothing is called any more.

A modem that talks without end (a GNSS stream, a log) would wake the process for every few bytes: a UART's FIFO has 16,
which makes 720 times a second at 115200 baud.  So after a run of reads in quick succession, with nothing written between,
the port is looked at every 20 ms instead, until it is empty once or something is written.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import serial

from rataccess_drivers.at.serialport import close_serial

# A terminal gives at most 4095 bytes at a time (the kernel's N_TTY_BUF_SIZE).
_READ = 4096
# So many reads, closer than 10 ms on average, are a stream.
_RUN = 16
_RUN_SECONDS = 0.16
# A tenth of what the kernel holds for a terminal (64 kB) comes in this time at 3 Mbit/s.
_LOOK_EVERY = 0.02
# Reads of one look: all that the kernel can hold, and then others have their turn.
_READS = 16


class Stream:
    """An open port.  `on_data` gets what comes, `on_lost` the reason why nothing comes any more."""

    def __init__(
        self,
        port: serial.Serial,
        loop: asyncio.AbstractEventLoop,
        on_data: Callable[[bytes], None],
        on_lost: Callable[[OSError | str], None],
    ) -> None:
        self._port = port
        self._fd: int = port.fileno()
        self._loop = loop
        self._on_data = on_data
        self._on_lost = on_lost
        self._unwritten = bytearray()
        self._run = 0
        self._run_began = loop.time()
        self._slow = False
        self._next_look: asyncio.TimerHandle | None = None
        loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """Let go of the port; idempotent."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)
        self._slow = False
        if self._next_look is not None:
            self._next_look.cancel()
        self._unwritten.clear()
        close_serial(self._port)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _readable(self) -> bool:
        """Take what has come; whether there was any."""
        try:
            data = os.read(self._fd, _READ)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._lose(error)
            return False
        if not data:
            self._lose("the device hung up")
            return False
        self._run += 1
        if self._run == _RUN:
            self._slow_down()
        self._on_data(data)
        return True

    def _slow_down(self) -> None:
        """Stop being woken for every few bytes, if this is a stream."""
        now = self._loop.time()
        if now - self._run_began < _RUN_SECONDS:
            self._slow = True
            self._loop.remove_reader(self._fd)
            self._next_look = self._loop.call_later(_LOOK_EVERY, self._look)
        else:
            self._run = 0
            self._run_began = now

    def _look(self) -> None:
        taken = 0
        while self._slow and taken < _READS and self._readable():
            taken += 1
        if self._slow and taken:  # where more may be waiting, others have their turn first, and it goes on at once
            self._next_look = self._loop.call_later(_LOOK_EVERY if taken < _READS else 0, self._look)
        elif self._slow:
            self._speed_up()

    def _speed_up(self) -> None:
        """Be woken at once again."""
        self._slow = False
        self._run = 0
        self._run_began = self._loop.time()
        if self._next_look is not None:
            self._next_look.cancel()
        self._loop.add_reader(self._fd, self._readable)

    def _lose(self, why: OSError | str) -> None:
        if self._fd >= 0:
            self.close()
            self._on_lost(why)

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write now what the port takes, and the rest when it takes more.  Nothing at all on a closed port."""
        if self._fd < 0:
            return
        if self._slow:
            self._speed_up()
        self._run = 0
        if self._unwritten:
            self._unwritten += data
            return
        try:
            written = os.write(self._fd, data)
        except (BlockingIOError, InterruptedError):
            written = 0
        except OSError as error:
            self._lose(error)
            return
        if written < len(data):
            self._unwritten += data[written:]
            self._loop.add_writer(self._fd, self._writable)

    def forget_unwritten(self) -> None:
        """What the port has not taken yet is of no more use."""
        self._unwritten.clear()

    def _writable(self) -> None:
        try:
            written = os.write(self._fd, self._unwritten) if self._unwritten else 0
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        del self._unwritten[:written]
        if not self._unwritten:
            self._loop.remove_writer(self._fd)
