"""Bits as text of `0` and `1`, and back to bytes: the quickest way that plain Python has.

Rules of this file: pure; the most significant bit comes first, and what is left of the last byte is zeros.  Reading past
the end is an `ObjectError`: the bytes may be a peer's.
"""

from __future__ import annotations

from rataccess.errors import ObjectError


def number(value: int, width: int) -> str:
    """`value`, 0 to 2^width - 1, as `width` bits; nothing for a width of 0."""
    return f"{value:0{width}b}" if width else ""


def octets(data: bytes) -> str:
    """The bits of `data`."""
    return bin(int.from_bytes(b"\x01" + data, "big"))[3:]


def to_bytes(bits: str) -> bytes:
    """`bits`, filled up with zeros to whole bytes."""
    size = (len(bits) + 7) // 8
    return int(bits.ljust(size * 8, "0"), 2).to_bytes(size, "big") if bits else b""


class BitReader:
    """Takes bits off the front of `data`."""

    __slots__ = ("at", "text")

    def __init__(self, data: bytes) -> None:
        self.text = octets(data)
        self.at = 0

    def take(self, width: int) -> int:
        """The next `width` bits as a number."""
        return int(self.raw(width), 2) if width else 0

    def raw(self, width: int) -> str:
        """The next `width` bits as they are."""
        end = self.at + width
        if end > len(self.text):
            raise ObjectError(f"{len(self.text)} bits end where {end} were to be read: the packed data are cut short")
        piece = self.text[self.at : end]
        self.at = end
        return piece

    def octets(self, count: int) -> bytes:
        """The next `count` bytes."""
        return int(self.raw(count * 8), 2).to_bytes(count, "big") if count else b""

    def align(self) -> None:
        """Step over the zeros up to the next whole byte."""
        if self.take(-self.at % 8):
            raise ObjectError("what fills up a byte is zeros")

    def finish(self) -> None:
        """Nothing but the zeros that fill up the last byte may be left."""
        left = len(self.text) - self.at
        if left > 7:
            raise ObjectError(f"{left} bits are left over after the last value")
        self.align()
