"""What the contracts need of pytest."""

import asyncio

# pytest-asyncio asks for "the current event loop" before its first test; Python 3.11 then makes one that nobody closes, and
# the warning about it fails whichever test happens to collect garbage.  With the loop set to none, nothing is made.
asyncio.set_event_loop(None)
