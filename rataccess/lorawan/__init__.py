"""LoRaWAN 1.0.x as data and arithmetic: frames, keys, regions, air time.  What devices and network servers share.

Rules of this package: bytes and values in, bytes and values out.  No radio, no socket, no clock, no state of a session.
"""

from __future__ import annotations

from rataccess.lorawan.airtime import Modulation

__all__ = ["Modulation"]
