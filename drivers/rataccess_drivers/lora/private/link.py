"""The link protocol of private LoRa: stop and wait, for a node and for a hub with many nodes.

Rules of this file: sans-I/O; times come in as numbers, randomness as a `random.Random`.  Each call of `next` says what the
radio is to do now; what became of it is reported (`sent`, `busy`, `not_allowed`, `heard`); `take_events` tells the rest.

One message is under way at a time.  It is sent, acknowledged by its check, and sent again after a random pause that
doubles; after the last attempt nobody knows whether it arrived.  The receiver knows a copy by sequence number and content:
the latest is acknowledged again and not delivered again, older ones are replays.  A sender that starts anew begins with any
sequence number, for the content tells its messages from those before.

A node that does not always listen does so for `AWAKE` seconds after each frame of the hub's; the hub sends to it only then.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora.private.frame import ACK_SIZE, Frame, FrameError, Kind, decode, encode
from rataccess_drivers.lora.private.pending import Answer, Attempt, Peer, acknowledged, key

AWAKE = 5.0
"""Seconds that a node listens after a frame of the hub's: a packet to the services and its answer take less."""
TURNAROUND = 0.25
"""Seconds from the end of a frame to the begin of its acknowledgement, at most: Python on a busy machine."""
MOST_LOOKS = 12
"""Times in a row that the channel may be in use before nothing is sent."""
HISTORY = 32
MOST_PEERS = 1024
_LATE = 0.02
SOON = 0.001
"""Seconds: what is due that soon is due; nobody listens for less."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this; look before whether the channel is free, unless it is the answer that others leave the channel for."""

    data: bytes
    look_first: bool


@dataclass(frozen=True, slots=True)
class Listen:
    """Receive, at most until then (`None`: until something else is to be done)."""

    until: float | None


@dataclass(frozen=True, slots=True)
class Sleep:
    """Nothing, until something is to be sent."""


Action = Send | Listen | Sleep


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message came in."""

    address: int
    data: bytes
    always: bool
    """Whether the node always listens."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The other end has this message."""

    ticket: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Unanswered:
    """It was sent as often as allowed, and nobody said anything: it may have arrived."""

    ticket: int


@dataclass(frozen=True, slots=True)
class NotSent:
    """It never went on the air."""

    ticket: int
    reason: str
    retry_after: float


Event = Delivered | Accepted | Unanswered | NotSent


class Endpoint:
    """One end of the link."""

    def __init__(
        self,
        network: int,
        modulation: Modulation,
        *,
        from_hub: bool,
        address: int | None = None,
        always: bool = True,
        attempts: int = 4,
        chance: random.Random,
        room: Callable[[], bool] = lambda: True,
    ) -> None:
        """`address` is a node's own, `None` for a hub; `always` whether this node always listens; `room` whether another
        message can be taken.
        """
        self.counters: Counter[str] = Counter()
        """Frames that changed nothing, by reason."""
        self._network = network
        self._modulation = modulation
        self._hub = from_hub
        self._address = address
        self._always = always or from_hub
        self._attempts = attempts
        self._chance = chance
        self._room = room
        self._peers: OrderedDict[int, Peer] = OrderedDict()
        self._answers: deque[Answer] = deque()
        self._current: Attempt | None = None
        self._in_hand: Attempt | Answer | None = None
        self._events: list[Event] = []
        self._tickets = 0
        self._awake_until = float("-inf")

    # --- orders -------------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether a message may be submitted."""
        return self._current is None

    @property
    def first_transmission(self) -> int | None:
        """Bytes of the message that `next` wants sent for the first time; `None` for anything else."""
        hand = self._in_hand
        fresh = isinstance(hand, Attempt) and hand.tries == 0 and hand.frame.kind is Kind.DATA
        return len(hand.frame.payload) if fresh and isinstance(hand, Attempt) else None

    def submit(
        self, data: bytes | None, now: float, address: int | None = None, sequence: int | None = None
    ) -> tuple[int, int]:
        """Send a message (`None`: a poll), one at a time, to `address` (a hub's; a node has only the hub).

        Returns the ticket that its event will name, and the sequence number, with which it may be submitted again.
        """
        assert self._current is None, "one message at a time"
        self._tickets += 1
        to = self._address if address is None else address
        assert to is not None
        peer = self._peer(to)
        peer.sequence = (peer.sequence + 1) & 0xFF if sequence is None else sequence
        kind = Kind.POLL if data is None else Kind.DATA
        flag = False if self._hub else self._always
        frame = Frame(kind, self._network, to, peer.sequence, self._hub, flag, data or b"")
        self._current = Attempt(self._tickets, frame, self._attempts, now)
        return self._tickets, peer.sequence

    def withdraw(self, ticket: int) -> None:
        """Forget a message: nobody waits for it any more."""
        if self._current is not None and self._current.ticket == ticket:
            self._current = None

    def take_events(self) -> list[Event]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    # --- what to do ---------------------------------------------------------------------------------------------------

    def next(self, now: float) -> Action:
        """What the radio is to do now."""
        self._in_hand = None
        due = now + SOON
        if self._answers:
            first = self._answers[0]
            waits = due < first.not_before
            return Listen(first.not_before) if waits else self._send(first, first.frame, look_first=False)
        current = self._current
        if current is not None and current.waiting_until is not None and due >= current.waiting_until:
            self._missed(current, now)
            current = self._current
        if current is None:
            return self._listen(now)
        if current.waiting_until is not None:
            return Listen(current.waiting_until)
        if due >= current.not_before:
            return self._send(current, current.frame, look_first=True)
        return Listen(current.not_before)

    def _send(self, what: Attempt | Answer, frame: Frame, *, look_first: bool) -> Send:
        self._in_hand = what
        return Send(encode(frame), look_first)

    def _listen(self, now: float) -> Action:
        if self._always:
            return Listen(None)
        return Listen(self._awake_until) if now + SOON < self._awake_until else Sleep()

    def sent(self, now: float) -> None:
        """What `next` wanted sent has been sent, and ended at `now`."""
        hand = self._in_hand
        if isinstance(hand, Answer):
            self._answers.popleft()
            if self._hub:
                peer = self._peer(hand.frame.address)
                peer.awake_until = max(peer.awake_until, now + AWAKE)
        elif hand is not None and hand is self._current:
            hand.tries += 1
            hand.looks = 0
            hand.waiting_until = now + self.answer_time + (0.0 if self._hub or hand.tries == 1 else self._notice)

    def busy(self, now: float) -> None:
        """The channel was in use."""
        current = self._current
        if current is None or self._in_hand is not current:
            return
        current.looks += 1
        if current.looks < MOST_LOOKS:
            current.not_before = now + self._pause(current, current.looks)
        else:
            self._give_up(current, now, "the channel is in use", self._pause(current, current.looks))

    def not_allowed(self, now: float, seconds: float, reason: str = "the air time of this band is spent") -> None:
        """The law forbids to send it for so long; or what it demands to be kept cannot be."""
        current = self._current
        if isinstance(self._in_hand, Answer):
            self._answers.popleft()
            self.counters["acknowledgements without air time"] += 1
        elif current is not None and self._in_hand is current:
            self._give_up(current, now, reason, seconds)

    def _missed(self, current: Attempt, now: float) -> None:
        self.counters["missed acknowledgements"] += 1
        if current.tries >= current.attempts:
            self._give_up(current, now, "", 0.0)
        else:
            current.waiting_until = None
            current.not_before = now + self._pause(current, current.tries)

    def _give_up(self, current: Attempt, now: float, reason: str, seconds: float) -> None:
        self._current = None
        never = current.tries == 0
        self._events.append(NotSent(current.ticket, reason, seconds) if never else Unanswered(current.ticket))

    def _pause(self, current: Attempt, times: int) -> float:
        """Twice as long each time, at random, in units of what an exchange takes."""
        exchange = self._modulation.time_on_air(len(current.frame.payload) + 8) + self.answer_time
        return self._chance.uniform(0.1, 1.0) * exchange * 2.0 ** min(times - 1, 4)

    @property
    def answer_time(self) -> float:
        """Seconds from the end of a frame within which its acknowledgement has come."""
        return TURNAROUND + self._modulation.time_on_air(ACK_SIZE) + _LATE

    # --- what comes in ------------------------------------------------------------------------------------------------

    def heard(self, data: bytes, now: float) -> None:
        """A packet came in, which ended at `now`.  What is not for us, or was before, is counted and changes nothing."""
        try:
            frame = decode(data)
        except FrameError as error:
            self.counters[error.reason] += 1
            return
        if (wrong := self._wrong(frame)) is not None:
            self.counters[wrong] += 1
            self._answered_by_another(frame)
        elif frame.kind is Kind.ACK:
            self._acknowledged(frame, now)
        else:
            self._take(frame, now)

    def _wrong(self, frame: Frame) -> str | None:
        if frame.network != self._network:
            return "foreign network"
        if frame.from_hub is self._hub:
            return "not for this end"
        if self._address is not None and frame.address != self._address:
            return "other address"
        return None

    def _acknowledged(self, frame: Frame, now: float) -> None:
        current = self._current
        wanted = None if current is None or not current.tries else current.frame
        told = None if wanted is None else (wanted.address, wanted.sequence, wanted.check)
        if current is None or wanted is None or acknowledged(frame) != told:
            self.counters["stale acknowledgements"] += 1
            return
        self._current = None
        self._awake(frame, now)
        self._events.append(Accepted(current.ticket, wanted.sequence))

    def _answered_by_another(self, frame: Frame) -> None:
        """Two hubs in one network: what one has acknowledged the other need not."""
        if self._hub and frame.from_hub and frame.kind is Kind.ACK and frame.network == self._network:
            told = acknowledged(frame)
            mine = [each for each in self._answers if acknowledged(each.frame) != told]
            self.counters["acknowledged by another hub"] += len(self._answers) - len(mine)
            self._answers = deque(mine)

    def _take(self, frame: Frame, now: float) -> None:
        peer = self._peer(frame.address)
        again = self._is_latest(frame, peer)
        if frame.kind is Kind.POLL:
            peer.polled = frame.sequence
        elif again:
            self.counters["duplicates"] += 1
        elif not self._new(frame, peer):
            return
        self._awake(frame, now)
        self._answer(frame, now + (self._apart() if again and self._hub else 0.0))

    def _is_latest(self, frame: Frame, peer: Peer) -> bool:
        if frame.kind is Kind.POLL:
            return peer.polled == frame.sequence
        return next(reversed(peer.heard), None) == key(frame)

    def _apart(self) -> float:
        """Seconds before an acknowledgement that was sent before, at random: two hubs in one network would answer at the
        same time for ever, and a node hears neither.  Enough for the later one to notice the other's preamble.
        """
        return self._chance.uniform(0.0, TURNAROUND - _LATE + self._notice)

    @property
    def _notice(self) -> float:
        """Seconds in which another's preamble is noticed."""
        return 8 * self._modulation.symbol_time

    def _new(self, frame: Frame, peer: Peer) -> bool:
        """Deliver a message that was not delivered before; whether it is to be acknowledged."""
        content = key(frame)
        if content in peer.heard:
            self.counters["replays"] += 1
            return False
        if not self._room():
            self.counters["messages without room"] += 1
            return False
        peer.heard[content] = None
        if len(peer.heard) > HISTORY:
            peer.heard.popitem(last=False)
        self._events.append(Delivered(frame.address, frame.payload, frame.flag))
        return True

    def _answer(self, frame: Frame, not_before: float) -> None:
        flag = self.more(frame.address) if self._hub else self._always
        told = Frame(Kind.ACK, self._network, frame.address, frame.sequence, self._hub, flag, frame.check)
        self._answers.append(Answer(told, not_before))

    def _awake(self, frame: Frame, now: float) -> None:
        """The hub's frames keep a node awake; a node's tell the hub how long it is."""
        if self._hub:
            self._peer(frame.address).awake_until = float("inf") if frame.flag else now + AWAKE
        else:
            self._awake_until = now + AWAKE * (2 if frame.flag else 1)

    def more(self, address: int) -> bool:
        """For hubs: whether there is more for that node."""
        return False

    def _peer(self, address: int) -> Peer:
        """Who was heard least recently is forgotten where they are too many."""
        if address not in self._peers:
            self._peers[address] = Peer(self._chance.randrange(256))
            if len(self._peers) > MOST_PEERS:
                self._peers.popitem(last=False)
        self._peers.move_to_end(address)
        return self._peers[address]
