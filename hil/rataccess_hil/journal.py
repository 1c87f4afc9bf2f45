"""What passed over a virtual radio's port, byte for byte, with times.

Rules of this file: nothing is interpreted and nothing is thrown away.  Times are the event loop's own, in seconds.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Direction(enum.StrEnum):
    """Which way bytes went."""

    TO_RADIO = "to radio"
    TO_HOST = "to host"


@dataclass(frozen=True, slots=True)
class Entry:
    """Bytes that passed at once (`note` empty), or something that happened to the port (`data` empty)."""

    at: float
    """Seconds, event loop time."""
    direction: Direction | None
    data: bytes = b""
    note: str = ""


class Journal:
    """Everything since the radio was made, oldest first."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def record(self, at: float, direction: Direction, data: bytes) -> None:
        """Keep bytes, as the host wrote or could read them."""
        self.entries.append(Entry(at, direction, data))

    def note(self, at: float, text: str) -> None:
        """Keep an event: opened, closed, disconnected, a fault switched on."""
        self.entries.append(Entry(at, None, note=text))

    def bytes_in(self, direction: Direction) -> bytes:
        """All bytes of one direction."""
        return b"".join(entry.data for entry in self.entries if entry.direction is direction)

    def commands(self) -> list[str]:
        """What the host wrote, cut at carriage returns; bytes above 127 appear as escapes."""
        written = self.bytes_in(Direction.TO_RADIO).decode("ascii", "backslashreplace")
        return [line.strip("\n") for line in written.split("\r") if line.strip("\n")]

    def notes(self) -> list[str]:
        """The events, oldest first."""
        return [entry.note for entry in self.entries if entry.note]

    def dump(self) -> list[dict[str, object]]:
        """For a control channel: one JSON-able mapping for each entry."""
        return [
            {
                "at": round(entry.at, 6),
                "direction": str(entry.direction or ""),
                "data": entry.data.hex(),
                "note": entry.note,
            }
            for entry in self.entries
        ]

    def __repr__(self) -> str:
        return (
            f"<Journal {len(self.bytes_in(Direction.TO_RADIO))} bytes to radio, "
            f"{len(self.bytes_in(Direction.TO_HOST))} to host>"
        )
