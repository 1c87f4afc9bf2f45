"""Records that a receiver refuses, kept aside with the reason so that the others can pass.

Rules of this file: whole copies, which outlive the record itself (`prune`); nothing here decides what stands aside.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cbor2

from rataccess.objects import Urgency, decode
from rataccess.services.store.facet import Facet
from rataccess.services.store.values import StoredRecord


@dataclass(frozen=True, slots=True)
class Aside:
    """One record that a receiver refused."""

    receiver: str
    key: str
    """Its idempotency key."""
    record: StoredRecord
    reason: str
    refused_at: float
    """Seconds since 1970."""


class AsideFacet(Facet):
    """For receivers, and for whoever looks after them."""

    def set_aside(self, receiver: str, key: str, record: StoredRecord, reason: str, now: float) -> None:
        """Keep a copy of `record`, which `receiver` refuses; one that is there already stays."""
        copy = cbor2.dumps({**asdict(record), "urgency": int(record.urgency)})
        self.database.execute(
            "INSERT INTO aside VALUES (?, ?, ?, ?, ?) ON CONFLICT (receiver, key) DO NOTHING",
            (receiver, key, copy, reason, now),
        )

    def aside(self, receiver: str | None = None, limit: int = 100, key: str | None = None) -> list[Aside]:
        """What stands aside, of one receiver or of all, under one key or under any, the oldest refusal first."""
        asked = [(column, value) for column, value in (("receiver", receiver), ("key", key)) if value is not None]
        where = " AND ".join(f"{column} = ?" for column, _ in asked) or "1 = 1"
        statement = f"SELECT {_COLUMNS} FROM aside WHERE {where} ORDER BY refused_at, key LIMIT ?"
        return [_aside(*row) for row in self.database.execute(statement, (*(value for _, value in asked), limit))]

    def count_aside(self) -> dict[str, int]:
        """How many records stand aside, by receiver."""
        return {str(name): int(count) for name, count in self.database.execute(_COUNT)}

    def forget_aside(self, receiver: str, key: str) -> None:
        """Delete one copy: it was seen to."""
        self.database.execute("DELETE FROM aside WHERE receiver = ? AND key = ?", (receiver, key))


_COLUMNS = "receiver, key, record, reason, refused_at"
_COUNT = "SELECT receiver, count(*) FROM aside GROUP BY receiver"


def _aside(receiver: str, key: str, copy: bytes, reason: str, refused_at: float) -> Aside:
    kept = decode(copy)
    assert isinstance(kept, dict)
    return Aside(receiver, key, StoredRecord(**{**kept, "urgency": Urgency(kept["urgency"])}), reason, refused_at)
