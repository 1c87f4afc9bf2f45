"""Reads the configuration: one TOML file, and the environment variables that override it.

Rules of this file: text in, a checked `Configuration` or one `ConfigurationError` out; opens that one file and nothing
else.  A variable is named after the key, with `RATACCESS_` before it and two underscores for each dot:
`RATACCESS_SOLUTION__HOST`, `RATACCESS_LINKS__WIFI__KEEPALIVE`, `RATACCESS_LINKS__WIFI__OPTIONS__INTERFACE`.  Upper and
lower case are the same, and so are `-` and `_`.  Its value is read as TOML where it is TOML, else as text; where the key
takes text, it is text in any case.  `RATACCESS_CONFIG` names the file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from rataccess.config import check
from rataccess.config.lines import find_lines
from rataccess.config.model import Configuration, LinkSettings
from rataccess.errors import ConfigurationError

PREFIX = "RATACCESS_"
FILE_VARIABLE = "RATACCESS_CONFIG"
DEFAULT_FILES = (Path("rataccess.toml"), Path("/etc/rataccess/rataccess.toml"))


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Configuration:
    """Read `path`, else the file that `RATACCESS_CONFIG` names, else the first of `DEFAULT_FILES` that exists.

    Without any file the environment alone may hold the configuration.  `environ` is that of the process unless given.
    Raises `ConfigurationError`, which lists every mistake with its key, what was found, what is allowed, file and line.
    """
    variables = os.environ if environ is None else environ
    chosen = path or _named_file(variables) or next((each for each in DEFAULT_FILES if each.is_file()), None)
    if chosen is None:
        if not _overrides(variables):
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
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(_not_toml(error, source)) from error
    variables, mistakes = _override(found, environ)
    if mistakes:
        raise check.refusal(mistakes)
    origin = check.Origin(source, find_lines(text), variables)
    return _remember_origins(check.check(found, Configuration, origin), origin)


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


# --- the environment --------------------------------------------------------------------------------------------------


def _overrides(environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The variables that override keys, parents before children, each with the parts of its key, folded.

    Other `RATACCESS_` variables (a test rig's, say) are left alone, unless they look like a key with one underscore.
    """
    found = {}
    sections = check.fields(Configuration)
    for variable in sorted(environ):
        rest = _fold(variable.removeprefix(PREFIX))
        if not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
            continue
        if "__" in rest or any(rest == name or rest.startswith(f"{name}_") for name in sections):
            found[variable] = tuple(rest.split("__"))
    return found


def _override(found: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[check.Path, str], list[str]]:
    """Put the environment's values into `found`; returns which variable each key came from, and what is wrong."""
    variables: dict[check.Path, str] = {}
    mistakes: list[str] = []
    for variable, parts in _overrides(environ).items():
        path, wanted = _locate(parts, found)
        if not all(parts) or (len(parts) == 1 and path[0] not in check.fields(Configuration)):
            mistakes.append(f"environment variable {variable}: names no key; write two underscores for each dot")
        elif path in variables:
            mistakes.append(f"environment variable {variable}: sets the same key as {variables[path]}; remove one")
        else:
            variables[path] = variable
            _put(found, path, _value(environ[variable], wanted))
    return variables, mistakes


def _locate(parts: tuple[str, ...], found: Any) -> tuple[check.Path, Any]:
    """The key that folded `parts` mean, spelt as in the model or in the file, and its type (`Any` where unknown)."""
    wanted: Any = Configuration
    path: list[str] = []
    for part in parts:
        struct = check.struct_of(wanted)
        known = check.fields(struct) if struct else {}
        here = found if isinstance(found, dict) else {}
        name = next((each for each in (*known, *here) if _fold(each) == part), part)
        path.append(name)
        if struct:
            wanted = known[name].wanted if name in known else Any
        else:
            wanted = get_args(check.strip(wanted))[1] if get_origin(check.strip(wanted)) is dict else Any
        found = here.get(name)
    return tuple(path), wanted


def _fold(name: str) -> str:
    return name.casefold().replace("-", "_")


def _put(found: dict[str, Any], path: check.Path, value: Any) -> None:
    for part in path[:-1]:
        inner = found.setdefault(part, {})
        if not isinstance(inner, dict):
            return  # the check will say that a table belongs here
        found = inner
    found[path[-1]] = value


def _value(text: str, wanted: Any) -> Any:
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = read["value"]
    if len(read) > 1 or (check.takes_text(wanted) and not isinstance(value, str)):
        return text
    return value
