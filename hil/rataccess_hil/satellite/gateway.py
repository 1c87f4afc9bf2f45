"""The Iridium gateway: what it keeps for each radio, what it delivers, what it bills.

Rules of this file: no socket and no sleep; the date comes from the `Clock`.  DirectIP over TCP, web hooks and radios come
to it: `outlets` get each MO message, `submit` takes MT messages, and a radio's session calls `take_mo`, `next_mt` and so
on.  The same gateway serves SBD radios (MO up to 340 bytes, MT up to 270) and IMT ones (up to 100,000).

What is billed (Ground Control's public documentation): one credit for each 50 bytes begun, MO and MT alike, and one for a
session that carried neither (a mailbox check).
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rataccess.clock import Clock, SystemClock
from rataccess_hil.satellite.directip import (
    LONGEST_MT,
    Disposition,
    Location,
    MoMessage,
    MtConfirmation,
    MtMessage,
    MtStatus,
)

LONGEST_SBD_MO = 340
LONGEST_SBD_MT = 270
LONGEST_IMT = 100_000
QUEUE_DEPTH = 50
CREDIT = 50
"""Bytes of a credit."""

Outlet = Callable[[MoMessage], None]


def credits_for(size: int) -> int:
    """Credits for a message of `size` bytes; an empty one costs one as well.

    >>> [credits_for(size) for size in (0, 1, 50, 51, 340)]
    [1, 1, 1, 2, 7]
    """
    return max(1, -(-size // CREDIT))


@dataclass(slots=True)
class QueuedMt:
    """An MT message that waits for its radio."""

    payload: bytes
    mtmsn: int
    auto_id: int
    priority: int = 5
    topic: int | None = None
    """IMT only."""


@dataclass(slots=True)
class Subscription:
    """What the gateway knows of one radio."""

    imei: str
    longest_mo: int = LONGEST_SBD_MO
    longest_mt: int = LONGEST_SBD_MT
    queue: deque[QueuedMt] = field(default_factory=deque)
    attached: bool = False
    """Whether it registered for ring alerts (a session does that too)."""
    rings_enabled: bool = True
    mtmsn: int = 0
    """The last one given out."""
    location: Location | None = None
    barred: bool = False
    """Access denied: its sessions end with MO status 15."""
    ring: Callable[[], None] | None = None
    """How the constellation calls it; a ring that it does not hear is lost."""
    credits: int = 0
    mo: list[MoMessage] = field(default_factory=list)
    """All that was taken, oldest first."""
    mt_delivered: int = 0
    mailbox_checks: int = 0
    rings: int = 0


class IridiumGateway:
    """The gateway.  Radios subscribe by their IMEI; `outlets` is called with every MO message, in order.

    `drops_repeats` has it discard an MO message whose number and payload equal the last one of that radio (whether the
    real one does is unverified, so it delivers and bills both by default).  `delivers_checks` has mailbox checks delivered
    too, without a payload element.  `open_to_all` subscribes unknown radios at their first session.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        drops_repeats: bool = False,
        delivers_checks: bool = False,
        open_to_all: bool = True,
    ) -> None:
        self.clock = clock or SystemClock()
        self.drops_repeats = drops_repeats
        self.delivers_checks = delivers_checks
        self.open_to_all = open_to_all
        self.outlets: list[Outlet] = []
        self.subscriptions: dict[str, Subscription] = {}
        self.refuse_next: list[int] = []
        """Statuses with which the next MT submissions are refused, whatever they are."""
        self._auto_ids = itertools.count(1)

    # --- subscriptions ------------------------------------------------------------------------------------------------

    def subscribe(
        self, imei: str, *, longest_mo: int = LONGEST_SBD_MO, longest_mt: int = LONGEST_SBD_MT
    ) -> Subscription:
        """Know a radio from now on; returns the same one for the same IMEI."""
        found = self.subscriptions.get(imei)
        if found is None:
            found = self.subscriptions[imei] = Subscription(imei)
        found.longest_mo, found.longest_mt = longest_mo, longest_mt
        return found

    def of(self, imei: str) -> Subscription:
        """What is known of a radio; raises `KeyError` where it has no subscription."""
        found = self.subscriptions.get(imei)
        if found is None and self.open_to_all:
            found = self.subscribe(imei)
        if found is None:
            raise KeyError(f"no subscription for IMEI {imei}")
        return found

    def queued(self, imei: str) -> int:
        """How many MT messages wait for a radio."""
        found = self.subscriptions.get(imei)
        return len(found.queue) if found else 0

    def credits(self, imei: str) -> int:
        """Credits billed to a radio so far."""
        found = self.subscriptions.get(imei)
        return found.credits if found else 0

    # --- mobile originated --------------------------------------------------------------------------------------------

    def take_mo(
        self, imei: str, momsn: int, payload: bytes | None, *, status: int = 0, topic: int | None = None
    ) -> MoMessage | None:
        """A radio's session hands over what it has (`None` for a mailbox check); billed and delivered at once.

        Returns what was delivered, `None` where nothing was.
        """
        subscription = self.of(imei)
        if payload is not None:
            subscription.credits += credits_for(len(payload))
        message = MoMessage(
            imei,
            momsn,
            payload,
            subscription.queue[0].mtmsn if subscription.queue else 0,  # what this session is about to bring down
            int(self.clock.wall()),
            next(self._auto_ids),
            status,
            subscription.location,
            topic,
        )
        last = subscription.mo[-1] if subscription.mo else None
        if self.drops_repeats and last is not None and (last.momsn, last.payload) == (momsn, payload):
            return None
        if payload is None and not self.delivers_checks:
            return None
        subscription.mo.append(message)
        for outlet in tuple(self.outlets):
            outlet(message)
        return message

    # --- mobile terminated --------------------------------------------------------------------------------------------

    def next_mt(self, imei: str) -> QueuedMt | None:
        """The message that a session carries down; it stays until `mt_done`."""
        queue = self.of(imei).queue
        return queue[0] if queue else None

    def mt_done(self, imei: str, message: QueuedMt) -> None:
        """The radio has it: billed, and out of the queue."""
        subscription = self.of(imei)
        subscription.credits += credits_for(len(message.payload))
        subscription.mt_delivered += 1
        if message in subscription.queue:
            subscription.queue.remove(message)

    def mailbox_checked(self, imei: str) -> None:
        """A session that carried nothing either way."""
        subscription = self.of(imei)
        subscription.credits += 1
        subscription.mailbox_checks += 1

    def submit(self, message: MtMessage, *, topic: int | None = None) -> MtConfirmation:
        """An application's message: queued, or refused with the status that DirectIP has for it."""
        status, auto_id = self._submit(message, topic)
        return MtConfirmation(message.client_id, message.imei, auto_id, status)

    def _submit(self, message: MtMessage, topic: int | None) -> tuple[int, int]:
        refusal = self._refusal(message)
        if refusal is not None:
            return refusal, 0
        subscription, flags = self.of(message.imei), Disposition(message.disposition & 0x3B)
        if Disposition.FLUSH in flags:
            subscription.queue.clear()
        auto_id = next(self._auto_ids)
        if message.payload is None or Disposition.RING_WITHOUT_PAYLOAD in flags:
            if Disposition.RING_WITHOUT_PAYLOAD in flags:
                self.call(message.imei)
            return MtStatus.DIRECT, auto_id
        queued = QueuedMt(message.payload, self._next_mtmsn(subscription), auto_id, message.priority or 5, topic)
        place = self._place(subscription.queue, queued, Disposition.HIGH_PRIORITY in flags)
        if subscription.attached and subscription.rings_enabled:
            self.call(message.imei)
        return place, auto_id

    def _refusal(self, message: MtMessage) -> int | None:
        if self.refuse_next:
            return self.refuse_next.pop(0)
        if not re.fullmatch(r"\d{15}", message.imei):
            return MtStatus.BAD_IMEI
        subscription = self.subscriptions.get(message.imei)
        if subscription is None:
            return MtStatus.UNKNOWN_IMEI
        flags = Disposition(message.disposition & 0x3B)
        if Disposition.RING_WITHOUT_PAYLOAD in flags:
            if not subscription.rings_enabled:
                return MtStatus.RINGS_DISABLED
            return None if subscription.attached else MtStatus.NOT_ATTACHED
        if message.payload is None:
            return None if Disposition.FLUSH in flags else MtStatus.NO_PAYLOAD
        if not message.payload:
            return MtStatus.NO_PAYLOAD
        if len(message.payload) > max(LONGEST_MT, subscription.longest_mt):
            return MtStatus.TOO_LARGE
        full = len(subscription.queue) >= QUEUE_DEPTH and Disposition.FLUSH not in flags
        return MtStatus.QUEUE_FULL if full else None

    @staticmethod
    def _place(queue: deque[QueuedMt], message: QueuedMt, first: bool) -> int:
        if first:
            queue.appendleft(message)
            return 1
        place = len(queue)
        while place and queue[place - 1].priority > message.priority:
            place -= 1
        queue.insert(place, message)
        return place + 1

    @staticmethod
    def _next_mtmsn(subscription: Subscription) -> int:
        # 0 means none, so the counter goes from 65535 to 1 (DirectIP: outside 1 to 65535 is refused).
        subscription.mtmsn = subscription.mtmsn % 0xFFFF + 1
        return subscription.mtmsn

    def call(self, imei: str) -> None:
        """A ring alert: heard by the radio only if it has sky and is registered."""
        subscription = self.of(imei)
        subscription.rings += 1
        if subscription.ring is not None:
            subscription.ring()

    def send(self, imei: str, payload: bytes, *, topic: int | None = None) -> MtConfirmation:
        """For tests: submit a plain message."""
        return self.submit(MtMessage(imei, payload), topic=topic)

    # --- looking ------------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, dict[str, int]]:
        """For each IMEI all that can be counted."""
        return {
            imei: {
                "credits": each.credits,
                "mo": len(each.mo),
                "mt": each.mt_delivered,
                "queued": len(each.queue),
                "mailbox_checks": each.mailbox_checks,
                "rings": each.rings,
            }
            for imei, each in self.subscriptions.items()
        }

    def __repr__(self) -> str:
        return f"<IridiumGateway {len(self.subscriptions)} radios>"
