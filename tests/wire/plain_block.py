"""A second reader of blocks, written from docs/wire.md alone: slow, plain, and with nothing of ours but the page's words.

It believes what it is given; what the real one refuses is tested elsewhere.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

Definition = list[Any]


class Bits:
    """The bits of a byte string, one by one."""

    def __init__(self, data: bytes) -> None:
        self.bits = [byte >> (7 - place) & 1 for byte in data for place in range(8)]
        self.at = 0

    def take(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value * 2 + self.bits[self.at]
            self.at += 1
        return value

    def align(self) -> None:
        while self.at % 8:
            assert self.take(1) == 0


def rice(bits: Bits, k: int, w: int) -> int:
    q = 0
    while q < 14 and bits.take(1):
        q += 1
    return bits.take(w) if q == 14 else q * 2**k + bits.take(k)


def integers(bits: Bits, n: int, w: int, dense: bool = False) -> list[int]:
    if n == 0 or w == 0:
        return [0] * n
    if n == 1:
        return [bits.take(w)]
    size = len(f"{w:b}")
    if dense:
        prefix = next((length for length in (1, 2, 3) if not bits.take(1)), 4)
        if prefix == 3:
            return [bits.take(w)] * n
        if prefix < 3:
            predictor, k = bits.take(1), bits.take(2) + (4 if prefix == 2 else 0)
            start = bits.take(w)
            return predicted(predictor, start, [rice(bits, k, w) for _ in range(n - predictor)], w)
    mode = bits.take(3)
    if mode == 0:
        return [bits.take(w)] * n
    if mode == 1:
        return [bits.take(w) for _ in range(n)]
    if mode == 2:
        low, s = bits.take(w), bits.take(size)
        return [(low + bits.take(s)) % 2**w for _ in range(n)]
    predictor, start = bits.take(2), bits.take(w)
    wanted = n if predictor == 0 else n - 1
    residues: list[int] = []
    if mode == 3:
        k = bits.take(size)
        residues = [rice(bits, k, w) for _ in range(wanted)]
    else:
        j, k = bits.take(4), bits.take(size)
        while len(residues) < wanted:
            residues += [0] * rice(bits, j, 13)
            if len(residues) < wanted:
                residues.append(rice(bits, k, w) + 1)
    return predicted(predictor, start, residues, w)


def predicted(predictor: int, start: int, residues: list[int], w: int) -> list[int]:
    numbers = [] if predictor == 0 else [start]
    for x in residues:
        one, two = numbers[-1:] or [0], numbers[-2:-1] or numbers[-1:] or [0]
        prediction = {0: start, 1: one[0], 2: 2 * one[0] - two[0], 3: (one[0] + two[0]) // 2}[predictor]
        numbers.append((prediction + (x // 2 if x % 2 == 0 else -(x + 1) // 2)) % 2**w)
    return numbers


def strings(bits: Bits, n: int, most: int) -> list[bytes]:
    w = len(f"{most:b}")

    def some(m: int) -> list[bytes]:
        lengths = integers(bits, m, w)
        return [bytes(bits.take(8) for _ in range(length)) for length in lengths]

    if n < 2:
        return some(n)
    mode = bits.take(2)
    if mode == 0:
        return some(1) * n
    if mode == 1:
        return some(n)
    if mode == 2:
        differs = integers(bits, n - 1, 1)
        values = some(1 + sum(differs))
        return [values[sum(differs[:index])] for index in range(n)]
    size = bits.take(12) + 1
    values = some(size)
    return [values[index] for index in integers(bits, n, len(f"{size - 1:b}") if size > 1 else 0)]


def reals(bits: Bits, n: int, w: int) -> list[float]:
    form = ">f" if w == 32 else ">d"

    def as_float(pattern: int) -> float:
        value: float = struct.unpack(form, pattern.to_bytes(w // 8, "big"))[0]
        return value

    if n < 2:
        return [as_float(bits.take(w)) for _ in range(n)]
    mode = bits.take(2)
    if mode == 0:
        return [as_float(pattern) for pattern in integers(bits, n, w)]
    if mode == 1:
        last, t, s = bits.take(w), bits.take(6), bits.take(7)
        patterns = [last]
        for differs in integers(bits, n - 1, 1):
            last ^= differs and (bits.take(s) << t)
            patterns.append(last)
        return [as_float(pattern) for pattern in patterns]
    p, low, v = bits.take(4), bits.take(55) - 2**53, bits.take(6)
    quotients = [float(Fraction(low + number, 10**p)) for number in integers(bits, n, v)]
    return [struct.unpack(form, struct.pack(form, value))[0] for value in quotients]


def column(bits: Bits, n: int, kind: int, more: list[Any], dense: bool) -> list[Any]:
    def width(top: int) -> int:
        return len(f"{top:b}") if top else 0

    if kind == 0:
        low, high, step = map(Fraction, more)
        top = (high - low) // step + 1
        codes = integers(bits, n, width(int(top)), dense)
        return [float("nan") if code == top else float(low + code * step) for code in codes]
    if kind == 1:
        return [more[0] + code for code in integers(bits, n, width(more[1] - more[0]), dense)]
    if kind == 2:
        return [code == 1 for code in integers(bits, n, 1, dense)]
    if kind == 3:
        return [more[code] for code in integers(bits, n, width(len(more) - 1), dense)]
    if kind == 4:
        return [item.decode() for item in strings(bits, n, more[0])]
    return strings(bits, n, more[0]) if kind == 5 else reals(bits, n, more[0])


def read(content: bytes, definition: Definition, floor: int, now_ticks: int) -> dict[str, Any]:
    """What is within a block's byte string; times are hundredths of a second since 2020, or `None`."""
    bits = Bits(content)
    count = bits.take(12) + 2 if bits.take(1) else 1
    whole, form, named = bits.take(1), bits.take(2), bits.take(1)
    said: dict[str, Any] = {"urgency": bits.take(2)}
    said["queue_id"] = bits.take(16) if bits.take(1) else bits.take(5)
    said["schema"] = bits.take(21) if bits.take(1) else bits.take(7)
    said["queue"] = None
    if named:
        said["queue"] = bytes(bits.take(8) for _ in range(bits.take(8) + 1)).decode()
    number = bits.take(54) if whole else bits.take(16)
    if not whole:
        near = (floor + turn * 65_536 - floor % 65_536 + number for turn in (-1, 0, 1))
        number = min((one for one in near if one > 0), key=lambda one: abs(one - floor))
    time: int | None = None
    if form == 0:
        low = bits.take(32)
        time = max(one for one in range(low, now_ticks + 8_640_000 + 1, 2**32))
    elif form == 1:
        time = now_ticks - bits.take(40)
    said["numbers"] = [number]
    if count > 1:
        for gap in integers(bits, count - 1, bits.take(6)):
            said["numbers"].append(said["numbers"][-1] + 1 + gap)
    said["times"] = [time] * count if time is None else times(bits, time, count)
    bits.align()
    said["values"] = values(bits, count, definition)
    bits.align()
    assert bits.at == len(bits.bits)
    return said


def times(bits: Bits, first: int, count: int) -> list[int]:
    w = bits.take(6) if count > 1 else 0
    if not w:
        return [first] * count
    found = [first]
    if bits.take(1) == 0:
        for step in integers(bits, count - 1, w):
            found.append(found[-1] + step - 2 ** (w - 1))
        return found
    period = bits.take(w) - 2 ** (w - 1)
    v = bits.take(6)
    for index, rest in enumerate(integers(bits, count - 1, v), start=1):
        found.append(first + index * period + (rest - 2 ** (v - 1) if v else 0))
    return found


def values(bits: Bits, count: int, definition: Definition, dense: bool = False) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, kind, *more in definition[1]:
        there = records
        if kind >= 64:
            there = [record for record, flag in zip(records, integers(bits, count, 1, dense), strict=True) if flag]
        for record, value in zip(there, column(bits, len(there), kind % 64, more, dense), strict=True):
            record[name] = value
    return records
