"""What other programs on the machine may ask of a running device over its control socket.

Rules of this file: one JSON object in a line asked, one or more answered; whoever may open the socket (mode
0600: the user who runs the device) may ask.  Bad requests get an error and change nothing.

    {"do": "enqueue", "service": "solution", "cbor": "oWRuGAE=", "queue": "readings", "urgency": "routine",
     "ttl": null, "max_cost": null, "links": [], "wait": 60}
        -> {"ok": true, "number": 7, "state": "queued"}
        -> {"ok": true, "number": 7, "state": "delivered"}      only with `wait`, seconds; the state then, final or not
    anything else -> {"ok": false, "kind": "ObjectError", "error": "..."}

`cbor` is the object, encoded, in base64: JSON has no bytes and no NaN.  No line at all asks for the device's state.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from rataccess.channel import AsyncChannel
from rataccess.errors import DeadlineExceeded, ObjectError, RataccessError
from rataccess.objects import Service, Urgency, decode

MOST_REQUEST = 32 * 1024 * 1024
"""Bytes of a line: the largest object in base64, and the rest."""


class Channels(Protocol):
    """A device."""

    @property
    def management(self) -> AsyncChannel:
        """Its channel to the management service."""
        ...

    @property
    def solution(self) -> AsyncChannel:
        """Its channel to the solution service."""
        ...


async def answers(device: Channels, line: bytes) -> AsyncIterator[dict[str, object]]:
    """The answers to one request, as they come."""
    try:
        request = json.loads(line)
        if not isinstance(request, dict) or request.pop("do", None) != "enqueue":
            raise ObjectError('a request is a JSON object with "do": "enqueue"')
        async for answer in _enqueue(device, **request):
            yield answer
    except RataccessError as error:
        yield {"ok": False, "kind": type(error).__name__, "error": str(error)}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        yield {"ok": False, "kind": "ObjectError", "error": f"a request that cannot be read: {error}"}


async def _enqueue(
    device: Channels,
    *,
    service: str,
    cbor: str,
    queue: str = "default",
    urgency: str = "routine",
    ttl: float | None = None,
    max_cost: float | None = None,
    links: Sequence[str] = (),
    wait: float | None = None,
) -> AsyncIterator[dict[str, object]]:
    channel = device.management if Service(service) is Service.MANAGEMENT else device.solution
    for name, number in (("ttl", ttl), ("max_cost", max_cost), ("wait", wait)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float))):
            raise ObjectError(f"{name} {number!r}: a number, or null")
    if not isinstance(queue, str) or not isinstance(links, list | tuple) or not all(isinstance(x, str) for x in links):
        raise ObjectError("queue is text, links a list of texts")
    value = decode(base64.b64decode(cbor, validate=True))
    receipt = await channel.enqueue(
        value, queue=queue, urgency=Urgency[urgency.upper()], ttl=ttl, max_cost=max_cost, links=links
    )
    yield {"ok": True, "number": receipt.number, "state": str(receipt.state)}
    if wait is not None:
        with contextlib.suppress(DeadlineExceeded):  # the state says so
            await receipt.wait(wait)
        yield {"ok": True, "number": receipt.number, "state": str(receipt.state)}
