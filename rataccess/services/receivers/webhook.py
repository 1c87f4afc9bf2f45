"""Records to an HTTP server, in batches by POST.

Rules of this file: one request and what its answer means.  2xx: taken.  Answers that are about the server or about who asks
(401, 403, 404, 5xx, 429, a redirect ...) mean that it is down for us: nothing is given up for them.  Other 4xx are about
what was sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rataccess.clock import Clock
from rataccess.errors import ReceiverDown, RecordRefused
from rataccess.services import http
from rataccess.services.receivers.base import Receiver, as_json, key_of
from rataccess.services.receivers.settings import WebhookSettings

if TYPE_CHECKING:
    import httpx

    from rataccess.services.store import StoredRecord

logger = logging.getLogger("rataccess.services")

_ABOUT_US = frozenset({401, 402, 403, 404, 405, 407, 408, 410, 421, 423, 425, 426, 429, 451})
"""4xx that say nothing against the records: the server may be moving, our credentials may have run out."""
_SHORT = 16 * 1024
"""Bytes of an answer's body that are read to keep the connection."""
_TYPES = {"json": "application/json", "ndjson": "application/x-ndjson"}


class WebhookReceiver(Receiver):
    """POST of a JSON array, or of NDJSON; each record has its key within, the request has one of its own."""

    def __init__(self, settings: WebhookSettings, url: str, headers: Mapping[str, str], clock: Clock) -> None:
        self.most, self.most_bytes, self.tries = settings.batch, settings.batch_bytes, settings.tries
        self._settings, self._url, self._headers, self._clock = settings, url, dict(headers), clock
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"<WebhookReceiver {self._settings.name}>"

    async def open(self, state: bytes | None) -> None:
        """See `Receiver`; connects with the first request."""
        made = await asyncio.to_thread(http.client, timeout=self._settings.timeout, ca_file=self._settings.ca_file)
        self._client = made

    async def deliver(self, batch: Sequence[StoredRecord]) -> None:
        """See `Receiver`."""
        content = await asyncio.to_thread(self._content, batch)
        status, headers = await self._post(content, request_key(batch))
        self._judge(status, http.retry_after(headers, self._clock))

    def _content(self, batch: Sequence[StoredRecord]) -> bytes:
        lines = (as_json(record) for record in batch)
        if self._settings.format == "ndjson":
            return "".join(f"{line}\n" for line in lines).encode()
        return f"[{','.join(lines)}]".encode()

    async def _post(self, content: bytes, key: str) -> tuple[int, Mapping[str, str]]:
        """Status and headers of the answer."""
        import httpx

        assert self._client is not None
        headers = {
            "content-type": _TYPES[self._settings.format],
            "accept-encoding": "identity",
            **self._headers,
            "idempotency-key": key,
        }
        answer: tuple[int, Mapping[str, str]] | None = None
        try:
            async with asyncio.timeout(self._settings.timeout):
                async with self._client.stream("POST", self._url, content=content, headers=headers) as response:
                    answer = response.status_code, response.headers
                    await _empty(response)
        except (httpx.HTTPError, OSError) as error:  # a TimeoutError is an OSError
            if answer is not None:
                return answer  # only its body was not to be had, which nobody reads
            if isinstance(error, (httpx.TimeoutException, TimeoutError)):
                raise ReceiverDown(f"no answer within {self._settings.timeout:g} s") from error
            raise ReceiverDown(f"cannot be reached: {http.told(error)}") from error
        return answer

    def _judge(self, status: int, retry_after: float | None) -> None:
        if 200 <= status < 300:
            return
        if 400 <= status < 500 and status not in _ABOUT_US:
            raise RecordRefused(f"answered {status}", too_large=status == 413)
        if 300 <= status < 400:
            raise ReceiverDown(f"answered {status}; redirects are not followed: configure the final URL")
        raise ReceiverDown(f"answered {status}", retry_after)

    async def aclose(self) -> None:
        """See `Receiver`."""
        client, self._client = self._client, None
        if client is not None:
            try:
                await client.aclose()
            except Exception:
                logger.debug("closing the client of %s", self._settings.name, exc_info=True)


async def _empty(response: httpx.Response) -> None:
    """Take a short body off the connection, which can be used again then; what is longer costs a new connection."""
    if response.headers.get("content-length", "").isdigit() and int(response.headers["content-length"]) <= _SHORT:
        async for _ in response.aiter_raw():
            pass


def request_key(batch: Sequence[StoredRecord]) -> str:
    """The same for the same records, and for no others: of one record its key, of several a hash of their keys."""
    keys = [key_of(record) for record in batch]
    return keys[0] if len(keys) == 1 else hashlib.sha256("\n".join(keys).encode()).hexdigest()[:32]
