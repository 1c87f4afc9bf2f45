"""What a command of a virtual SBD modem asks of the interpreter while it runs.

Rules of this file: values only.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on after so many seconds; in a `session`, a byte from the host ends it."""

    seconds: float
    session: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """So many raw bytes from the host, or with `None` text up to CR; `b""` where `seconds` pass first."""

    size: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes to the host, without any line around them."""

    data: bytes


Step: TypeAlias = str | Wait | Read | Raw
"""A string is an information line."""
Answer: TypeAlias = Generator[Step, bytes, None]
"""A conversation that ends with OK."""


class AtError(Exception):
    """The command ends with ERROR."""


class Aborted(Exception):
    """A byte came during a session."""


class NoAnswer(Exception):
    """The command is never answered."""
