"""Records that receivers refused, looked after: listed, shown, sent again, dropped.

Rules of this file: for people and for the task that forwards to the receiver; decides nothing, opens no receiver.  What is
to be sent again stands under a name that no receiver can have, until the one process that forwards to the receiver has sent
it: whoever is killed in between, it is there under one name or the other.  Bodies are read one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rataccess.errors import UnknownRecord
from rataccess.services.store.aside import Aside

if TYPE_CHECKING:
    from rataccess.services.store import ServiceStore

_AGAIN = " again"
"""What a receiver's name has no blank for."""


@dataclass(frozen=True, slots=True)
class Refused:
    """One record that stands aside, without its body."""

    receiver: str
    key: str
    reason: str
    refused_at: float
    """Seconds since 1970."""
    size: int
    """Bytes of the copy."""
    again: bool
    """Whether it is to be sent again."""


def listed(store: ServiceStore, receiver: str, *, after: str = "", limit: int = 100) -> list[Refused]:
    """What stands aside of one receiver, by key, behind the key `after`."""
    rows = store.execute(
        "SELECT receiver, key, reason, refused_at, length(record) FROM aside WHERE receiver IN (?, ?) AND key > ?"
        " ORDER BY key, receiver LIMIT ?",
        (receiver, receiver + _AGAIN, after, limit),
    )
    return [_refused(*row) for row in rows]


def _refused(name: str, key: str, reason: str, refused_at: float, size: int) -> Refused:
    return Refused(name.removesuffix(_AGAIN), key, reason, refused_at, size, name.endswith(_AGAIN))


def counted(store: ServiceStore) -> dict[str, int]:
    """How many stand aside, those that are to be sent again among them, by receiver."""
    found: dict[str, int] = {}
    for name, count in store.count_aside().items():
        receiver = name.removesuffix(_AGAIN)
        found[receiver] = found.get(receiver, 0) + count
    return found


def shown(store: ServiceStore, receiver: str, key: str) -> Aside:
    """One with its record.  Raises `UnknownRecord`."""
    for name in (receiver, receiver + _AGAIN):
        for each in store.aside(name, key=key, limit=1):
            return each
    raise _unknown(receiver, key)


def send_again(store: ServiceStore, receiver: str, key: str) -> None:
    """Have one sent again; nothing where that is said already.  Raises `UnknownRecord`."""
    with store.transaction():
        moved = _move(store, receiver, " AND key = ?", (key,))
    if not moved and not _there(store, receiver + _AGAIN, key):
        raise _unknown(receiver, key)


def send_all_again(store: ServiceStore, receiver: str) -> int:
    """Have all of a receiver's sent again; returns how many that are."""
    with store.transaction():
        return _move(store, receiver, "", ())


def _move(store: ServiceStore, receiver: str, which: str, parameters: tuple[str, ...]) -> int:
    again = receiver + _AGAIN
    chosen = f"SELECT key FROM aside WHERE receiver = ?{which}"
    store.execute(
        f"DELETE FROM aside WHERE receiver = ? AND key IN ({chosen})", (again, receiver, *parameters)
    )  # it was refused once more, after all
    statement = f"UPDATE aside SET receiver = ? WHERE receiver = ?{which} RETURNING 1"
    return len(store.execute(statement, (again, receiver, *parameters)))


def drop(store: ServiceStore, receiver: str, key: str) -> None:
    """Delete one for good.  Raises `UnknownRecord`."""
    statement = "DELETE FROM aside WHERE receiver IN (?, ?) AND key = ? RETURNING 1"
    if not store.execute(statement, (receiver, receiver + _AGAIN, key)):
        raise _unknown(receiver, key)


def drop_all(store: ServiceStore, receiver: str) -> int:
    """Delete all of a receiver's for good; returns how many."""
    statement = "DELETE FROM aside WHERE receiver IN (?, ?) RETURNING 1"
    return len(store.execute(statement, (receiver, receiver + _AGAIN)))


# --- for the task that forwards ---------------------------------------------------------------------------------------


def next_again(store: ServiceStore, receiver: str) -> Aside | None:
    """The one that is to be sent again next."""
    found = store.aside(receiver + _AGAIN, limit=1)
    return found[0] if found else None


def taken(store: ServiceStore, receiver: str, key: str) -> None:
    """The receiver took it."""
    store.forget_aside(receiver + _AGAIN, key)


def refused_again(store: ServiceStore, receiver: str, key: str, reason: str, now: float) -> None:
    """The receiver still refuses it, for `reason`, at `now` (seconds since 1970)."""
    with store.transaction():
        if _there(store, receiver + _AGAIN, key):  # or it was dropped meanwhile
            store.forget_aside(receiver, key)
            store.execute(
                "UPDATE aside SET receiver = ?, reason = ?, refused_at = ? WHERE receiver = ? AND key = ?",
                (receiver, reason, now, receiver + _AGAIN, key),
            )


def _there(store: ServiceStore, name: str, key: str) -> bool:
    return bool(store.execute("SELECT 1 FROM aside WHERE receiver = ? AND key = ?", (name, key)))


def _unknown(receiver: str, key: str) -> UnknownRecord:
    return UnknownRecord(f"no record {key!r:.100} of receiver {receiver!r:.60} stands aside")
