"""A Notecard's notefiles: queues out (.qo) and in (.qi), databases (.db), templates, trackers.

Rules of this file: no time, no radio; what a request says of them is in `requests`.  It all lies in flash: a power cut
takes nothing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Note:
    """One note."""

    name: str
    body: dict[str, Any] | None = None
    payload: str | None = None
    """Base64."""
    time: int = 0
    change: int = 0
    """Its place in the order of changes."""
    deleted: bool = False

    def told(self) -> dict[str, Any]:
        """As a reply shows it."""
        found: dict[str, Any] = {"time": self.time}
        if self.body is not None:
            found["body"] = self.body
        if self.payload is not None:
            found["payload"] = self.payload
        if self.deleted:
            found["deleted"] = True
        return found


@dataclass(frozen=True, slots=True)
class Template:
    """What note.template declared."""

    body: dict[str, Any] | None
    port: int | None = None
    compact: bool = False
    length: int = 0
    """Most bytes of a payload; 0 where it was not said."""

    @property
    def size(self) -> int:
        """Bytes of a note without its payload, as note.template answers."""
        return 1 + _size(self.body or {})


def _size(value: Any) -> int:
    """Bytes of a field by its hint (notecard-schema: 11 to 18 and 21 to 24 integers, x.1 floats, a string its length)."""
    if isinstance(value, bool):
        return 1
    if isinstance(value, int):
        return {8: 8}.get(value % 10, value % 10) or 8
    if isinstance(value, float):
        return {12: 2, 14: 4}.get(int(value), 8)
    if isinstance(value, str):
        return int(value) if value.isdigit() else len(value)
    if isinstance(value, dict):
        return sum(_size(each) for each in value.values())
    return sum(_size(each) for each in value) if isinstance(value, list) else 0


@dataclass(slots=True)
class Notefile:
    """One file."""

    name: str
    notes: dict[str, Note] = field(default_factory=dict)
    template: Template | None = None
    unsent: set[str] = field(default_factory=set)
    """Names of notes that the Notehub does not have."""

    @property
    def kind(self) -> str:
        """The end of its name: qo, qi, db, or with s for secure."""
        return self.name.rpartition(".")[2]

    @property
    def leaves(self) -> bool:
        """Whether its notes go up and are gone here then."""
        return self.kind in ("qo", "qos")

    def alive(self) -> list[Note]:
        """The notes that were not deleted, oldest first."""
        return [note for note in self.notes.values() if not note.deleted]


class Notefiles:
    """All files; `most` is how many notes they hold together."""

    def __init__(self, most: int = 1000) -> None:
        self.files: dict[str, Notefile] = {}
        self.most = most
        self._changes = itertools.count(1)
        self._names = itertools.count(1)
        self._trackers: dict[tuple[str, str], int] = {}

    def get(self, name: str) -> Notefile:
        """The file of that name, made where there is none."""
        return self.files.setdefault(name, Notefile(name))

    def total(self) -> int:
        """How many notes there are."""
        return sum(len(file.alive()) for file in self.files.values())

    def put(
        self, file: Notefile, name: str | None, body: dict[str, Any] | None, payload: str | None, time: int
    ) -> Note:
        """Add a note, or replace the one of that name."""
        named = name or f"{next(self._names)}:note"
        note = Note(named, body, payload, time, next(self._changes))
        file.notes[named] = note
        if not file.kind.startswith("qi"):
            file.unsent.add(named)
        return note

    def delete(self, file: Notefile, name: str) -> bool:
        """Delete a note; a database remembers that, for its trackers.  Whether there was one."""
        note = file.notes.get(name)
        if note is None or note.deleted:
            return False
        if file.kind.startswith("db"):
            note.deleted, note.change = True, next(self._changes)
            file.unsent.add(name)
        else:
            del file.notes[name]
            file.unsent.discard(name)
        return True

    def forget(self, file: Notefile, name: str) -> None:
        """The Notehub has it."""
        file.unsent.discard(name)
        if file.leaves:
            file.notes.pop(name, None)

    def clear(self, tracker: str, file: str) -> None:
        """A tracker begins anew."""
        self._trackers.pop((tracker, file), None)

    def changed(self, file: Notefile, tracker: str | None) -> list[Note]:
        """The notes that changed since a tracker saw the file last (all without one), oldest change first."""
        since = self._trackers.get((tracker or "", file.name), 0) if tracker else 0
        return sorted((note for note in file.notes.values() if note.change > since), key=lambda note: note.change)

    def seen(self, file: Notefile, tracker: str | None, notes: list[Note]) -> None:
        """A tracker has seen these."""
        if tracker and notes:
            self._trackers[tracker, file.name] = max(note.change for note in notes)
