"""Environment variables that override keys of a configuration file.

Rules of this file: names and text in, values put among the file's, unchecked.  A variable is named after the key, with a
prefix before it and two underscores for each dot: `RATACCESS_SOLUTION__HOST`.  Upper and lower case are the same, and so
are `-` and `_`.  Its value is read as TOML where it is TOML, else as text; where the key takes text, it is text in any case.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from rataccess.config import check

SERVICES_PREFIX = "RATACCESS_SERVICES_"
"""Before the keys of the services' own file; a device leaves these variables alone."""


@dataclass(frozen=True)
class Variables:
    """The variables that belong to one model."""

    model: type[Any]
    prefix: str
    others: tuple[str, ...] = ()
    """Beginnings of names that belong to somebody else."""

    def among(self, environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """The variables that override keys, parents before children, each with the parts of its key, folded.

        Other variables with the prefix (a test rig's, say) are left alone, unless they look like a key with one
        underscore.
        """
        found = {}
        sections = check.fields(self.model)
        for variable in sorted(environ):
            rest = _fold(variable.removeprefix(self.prefix))
            if not variable.startswith(self.prefix) or variable.startswith(self.others):
                continue
            if "__" in rest or any(rest == name or rest.startswith(f"{name}_") for name in sections):
                found[variable] = tuple(rest.split("__"))
        return found

    def override(self, found: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[check.Path, str], list[str]]:
        """Put the environment's values into `found`; returns which variable each key came from, and what is wrong."""
        variables: dict[check.Path, str] = {}
        mistakes: list[str] = []
        for variable, parts in self.among(environ).items():
            path, wanted = self._locate(parts, found)
            if not all(parts) or (len(parts) == 1 and path[0] not in check.fields(self.model)):
                mistakes.append(f"environment variable {variable}: names no key; write two underscores for each dot")
            elif path in variables:
                mistakes.append(f"environment variable {variable}: sets the same key as {variables[path]}; remove one")
            else:
                variables[path] = variable
                _put(found, path, _value(environ[variable], wanted))
        return variables, mistakes

    def _locate(self, parts: tuple[str, ...], found: Any) -> tuple[check.Path, Any]:
        """The key that folded `parts` mean, spelt as in the model or in the file, and its type (`Any` where unknown)."""
        wanted: Any = self.model
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
