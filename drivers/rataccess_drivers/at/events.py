"""What the engine tells the port.

Rules of this file: values only.  They live for one call, so they are not frozen: that would double what they cost.
"""

from __future__ import annotations

from dataclasses import dataclass

from rataccess_drivers.at.commands import Reply, Urc


@dataclass(slots=True)
class Write:
    """Bytes to write now: the payload that the modem has prompted for."""

    data: bytes


@dataclass(slots=True)
class Done:
    """The command succeeded."""

    reply: Reply


@dataclass(slots=True)
class Failed:
    """The command failed with the final line `final`; `code` is its CME or CMS number, if any."""

    final: str
    code: int | None


@dataclass(slots=True)
class Answered:
    """A probe was answered.  `sure`: every outstanding reply has come and a command may be started."""

    sure: bool


Event = Write | Done | Failed | Urc | Answered
