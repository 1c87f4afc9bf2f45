"""The ways over which one device is heard: how they are called, how much goes back over them, and what waits there.

Rules of this file: what the device said of a UDP address, and what the network says of an airway; no keys, no store.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import cbor2

from rataccess import wire
from rataccess.services.airway import Airway

_SMALLEST_ANSWER = 48
"""A device that asks for less gets this: head, acknowledgement and time."""
_MOST_PATHS = 8
"""Addresses remembered of one device: it has a few radios, and NATs give each a new address at times."""


class Path(NamedTuple):
    """One way over which a device is heard, as it told."""

    link: str | None = None
    limit: int | None = None
    """Bytes of the largest CoAP message back."""
    asked_only: bool = False
    """Whether it hears nothing there but answers."""
    unanswered: float | None = None
    """Since when records that came over it wait for their acknowledgement (seconds since 1970), where packets back cost."""


class Paths:
    """Those of one device; `address` is where it was last heard."""

    def __init__(self) -> None:
        self.address: Hashable | None = None
        self._paths: dict[str, Path] = {}

    def load(self, kept: bytes | None) -> int | None:
        """Go on from what the store keeps; returns what `dump` was given."""
        items = cbor2.loads(kept) if kept else []
        sure = items.pop() if items and isinstance(items[-1], int) else None
        self._paths = {key: Path(*path) for key, *path in items}
        return sure

    def dump(self, sure: int | None) -> bytes:
        """What the store is to keep; `sure` is kept with it (`floors.Trust`)."""
        items: list[Any] = [[key, *path] for key, path in self._paths.items()]
        return cbor2.dumps(items if sure is None else [*items, sure])

    @property
    def airway(self) -> Airway | None:
        """The airway that the device was last heard over, where it was one."""
        return self.address if isinstance(self.address, Airway) else None

    @property
    def current(self) -> Path:
        """What is known of the way that the device was last heard over."""
        return self._paths.get(str(self.address), Path())

    @property
    def asked_only(self) -> bool:
        """Whether the device hears nothing there but answers."""
        return not self.airway.unasked if self.airway else self.current.asked_only

    def limit(self, most: int) -> int:
        """Bytes of the largest packet back, `most` at most."""
        if self.airway:
            return min(most, self.airway.room)
        told = self.current.limit
        return most if told is None else min(most, max(_SMALLEST_ANSWER, told))

    def learn(self, control: dict[int, Any]) -> str | None:
        """The link that a message came over: what the device last said of it to this address, or its network does."""
        key, path = str(self.address), self._paths.pop(str(self.address), Path())
        if self.airway:
            self._paths[key] = Path(self.airway.link or self.airway.kind, unanswered=path.unanswered)
        else:
            told = control.get(wire.LINK, path.link) or None
            self._paths[key] = Path(
                told.replace("\0", "") if told else None,
                control.get(wire.ANSWER_LIMIT, path.limit) or None,
                control.get(wire.ASKED_ONLY, path.asked_only),
            )
        while len(self._paths) > _MOST_PATHS:
            del self._paths[next(iter(self._paths))]
        return self._paths[key].link

    def waits(self, since: float | None) -> None:
        """Records that came over this path wait since then for their acknowledgement; `None`: none do."""
        key, path = str(self.address), self.current
        if since is None or path.unanswered is None:
            self._paths[key] = path._replace(unanswered=since)

    def settle(self) -> None:
        """The device was told what has arrived: that goes for all paths."""
        for key, path in self._paths.items():
            if path.unanswered is not None:
                self._paths[key] = path._replace(unanswered=None)
