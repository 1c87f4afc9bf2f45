"""The hub's end of private LoRa: messages for many nodes, each sent when its node listens.

Rules of this file: sans-I/O, as `link`.  What waits is bounded by number and age; what is given up is counted.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora.private.frame import Frame
from rataccess_drivers.lora.private.link import MOST_PEERS, SOON, Action, Endpoint, Listen
from rataccess_drivers.lora.private.pending import Attempt

KEPT = 16
"""Messages that wait for one node; the oldest makes room."""
EXPIRES = 3600.0
"""Seconds: by then the services have sent something newer."""
ROUNDS = 3
"""Times that a node is heard, sent to and does not answer before a message is given up."""


@dataclass(slots=True)
class Waiting:
    """A message for a node."""

    data: bytes
    since: float
    rounds: int = 0
    sequence: int | None = None
    """With which it was sent before: then a node that has it already does not take it again."""


class Hub(Endpoint):
    """An `Endpoint` that is given messages at any time."""

    def __init__(
        self,
        network: int,
        modulation: Modulation,
        *,
        attempts: int = 4,
        chance: random.Random,
        room: Callable[[], bool] = lambda: True,
        serves: frozenset[int] | None = None,
    ) -> None:
        """`serves` are the nodes' addresses, `None` for everybody in the network; the rest is as in `Endpoint`."""
        super().__init__(network, modulation, from_hub=True, attempts=attempts, chance=chance, room=room)
        self._waiting: OrderedDict[int, deque[Waiting]] = OrderedDict()
        self._closed_until = float("-inf")
        self._sending: tuple[int, Waiting] | None = None
        self._served = serves

    def serves(self, address: int) -> bool:
        """Whether the node belongs to the network."""
        return self._served is None or address in self._served

    def post(self, address: int, data: bytes, now: float) -> None:
        """Send a message to a node as soon as it listens."""
        queue = self._waiting.setdefault(address, deque())
        queue.append(Waiting(data, now))
        if len(queue) > KEPT:
            queue.popleft()
            self.counters["messages that had to make room"] += 1
        if len(self._waiting) > MOST_PEERS:
            _, dropped = self._waiting.popitem(last=False)
            self.counters["messages that had to make room"] += len(dropped)

    def _wrong(self, frame: Frame) -> str | None:
        return super()._wrong(frame) or (None if self.serves(frame.address) else "other address")

    def more(self, address: int) -> bool:
        """See `Endpoint.more`."""
        return bool(self._waiting.get(address))

    def next(self, now: float) -> Action:
        """See `Endpoint.next`."""
        if self.idle and not self._answers:
            self._fill(now)
        action = super().next(now)
        if isinstance(action, Listen) and action.until is None and self._waiting and now + SOON < self._closed_until:
            return Listen(self._closed_until)
        return action

    def _fill(self, now: float) -> None:
        """The node that has waited longest, of those that listen now."""
        self._sending = None
        if now + SOON < self._closed_until:
            return
        for address, queue in list(self._waiting.items()):
            while queue and now - queue[0].since > EXPIRES:
                queue.popleft()
                self.counters["messages that expired"] += 1
            if not queue:
                del self._waiting[address]
            elif self._listens(address, now):
                waiting = queue.popleft()
                self._waiting.move_to_end(address)
                self._sending = (address, waiting)
                _, waiting.sequence = self.submit(waiting.data, now, address, waiting.sequence)
                return

    def _listens(self, address: int, now: float) -> bool:
        peer = self._peers.get(address)
        return peer is not None and now < peer.awake_until

    def _give_up(self, current: Attempt, now: float, reason: str, seconds: float) -> None:
        """It waits again: for air time, or until its node is heard."""
        super()._give_up(current, now, reason, seconds)
        if self._sending is None:
            return
        address, waiting = self._sending
        self._sending = None
        if current.tries:
            self._peer(address).awake_until = float("-inf")
            waiting.rounds += 1
        else:
            self._closed_until = now + seconds
        if waiting.rounds < ROUNDS:
            self._waiting.setdefault(address, deque()).appendleft(waiting)
        else:
            self.counters["messages that nobody answered"] += 1
