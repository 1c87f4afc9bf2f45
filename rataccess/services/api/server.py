"""The HTTP interface as a server, in the service's own event loop.

Rules of this file: socket, token, start and end.  uvicorn's signal handlers stay off: the service minds the signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import uvicorn

from rataccess.clock import Clock
from rataccess.errors import ConfigurationError
from rataccess.objects import Service
from rataccess.services.api.app import make_app
from rataccess.services.api.context import Context
from rataccess.services.api.guard import Guard
from rataccess.services.calls import CallDesk
from rataccess.services.receivers import Receivers
from rataccess.services.secret import reveal
from rataccess.services.settings import ApiSettings, ServerSettings
from rataccess.services.storethread import StoreThread

logger = logging.getLogger("rataccess.services.api")

SHORTEST_TOKEN = 16
"""Characters: of random letters and digits these are 95 bits."""
MOST_AT_ONCE = 64
"""Requests under way; one more is answered 503."""
LONGEST_HEAD = 16 * 1024
"""Bytes of a request's line and headers."""


class ApiServer:
    """Between `start` and `aclose`."""

    def __init__(
        self,
        service: Service,
        settings: ServerSettings,
        clock: Clock,
        *,
        receivers: Receivers | None = None,
        calls: CallDesk | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Raises `ConfigurationError` where the token cannot be had."""
        assert settings.api is not None
        self._settings = settings.api
        token = read_token(settings.api, f"{service}.api", environ)
        self._store = StoreThread(settings.store, "api")
        context = Context(service, settings, self._store, receivers, calls)
        self.app = Guard(make_app(context, clock), token, settings.api.body_limit)
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<ApiServer {self._settings.host} {self._settings.port}>"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on."""
        assert self._socket is not None
        name = self._socket.getsockname()
        return name[0], name[1]

    async def start(self) -> None:
        """Listen.  Raises `ConfigurationError` where the address cannot be had."""
        self._socket = _listen(self._settings.host, self._settings.port)
        self._server = _Server(
            uvicorn.Config(
                self.app,
                log_config=None,
                access_log=False,
                lifespan="off",
                http="h11",
                ws="none",
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MOST_AT_ONCE,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=3,
                h11_max_incomplete_event_size=LONGEST_HEAD,
            )
        )
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="administration interface")
        await self._server.listening.wait()
        logger.info("HTTP interface listens on %s port %d (TCP)", *self.address)

    async def aclose(self) -> None:
        """Finish what is under way and stop.  Idempotent."""
        if self._task is not None and self._server is not None:
            self._server.should_exit = True
            await self._task
            self._task = None
        if self._socket is not None:
            self._socket.close()
        await self._store.aclose()


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


def read_token(settings: ApiSettings, key: str, environ: Mapping[str, str] | None = None) -> str:
    """The token.  Raises `ConfigurationError` where it is missing, too short, or in a file that others can read."""
    if settings.token is not None:
        token, where = reveal(settings.token, f"{key}.token", environ).strip(), f"{key}.token"
    else:
        token, where = _from_file(Path(settings.token_file or "")), f"{key}.token_file"
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"{where}: a token has at least {SHORTEST_TOKEN} letters and digits, without spaces;"
            " make one: openssl rand -hex 24"
        )
    return token


def _from_file(path: Path) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ConfigurationError(f"{path} has mode {mode:04o}: others can read the token; run: chmod 600 {path}")
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} holds no token: it is not plain text") from error


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    result = socket.socket(
        family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, socket.IPPROTO_TCP
    )  # or asyncio delays answers
    try:
        result.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        result.bind((host, port))
        result.setblocking(False)
        result.listen(128)
    except OSError as error:
        result.close()
        raise ConfigurationError(f"cannot listen on {host} port {port} (TCP): {error.strerror or error}") from error
    return result
