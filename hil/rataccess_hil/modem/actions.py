"""What the interpreter asks of the world, and what a command may ask of the interpreter.

Rules of this file: values only.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias

# --- to the world -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """Open a UDP socket; answer with `Data.opened`.  A `UDP SERVICE` has no peer of its own."""

    serial: int
    service: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send on an open socket."""

    serial: int
    data: bytes
    to: tuple[str, int]


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close it; no answer."""

    serial: int


@dataclass(frozen=True, slots=True)
class Resolve:
    """Look a name up; answer with `Data.resolved`."""

    host: str


@dataclass(frozen=True, slots=True)
class Plug:
    """The modem's USB port appears (`present`) or goes."""

    present: bool


Action: TypeAlias = OpenSocket | SendDatagram | CloseSocket | Resolve | Plug

# --- from a command to the interpreter --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on after so many seconds; with `abortable`, any byte from the host ends the command."""

    seconds: float
    abortable: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """Ask for `size` raw bytes, or with `None` for text up to Ctrl-Z; the command gets them."""

    size: int | None


@dataclass(frozen=True, slots=True)
class Block:
    """An information line that raw bytes follow."""

    line: str
    data: bytes


Step: TypeAlias = str | Block | Wait | Prompt
Answer: TypeAlias = list[str] | Generator[Step, bytes, str | None]
"""Information lines at once (OK follows), or a conversation that returns its final line (`None` for OK)."""


class AtError(Exception):
    """A command fails with this CME code; with `None` always as plain `ERROR`."""

    def __init__(self, code: int | None = None) -> None:
        super().__init__(f"CME {code}")
        self.code = code


class NoAnswer(Exception):
    """The command line is never answered."""
