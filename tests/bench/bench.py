"""What a bench is: contenders, metrics, and a stage on which they run.

Rules of this file: the bases only; no measuring.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from tests.bench.desk import Desk

Values = Mapping[str, float]
"""What one run of one contender measured: metric -> value."""

OURS = "rataccess"
"""How the name of every contender of ours begins."""


class Unavailable(Exception):
    """Something that a bench or a contender needs is not on this machine; the text is the reason that is reported."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured."""

    name: str
    unit: str
    better: str = "less"
    """`less` or `more`."""
    wall: bool = False
    """Whether it is wall-clock time, which moves on a shared machine."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One who runs."""

    name: str
    run: Callable[[], Values]
    note: str = ""
    """Its settings, and where it differs from the others."""
    waits: bool = False
    """Mostly waits, for minutes: its runs go on beside those of the others, on stages of their own."""
    runs: int | None = None
    """How many runs, where they are not as many as the bench's."""

    @property
    def is_ours(self) -> bool:
        return self.name.startswith(OURS)


class Bench(ABC):
    """One question, asked of several contenders."""

    name: ClassVar[str]
    title: ClassVar[str]
    text: ClassVar[str]
    """How it was measured and what to know; Markdown."""
    metrics: ClassVar[Sequence[Metric]]
    runs: ClassVar[int] = 7
    quick_runs: ClassVar[int] = 2
    beside: ClassVar[int] = 8
    """Most runs that go on beside the others, of contenders that mostly wait."""
    ratio_of: ClassVar[str | None] = None
    """The metric of which the table also gives the ratio to the first contender of ours; default: the first metric."""

    @abstractmethod
    def stage(self, desk: Desk) -> AbstractContextManager[Sequence[Contender]]:
        """Set up what the contenders need, and take it down; raises `Unavailable`."""
