"""The two ways to a Notecard: its serial port, and I2C.

Rules of this file: bytes and pauses; no JSON.  A Notecard takes what is sent to it from a buffer of fixed size, so it is
sent in segments of 250 bytes with 250 ms after each (note-c).  smbus2 is imported when an I2C bus is opened, never before;
its calls block, so they run in one thread of their own, which ends when the bus is closed.  OSError ends here.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from rataccess.errors import Closed, MissingExtra, PortBusy, PortLost, RadioNotFound, RadioSilent
from rataccess_drivers.byteline import ByteLine, OpenByteLine
from rataccess_drivers.satellite.notecard_wire import LineReader, SpoiltReply

T = TypeVar("T")

SEGMENT = 250
SEGMENT_PAUSE = 0.25
CHUNK_PAUSE = 0.02
SETTLE = 0.006
"""Before each transfer (note-c)."""
POLL = 0.05
NACK_PAUSE = 1.0
NACK_TRIES = 10
"""A Notecard that is busy, or starts anew, acknowledges nothing for some seconds."""
BUS_LIMIT = 5.0
"""Seconds that one transfer may take; the kernel's I2C drivers give up after one."""


class Pacer:
    """Lets no more than a segment pass without a pause; short requests in a row fill its buffer as a long one does."""

    def __init__(self) -> None:
        self._count, self._last = 0, 0.0

    async def take(self, size: int) -> None:
        """Wait until `size` bytes may follow, at most a segment."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._last >= SEGMENT_PAUSE:
            self._count = 0
        if self._count and self._count + size > SEGMENT:
            await asyncio.sleep(SEGMENT_PAUSE)
            self._count = 0
        self._count += size
        self._last = loop.time()


class NotecardBus(Protocol):
    """An open way to a Notecard."""

    line_end: bytes

    @property
    def is_open(self) -> bool:
        """Whether it is there."""
        ...

    async def open(self) -> None:
        """Raises `RadioNotFound`, `PortBusy` or `PortLost`."""
        ...

    async def write(self, data: bytes) -> None:
        """Send all of it, as slowly as a Notecard needs it.  Raises `PortLost` or `Closed`."""
        ...

    async def read_line(self, limit: float) -> bytes:
        """The next line.  Raises `RadioSilent` after `limit` s, `SpoiltReply`, `PortLost` or `Closed`."""
        ...

    def drop(self) -> None:
        """What has come so far belongs to nothing."""
        ...

    async def aclose(self) -> None:
        """Let go of it; idempotent."""
        ...


class SerialBus:
    """The Notecard's main or AUX serial port."""

    line_end = b"\r\n"

    def __init__(
        self, name: str, address: str, baudrate: int, opener: OpenByteLine, on_lost: Callable[[PortLost], None]
    ) -> None:
        self._name, self._address, self._baudrate = name, address, baudrate
        self._opener, self._on_lost = opener, on_lost
        self._line: ByteLine | None = None
        self._reader = LineReader()
        self._pacer = Pacer()
        self._lines: list[bytes] = []
        self._news = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """See `NotecardBus.is_open`."""
        return self._line is not None

    async def open(self) -> None:
        """See `NotecardBus.open`."""
        if self._line is None:
            self.drop()
            self._line = self._opener(self._address, self._baudrate, self._data, self._gone)

    async def write(self, data: bytes) -> None:
        """See `NotecardBus.write`."""
        for start in range(0, len(data), SEGMENT):
            piece = data[start : start + SEGMENT]
            await self._pacer.take(len(piece))
            self._open_line().write(piece)

    async def read_line(self, limit: float) -> bytes:
        """See `NotecardBus.read_line`."""
        try:
            async with asyncio.timeout(limit):
                while not self._lines:
                    self._open_line()
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as error:
            raise RadioSilent(f"{self._name}: no answer within {limit:g} s") from error
        return self._lines.pop(0)

    def drop(self) -> None:
        """See `NotecardBus.drop`."""
        self._lines.clear()
        self._reader.drop()

    async def aclose(self) -> None:
        """See `NotecardBus.aclose`."""
        line, self._line = self._line, None
        if line is not None:
            line.close()
        self._news.set()

    def _open_line(self) -> ByteLine:
        if self._line is None:
            raise Closed(f"the port of {self._name} is not open")
        return self._line

    def _data(self, data: bytes) -> None:
        self._lines = (self._lines + self._reader.receive(data))[-64:]
        self._news.set()

    def _gone(self, why: OSError | str) -> None:
        self._line = None
        self._news.set()
        self._on_lost(PortLost(f"the port of {self._name} is gone: {why}"))


# --- I2C --------------------------------------------------------------------------------------------------------------


class I2cDevice(Protocol):
    """What `smbus2.SMBus` offers, as far as a Notecard needs it."""

    def i2c_rdwr(self, *messages: Any) -> None:
        """Transfer messages made by `smbus2.i2c_msg`."""
        ...

    def close(self) -> None:
        """Let go of the bus."""
        ...


def open_smbus(bus: int | str) -> I2cDevice:
    """The I2C bus of that number or path; raises `MissingExtra` where smbus2 is not installed, and OSError."""
    try:
        from smbus2 import SMBus
    except ImportError as error:
        raise MissingExtra("a Notecard on I2C needs smbus2, which is not installed") from error
    device: I2cDevice = SMBus(bus)
    return device


class Worker:
    """One thread for calls that block; it is there from the first call until `aclose`."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "rataccess i2c")
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def aclose(self) -> None:
        """End the thread; a call that hangs in the kernel is left behind after a few seconds."""
        pool, self._pool = self._pool, None
        if pool is not None:
            idle = asyncio.get_running_loop().run_in_executor(pool, lambda: None)
            done, _ = await asyncio.wait({idle}, timeout=BUS_LIMIT)
            pool.shutdown(wait=bool(done), cancel_futures=True)


class I2cBus:
    """A Notecard on I2C: `[n][n bytes]` writes, `[0][n]` asks for n bytes, which come as `[available][n][n bytes]`."""

    line_end = b"\n"

    def __init__(
        self,
        name: str,
        bus: int | str,
        address: int,
        chunk: int,
        opener: Callable[[int | str], I2cDevice],
        on_lost: Callable[[PortLost], None],
        worker: Worker | None = None,
    ) -> None:
        self._name, self._bus, self._address = name, bus, address
        self._chunk, self._opener, self._on_lost = chunk, opener, on_lost
        self._worker = worker or Worker()
        self._device: I2cDevice | None = None
        self._lost: I2cDevice | None = None  # open for the system, of no use to us
        self._reader = LineReader()
        self._pacer = Pacer()
        self._lines: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """See `NotecardBus.is_open`."""
        return self._device is not None

    async def open(self) -> None:
        """See `NotecardBus.open`."""
        if self._device is not None:
            return
        await self._let_go()
        self.drop()
        try:
            self._device = await self._worker.run(lambda: self._opener(self._bus))
        except PermissionError as error:
            await self._worker.aclose()
            raise PortBusy(f"I2C bus {self._bus} may not be opened by this user: add it to the group i2c") from error
        except OSError as error:
            await self._worker.aclose()
            raise RadioNotFound(
                f"there is no I2C bus {self._bus} ({error}); enable I2C in the system's settings"
            ) from error
        except BaseException:
            await self._worker.aclose()
            raise

    async def write(self, data: bytes) -> None:
        """See `NotecardBus.write`."""
        chunk = min(self._chunk, SEGMENT)
        for start in range(0, len(data), chunk):
            piece = data[start : start + chunk]
            await self._pacer.take(len(piece))
            await self._transfer(bytes([len(piece)]) + piece, 0)
            await asyncio.sleep(CHUNK_PAUSE)

    async def read_line(self, limit: float) -> bytes:
        """See `NotecardBus.read_line`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + limit
        available = 0
        while not self._lines:
            head = await self._transfer(bytes([0, available]), available + 2)
            if len(head) < 2 or head[1] > available:
                raise SpoiltReply("what came over I2C has another length than it says")
            self._lines = (self._lines + self._reader.receive(head[2 : 2 + head[1]]))[-64:]
            if not self._lines and loop.time() >= end:
                raise RadioSilent(f"{self._name}: no answer within {limit:g} s")
            if not self._lines and (available or not head[0]):
                await asyncio.sleep(CHUNK_PAUSE if head[1] else POLL)
            available = min(head[0], self._chunk)
        return self._lines.pop(0)

    def drop(self) -> None:
        """See `NotecardBus.drop`."""
        self._lines.clear()
        self._reader.drop()

    async def aclose(self) -> None:
        """See `NotecardBus.aclose`."""
        self._lost, self._device = self._device or self._lost, None
        await self._let_go()
        await self._worker.aclose()

    async def _let_go(self) -> None:
        device, self._lost = self._lost, None
        if device is not None:
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._worker.run(device.close), BUS_LIMIT)

    async def _transfer(self, data: bytes, count: int) -> bytes:
        """Write `data`, and read `count` bytes where it asks for some.  A Notecard that is busy does not acknowledge."""
        for _ in range(NACK_TRIES):
            await asyncio.sleep(SETTLE)
            device = self._device
            if device is None:
                raise Closed(f"the I2C bus of {self._name} is not open")
            try:
                async with asyncio.timeout(BUS_LIMIT):
                    return await self._worker.run(lambda: _exchange(device, self._address, data, count))  # noqa: B023
            except OSError as error:
                if isinstance(error, TimeoutError) and error.errno is None:  # ours, and not the kernel's ETIMEDOUT
                    raise self._lose(f"the I2C bus hangs for {BUS_LIMIT:g} s") from error
                trouble = error
            await asyncio.sleep(NACK_PAUSE)
        raise self._lose(f"address {self._address:#04x} does not acknowledge ({_named(trouble)})") from trouble

    def _lose(self, why: str) -> PortLost:
        self._lost, self._device = self._device, None
        lost = PortLost(f"{self._name}: {why}; look at the wiring and the supply")
        self._on_lost(lost)
        return lost


def _exchange(device: I2cDevice, address: int, data: bytes, count: int) -> bytes:
    from smbus2 import i2c_msg

    write = i2c_msg.write(address, data)
    if not count:
        device.i2c_rdwr(write)
        return b""
    read = i2c_msg.read(address, count)
    device.i2c_rdwr(write, read)
    return bytes(read)


def _named(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))
