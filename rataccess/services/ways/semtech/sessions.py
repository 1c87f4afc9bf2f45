"""What the network server knows of each device, and what of it outlives a restart.

Rules of this file: values, their bytes, and the arithmetic of counters.  Keys are derived anew from the AppKey, which is in
the key file; nothing that is kept is secret.
"""

from __future__ import annotations

import hmac
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from rataccess.errors import ObjectError
from rataccess.lorawan.crypto import SessionKeys, session_keys
from rataccess.objects import decode, encode

RESERVED = 64
"""Downlink counters that are set aside on disk at a time: after a crash some are skipped, none is used twice."""
WRAP = 1 << 16
_LAYOUT, _FIRST_LAYOUT = 2, 1
ANY_ROOT = b""
"""Of nonces that were kept before roots were: they count for each."""
_ROOT_BYTES = 8
MOST_ROOTS = 8
"""Roots of one device; of more the oldest is forgotten: there has been another key, or JoinEUI, since."""
SNRS = 20
"""Uplinks that adaptive data rate looks back on."""


@dataclass(slots=True)
class Session:
    """One session of a device, from its join."""

    dev_addr: int
    join_nonce: int
    dev_nonce: int
    net_id: int
    rx_delay: int
    """Seconds to RX1."""
    keys: SessionKeys = field(repr=False)
    app_key: bytes = field(repr=False)
    fcnt_up: int = -1
    """The last one taken, of 32 bits."""
    fcnt_down: int = 0
    """The next one."""
    reserved: int = 0
    """Downlink counters below this are, or are about to be, set aside on disk."""
    usable: int = 0
    """Those below this may be used."""
    repeats: int = 0
    """How often the last uplink was repeated."""
    power: int = 0
    """TXPower index that the device was told and said yes to."""
    asked: tuple[int, int] | None = None
    """Data rate and power of a LinkADRReq without an answer yet."""
    refused: bool = False
    """Whether the device refused the last one."""
    snrs: deque[float] = field(default_factory=lambda: deque(maxlen=SNRS))

    @classmethod
    def begin(
        cls, app_key: bytes, *, dev_addr: int, join_nonce: int, dev_nonce: int, net_id: int, rx_delay: int
    ) -> Session:
        """The session that a join begins."""
        keys = session_keys(app_key, join_nonce, net_id, dev_nonce)
        return cls(dev_addr, join_nonce, dev_nonce, net_id, rx_delay, keys, app_key)

    def counters(self, low: int) -> tuple[int, int | None]:
        """The counters of 32 bits that an uplink's 16 may stand for: the next one, and the one already had (a copy, a
        repetition or a replay)."""
        if self.fcnt_up < 0:
            return low, None
        found = self.fcnt_up - self.fcnt_up % WRAP + low
        if found > self.fcnt_up:
            return found, found - WRAP if found >= WRAP else None
        return found + WRAP, found

    def packed(self) -> list[Any]:
        """What is kept; `reserved` is raised where it runs short."""
        if self.fcnt_down + RESERVED // 2 >= self.reserved:
            self.reserved = self.fcnt_down + RESERVED
        return [
            self.dev_addr,
            self.join_nonce,
            self.dev_nonce,
            self.net_id,
            self.rx_delay,
            self.fcnt_up,
            self.reserved,
            self.power,
        ]


@dataclass(slots=True)
class DeviceState:
    """One device."""

    dev_eui: str
    """16 hexadecimal digits in lower case."""
    dev_nonces: dict[bytes, set[int]] = field(default_factory=dict)
    """All that were ever used, by the root of their session keys (`root_of`): none is taken twice for a JoinEUI (LoRaWAN L2
    1.0.4 clause 6.2.5), and a device with a new AppKey begins anew, as one does that was put back to its factory state."""
    join_nonce: int = 0
    """The last one given."""
    current: Session | None = None
    pending: Session | None = None
    """Begun by a join, not used by the device yet: until then the one before goes on."""

    def use(self, root: bytes, dev_nonce: int) -> bool:
        """Note that a DevNonce has been used; `False` where it had been before."""
        if any(dev_nonce in self.dev_nonces.get(each, ()) for each in (root, ANY_ROOT)):
            return False
        self.dev_nonces.setdefault(root, set()).add(dev_nonce)
        while len(self.dev_nonces) > MOST_ROOTS:
            del self.dev_nonces[next(iter(self.dev_nonces))]
        return True

    @property
    def sessions(self) -> list[Session]:
        """One, two or none."""
        return [each for each in (self.current, self.pending) if each is not None]

    def packed(self) -> bytes:
        """What is kept in the store."""
        nonces = [
            [root, b"".join(each.to_bytes(2, "big") for each in sorted(used))] for root, used in self.dev_nonces.items()
        ]
        sessions = [None if each is None else each.packed() for each in (self.current, self.pending)]
        return encode([_LAYOUT, nonces, self.join_nonce, *sessions])

    @classmethod
    def unpacked(cls, dev_eui: str, data: bytes, app_key: bytes | None) -> DeviceState:
        """Raises `ObjectError` where it cannot be read.  Without the AppKey there are no sessions, and still no nonce is
        taken twice."""
        try:
            found: Any = decode(data)
            layout, nonces, join_nonce, *sessions = found
            if layout not in (_LAYOUT, _FIRST_LAYOUT) or len(sessions) != 2:
                raise ValueError("another layout")
            used = {root: _nonces(each) for root, each in (nonces if layout == _LAYOUT else [[ANY_ROOT, nonces]])}
            current, pending = [None if not each or app_key is None else _session(each, app_key) for each in sessions]
        except (ValueError, TypeError) as error:
            raise ObjectError(f"what is kept of device {dev_eui} cannot be read: {error}") from error
        return cls(dev_eui, used, join_nonce, current, pending)


def _nonces(packed: bytes) -> set[int]:
    return {int.from_bytes(packed[at : at + 2], "big") for at in range(0, len(packed), 2)}


def root_of(app_key: bytes, join_eui: int) -> bytes:
    """What tells the DevNonces of one AppKey and JoinEUI from those of others; it gives nothing of the key away."""
    return hmac.digest(app_key, b"DevNonces of " + join_eui.to_bytes(8, "big"), "sha256")[:_ROOT_BYTES]


def _session(packed: list[Any], app_key: bytes) -> Session:
    dev_addr, join_nonce, dev_nonce, net_id, rx_delay, fcnt_up, reserved, power = packed
    found = Session.begin(
        app_key, dev_addr=dev_addr, join_nonce=join_nonce, dev_nonce=dev_nonce, net_id=net_id, rx_delay=rx_delay
    )
    found.fcnt_up, found.power = fcnt_up, power
    found.fcnt_down = found.reserved = found.usable = reserved
    return found
