"""Calls that devices have made, until they are answered.

Rules of this file: rows and their states; no routes, no network.  A call is answered once: its row goes and the record
for the device comes in one transaction.
"""

from __future__ import annotations

from typing import Any

import cbor2

from rataccess.objects import Urgency
from rataccess.services.store.batch import CALLS_QUEUE
from rataccess.services.store.facet import Facet
from rataccess.services.store.outgoing import announce, enqueue
from rataccess.services.store.values import PendingCall

_COLUMNS = "c.id, d.kid, d.serial_number, c.number, c.name, c.body, c.expires_at, c.repeatable, c.state"
_FROM = "FROM calls AS c JOIN devices AS d ON d.id = c.device"


class CallFacet(Facet):
    """For the desk."""

    def open_calls(self, limit: int = 100) -> list[PendingCall]:
        """The calls that have no answer yet, the oldest first, those that are expired among them."""
        rows = self.database.execute(f"SELECT {_COLUMNS} {_FROM} ORDER BY c.id LIMIT ?", (limit,))
        return [_call(*row) for row in rows]

    def claim_call(self, call: PendingCall) -> bool:
        """Begin `call`, in the state that it was read in; `False` where somebody else has begun or answered it."""
        statement = "UPDATE calls SET state = 'started' WHERE id = ? AND state = ? RETURNING id"
        return self.database.one(statement, (call.id, call.state)) is not None

    def answer_call(self, call: PendingCall, status: int, body: bytes, now: float | None = None) -> bool:
        """Answer `call` with `status` and the encoded object `body`; `False`, and nothing done, where it was answered.

        `now`: seconds since 1970, for the record's time; the call's own end where it is not given.
        """
        with self.database.transaction() as database:
            found = database.one("SELECT device FROM calls WHERE id = ?", (call.id,))
            if found is None:
                return False
            database.lock("devices", [found[0]], "id")
            if database.one("DELETE FROM calls WHERE id = ? RETURNING id", (call.id,)) is None:
                return False
            answer = b"\x83" + cbor2.dumps(call.number) + cbor2.dumps(status) + body  # [number, status, body]
            enqueue(database, found[0], CALLS_QUEUE, answer, Urgency.PROMPT, call.expires_at if now is None else now)
            announce(database)
        return True


def _call(*row: Any) -> PendingCall:
    id_, kid, serial_number, number, name, body, expires_at, repeatable, state = row
    return PendingCall(id_, kid, serial_number, number, name, body, expires_at, bool(repeatable), state)
