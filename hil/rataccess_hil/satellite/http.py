"""Just enough HTTP/1.1 to post a web hook and to answer a form: h11 over asyncio streams.

Rules of this file: one request for each connection, no TLS, loopback use.  h11 (of httpx, in the extra `services`) is
imported on use.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rataccess_hil.part import TcpListener

if TYPE_CHECKING:
    import h11

_LONGEST_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """What came in."""

    method: str
    target: str
    """Path and query."""
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What goes out."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


async def post(url: str, content_type: str, body: bytes) -> int:
    """POST to an `http:` URL and return the status; raises `OSError` where there is no answer."""
    import h11

    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname or "", parts.port or 80)
    connection = h11.Connection(h11.CLIENT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = [
        ("Host", parts.netloc.rpartition("@")[2]),
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    try:
        writer.write(connection.send(h11.Request(method="POST", target=target, headers=headers)) or b"")
        writer.write(connection.send(h11.Data(data=body)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        answer = await _next(connection, reader)
        if not isinstance(answer, h11.Response):
            raise ConnectionResetError(f"{url} gave no answer")
        return int(answer.status_code)
    except h11.ProtocolError as error:
        raise ConnectionResetError(f"{url} does not speak HTTP: {error}") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> Any:
    import h11

    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            return event
        connection.receive_data(await reader.read(65536))


class HttpServer(TcpListener):
    """Answers every request with `handle(request)`; one for each connection.  `address` is where it listens, once open."""

    def __init__(
        self, handle: Callable[[Request], Response | Awaitable[Response]], host: str = "127.0.0.1", port: int = 0
    ) -> None:
        super().__init__(host, port)
        self._handle = handle

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import h11

        connection = h11.Connection(h11.SERVER)
        with contextlib.suppress(h11.ProtocolError):  # no HTTP: this talk is over
            request = await self._request(connection, reader)
            if request is not None:
                answer = self._handle(request)
                self._respond(connection, writer, answer if isinstance(answer, Response) else await answer)
                await writer.drain()

    @staticmethod
    async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
        import h11

        head = await _next(connection, reader)
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        while isinstance(event := await _next(connection, reader), h11.Data):
            body += event.data
            if len(body) > _LONGEST_BODY:
                return None
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        return Request(head.method.decode(), head.target.decode("latin-1"), found.get("content-type", ""), bytes(body))

    @staticmethod
    def _respond(connection: h11.Connection, writer: asyncio.StreamWriter, answer: Response) -> None:
        import h11

        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Connection", "close"),
        ]
        writer.write(connection.send(h11.Response(status_code=answer.status, headers=headers)) or b"")
        writer.write(connection.send(h11.Data(data=answer.body)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
