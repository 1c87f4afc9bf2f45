"""Configuration of the services: `services.toml`, whose two sections have nothing in common but the file.

Rules of this file: values and their checks; reads one file, opens nothing else.  Every mistake ends in one
`ConfigurationError` that names the key, what was found, what is allowed, file and line.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from rataccess.config.check import Origin, check
from rataccess.config.lines import find_lines
from rataccess.errors import ConfigurationError
from rataccess.objects import Service

MIB = 1024 * 1024


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What both services have.  Relative paths start at the folder of the configuration file."""

    host: Annotated[str, Meta(min_length=1)] = "::"
    """Address to listen on; `::` is every IPv6 and IPv4 address."""
    port: Annotated[int, Meta(ge=0, le=65535)]
    """UDP port; 0 has the system choose one (for tests)."""
    store: Annotated[str, Meta(min_length=1)]
    """The SQLite file of this service, and of no other."""
    keys: Annotated[str, Meta(min_length=1)]
    """The file of device keys, mode 0600, written by provisioning."""
    answer_bytes: Annotated[int, Meta(ge=128, le=65_000)] = 1152
    """Largest CoAP message that is sent to a device; 1152 passes every IPv6 path (RFC 7252 section 4.6)."""
    push_for: Annotated[float, Meta(ge=0)] = 30.0
    """Seconds after a device was heard during which it is sent waiting records unasked."""
    partial_bytes: Annotated[int, Meta(ge=MIB)] = 32 * MIB
    """Most bytes of unfinished records kept for one device; its lowest unfinished record may always be completed."""
    sessions: Annotated[int, Meta(ge=16)] = 8192
    """Most devices whose state is kept in memory; others are read from the store when they are heard."""


class ManagementSettings(ServerSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The management service."""


class SolutionSettings(ServerSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The solution service."""

    ndjson: str | None = None
    """File to which records are forwarded, one JSON line each; absent: they stay in the store only."""


class ServicesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file; a machine that runs one service needs only its section."""

    management: ManagementSettings | None = None
    solution: SolutionSettings | None = None


def load(path: Path, service: Service) -> ServerSettings:
    """The settings of `service`, its paths made absolute.

    Raises `ConfigurationError` where the file cannot be read, has no such section, or holds anything wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    whole: ServicesFile = check(found, ServicesFile, Origin(str(path), find_lines(text)))
    settings = whole.management if service is Service.MANAGEMENT else whole.solution
    if settings is None:
        raise ConfigurationError(f"{path} has no section [{service}]; it is needed to run or provision that service")
    return _absolute(settings, path.resolve().parent)


def _absolute(settings: ServerSettings, folder: Path) -> ServerSettings:
    paths = {name: str(folder / getattr(settings, name)) for name in ("store", "keys")}
    if isinstance(settings, SolutionSettings) and settings.ndjson is not None:
        paths["ndjson"] = str(folder / settings.ndjson)
    return msgspec.structs.replace(settings, **paths)
