"""Who must go from a full outbox for a newcomer.

Rules of this file: it reads within the transaction of whoever asks, and changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rataccess.config.model import StoreSettings, WhenFull
from rataccess.errors import StoreFull
from rataccess.objects import Urgency
from rataccess.store.schema import CLASSES, NUMBER_BITS, key_of
from rataccess.store.totals import Totals, droppable, lacking


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A record that is to be kept: the index of its service, its urgency, its size in bytes."""

    service: int
    urgency: Urgency
    size: int


def victims(
    connection: sqlite3.Connection, settings: StoreSettings, room: Totals, new: Newcomer, spare: Mapping[int, int]
) -> list[int]:
    """The keys to drop until nothing is lacking in `room` (which is used up); `spare` are none of them.

    Raises `StoreFull` where that is not allowed or not enough.
    """
    found = list[int]()
    sources: dict[int, Iterator[tuple[int, int]]] = {}
    if any(_lacking(room, settings, new)) and not _can_fit(settings, room, new):
        raise StoreFull(_full_text(settings, room, new))
    while (lack := next(_lacking(room, settings, new), None)) is not None:
        for service in _donors(room, new.service, own=lack[1], count=lack[0]):
            if service not in sources:
                sources[service] = _oldest(connection, service, new.urgency)
            victim = next((each for each in sources[service] if each[0] not in spare), None)
            if victim is not None:
                break
        else:
            raise StoreFull(_full_text(settings, room, new))
        room.add(victim[0] >> NUMBER_BITS, -1, -victim[1])
        found.append(victim[0])
    return found


def _lacking(room: Totals, settings: StoreSettings, new: Newcomer) -> Iterator[tuple[str, bool]]:
    return lacking(room, settings, new.service, new.urgency, new.size)


def _can_fit(settings: StoreSettings, room: Totals, new: Newcomer) -> bool:
    if settings.when_full is WhenFull.REFUSE:
        return False
    emptied = room.copy()
    for class_ in range(CLASSES):
        if droppable(class_, new.urgency):
            emptied.add(class_, -emptied.records[class_], -emptied.sizes[class_])
    return not any(_lacking(emptied, settings, new))


def _donors(room: Totals, service: int, *, own: bool, count: str) -> list[int]:
    """The services to drop from, in order: the newcomer's own where its share is used up, else who uses more."""
    if own:
        return [service]
    counts = room.records if count == "max_records" else room.sizes
    used = [sum(counts[:8]), sum(counts[8:])]
    other = 1 - service
    return [other, service] if used[other] > used[service] else [service, other]


def _oldest(connection: sqlite3.Connection, service: int, urgency: int) -> Iterator[tuple[int, int]]:
    """Keys and sizes that may be dropped for `urgency`: the least urgent first, and of those the oldest."""
    for class_ in range(service << 3, (service << 3) + urgency + 1):
        yield from connection.execute(
            "SELECT key, length(body) FROM outbox WHERE key > ? AND key < ? ORDER BY key",
            (key_of(class_, 0), key_of(class_ + 1, 0)),
        )


def _full_text(settings: StoreSettings, room: Totals, new: Newcomer) -> str:
    name = next(_lacking(room, settings, new))[0]
    return (
        f"the outbox holds {sum(room.records)} records of {sum(room.sizes)} bytes; {new.size} more would break "
        f"store.{name} = {getattr(settings, name)} (a part of it is kept for the other service and for urgent "
        "records); try again when some were delivered"
    )
