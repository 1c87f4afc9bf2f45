"""uvicorn in the service's own event loop: the HTTP interface, and web-hooks of providers.

Rules of this file: socket, start and end.  uvicorn's signal handlers stay off: the service minds the signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rataccess.services.crowd import Crowd
from rataccess.services.sockets import listen_tcp

logger = logging.getLogger("rataccess.services")

LONGEST_HEAD = 16 * 1024
"""Bytes of a request's line and headers."""
HEAD_WITHIN = 10.0
"""Seconds for a request's line and headers: uvicorn would wait for ever, and whoever only connects would keep everybody
else out (`most_at_once`)."""


class WebServer:
    """Between `start` and `aclose`."""

    def __init__(self, app: Any, host: str, port: int, *, most_at_once: int, what: str) -> None:
        """`app` is an ASGI application; `most_at_once` connections are there: where one more comes, one without a whole
        request gives way, and where all have one, its request is answered 503."""
        self._app, self._host, self._port = app, host, port
        self._most, self._what = most_at_once, what
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<WebServer {self._what} {self._host} {self._port}>"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on."""
        assert self._socket is not None
        name = self._socket.getsockname()
        return name[0], name[1]

    async def start(self) -> None:
        """Listen.  Raises `ConfigurationError` where the address cannot be had."""
        self._socket = listen_tcp(self._host, self._port)
        crowd = Crowd(self._most - 1)  # uvicorn refuses where there are as many as it is told

        class Connection(_Impatient):
            """One of this server's."""

            others = crowd

        self._server = _Server(
            uvicorn.Config(
                self._app,
                interface="asgi3",
                log_config=None,
                log_level=logging.ERROR,  # it warns of each request that is none: strangers would fill the log
                access_log=False,
                lifespan="off",
                http=Connection,
                ws="none",
                server_header=False,
                proxy_headers=False,
                limit_concurrency=self._most,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=3,
                h11_max_incomplete_event_size=LONGEST_HEAD,
            )
        )
        self._task = asyncio.create_task(self._server.serve([self._socket]), name=self._what)
        await self._server.listening.wait()
        logger.info("%s listens on %s port %d (TCP)", self._what, *self.address)

    async def aclose(self) -> None:
        """Finish what is under way and stop.  Idempotent."""
        if self._task is not None and self._server is not None:
            self._server.should_exit = True
            await self._task
            self._task = None
        if self._socket is not None:
            self._socket.close()


class _Impatient(H11Protocol):
    """Hangs up on clients whose request does not come."""

    others: ClassVar[Crowd]
    """Those of the same server."""
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.others.enter(self, self.client and self.client[0], self._give_way)
        self._mind()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._mind()

    def connection_lost(self, exc: Exception | None) -> None:
        self.others.leave(self)
        self._forget()
        super().connection_lost(exc)

    def _mind(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._patience is None:
            self._patience = self.loop.call_later(HEAD_WITHIN, self._give_up)

    def _forget(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_way(self) -> bool:
        """Hang up, where no request is under way that has come as a whole."""
        idle = self.cycle is None or self.cycle.response_complete or self.cycle.more_body
        if idle:
            self.transport.abort()
        return idle

    def _give_up(self) -> None:
        self._patience = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class _Server(uvicorn.Server):
    """Leaves the signals alone, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()
