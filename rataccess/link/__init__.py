"""Supervision of links: reconnection with back-off, health, the recovery ladder.

Rules of this package: floor 2; it imports floors 0 and 1 only.  It knows no concrete radio, no service, no policy.

    link      the `Link` itself: one task, evidence, readiness
    states    its states and transitions, a table
    remedy    what to do about a failure; pure
    trouble   what failed, and what is done about it until when
    session   the driver and transport that are open; foreign errors end here
    backoff   how long to wait; kept across restarts
    timing    every duration and count, with its reason
    listener  what a link tells
"""

from __future__ import annotations

from rataccess.link.link import Link
from rataccess.link.listener import LinkChange, LinkListener
from rataccess.link.states import LinkState
from rataccess.link.timing import LinkTiming

__all__ = ["Link", "LinkChange", "LinkListener", "LinkState", "LinkTiming"]
