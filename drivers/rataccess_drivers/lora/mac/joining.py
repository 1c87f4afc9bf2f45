"""When a device may ask to join, and the numbers that no two requests may share.

Rules of this file: counting only.  Both are on disk before a request leaves.  Source: LoRaWAN L2 1.0.4, clause 6.2.5
(DevNonce: a counter that is kept, JoinNonce: must grow) and chapter 7 (retransmission back-off).
"""

from __future__ import annotations

import math
from random import Random

import msgspec

from rataccess.errors import KeyStoreError, SequenceExhausted
from rataccess.objects import Memory

LAST_DEV_NONCE = 0xFFFF
FIRST_HOUR, NEXT_HOURS, DAY = 3600.0, 36_000.0, 86_400.0
FIRST_AIRTIME, NEXT_AIRTIME, DAY_AIRTIME = 36.0, 36.0, 8.7
"""Seconds on the air: 1 % of the first hour, 0.1 % of the next ten, 0.01 % of each day after."""
LISTENING = 6.5
"""Seconds from the end of a request until RX2 is over."""
SPACING = 10.0
"""Seconds between two attempts, about, so that devices that lost their power together do not stay together."""
EAGER = 12
"""Attempts before the spacing doubles with each: twice through the data rates of EU868."""
WIDEST = 3600.0


class JoinState(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept."""

    next_dev_nonce: int = 0
    join_nonce: int = -1
    """Of the last join-accept."""
    elapsed: float = 0.0
    """Seconds since the first request; a pause between two processes counts as none."""
    spent: float = 0.0
    """Seconds on the air in the present one of the periods."""
    attempts: int = 0
    """Since the last join-accept."""


class Joining:
    """Requests to join, of one device."""

    def __init__(self, memory: Memory, key: str, random: Random, now: float) -> None:
        """`key` is the memory's, and no other device's."""
        self._lost: KeyStoreError | None = None
        self._memory = memory
        self._key = key
        self._random = random
        self._state = self._read()
        self._elapsed_at: float | None = None
        self._not_before = -math.inf
        if self._state.attempts:  # a restart is no fresh start
            self._elapsed_at = now
            self._not_before = now + self._spacing()

    def check(self) -> None:
        """Raises `KeyStoreError` where what is kept cannot be read: beginning anew would use DevNonces twice."""
        if self._lost is not None:
            raise KeyStoreError(*self._lost.args) from self._lost.__cause__

    @property
    def attempts(self) -> int:
        """Unanswered requests since the last join-accept, this process's or earlier ones'."""
        return self._state.attempts

    @property
    def join_nonce(self) -> int:
        """Of the last join-accept; -1 before the first."""
        return self._state.join_nonce

    def wait(self, now: float, airtime: float) -> float:
        """Seconds until a request of `airtime` seconds may be sent; 0 for now."""
        elapsed = self._elapsed(now)
        limit, end, begin = _period(elapsed)
        spent = self._state.spent if self._state.elapsed >= begin else 0.0
        forced = end - elapsed if spent + airtime > limit else 0.0
        return max(0.0, forced, self._not_before - now)

    def take(self, now: float, airtime: float) -> int:
        """The DevNonce of a request that is sent now, which nothing but this call gives.

        On disk when it returns.  Raises `SequenceExhausted` where all 65,536 are used up, what the memory raises, or as
        `check`.
        """
        self.check()
        state, elapsed = self._state, self._elapsed(now)
        nonce = state.next_dev_nonce
        if nonce > LAST_DEV_NONCE:
            raise SequenceExhausted(
                "every DevNonce is used up: give this device another JoinEUI or AppKey, here and at the network"
            )
        _, _, begin = _period(elapsed)
        spent = state.spent if state.elapsed >= begin else 0.0
        self._write(
            msgspec.structs.replace(
                state,
                next_dev_nonce=nonce + 1,
                elapsed=elapsed,
                spent=spent + airtime,
                attempts=state.attempts + 1,
            )
        )
        self._elapsed_at = now
        self._not_before = now + airtime + LISTENING + self._spacing()
        return nonce

    def accepted(self, join_nonce: int) -> None:
        """The network took the device in; on disk when it returns."""
        self._write(JoinState(next_dev_nonce=self._state.next_dev_nonce, join_nonce=join_nonce))
        self._elapsed_at = None
        self._not_before = -math.inf

    def _elapsed(self, now: float) -> float:
        if self._elapsed_at is None:
            return self._state.elapsed
        return self._state.elapsed + max(0.0, now - self._elapsed_at)

    def _spacing(self) -> float:
        doublings = max(0, min(self._state.attempts, 30) - EAGER)
        return min(WIDEST, SPACING * 2.0**doublings) * self._random.uniform(0.5, 1.5)

    def _write(self, state: JoinState) -> None:
        self._memory.put_now(self._key, msgspec.msgpack.encode(state))
        self._state = state

    def _read(self) -> JoinState:
        data = self._memory.get(self._key)
        if not data:
            return JoinState()
        try:
            return msgspec.msgpack.decode(data, type=JoinState)
        except msgspec.MsgspecError as error:
            self._lost = KeyStoreError(
                f"the store holds nonsense under {self._key!r}: which DevNonces were used is lost; give the device another "
                "JoinEUI or another AppKey, here and at the network"
            )
            self._lost.__cause__ = error
            return JoinState()


def _period(elapsed: float) -> tuple[float, float, float]:
    """Seconds on the air that the period at `elapsed` allows, its end, and its beginning."""
    if elapsed < FIRST_HOUR:
        return FIRST_AIRTIME, FIRST_HOUR, 0.0
    if elapsed < FIRST_HOUR + NEXT_HOURS:
        return NEXT_AIRTIME, FIRST_HOUR + NEXT_HOURS, FIRST_HOUR
    days = math.floor((elapsed - FIRST_HOUR - NEXT_HOURS) / DAY)
    begin = FIRST_HOUR + NEXT_HOURS + days * DAY
    return DAY_AIRTIME, begin + DAY, begin
