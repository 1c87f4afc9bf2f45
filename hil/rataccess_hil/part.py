"""What virtual hardware is made of: parts that are opened and closed, and those that listen.

Rules of this file: nothing of any radio, and nothing of what is said; a stream has one task, which ends with the listener.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self


class Part(ABC):
    """Open while an `async with` lasts, or from `open` to `aclose`."""

    @abstractmethod
    async def open(self) -> None:
        """Begin."""

    @abstractmethod
    async def aclose(self) -> None:
        """End; idempotent."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Listener(Part):
    """Takes connections and talks on each, in a task of its own."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def _listen(self) -> asyncio.Server:
        """Begin to listen, with `_serve` for each connection; raises `OSError`."""

    @abstractmethod
    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from its beginning to its end; `OSError` (so `TimeoutError`) is an end as well."""

    async def open(self) -> None:
        """Listen; raises `OSError` where the address cannot be bound."""
        self._server = await self._listen()

    async def aclose(self) -> None:
        """Hang up on everybody; idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for talk in tuple(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # gone, too slow, or closing: this talk is over either way
        finally:
            self._talks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class TcpListener(Listener):
    """On `host` and `port` (0: any that is free); `address` is where, once open."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._wanted = host, port
        self.address: tuple[str, int] = ("", 0)

    async def _listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, *self._wanted)
        self.address = server.sockets[0].getsockname()[:2]
        return server


class UnixListener(Listener):
    """On a UNIX socket that only this user may open, which is removed in the end."""

    def __init__(self, path: Path | str, longest: int = 1 << 16) -> None:
        super().__init__()
        self._path, self._longest = Path(path), longest

    async def _listen(self) -> asyncio.Server:
        server = await asyncio.start_unix_server(self._serve, self._path, limit=self._longest)
        self._path.chmod(0o600)
        return server

    async def aclose(self) -> None:
        """See `Listener.aclose`."""
        mine = self._server is not None
        await super().aclose()
        if mine:
            self._path.unlink(missing_ok=True)
