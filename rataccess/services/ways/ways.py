"""All ways into a service: made from the settings, started, stopped.

Rules of this file: composition; every mistake of the settings ends in one `ConfigurationError` before anything is opened.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

from rataccess.clock import Clock
from rataccess.config.check import refusal
from rataccess.errors import ConfigurationError, MissingExtra
from rataccess.objects import Service
from rataccess.services import http
from rataccess.services.keyfile import KeyFile
from rataccess.services.secret import Secret, reveal
from rataccess.services.server import Server
from rataccess.services.sockets import host_and_port
from rataccess.services.storethread import StoreAccess, StoreThread
from rataccess.services.ways.base import Surroundings, WayIn
from rataccess.services.ways.brokers import ChirpStackWay, ThingsStackWay
from rataccess.services.ways.iridium import DirectIpWay
from rataccess.services.ways.posted import read_public_key
from rataccess.services.ways.providers import CloudloopWay, RockBlockWay
from rataccess.services.ways.relay import RelayWay
from rataccess.services.ways.semtech import SemtechWay
from rataccess.services.ways.settings import (
    Broker,
    ChirpStackSettings,
    CloudloopSettings,
    DirectIpSettings,
    RelaySettings,
    RockBlockSettings,
    SemtechSettings,
    ThingsStackSettings,
    WaySettings,
)


class Ways:
    """Packets come in until closed."""

    def __init__(
        self,
        service: Service,
        settings: Sequence[WaySettings],
        server: Server,
        *,
        keys: str,
        store: str,
        count: Callable[[str], None],
        clock: Clock,
        environ: Mapping[str, str] | None = None,
        access: Callable[[str], StoreAccess] | None = None,
        random: Random | None = None,
        repeats_after: float = 3 * 3600.0,
        shared: bool = False,
    ) -> None:
        """`keys` is the key file, `store` the store's URL; `environ` holds the secrets (default: the process's own);
        `access` makes the handle on the store for a way of a name (default: one on a thread of its own); `shared`: other
        processes of the service may use it too.  `repeats_after` as in `Surroundings`.

        Raises one `ConfigurationError` that lists every mistake.
        """
        self._server = server
        around = Surroundings(
            service,
            clock,
            count,
            KeyFile(Path(keys)),
            access or (lambda name: StoreThread(store, f"way-{name}")),
            os.environ if environ is None else environ,
            random or Random(),
            repeats_after,
            shared,
        )
        self.all = made(settings, around)

    def __repr__(self) -> str:
        return f"<Ways {', '.join(each.name for each in self.all) or 'none'}>"

    def __getitem__(self, name: str) -> WayIn:
        return next(each for each in self.all if each.name == name)

    async def start(self) -> None:
        """Begin, on the running event loop, after the server has opened.  Raises `ConfigurationError`; those that had
        begun are closed then."""
        try:
            for each in self.all:
                self._server.add_way(each.name, each.send)
                await each.start(self._server.heard)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop all.  Idempotent."""
        await asyncio.gather(*(each.aclose() for each in self.all))


def made(settings: Sequence[WaySettings], around: Surroundings) -> list[WayIn]:
    """The ways, none of them open; raises one `ConfigurationError` for all mistakes."""
    ways: list[WayIn] = []
    mistakes = [
        f"{around.service}.ways: the name {name!r} is given {n} times; each needs its own"
        for name, n in Counter(each.name for each in settings).items()
        if n > 1
    ]
    for index, each in enumerate(settings):
        try:
            ways.append(_Maker(f"{around.service}.ways[{index}]", around).make(each))
        except MissingExtra:
            raise
        except ConfigurationError as error:
            mistakes += str(error).splitlines()
    if mistakes:
        raise refusal(mistakes)
    return ways


_MISSING = "/"
"""In place of a secret that is not there; the way is not made then."""


class _Maker:
    """Makes one way; `key` is where its settings stand."""

    def __init__(self, key: str, around: Surroundings) -> None:
        self._key, self._around = key, around
        self._mistakes: list[str] = []
        """About secrets: each is told, not only the first."""

    def make(self, settings: WaySettings) -> WayIn:
        """Raises `ConfigurationError`."""
        try:
            self._refuse(_address_mistakes(settings, self._key))
            found = self._made(settings)
        except MissingExtra:
            raise
        except ConfigurationError as error:
            raise ConfigurationError("\n".join([*self._mistakes, str(error)])) from error
        self._refuse(self._mistakes)
        return found

    def _made(self, settings: WaySettings) -> WayIn:
        match settings:
            case ChirpStackSettings():
                return ChirpStackWay(settings, *self._login(settings), self._around)
            case ThingsStackSettings():
                return ThingsStackWay(settings, *self._login(settings), self._around)
            case SemtechSettings():
                self._refuse(_semtech_mistakes(settings, self._key))
                return SemtechWay(settings, self._around, self._key)
            case DirectIpSettings():
                return DirectIpWay(settings, self._around, self._key)
            case RockBlockSettings():
                return self._rockblock(settings)
            case CloudloopSettings():
                return self._cloudloop(settings)
            case RelaySettings():
                return RelayWay(settings, self._around, self._key)

    def _login(self, settings: Broker) -> tuple[str | None, str | None]:
        if settings.certificate_file is None and settings.key_file is not None:
            raise ConfigurationError(f"{self._key}.key_file: allowed only with certificate_file")
        if not settings.tls and (settings.ca_file or settings.certificate_file):
            raise ConfigurationError(f"{self._key}.tls: found false; certificates need true")
        self._files(settings.ca_file, settings.certificate_file, settings.key_file)
        username = None if settings.username is None else self._reveal(settings.username, "username")
        password = None if settings.password is None else self._reveal(settings.password, "password")
        if password is not None and username is None and not isinstance(settings, ThingsStackSettings):
            raise ConfigurationError(f"{self._key}.username: missing; a password needs one")
        return username, password

    def _rockblock(self, settings: RockBlockSettings) -> WayIn:
        if (settings.username is None) != (settings.password is None):
            raise ConfigurationError(f"{self._key}: username and password belong together")
        login = None
        if settings.username is not None and settings.password is not None:
            login = self._reveal(settings.username, "username"), self._reveal(settings.password, "password")
        self._files(settings.jwt_key_file, settings.ca_file)
        key = None
        if settings.jwt_key_file is not None:
            key = read_public_key(Path(settings.jwt_key_file).read_bytes(), f"{self._key}.jwt_key_file")
        self._refuse(f"{self._key}.url: {each}" for each in http.url_mistakes(settings.url))
        return RockBlockWay(settings, self._path(settings.path), login, key, self._around, self._key)

    def _cloudloop(self, settings: CloudloopSettings) -> WayIn:
        token = None if settings.token is None else self._reveal(settings.token, "token")
        self._files(settings.ca_file)
        self._refuse(f"{self._key}.url: {each}" for each in http.url_mistakes(settings.url))
        return CloudloopWay(settings, self._path(settings.path), token, self._around, self._key)

    def _path(self, value: Secret) -> str:
        found = self._reveal(value, "path")
        if not found.startswith("/") or not found.isascii() or not found.isprintable() or set(found) & set(" ?#%"):
            raise ConfigurationError(f"{self._key}.path: allowed: / and printable ASCII without blanks, ?, # and %")
        return found

    def _reveal(self, value: Secret, name: str) -> str:
        try:
            return reveal(value, f"{self._key}.{name}", self._around.environ)
        except ConfigurationError as error:
            self._mistakes.append(str(error))
            return _MISSING

    def _files(self, *files: str | None) -> None:
        missing = [each for each in files if each is not None and not os.access(each, os.R_OK)]
        self._refuse(f"{self._key}: {each} cannot be read" for each in missing)

    def _refuse(self, mistakes: Sequence[str] | Iterator[str]) -> None:
        found = list(mistakes)
        if found:
            raise ConfigurationError("\n".join(found))


def _address_mistakes(settings: WaySettings, key: str) -> Iterator[str]:
    for name in ("other", "gateway"):
        value = getattr(settings, name, None)
        if value is not None and not 1 <= host_and_port(value)[1] <= 65535:
            yield f"{key}.{name}: found {value!r}; allowed: host:port, the port 1 to 65535"


def _semtech_mistakes(settings: SemtechSettings, key: str) -> Iterator[str]:
    fixed = settings.region in ("US915", "AU915")
    if settings.sub_band is not None and not fixed:
        yield f"{key}.sub_band: only US915 and AU915 have them, not {settings.region}"
    if settings.frequencies and fixed:
        yield f"{key}.frequencies: {settings.region} has all its channels; choose some by sub_band"
    if settings.gather >= settings.rx1_delay:
        yield f"{key}.gather: {settings.gather:g} s leave no time before RX1, {settings.rx1_delay} s after the uplink"
