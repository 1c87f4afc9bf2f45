"""The replay window (RFC 8613 section 7.4): which sequence numbers of the peer were seen.

Rules of this file: values only.  1024 wide: attempts over two radios arrive far out of order.
"""

from __future__ import annotations

from rataccess.errors import KeyStoreError
from rataccess.security.sequence import MOST

SIZE = 1024
_VERSION = 1
_NUMBER_BYTES = 6
_MOST = MOST + 1


class ReplayWindow:
    """`lowest` is the lowest number that may still come; bit n of `seen` says whether `lowest + n` did."""

    __slots__ = ("lowest", "seen")

    def __init__(self, lowest: int = 0, seen: int = 0) -> None:
        self.lowest = lowest
        self.seen = seen

    @property
    def highest(self) -> int:
        """The highest number that was seen; -1 where none was."""
        return self.lowest + self.seen.bit_length() - 1

    def is_new(self, number: int) -> bool:
        """Whether `number` was provably not seen before."""
        distance = number - self.lowest
        return distance >= 0 and not self.seen >> distance & 1

    def strike_out(self, number: int) -> None:
        """`number`, which `is_new`, was seen."""
        beyond = number - self.lowest - SIZE + 1
        if beyond > 0:
            self.lowest += beyond
            self.seen >>= beyond
        self.seen |= 1 << number - self.lowest
        run = (~self.seen & self.seen + 1).bit_length() - 1  # as many of the lowest bits are ones
        self.lowest += run
        self.seen >>= run


def dump(window: ReplayWindow, reserved: int) -> bytes:
    """The window and the sender's reserved number, in 13 to 141 bytes: version, lowest, reserved, bits (little-endian)."""
    bits = window.seen.to_bytes((window.seen.bit_length() + 7) // 8, "little")
    numbers = window.lowest.to_bytes(_NUMBER_BYTES, "big") + reserved.to_bytes(_NUMBER_BYTES, "big")
    return bytes((_VERSION,)) + numbers + bits


def load(state: bytes) -> tuple[ReplayWindow, int]:
    """The inverse of `dump`; raises `KeyStoreError` for anything else."""
    start = 1 + 2 * _NUMBER_BYTES
    lowest = int.from_bytes(state[1 : 1 + _NUMBER_BYTES], "big")
    reserved = int.from_bytes(state[1 + _NUMBER_BYTES : start], "big")
    wrong_size = not start <= len(state) <= start + SIZE // 8
    if wrong_size or state[0] != _VERSION or lowest > _MOST or reserved > _MOST:
        raise KeyStoreError(f"{len(state)} bytes are not the state of a replay window; the store is damaged")
    return ReplayWindow(lowest, int.from_bytes(state[start:], "little")), reserved
