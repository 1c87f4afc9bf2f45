"""A column of whole numbers in as few bits as its best mode takes (docs/wire.md, Integer columns).

Rules of this file: pure; every number is 0 to 2^width - 1, and all arithmetic on them is modulo 2^width, so that whatever a
peer sends decodes to such numbers.  The caller knows `width` and how many there are, and checks their range.

A mode predicts each number from those before it and writes what is left in Rice codes (R. F. Rice, JPL 79-22, 1979),
plainly or with the runs of right predictions counted.  The parameters are found by counting, so that the smallest is known
before a bit is written.

*Dense* columns are for small packets, where the parameters of a column take as much as several of its numbers: what is
common has a prefix of few bits, all else the usual form behind a longer one (docs/wire.md, Dense columns).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate

from rataccess.errors import ObjectError
from rataccess.template.bits import BitReader, number

CONSTANT, PLAIN, FRAME, RICE, RUNS = range(5)
"""The modes, three bits each; 5 to 7 are refused."""
CENTRE, LAST, LINE, MEAN = range(4)
"""The predictors, two bits each: a centre that is told; the number before; the line through the two before; their mean."""
MOST_ONES = 14
"""A Rice code of more ones than this is an escape, followed by the number itself: one outlier costs 14 + width bits."""
RUN_WIDTH = 13
"""Runs are at most 4096 long."""
NARROW, WIDE, ALIKE, USUAL = "0", "10", "110", "111"
"""What a dense column begins with: Rice codes of a parameter below 4; of one below 8; all are the same; the usual modes."""
_SHORT, _DENSE_SHORT = 4, 2  # numbers of which no parameters can be learnt: only the plain modes are tried below this

Choice = tuple[int, Callable[[], str]]
"""How many bits a mode takes, and what writes them."""


def width_bits(width: int) -> int:
    """The bits of a Rice parameter or of a frame's width, 0 to `width`."""
    return width.bit_length()


def write_integers(numbers: Sequence[int], width: int, *, dense: bool = False) -> str:
    """The column's bits.  No bit where there is no number or `width` is 0, `width` bits for a single number."""
    if not width or not numbers:
        return ""
    if len(numbers) == 1:
        return number(numbers[0], width)
    low, high = min(numbers), max(numbers)
    if low == high:
        return (ALIKE if dense else number(CONSTANT, 3)) + number(low, width)
    return min(_choices(numbers, width, low, high, dense), key=lambda choice: choice[0])[1]()


def read_integers(reader: BitReader, count: int, width: int, *, dense: bool = False) -> list[int]:
    """The inverse; raises `ObjectError` for bits that are no column of `count` numbers."""
    if not width or not count:
        return [0] * count
    if count == 1:
        return [reader.take(width)]
    if dense and not reader.take(1):
        return _read_dense(reader, count, width, 0)
    if dense and not reader.take(1):
        return _read_dense(reader, count, width, 4)
    mode = CONSTANT if dense and not reader.take(1) else reader.take(3)
    if mode == CONSTANT:
        return [reader.take(width)] * count
    if mode == PLAIN:
        return read_fixed(reader, count, width)
    if mode == FRAME:
        low, size = reader.take(width), _parameter(reader, width)
        mask = (1 << width) - 1
        return [(low + offset) & mask for offset in read_fixed(reader, count, size)]
    if mode in (RICE, RUNS):
        return _read_predicted(reader, count, width, mode)
    raise ObjectError(f"integer columns have no mode {mode}")


def write_fixed(numbers: Sequence[int], width: int) -> str:
    """Each number as `width` bits."""
    if not width:
        return ""
    style = f"0{width}b"
    return "".join([format(item, style) for item in numbers])


def read_fixed(reader: BitReader, count: int, width: int) -> list[int]:
    """The inverse of `write_fixed`."""
    if not width:
        return [0] * count
    text = reader.raw(count * width)
    return [int(text[at : at + width], 2) for at in range(0, count * width, width)]


# --- writing ----------------------------------------------------------------------------------------------------------


def _choices(numbers: Sequence[int], width: int, low: int, high: int, dense: bool) -> list[Choice]:
    count, size, prefix = len(numbers), (high - low).bit_length(), USUAL if dense else ""
    more = 3 + len(prefix)
    choices: list[Choice] = [(more + count * width, lambda: prefix + number(PLAIN, 3) + write_fixed(numbers, width))]

    def frame() -> str:
        head = number(FRAME, 3) + number(low, width) + number(size, width_bits(width))
        return prefix + head + write_fixed([item - low for item in numbers], size)

    choices.append((more + width + width_bits(width) + count * size, frame))
    if count >= (_DENSE_SHORT if dense else _SHORT):
        predictions = _predictions(numbers, width)
        sums = [sum(map(int.bit_length, residues)) for _, _, residues in predictions]
        limit = sorted(sums)[1]
        for total, (predictor, start, residues) in zip(sums, predictions, strict=True):
            if total <= limit or (dense and predictor <= LAST):  # the nearest: the others would seldom win
                choices.append(_rice(predictor, start, residues, width, dense))
            if residues.count(0) * 8 > len(residues):
                choices.append(_runs(prefix, number(predictor, 2) + number(start, width), residues, width))
    return choices


def _predictions(numbers: Sequence[int], width: int) -> list[tuple[int, int, list[int]]]:
    """Each predictor with what it has to be told and what it leaves, folded into 0 to 2^width - 1."""
    first, second = numbers[0], numbers[1:]
    centre = sorted(numbers)[len(numbers) // 2]
    lines = [first, *[b + b - a for a, b in zip(numbers, second, strict=False)]]
    means = [first, *[(a + b) >> 1 for a, b in zip(numbers, second, strict=False)]]
    return [
        (CENTRE, centre, _fold([item - centre for item in numbers], width)),
        (LAST, first, _fold([b - a for a, b in zip(numbers, second, strict=False)], width)),
        (LINE, first, _fold([b - a for a, b in zip(lines, second, strict=False)], width)),
        (MEAN, first, _fold([b - a for a, b in zip(means, second, strict=False)], width)),
    ]


def _fold(differences: list[int], width: int) -> list[int]:
    """0, -1, 1, -2 … (modulo 2^width) as 0, 1, 2, 3 …"""
    mask, half, top = (1 << width) - 1, 1 << (width - 1), (2 << width) - 1
    return [rest + rest if (rest := item & mask) < half else top - rest - rest for item in differences]


def _rice(predictor: int, start: int, residues: list[int], width: int, dense: bool) -> Choice:
    counts = Counter(residues)
    parameter, cost = _best_parameter(counts, len(residues), width)
    if dense and predictor <= LAST and parameter < 8:
        head = (NARROW if parameter < 4 else WIDE) + number(predictor, 1) + number(parameter & 3, 2)
        head += number(start, width)
    else:
        head = (USUAL if dense else "") + number(RICE, 3) + number(predictor, 2) + number(start, width)
        head += number(parameter, width_bits(width))

    def write() -> str:
        codes = _codes(counts, parameter, width)
        return head + "".join([codes[item] for item in residues])

    return len(head) + cost, write


def _runs(prefix: str, head: str, residues: list[int], width: int) -> Choice:
    lengths, others, run = [], [], 0
    for item in residues:
        if item:
            lengths.append(run)
            others.append(item - 1)
            run = 0
        else:
            run += 1
    if run:
        lengths.append(run)
    spans, rests = Counter(lengths), Counter(others)
    long, span_cost = _best_parameter(spans, len(lengths), RUN_WIDTH)
    short, rest_cost = _best_parameter(rests, len(others), width)

    def write() -> str:
        span_codes, rest_codes = _codes(spans, long, RUN_WIDTH), _codes(rests, short, width)
        pairs = [span_codes[span] + rest_codes[rest] for span, rest in zip(lengths, others, strict=False)]
        tail = [span_codes[run]] if run else []
        parameters = number(long, width_bits(RUN_WIDTH)) + number(short, width_bits(width))
        return "".join([prefix, number(RUNS, 3), head, parameters, *pairs, *tail])

    frame = len(prefix) + 3 + len(head) + width_bits(RUN_WIDTH) + width_bits(width)
    return frame + span_cost + rest_cost, write


def _best_parameter(counts: Counter[int], total: int, width: int) -> tuple[int, int]:
    """The Rice parameter, and the bits that all take with it: near the logarithm of the mean, where the cost is least."""
    if not total:
        return 0, 0
    middle = (sum([item * times for item, times in counts.items()]) // total).bit_length()
    tried = range(max(0, middle - 2), min(width, middle + 1) + 1)
    return min(((parameter, _cost(counts, parameter, width)) for parameter in tried), key=lambda pair: pair[1])


def _cost(counts: Counter[int], parameter: int, width: int) -> int:
    short, escape = 1 + parameter, MOST_ONES + width
    return sum(
        [
            times * (ones + short if (ones := item >> parameter) < MOST_ONES else escape)
            for item, times in counts.items()
        ]
    )


def _codes(counts: Counter[int], parameter: int, width: int) -> dict[int, str]:
    mask = (1 << parameter) - 1
    return {
        item: "1" * ones + "0" + number(item & mask, parameter)
        if (ones := item >> parameter) < MOST_ONES
        else "1" * MOST_ONES + number(item, width)
        for item in counts
    }


# --- reading ----------------------------------------------------------------------------------------------------------


def _parameter(reader: BitReader, width: int) -> int:
    parameter = reader.take(width_bits(width))
    if parameter > width:
        raise ObjectError(f"a column of {width} bits has no parameter {parameter}")
    return parameter


def _read_predicted(reader: BitReader, count: int, width: int, mode: int) -> list[int]:
    predictor, start = reader.take(2), reader.take(width)
    wanted = _residues(count, predictor)
    if mode == RICE:
        residues = _read_rice(reader, wanted, _parameter(reader, width), width)
    else:
        residues = _read_runs(reader, wanted, width)
    return _predicted(predictor, start, residues, width)


def _read_dense(reader: BitReader, count: int, width: int, least: int) -> list[int]:
    predictor, parameter = reader.take(1), least + reader.take(2)
    if parameter > width:
        raise ObjectError(f"a column of {width} bits has no parameter {parameter}")
    start = reader.take(width)
    return _predicted(predictor, start, _read_rice(reader, _residues(count, predictor), parameter, width), width)


def _residues(count: int, predictor: int) -> int:
    return count if predictor == CENTRE else count - 1


def _predicted(predictor: int, start: int, residues: list[int], width: int) -> list[int]:
    mask = (1 << width) - 1
    differences = [-((item + 1) >> 1) if item & 1 else item >> 1 for item in residues]
    if predictor == CENTRE:
        return [(start + item) & mask for item in differences]
    if predictor == LAST:
        return [item & mask for item in accumulate(differences, initial=start)]
    return _continue(start, differences, mask, predictor == LINE)


def _continue(start: int, differences: list[int], mask: int, line: bool) -> list[int]:
    numbers, before, last = [start], start, start
    for item in differences:
        before, last = last, ((last + last - before if line else (before + last) >> 1) + item) & mask
        numbers.append(last)
    return numbers


def _read_rice(reader: BitReader, count: int, parameter: int, width: int) -> list[int]:
    text, at, result = reader.text, reader.at, []
    try:
        for _ in range(count):
            zero = text.find("0", at, at + MOST_ONES)
            if zero < 0:
                at += MOST_ONES + width
                item = int(text[at - width : at], 2)
            elif parameter:
                item, at = (zero - at) << parameter, zero + 1 + parameter
                item += int(text[zero + 1 : at], 2)
            else:
                item, at = zero - at, zero + 1
            result.append(item)
    except ValueError as error:
        raise ObjectError("a column's Rice codes are cut short") from error
    if at > len(text):
        raise ObjectError("a column's Rice codes are cut short")
    reader.at = at
    return result


def _read_runs(reader: BitReader, count: int, width: int) -> list[int]:
    long, short = _parameter(reader, RUN_WIDTH), _parameter(reader, width)
    mask, residues = (1 << width) - 1, list[int]()
    while len(residues) < count:
        run = _read_rice(reader, 1, long, RUN_WIDTH)[0]
        if run > count - len(residues):
            raise ObjectError("a run is longer than its column")
        residues += [0] * run
        if len(residues) < count:
            residues.append((_read_rice(reader, 1, short, width)[0] + 1) & mask)
    return residues
