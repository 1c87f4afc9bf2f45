"""A virtual Notecard on an I2C bus: objects that stand where `smbus2.SMBus` and `periphery.I2C` do.

Rules of this file: serial over I2C and nothing of JSON.  The host writes a count and so many bytes; to read, it writes zero
and how many bytes it wants, and then reads two more than that: how many are left after these, how many these are, and they.
Whatever thread may call.  Source: note-python, and Blues' public page on the serial-over-I2C protocol.
"""

from __future__ import annotations

import ctypes
import errno
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

_MOST = 255


class Endpoint(Protocol):
    """What answers on the bus."""

    address: int

    def i2c_write(self, data: bytes) -> None:
        """Bytes between start and stop; raises `OSError` (EREMOTEIO) where they are not acknowledged."""
        ...

    def i2c_read(self, count: int) -> bytes:
        """So many bytes; raises `OSError` (EREMOTEIO) where the address is not acknowledged."""
        ...


class _Bus:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.is_open = True

    def _at(self, address: int) -> Endpoint:
        if not self.is_open:
            raise OSError(errno.EBADF, "the bus is closed")
        if address != self._endpoint.address:
            raise OSError(errno.EREMOTEIO, "Remote I/O error")
        return self._endpoint

    def close(self) -> None:
        """Let go; idempotent."""
        self.is_open = False


class VirtualSmbus(_Bus):
    """The methods of `smbus2.SMBus` that reach a Notecard; limits and errors as of the kernel."""

    def __enter__(self) -> VirtualSmbus:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def i2c_rdwr(self, *messages: Any) -> None:
        """Transfer `smbus2.i2c_msg` objects, as one combined transaction."""
        for message in messages:
            device = self._at(message.addr)
            if message.flags & 1:
                data = device.i2c_read(message.len)
                ctypes.memmove(message.buf, data, message.len)
            else:
                device.i2c_write(ctypes.string_at(message.buf, message.len))

    def write_i2c_block_data(
        self, i2c_addr: int, register: int, data: Sequence[int], force: bool | None = None
    ) -> None:
        """A byte and up to 32 more."""
        if len(data) > 32:
            raise ValueError("Data length cannot exceed 32 bytes")
        self._at(i2c_addr).i2c_write(bytes([register, *data]))

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int, force: bool | None = None) -> list[int]:
        """Write a byte, then read up to 32."""
        if length > 32:
            raise ValueError("Desired block length over 32 bytes")
        device = self._at(i2c_addr)
        device.i2c_write(bytes([register]))
        return list(device.i2c_read(length))

    def write_byte_data(self, i2c_addr: int, register: int, value: int, force: bool | None = None) -> None:
        """Two bytes."""
        self._at(i2c_addr).i2c_write(bytes([register, value]))

    def write_byte(self, i2c_addr: int, value: int, force: bool | None = None) -> None:
        """One byte."""
        self._at(i2c_addr).i2c_write(bytes([value]))

    def read_byte(self, i2c_addr: int, force: bool | None = None) -> int:
        """One byte."""
        return self._at(i2c_addr).i2c_read(1)[0]

    def write_quick(self, i2c_addr: int, force: bool | None = None) -> None:
        """Only the address: whether it is acknowledged."""
        self._at(i2c_addr).i2c_write(b"")


class VirtualPeripheryI2c(_Bus):
    """`transfer` of `periphery.I2C`, which note-python uses."""

    def transfer(self, address: int, messages: list[Any]) -> None:
        """Transfer `periphery.I2C.Message` objects; the data of those that read are filled."""
        for message in messages:
            device = self._at(address)
            if message.read:
                found = device.i2c_read(len(message.data))
                message.data = type(message.data)(found)
            else:
                device.i2c_write(bytes(message.data))


class SerialOverI2c:
    """The Notecard's end of the protocol: bytes for it, and bytes from it, one message after the other."""

    def __init__(self) -> None:
        self.messages: deque[bytes] = deque()
        """What the host has not begun to read; a message is available once the one before it has been read."""
        self._message = b""
        self._wanted = 0

    def written(self, data: bytes) -> bytes:
        """What the host wrote; returns the bytes meant for the Notecard's input."""
        if not data:
            return b""
        if data[0] == 0:
            self._wanted = data[1] if len(data) > 1 else 0
            return b""
        return data[1 : 1 + data[0]]

    def read(self, count: int) -> bytes:
        """The next `count` bytes of the answer to the last demand."""
        if not self._message and self.messages:
            self._message = self.messages.popleft()
        size = min(self._wanted, max(0, count - 2))
        given, self._message = self._message[:size], self._message[size:]
        self._wanted = 0
        answer = bytes([min(_MOST, len(self._message)), len(given)]) + given
        return answer[:count].ljust(count, b"\xff")

    def reset(self) -> None:
        """Power is gone."""
        self.messages.clear()
        self._message, self._wanted = b"", 0
