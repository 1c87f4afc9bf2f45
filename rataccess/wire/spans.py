"""Numbers and times of the records of a block, as columns, and its queue's name (docs/wire.md, Blocks).

Rules of this file: pure.  Times are in ticks, hundredths of a second since `EPOCH`; what is read raises `ObjectError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rataccess.errors import ObjectError
from rataccess.numbers import MAX_NUMBER
from rataccess.template.bits import BitReader, number, octets
from rataccess.template.integers import read_integers, write_integers
from rataccess.wire.values import EPOCH

DELTAS, GRID = range(2)
NUMBER_WIDTH = 54
WIDTH_WIDTH = 6
"""Bits in which the width of the columns of numbers and times is told."""
MOST_TIME_WIDTH = 42


def write_name(queue: str) -> str:
    """A queue's name, of 1 to 64 characters."""
    data = queue.encode()
    return number(len(data) - 1, 8) + octets(data)


def write_numbers(numbers: Sequence[int]) -> str:
    """How many are left out before each but the first, of two or more that ascend."""
    gaps = [after - before - 1 for before, after in pairwise(numbers)]
    width = max(gaps).bit_length()
    return number(width, WIDTH_WIDTH) + write_integers(gaps, width)


def write_times(ticks: Sequence[int]) -> str:
    """All but the first, of two or more: their steps, or what they differ from a period."""
    steps = [after - before for before, after in pairwise(ticks)]
    width = signed_width(steps)
    if not width:
        return number(0, WIDTH_WIDTH)
    head = number(width, WIDTH_WIDTH)
    choices = [head + number(DELTAS, 1) + write_signed(steps, width)]
    for period in {round((ticks[-1] - ticks[0]) / len(steps)), sorted(steps)[len(steps) // 2]}:
        rests = [item - ticks[0] - index * period for index, item in enumerate(ticks)][1:]
        rest_width = signed_width(rests)
        if rest_width <= MOST_TIME_WIDTH:
            line = number(GRID, 1) + _signed(period, width) + number(rest_width, WIDTH_WIDTH)
            choices.append(head + line + write_signed(rests, rest_width))
    return min(choices, key=len)


def signed_width(items: Sequence[int]) -> int:
    """The bits of two's complement that hold all of them; 0 where all are 0."""
    low, high = min(items), max(items)
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1 if low or high else 0


def _signed(item: int, width: int) -> str:
    return number(item + (1 << width >> 1), width)


def write_signed(items: Sequence[int], width: int, *, dense: bool = False) -> str:
    """Each plus half of what `width` bits hold, as an integer column."""
    half = 1 << width >> 1
    return write_integers([item + half for item in items], width, dense=dense)


# --- reading ---------------------------------------------------------------------------------------------------------


def read_name(reader: BitReader) -> str:
    """The inverse of `write_name`."""
    try:
        name = reader.octets(reader.take(8) + 1).decode()
    except UnicodeDecodeError as error:
        raise ObjectError("a queue's name is not UTF-8") from error
    if len(name) > 64:
        raise ObjectError("a queue's name is text of at most 64 characters")
    return name


def read_numbers(reader: BitReader, first: int, count: int) -> tuple[int, ...]:
    """The inverse of `write_numbers`, `first` among them."""
    if count == 1:
        return (first,)
    width = reader.take(WIDTH_WIDTH)
    if width > NUMBER_WIDTH:
        raise ObjectError("gaps between record numbers are below 2^54")
    numbers = [first]
    for gap in read_integers(reader, count - 1, width):
        numbers.append(numbers[-1] + 1 + gap)
    if numbers[-1] > MAX_NUMBER:
        raise ObjectError("record numbers go from 1 to 2^53")
    return tuple(numbers)


def read_times(reader: BitReader, first: int, count: int) -> list[float | None]:
    """The inverse of `write_times`, in seconds since 1970."""
    ticks = [first] * count
    width = time_width(reader) if count > 1 else 0
    if width and reader.take(1) == DELTAS:
        for index, step in enumerate(read_signed(reader, count - 1, width)):
            ticks[index + 1] = ticks[index] + step
    elif width:
        period = read_signed(reader, 1, width)[0]
        for index, rest in enumerate(read_signed(reader, count - 1, time_width(reader)), start=1):
            ticks[index] = first + index * period + rest
    return [EPOCH + item / 100 for item in ticks]


def time_width(reader: BitReader) -> int:
    """The width of a column of times."""
    width = reader.take(WIDTH_WIDTH)
    if width > MOST_TIME_WIDTH:
        raise ObjectError(f"steps of time have {MOST_TIME_WIDTH} bits at most, not {width}")
    return width


def read_signed(reader: BitReader, count: int, width: int, *, dense: bool = False) -> list[int]:
    """The inverse of `write_signed`."""
    half = 1 << width >> 1
    return [item - half for item in read_integers(reader, count, width, dense=dense)]
