"""A serial port for clients that block: what note-python wants of a `serial.Serial`.

Rules of this file: bytes and no thread; time passes in the client's own waiting.
"""

from __future__ import annotations

from collections.abc import Callable


def _nothing() -> None:
    return None


class BlockingUart:
    """The client's end: `in_waiting`, `read`, `write`, `close`; `port` is the radio's end.

    `wake` is called whenever the client looks, so that a radio without an event loop moves on.
    """

    def __init__(self) -> None:
        self.port = UartPort()
        self.wake: Callable[[], None] = _nothing

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read at once."""
        self.wake()
        return len(self.port.waiting)

    def read(self, size: int = 1) -> bytes:
        """Up to `size` of the bytes that wait."""
        found = bytes(self.port.waiting[:size])
        del self.port.waiting[:size]
        return found

    def write(self, data: bytes) -> int:
        """Say something to the radio."""
        self.port.on_bytes(bytes(data))
        return len(data)

    def close(self) -> None:
        """Let go."""
        self.port.on_close()


class UartPort:
    """The radio's end: a `RadioPort`."""

    def __init__(self) -> None:
        self.on_bytes: Callable[[bytes], None] = lambda data: None
        self.on_open: Callable[[], None] = _nothing
        self.on_close: Callable[[], None] = _nothing
        self.waiting = bytearray()
        """What the client has not read."""

    def write(self, data: bytes) -> None:
        """Say something to the client."""
        self.waiting += data
