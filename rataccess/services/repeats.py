"""Answers to confirmable requests, kept for those that come twice (RFC 7252 section 4.2).

Rules of this file: bytes by key; the oldest goes first.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable

_KEPT_ANSWERS = 1024


class Repeats:
    """The last answers."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()

    def key(self, data: bytes, address: Hashable) -> Hashable:
        """What tells this request from others."""
        return address, hashlib.sha256(data).digest()

    def answer(self, key: Hashable | None) -> bytes | None:
        """The answer that was given to that request, or `None`."""
        return None if key is None else self._kept.get(key)

    def keep(self, key: Hashable | None, answer: bytes) -> None:
        """This is the answer."""
        if key is None:
            return
        self._kept[key] = answer
        if len(self._kept) > _KEPT_ANSWERS:
            self._kept.popitem(last=False)
