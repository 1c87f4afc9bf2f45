"""What a virtual satellite radio hangs on: a port for its bytes.

Rules of this file: a shape only.  `MemoryPort` (virtual time) and `PtyRadio` (a real terminal) are such ports.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class RadioPort(Protocol):
    """The radio's side of a serial line."""

    on_bytes: Callable[[bytes], None]
    on_open: Callable[[], None]
    on_close: Callable[[], None]

    def write(self, data: bytes) -> None:
        """Say something to the host; lost while nobody has the port open."""
        ...
