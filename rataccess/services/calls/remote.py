"""Asking a remote: one request, its answer as an object, and again where that is harmless.

Rules of this file: HTTP and time limits; no store, no choice of route.  What a remote sends is taken up to the route's limit
and never unpacked.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from rataccess.clock import Clock
from rataccess.errors import ObjectError
from rataccess.link.backoff import exponential
from rataccess.objects import encode
from rataccess.services import http
from rataccess.services.calls.routes import HttpRequest

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

logger = logging.getLogger("rataccess.services")

UNKNOWN_ROUTE, UNREACHABLE, TIMED_OUT, UNKNOWN_OUTCOME, TOO_LARGE, REFUSED = range(1, 7)
"""Statuses that are ours; 100 to 599 are the remote's (docs/wire.md)."""
NOTHING = encode(None)
CONNECT = 10.0
"""Seconds for a connection to come about."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
_PARSED_HERE = 64 * 1024
"""Bytes of JSON that are read on the event loop: a millisecond."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call went."""

    status: int
    body: bytes = field(default=NOTHING, repr=False)
    """Encoded object."""
    reason: str = ""
    """For the log."""
    may_pass: bool = False
    """Whether another try may go better."""
    retry_after: float | None = None


class Remote:
    """Sends requests.  One connection for each: a kept one may end just when a request that must not be repeated is sent."""

    def __init__(self, clock: Clock, random: Random | None = None) -> None:
        self._clock, self._random = clock, random or Random()
        self._clients: dict[str | None, httpx.AsyncClient] = {}

    async def ask(
        self, request: HttpRequest, *, seconds: float, limit: int, repeatable: bool, ca_file: str | None = None
    ) -> Outcome:
        """The outcome after `seconds` at most; `limit` is in bytes of the answer's body."""
        client = await self._client(ca_file)
        try:
            async with asyncio.timeout(seconds) as timeout:
                if not repeatable:
                    return await self._once(client, request, limit, repeatable)
                end = timeout.when()
                assert end is not None
                return await self._repeatedly(client, request, limit, end)
        except TimeoutError:
            return Outcome(TIMED_OUT, reason=f"no answer within {seconds:.3g} s")

    async def _repeatedly(self, client: httpx.AsyncClient, request: HttpRequest, limit: int, end: float) -> Outcome:
        """Try until it goes well, or no time is left for another wait."""
        from tenacity import AsyncRetrying, retry_if_result

        loop = asyncio.get_running_loop()
        retrying = AsyncRetrying(
            sleep=asyncio.sleep,
            retry=retry_if_result(lambda outcome: outcome.may_pass),
            wait=self._wait,
            stop=lambda state: loop.time() + state.upcoming_sleep >= end,
            retry_error_callback=lambda state: _result(state),
        )
        return await retrying(self._once, client, request, limit, True)

    def _wait(self, state: RetryCallState) -> float:
        wait = exponential(state.attempt_number, _FIRST_WAIT, _LONGEST_WAIT, self._random)
        return max(wait, _result(state).retry_after or 0.0)

    async def _once(self, client: httpx.AsyncClient, request: HttpRequest, limit: int, repeatable: bool) -> Outcome:
        import httpx

        lost = TIMED_OUT if repeatable else UNKNOWN_OUTCOME  # the remote may have done it
        try:
            streaming = client.stream(
                request.method, request.url, headers=dict(request.headers), content=request.content
            )
            async with streaming as response:
                return await self._read(response, limit, lost)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            return Outcome(UNREACHABLE, reason=f"cannot connect: {http.told(error)}", may_pass=True)
        except (httpx.HTTPError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            return Outcome(lost, reason=f"the connection broke: {http.told(error)}", may_pass=True)

    async def _read(self, response: httpx.Response, limit: int, lost: int) -> Outcome:
        status = response.status_code
        if not 200 <= status <= 599:
            return Outcome(lost, reason=f"answered {status}, which is no final status")
        retry_after = http.retry_after(response.headers, self._clock)
        may_pass = status >= 500 or (status == 429 and retry_after is not None)
        content = await _limited(response, limit)
        if content is None:
            return Outcome(TOO_LARGE, reason=f"answered {status} with more than {limit} bytes")
        try:
            body = await _as_object(content, response.headers)
        except ObjectError as error:
            return Outcome(TOO_LARGE, reason=str(error))
        return Outcome(status, body, f"answered {status}", may_pass, retry_after)

    async def _client(self, ca_file: str | None) -> httpx.AsyncClient:
        if ca_file not in self._clients:
            import httpx

            timeout = httpx.Timeout(None, connect=CONNECT)
            made = await asyncio.to_thread(http.client, timeout=timeout, ca_file=ca_file, keep_alive=False)
            self._clients.setdefault(ca_file, made)
        return self._clients[ca_file]

    async def aclose(self) -> None:
        """Idempotent."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()


def _result(state: RetryCallState) -> Outcome:
    assert state.outcome is not None
    outcome: Outcome = state.outcome.result()
    return outcome


async def _limited(response: httpx.Response, limit: int) -> bytes | None:
    """The body as it was sent; `None`, and not read further, where it has more than `limit` bytes."""
    announced = response.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        return None
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > limit:
            return None
    return bytes(content)


async def _as_object(content: bytes, headers: Mapping[str, str]) -> bytes:
    """The encoded object: JSON as what it says, text as text, nothing as null, anything else as bytes."""
    if not content:
        return NOTHING
    kind, _, parameters = headers.get("content-type", "").lower().partition(";")
    kind = kind.strip()
    if headers.get("content-encoding", "identity").lower() != "identity":
        return encode(content)  # packed, though nobody asked for it
    if kind == "application/json" or kind.endswith("+json"):
        if len(content) > _PARSED_HERE:
            return await asyncio.to_thread(_json, content)
        return _json(content)
    if kind.startswith("text/") or kind == "application/xml" or kind.endswith("+xml"):
        return encode(await asyncio.to_thread(_text, content, parameters))  # some character sets take seconds
    return encode(content)


def _json(content: bytes) -> bytes:
    try:
        return encode(json.loads(content))
    except (ValueError, RecursionError, ObjectError):  # not JSON, or nothing that an object can be: what it looks like
        return encode(content.decode("utf-8", "replace"))


def _text(content: bytes, parameters: str) -> str:
    _, _, charset = parameters.partition("charset=")
    try:
        return content.decode(charset.partition(";")[0].strip().strip('"') or "utf-8", "replace")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace")
