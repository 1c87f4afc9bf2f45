"""A serial port in memory: for virtual radios in virtual time, where a pseudo terminal would be too slow by a moment.

Rules of this file: bytes only, in order, each direction over a `Wire` that can be spoilt.  It takes the place of
`PtyRadio`: the same names, without a descriptor.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from rataccess.errors import PortBusy, RadioNotFound
from rataccess_hil.journal import Direction, Journal
from rataccess_hil.wire import Wire


def _nothing() -> None:
    return None


class MemoryPort:
    """A radio's port.  `on_bytes` is called with what the host wrote; `write` says something to the host.

    `open_line` is what a driver takes as its way to open a serial line.
    """

    def __init__(
        self,
        *,
        on_bytes: Callable[[bytes], None] = lambda data: None,
        on_open: Callable[[], None] = _nothing,
        on_close: Callable[[], None] = _nothing,
        seed: int = 0,
    ) -> None:
        self.on_bytes, self.on_open, self.on_close = on_bytes, on_open, on_close
        self.journal = Journal()
        chance = random.Random(seed)
        self.to_radio = Wire(lambda data: self.on_bytes(data), chance)
        self.to_host = Wire(self._put, chance)
        self.connected = True
        self.opened_times = 0
        self._host: _HostSide | None = None

    @property
    def in_use(self) -> bool:
        """Whether a host has the port open."""
        return self._host is not None

    def open_line(
        self, address: str, baudrate: int, on_data: Callable[[bytes], None], on_lost: Callable[[OSError | str], None]
    ) -> _HostSide:
        """The host's side.  Raises `RadioNotFound` while disconnected and `PortBusy` for a second opener."""
        if not self.connected:
            raise RadioNotFound(f"there is no {address}: the virtual radio is unplugged")
        if self._host is not None:
            raise PortBusy(f"{address} is in use")
        self._host = _HostSide(self, on_data, on_lost)
        self.opened_times += 1
        self.on_open()
        return self._host

    def write(self, data: bytes) -> None:
        """Say something to the host; lost while nobody has the port open."""
        self.to_host.feed(data)

    def disconnect(self) -> None:
        """Unplug it: whoever has it open loses it."""
        self.connected = False
        host, self._host = self._host, None
        if host is not None:
            host.lose()

    def connect(self) -> None:
        """Plug it in again."""
        self.connected = True

    def _put(self, data: bytes) -> None:
        host = self._host
        if host is not None:
            loop = asyncio.get_running_loop()
            self.journal.record(loop.time(), Direction.TO_HOST, data)
            loop.call_soon(host.hear, data)

    def _taken(self, data: bytes) -> None:
        self.journal.record(asyncio.get_running_loop().time(), Direction.TO_RADIO, data)
        self.to_radio.feed(data)

    def _closed(self, host: _HostSide) -> None:
        if self._host is host:
            self._host = None
            self.on_close()


class _HostSide:
    def __init__(
        self, port: MemoryPort, on_data: Callable[[bytes], None], on_lost: Callable[[OSError | str], None]
    ) -> None:
        self._port, self._on_data, self._on_lost = port, on_data, on_lost
        self._open = True

    def write(self, data: bytes) -> None:
        """See `ByteLine.write`."""
        if self._open and data:
            asyncio.get_running_loop().call_soon(self._port._taken, bytes(data))

    def close(self) -> None:
        """See `ByteLine.close`."""
        if self._open:
            self._open = False
            self._port._closed(self)

    def hear(self, data: bytes) -> None:
        if self._open:
            self._on_data(data)

    def lose(self) -> None:
        if self._open:
            self._open = False
            self._on_lost("unplugged")
