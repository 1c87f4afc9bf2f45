"""looptime's plug-in asks the policy for its event loop around each fixture; where none was ever set, that makes one which
nobody closes.  Saying that there is none keeps it from doing so."""

from __future__ import annotations

import asyncio

asyncio.set_event_loop(None)
