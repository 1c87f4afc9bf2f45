"""All receivers of a solution service: made from the settings, started, told, stopped.

Rules of this file: composition; every mistake of the settings ends in one `ConfigurationError` before anything is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rataccess.clock import Clock
from rataccess.config.check import refusal
from rataccess.errors import ConfigurationError, MissingExtra
from rataccess.services import http
from rataccess.services.receivers import mqtt
from rataccess.services.receivers.base import Receiver
from rataccess.services.receivers.choice import Choice
from rataccess.services.receivers.forwarding import Forwarding, ReceiverStatus
from rataccess.services.receivers.ndjson import NdjsonReceiver
from rataccess.services.receivers.settings import (
    MqttSettings,
    NdjsonSettings,
    PostgresqlSettings,
    ReceiverSettings,
    WebhookSettings,
)
from rataccess.services.receivers.table import PostgresqlReceiver, url_mistake
from rataccess.services.receivers.webhook import WebhookReceiver
from rataccess.services.secret import Secret, reveal, reveal_all
from rataccess.services.storethread import StoreAccess, StoreThread

logger = logging.getLogger("rataccess.services")

FLUSH = 5.0
"""Seconds for the last records when the service stops."""


class Receivers:
    """Forwards records until closed.  One receiver's trouble is its own."""

    def __init__(
        self,
        settings: Sequence[ReceiverSettings],
        url: str,
        clock: Clock,
        *,
        environ: Mapping[str, str] | None = None,
        store: Callable[[str], StoreAccess] | None = None,
    ) -> None:
        """`url` is the store's; `environ` holds the secrets (default: the process's own); `store` makes the handle for a
        receiver of a name (default: one on a thread of its own).

        Raises one `ConfigurationError` that lists every mistake.
        """
        self._settings, self._clock = list(settings), clock
        self._store = store or (lambda name: StoreThread(url, f"receiver-{name}"))
        self._receivers = made(self._settings, clock, os.environ if environ is None else environ)
        self._running: dict[asyncio.Task[None], Forwarding] = {}

    def __repr__(self) -> str:
        return f"<Receivers {', '.join(each.name for each in self._settings) or 'none'}>"

    @property
    def names(self) -> list[str]:
        """Those that are configured."""
        return [each.name for each in self._settings]

    def start(self) -> None:
        """Begin to forward, on the running event loop."""
        for settings, receiver in zip(self._settings, self._receivers, strict=True):
            kind = str(settings.__struct_config__.tag)
            store = self._store(settings.name)
            forwarding = Forwarding(
                receiver,
                Choice(settings),
                store,
                self._clock,
                name=settings.name,
                kind=kind,
                from_now=settings.start == "now",
            )
            task = asyncio.create_task(forwarding.run(), name=f"receiver {settings.name}")
            self._running[task] = forwarding

    def wake(self) -> None:
        """Records were filed: look at once.  Call it on the event loop, after the commit."""
        for forwarding in self._running.values():
            forwarding.wake()

    def status(self) -> list[ReceiverStatus]:
        """How each goes, in the order of the settings."""
        return [forwarding.status for forwarding in self._running.values()]

    async def aclose(self, deadline: float = FLUSH) -> None:
        """Deliver what can be delivered within `deadline` (s), then stop.  Idempotent."""
        for forwarding in self._running.values():
            forwarding.finish()
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=deadline)
        for task in late:
            logger.warning("receiver %s: not done within %g s; the rest waits", self._running[task].name, deadline)
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()


def made(settings: Sequence[ReceiverSettings], clock: Clock, environ: Mapping[str, str]) -> list[Receiver]:
    """The receivers, none of them open; raises one `ConfigurationError` for all mistakes."""
    receivers: list[Receiver] = []
    mistakes = [
        f"solution.receivers: the name {name!r} is given {n} times; each needs its own"
        for name, n in Counter(each.name for each in settings).items()
        if n > 1
    ]
    for index, each in enumerate(settings):
        try:
            receivers.append(_Maker(f"solution.receivers[{index}]", clock, environ).make(each))
        except MissingExtra:
            raise
        except ConfigurationError as error:
            mistakes += str(error).splitlines()
    if mistakes:
        raise refusal(mistakes)
    return receivers


class _Maker:
    """Makes one receiver; `key` is where its settings stand."""

    def __init__(self, key: str, clock: Clock, environ: Mapping[str, str]) -> None:
        self._key, self._clock, self._environ = key, clock, environ

    def make(self, settings: ReceiverSettings) -> Receiver:
        """Raises `ConfigurationError`."""
        match settings:
            case NdjsonSettings():
                return NdjsonReceiver(Path(settings.file))
            case WebhookSettings():
                return self._webhook(settings)
            case MqttSettings():
                return self._mqtt(settings)
            case PostgresqlSettings():
                return self._postgresql(settings)

    def _webhook(self, settings: WebhookSettings) -> Receiver:
        url = self._reveal(settings.url, "url")
        headers = reveal_all(settings.headers, f"{self._key}.headers", self._environ)
        self._refuse(self._webhook_mistakes(url, headers))
        self._files(settings.ca_file)
        return WebhookReceiver(settings, url, headers, self._clock)

    def _webhook_mistakes(self, url: str, headers: Mapping[str, str]) -> Iterator[str]:
        yield from (f"{self._key}.url: {each}" for each in http.url_mistakes(url))
        yield from (f"{self._key}.headers.{name}: {each}" for name, each in http.header_mistakes(headers))

    def _mqtt(self, settings: MqttSettings) -> Receiver:
        mistake = mqtt.topic_mistake(settings.topic)
        self._refuse([] if mistake is None else [f"{self._key}.topic: {mistake}"])
        if settings.certificate_file is None and settings.key_file is not None:
            raise ConfigurationError(f"{self._key}.key_file: allowed only with certificate_file")
        if not settings.tls and (settings.ca_file or settings.certificate_file):
            raise ConfigurationError(f"{self._key}.tls: found false; certificates need true")
        self._files(settings.ca_file, settings.certificate_file, settings.key_file)
        username = None if settings.username is None else self._reveal(settings.username, "username")
        password = None if settings.password is None else self._reveal(settings.password, "password")
        if password is not None and username is None:
            raise ConfigurationError(f"{self._key}.username: missing; a password needs one")
        return mqtt.MqttReceiver(settings, username, password)

    def _postgresql(self, settings: PostgresqlSettings) -> Receiver:
        url = self._reveal(settings.url, "url")
        if not url.startswith(("postgresql://", "postgres://")):
            raise ConfigurationError(f"{self._key}.url: allowed: postgresql://user@host/database")
        if isinstance(settings.url, str) and ("password=" in url or ":" in url.partition("://")[2].rpartition("@")[0]):
            raise ConfigurationError(
                f'{self._key}.url: a password in the file is not allowed; use url = {{ env = "..." }} or a PGPASSFILE'
            )
        mistake = url_mistake(url)
        self._refuse([] if mistake is None else [f"{self._key}.url: {mistake}"])
        return PostgresqlReceiver(settings, url)

    def _reveal(self, value: Secret, name: str) -> str:
        return reveal(value, f"{self._key}.{name}", self._environ)

    def _files(self, *files: str | None) -> None:
        missing = [each for each in files if each is not None and not os.access(each, os.R_OK)]
        self._refuse(f"{self._key}: {each} cannot be read" for each in missing)

    def _refuse(self, mistakes: Sequence[str] | Iterator[str]) -> None:
        found = list(mistakes)
        if found:
            raise ConfigurationError("\n".join(found))
