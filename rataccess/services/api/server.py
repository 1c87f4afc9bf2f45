"""The HTTP interface as a server, in the service's own event loop.

Rules of this file: token, start and end; the socket is the web server's.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

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
from rataccess.services.webserver import WebServer

SHORTEST_TOKEN = 16
"""Characters: of random letters and digits these are 95 bits."""
MOST_AT_ONCE = 64
"""Requests under way; one more is answered 503."""


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
        self._server = WebServer(
            self.app, self._settings.host, self._settings.port, most_at_once=MOST_AT_ONCE, what="HTTP interface"
        )

    def __repr__(self) -> str:
        return f"<ApiServer {self._settings.host} {self._settings.port}>"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on."""
        return self._server.address

    async def start(self) -> None:
        """Listen.  Raises `ConfigurationError` where the address cannot be had."""
        await self._server.start()

    async def aclose(self) -> None:
        """Finish what is under way and stop.  Idempotent."""
        await self._server.aclose()
        await self._store.aclose()


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
