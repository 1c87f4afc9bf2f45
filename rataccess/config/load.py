"""Reads the configuration: one TOML file, and the environment variables that override it.

Rules of this file: text in, a checked `Configuration` or one `ConfigurationError` out; opens that one file and nothing
else.  A variable is named after the key (`environment.py`): `RATACCESS_SOLUTION__HOST`, `RATACCESS_LINKS__WIFI__KEEPALIVE`,
`RATACCESS_LINKS__WIFI__OPTIONS__INTERFACE`.  `RATACCESS_CONFIG` names the file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rataccess.config import check
from rataccess.config.environment import SERVICES_PREFIX, Variables
from rataccess.config.lines import find_lines
from rataccess.config.model import Configuration, LinkSettings
from rataccess.errors import ConfigurationError

PREFIX = "RATACCESS_"
FILE_VARIABLE = "RATACCESS_CONFIG"
_VARIABLES = Variables(Configuration, PREFIX, others=(SERVICES_PREFIX,))
DEFAULT_FILES = (Path("rataccess.toml"), Path("/etc/rataccess/rataccess.toml"))


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Configuration:
    """Read `path`, else the file that `RATACCESS_CONFIG` names, else the first of `DEFAULT_FILES` that exists.

    Without any file the environment alone may hold the configuration.  `environ` is that of the process unless given.
    Raises `ConfigurationError`, which lists every mistake with its key, what was found, what is allowed, file and line.
    """
    variables = os.environ if environ is None else environ
    chosen = path or _named_file(variables) or next((each for each in DEFAULT_FILES if each.is_file()), None)
    if chosen is None:
        if not _VARIABLES.among(variables):
            looked = " or ".join(map(str, DEFAULT_FILES))
            raise ConfigurationError(f"no configuration: there is no {looked}, and {FILE_VARIABLE} names no file")
        return parse("", source="no configuration file", environ=variables)
    try:
        text = chosen.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{chosen} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{chosen} is not text in UTF-8") from error
    return parse(text, source=str(chosen), environ=variables)


def parse(text: str, *, source: str, environ: Mapping[str, str]) -> Configuration:
    """The configuration that `text` (TOML) and `environ` make; `source` names the text in errors, which are `load`'s."""
    found, origin = read(text, _VARIABLES, source=source, environ=environ)
    return _remember_origins(check.check(found, Configuration, origin), origin)


def read(
    text: str, variables: Variables, *, source: str, environ: Mapping[str, str]
) -> tuple[dict[str, Any], check.Origin]:
    """The values of `text` (TOML), unchecked, with those of `environ` over them, and where each came from.

    Raises `ConfigurationError` for text that is not TOML and for variables that name no key.
    """
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(_not_toml(error, source)) from error
    named, mistakes = variables.override(found, environ)
    if mistakes:
        raise check.refusal(mistakes)
    return found, check.Origin(source, find_lines(text), named)


def _named_file(environ: Mapping[str, str]) -> Path | None:
    name = environ.get(FILE_VARIABLE)
    return Path(name) if name else None


def _not_toml(error: Exception, source: str) -> str:
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
    if not match:
        return f"{source}: not TOML: {type(error).__name__}"
    line, column = match[2], match[3]
    where = f"{source}:{line}: column {column}" if line else f"{source}: at the end"
    return f"{where}: not TOML: {match[1]}"


def _remember_origins(configuration: Configuration, origin: check.Origin) -> Configuration:
    """Have the options, which are checked only when drivers are built, know where they stood."""
    links = {name: _with_bags(name, link, origin) for name, link in configuration.links.items()}
    return msgspec.structs.replace(configuration, links=links)


def _with_bags(name: str, link: LinkSettings, origin: check.Origin) -> LinkSettings:
    bags = {}
    for field in ("options", "transport_options"):
        bags[field] = bag = check.Bag(getattr(link, field))
        bag.origin, bag.path = origin, ("links", name, field)
    return msgspec.structs.replace(link, **bags)
