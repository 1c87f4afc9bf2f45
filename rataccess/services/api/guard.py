"""What every request must pass before anything looks into it: the token, and the limits.

Rules of this file: plain ASGI.  The token is compared in constant time.  A body is taken whole, within a limit of bytes and
of seconds, or not at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

logger = logging.getLogger("rataccess.services.api")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/health", "/openapi.json")
"""Paths that need no token: they tell nothing of devices."""
PATIENCE = 30.0
"""Seconds that the body of a request may take."""


class Guard:
    """Wraps an application."""

    def __init__(self, app: App, token: str, body_limit: int) -> None:
        self._app = app
        self._token = _digest(token.encode())
        self._limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's request."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])  # of a header that comes twice the last
        if scope["path"] not in OPEN and not self._is_authorised(headers.get(b"authorization", b"")):
            logger.warning("administration request without the token", extra=_shown(scope))
            await _refuse(send, 401, "a bearer token is needed", (b"www-authenticate", b"Bearer"))
            return
        body = await self._body(headers, receive, send)
        if body is not None:
            await self._pass_on(scope, body, receive, send)

    async def _pass_on(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                level = logging.DEBUG if scope["method"] in ("GET", "HEAD") else logging.INFO
                logger.log(level, "administration request", extra={**_shown(scope), "status": message["status"]})
            await send(message)

        await self._app(scope, replay, note)

    def _is_authorised(self, header: bytes) -> bool:
        scheme, _, token = header.partition(b" ")
        return hmac.compare_digest(_digest(token.strip()), self._token) and scheme.lower() == b"bearer"

    async def _body(self, headers: dict[bytes, bytes], receive: Receive, send: Send) -> bytes | None:
        """The whole body; `None` where the request was refused or the connection went away."""
        told = headers.get(b"content-length", b"0")
        if told.isdigit() and int(told[:20]) > self._limit:
            await _refuse(send, 413, f"a body has at most {self._limit} bytes")
            return None
        body = bytearray()
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    body += message.get("body", b"")
                    if len(body) > self._limit:
                        await _refuse(send, 413, f"a body has at most {self._limit} bytes")
                        return None
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            await _refuse(send, 408, f"a body comes within {PATIENCE:.0f} s")
            return None


def _shown(scope: Scope) -> dict[str, Any]:
    return {"method": scope["method"], "path": scope["path"][:200]}


def _digest(token: bytes) -> bytes:
    """Of one length whatever the token's, so that comparing tells nothing of that either."""
    return hashlib.sha256(token).digest()


async def _refuse(send: Send, status: int, error: str, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps({"error": error}).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    if status != 401:
        own.append((b"connection", b"close"))  # what is left of the body is not read
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})
