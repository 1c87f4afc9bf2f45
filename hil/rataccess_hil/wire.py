"""One direction of a byte path, and what can go wrong in it.

Rules of this file: no descriptor.  Bytes come in by `feed` and go out by the `deliver` that the owner gave, on the event
loop, in order.  The faults are a real cable's: bytes lost, bytes altered, a path that ends after so many bytes, delay, and
a peer that takes nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable


class Wire:
    """A direction of the path; faultless until told otherwise."""

    def __init__(self, deliver: Callable[[bytes], None], chance: random.Random) -> None:
        self._deliver = deliver
        self._chance = chance
        self._to_drop = 0
        self._drop_rate = 0.0
        self._to_garble = 0
        self._garble_rate = 0.0
        self._cut_after: int | None = None
        self._delay = 0.0
        self._free_at = 0.0
        self._travelling: deque[bytes] = deque()
        self._frozen = False
        self._held: bytearray | None = None
        self.lost = 0
        """Bytes that never arrived."""
        self.garbled = 0
        """Bytes that arrived altered."""

    # --- faults -------------------------------------------------------------------------------------------------------

    def drop(self, count: int = 0, rate: float = 0.0) -> None:
        """Lose the next `count` bytes, and then each byte with probability `rate` (0 to 1)."""
        self._to_drop, self._drop_rate = count, rate

    def garble(self, count: int = 0, rate: float = 0.0) -> None:
        """Alter the next `count` bytes, and then each byte with probability `rate` (0 to 1)."""
        self._to_garble, self._garble_rate = count, rate

    def cut(self, after: int = 0) -> None:
        """Let `after` more bytes through and lose all that follows, until `mend`."""
        self._cut_after = after

    def delay(self, seconds: float) -> None:
        """Deliver everything fed from now on `seconds` later; order is kept."""
        self._delay = seconds

    def freeze(self, keep: bool = False) -> None:
        """Deliver nothing until `thaw`; what is fed meanwhile is lost, or held where `keep` is set."""
        self._frozen = True
        self._held = bytearray() if keep else None

    def thaw(self) -> None:
        """End `freeze`; what was held goes out first."""
        held, self._held, self._frozen = self._held, None, False
        if held:
            self._send(bytes(held))

    def mend(self) -> None:
        """End every fault of this direction."""
        self.drop()
        self.garble()
        self._cut_after = None
        self._delay = 0.0
        self.thaw()

    # --- the path -----------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes enter the path."""
        passed = self._alter(self._lose(data))
        if self._frozen:
            if self._held is None:
                self.lost += len(passed)
            else:
                self._held += passed
        elif passed:
            self._send(passed)

    def _lose(self, data: bytes) -> bytes:
        kept = data[self._to_drop :]
        self._to_drop -= len(data) - len(kept)
        if self._drop_rate:
            kept = bytes(byte for byte in kept if self._chance.random() >= self._drop_rate)
        if self._cut_after is not None:
            kept = kept[: self._cut_after]
            self._cut_after -= len(kept)
        self.lost += len(data) - len(kept)
        return kept

    def _alter(self, data: bytes) -> bytes:
        if not self._to_garble and not self._garble_rate:
            return data
        altered = bytearray(data)
        for index in range(len(altered)):
            if self._to_garble:
                self._to_garble -= 1
            elif self._chance.random() >= self._garble_rate:
                continue
            altered[index] ^= self._chance.randint(1, 255)
            self.garbled += 1
        return bytes(altered)

    def _send(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        # A byte never overtakes one that was fed earlier, even where the delay has become shorter since.
        self._free_at = max(self._free_at, loop.time() + self._delay)
        if self._free_at <= loop.time() and not self._travelling:
            self._deliver(data)
        else:
            # Timers of one moment may fire in any order, so each takes what is first.
            self._travelling.append(data)
            loop.call_at(self._free_at, lambda: self._deliver(self._travelling.popleft()))
