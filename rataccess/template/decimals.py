"""Decimal numbers on a grid: the kind of field for measured values.

Rules of this file: pure; the arithmetic is that of whole numbers over a power of ten, floats are only its ends.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from rataccess.errors import ObjectError
from rataccess.template.fields import Misfit, NumberField, shown

MOST_STEPS = 2**40
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{0,19}[1-9])?")


class Scaled(NumberField):
    """Decimal numbers `low`, `low + step`, `low + 2 step` … up to `high`, and NaN, which is a code of its own.

    The arithmetic is decimal: 21.5 comes back as exactly 21.5, the float nearest to the decimal grid point.  An `int` on
    the grid is taken and comes back as a float; -0.0 comes back as 0.0.  A float further off the grid than a millionth of
    a step (the noise of sums such as 0.1 + 0.2) is refused, with `rounded=True` moved to the nearest grid point; beyond
    `low` and `high` it is refused all the same, and so are infinities.

    `low`, `high`, `step`: numbers of at most 20 digits on either side of the point, 2^40 steps at most.
    """

    kind, name = 0, "Scaled"

    def __init__(
        self,
        low: float | str | Decimal,
        high: float | str | Decimal,
        step: float | str | Decimal,
        *,
        optional: bool = False,
        rounded: bool = False,
    ) -> None:
        super().__init__(optional=optional)
        self.rounded = rounded
        self._texts = [_decimal_text(item) for item in (low, high, step)]
        places = max(len(text.partition(".")[2]) for text in self._texts)
        self._ten = 10**places
        self._low, top, self._step = (_shifted(text, places) for text in self._texts)
        if self._step <= 0 or top < self._low:
            raise ObjectError(f"Scaled takes low <= high and a step above 0, not {self._texts}")
        self.last = (top - self._low) // self._step
        if self.last > MOST_STEPS:
            raise ObjectError(f"Scaled{tuple(self._texts)} has {self.last} steps, the limit is 2^40; use Real")
        self.most = self.last + 1
        self.width = self.most.bit_length()
        self._from, self._per = self._low / self._ten, self._ten / self._step
        self._noise = 1e-6 * self._step / self._ten
        if self._step / self._ten < 64 * math.ulp(max(abs(self._low), abs(top)) / self._ten):
            raise ObjectError(f"floats are too coarse for Scaled{tuple(self._texts)}; use Real or Integer")

    @property
    def allowed(self) -> str:
        return f"{self.value(0)!r} to {self.value(self.last)!r} in steps of {self._texts[2]}, or NaN"

    def arguments(self) -> list[Any]:
        return list(self._texts)

    def code(self, value: Any) -> int:
        if not isinstance(value, (float, int)) or isinstance(value, bool):
            raise Misfit("a number is wanted")
        try:
            code: int = round((value - self._from) * self._per)
        except (ValueError, OverflowError) as error:  # NaN, infinities, integers beyond any float
            if value != value:
                return self.most
            raise Misfit("it is out of range") from error
        if not 0 <= code <= self.last:
            raise Misfit("it is out of range")
        point: float = (self._low + code * self._step) / self._ten
        if point != value:
            self._judge(value, point, code)
        return code

    def _judge(self, value: float, point: float, code: int) -> None:
        """The value is not the grid point itself: whether it may be moved there."""
        noise = max(self._noise, 4 * math.ulp(point))
        if abs(value - point) <= noise:
            return
        if (value < point and not code) or (value > point and code == self.last):
            raise Misfit("it is out of range")
        if not self.rounded:
            raise Misfit(f"it is off the grid, next to {point!r}; round it, or give the field rounded=True")

    def value(self, code: int) -> float:
        point: float = (self._low + code * self._step) / self._ten
        return point if code <= self.last else math.nan


def _decimal_text(item: object) -> str:
    """The shortest plain text of a decimal number: `-40`, `0.1`."""
    if isinstance(item, bool) or not isinstance(item, (int, float, str, Decimal)):
        raise ObjectError(f"a decimal number is wanted, not {shown(item)}")
    try:
        exact = Decimal(item if isinstance(item, int) else str(item)[:100])
    except InvalidOperation as error:
        raise ObjectError(f"{shown(item)} is not a decimal number") from error
    if exact == 0:
        return "0"
    text = format(exact, "f") if exact.is_finite() and -20 <= exact.adjusted() <= 20 else ""
    text = text.rstrip("0").rstrip(".") if "." in text else text
    if not _DECIMAL.fullmatch(text):
        raise ObjectError(f"{shown(item)} has more than 20 digits before or after its point, or is not finite")
    return text


def _shifted(text: str, places: int) -> int:
    whole, _, rest = text.partition(".")
    return int(whole + rest.ljust(places, "0"))
