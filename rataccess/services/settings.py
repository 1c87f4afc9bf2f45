"""Configuration of the services: `services.toml`, whose two sections have nothing in common but the file.

Rules of this file: values and their checks; reads one file and the environment, opens nothing else.  Every mistake ends in
one `ConfigurationError` that names the key, what was found, what is allowed, file and line.  An environment variable
overrides each value: `RATACCESS_SERVICES_SOLUTION__PORT` is the key `solution.port` (`rataccess/config/environment.py`).
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rataccess.config.check import Origin, check
from rataccess.config.environment import SERVICES_PREFIX, Variables
from rataccess.config.load import read
from rataccess.errors import ConfigurationError
from rataccess.objects import Service
from rataccess.services.calls.settings import RouteSettings
from rataccess.services.receivers.settings import ReceiverSettings
from rataccess.services.receivers.settings import absolute as absolute_receiver
from rataccess.services.schemas import SchemaSettings, templates
from rataccess.services.secret import FromEnvironment
from rataccess.services.sockets import is_loopback
from rataccess.services.ways.settings import WaySettings
from rataccess.services.ways.settings import absolute as absolute_way

KIB = 1024
MIB = 1024 * KIB

Name = Annotated[str, Meta(min_length=1, max_length=64)]


class LogLevel(enum.StrEnum):
    """How much a service logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.StrEnum):
    """What a log line is."""

    JSON = "json"
    TEXT = "text"


class ApiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The HTTP interface for administration.  Exactly one of `token` and `token_file` is needed."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    """An address of this machine alone, unless `allow_remote`: the interface speaks plain HTTP."""
    port: Annotated[int, Meta(ge=0, le=65535)]
    """TCP port; 0 has the system choose one (for tests)."""
    token: FromEnvironment | None = None
    """`{ env = "NAME" }`: the environment variable that holds the token."""
    token_file: Annotated[str, Meta(min_length=1)] | None = None
    """The file that holds the token, readable by its owner only."""
    allow_remote: bool = False
    """Listen on an address that others reach (put a proxy that speaks TLS before it)."""
    body_limit: Annotated[int, Meta(ge=KIB, le=64 * MIB)] = MIB
    """Largest body of a request, in bytes."""

    def __post_init__(self) -> None:
        if (self.token is None) == (self.token_file is None):
            raise ValueError('needs one of token = { env = "NAME" } and token_file = "path", and not both')
        if not self.allow_remote and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not an address of this machine alone; use 127.0.0.1 or ::1,"
                " or set allow_remote = true and put a proxy that speaks TLS before it"
            )


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What both services have.  Relative paths start at the folder of the configuration file."""

    host: Annotated[str, Meta(min_length=1)] = "::"
    """Address to listen on; `::` is every IPv6 and IPv4 address."""
    port: Annotated[int, Meta(ge=0, le=65535)]
    """UDP port; 0 has the system choose one (for tests)."""
    store: Annotated[str, Meta(min_length=1)]
    """The store of this service, and of no other: an SQLite file, or a URL (`sqlite:///…`, `postgresql://…`)."""
    keys: Annotated[str, Meta(min_length=1)]
    """The file of device keys, mode 0600, written by provisioning."""
    answer_bytes: Annotated[int, Meta(ge=128, le=65_000)] = 1152
    """Largest CoAP message that is sent to a device; 1152 passes every IPv6 path (RFC 7252 section 4.6)."""
    push_for: Annotated[float, Meta(ge=0)] = 30.0
    """Seconds after a device was heard during which it is sent waiting records unasked."""
    answer_dear_after: Annotated[float, Meta(ge=0)] = 3 * 3600.0
    """Seconds that records may wait for their acknowledgement where each packet to the device costs (a satellite): what else
    is sent there takes it along, and only then it goes alone."""
    partial_bytes: Annotated[int, Meta(ge=MIB)] = 32 * MIB
    """Most bytes of unfinished records kept for one device; its lowest unfinished record may always be completed."""
    sessions: Annotated[int, Meta(ge=16)] = 8192
    """Most devices whose state is kept in memory; others are read from the store when they are heard."""
    message_rate: Annotated[float, Meta(ge=0)] = 2000.0
    """Most messages a second of one device, in bursts of five seconds' worth; 0: no limit."""
    byte_rate: Annotated[float, Meta(ge=0)] = 4.0 * MIB
    """Most bytes a second of one device, as they are kept, in bursts of five seconds' worth; 0: no limit."""
    kept_bytes: Annotated[int, Meta(ge=MIB)] | None = None
    """Most bytes of one device's records in the store: what is beyond stays on the device; absent: no limit."""
    keep_records: Annotated[float, Meta(gt=0)] | None = None
    """Days after which a record is deleted that every receiver has been given; absent: records are kept."""
    schemas: dict[Name, SchemaSettings] = {}
    """Templates of devices whose schemas do not travel, by name."""
    api: ApiSettings | None = None
    """The HTTP interface; absent: there is none."""
    ways: tuple[WaySettings, ...] = ()
    """Ways in besides UDP."""
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.JSON

    def __repr__(self) -> str:
        return f"<{type(self).__name__} host={self.host} port={self.port} keys={self.keys}>"  # the store may hold a password


class ManagementSettings(ServerSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The management service."""


class SolutionSettings(ServerSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The solution service."""

    ndjson: Annotated[str, Meta(min_length=1)] | None = None
    """File to which records are forwarded, one JSON line each: short for a receiver of kind "ndjson" named "ndjson"."""
    receivers: tuple[ReceiverSettings, ...] = ()
    """Whom records are forwarded to."""
    routes: dict[Name, RouteSettings] = {}
    """What devices may call, by name."""

    def __post_init__(self) -> None:
        names = [each.name for each in self.receivers] + (["ndjson"] if self.ndjson is not None else [])
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two receivers are named {', '.join(twice)}; each needs a name of its own")


class ServicesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file; a machine that runs one service needs only its section."""

    management: ManagementSettings | None = None
    solution: SolutionSettings | None = None

    def of(self, service: Service) -> ServerSettings | None:
        """The section of `service`."""
        return self.management if service is Service.MANAGEMENT else self.solution


_VARIABLES = Variables(ServicesFile, SERVICES_PREFIX)


def load(path: Path, service: Service, environ: Mapping[str, str] | None = None) -> ServerSettings:
    """The settings of `service`, its paths made absolute.  `environ` is that of the process unless given.

    Raises `ConfigurationError` where the file cannot be read, has no such section, or holds anything wrong.
    """
    found = load_all(path, environ).get(service)
    if found is None:
        raise ConfigurationError(f"{path} has no section [{service}]; it is needed to run or provision that service")
    return found


def load_all(path: Path, environ: Mapping[str, str] | None = None) -> dict[Service, ServerSettings]:
    """The settings of each service that the file configures, errors as `load`.

    Where there is no file the environment alone may hold the configuration.
    """
    variables = os.environ if environ is None else environ
    found, origin = _read(path, variables)
    whole: ServicesFile = check(found, ServicesFile, origin)
    folder = path.resolve().parent
    sections = {service: each for service in Service if (each := whole.of(service)) is not None}
    for service, each in sections.items():
        templates(each.schemas, str(service), origin)  # what can be no template is refused here, not when it is needed
    return {service: _absolute(each, folder) for service, each in sections.items()}


def _read(path: Path, environ: Mapping[str, str]) -> tuple[dict[str, Any], Origin]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if not _VARIABLES.among(environ):
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
        text = ""
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not text in UTF-8") from error
    return read(text, _VARIABLES, source=str(path), environ=environ)


def _absolute(settings: ServerSettings, folder: Path) -> ServerSettings:
    changes: dict[str, Any] = {"keys": str(folder / settings.keys)}
    if "://" not in settings.store:
        changes["store"] = str(folder / settings.store)
    changes["ways"] = tuple(absolute_way(each, folder) for each in settings.ways)
    if settings.api is not None and settings.api.token_file is not None:
        changes["api"] = msgspec.structs.replace(settings.api, token_file=str(folder / settings.api.token_file))
    if isinstance(settings, SolutionSettings):
        changes["receivers"] = tuple(absolute_receiver(each, folder) for each in settings.receivers)
        changes["routes"] = {name: _absolute_route(each, folder) for name, each in settings.routes.items()}
        if settings.ndjson is not None:
            changes["ndjson"] = str(folder / settings.ndjson)
    return msgspec.structs.replace(settings, **changes)


def _absolute_route(route: RouteSettings, folder: Path) -> RouteSettings:
    return msgspec.structs.replace(route, ca_file=None if route.ca_file is None else str(folder / route.ca_file))
