"""Secrets of the services' configuration: the file names an environment variable, the process looks it up when it starts.

Rules of this file: pure but for reading the environment.  What was looked up is handed on and never kept in settings, so
that no repr, log line or error of theirs can hold it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from rataccess.errors import ConfigurationError


class FromEnvironment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`{ env = "TOKEN" }`: the value of an environment variable; with `prefix = "Bearer "` that text before it."""

    env: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    prefix: str = ""


Secret = str | FromEnvironment
"""A value that may be a secret: plain text, or from the environment."""


def reveal(value: Secret, key: str, environ: Mapping[str, str] | None = None) -> str:
    """The text that `value` stands for; raises `ConfigurationError`, which names `key`, where the variable is not set."""
    if isinstance(value, str):
        return value
    found = (os.environ if environ is None else environ).get(value.env)
    if not found:
        raise ConfigurationError(
            f"{key}: the environment variable {value.env} is {'empty' if found == '' else 'not set'};"
            " set it before the service starts"
        )
    return value.prefix + found


def reveal_all(values: Mapping[str, Secret], key: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """`reveal` for a table, whose key is `key`."""
    return {name: reveal(value, f"{key}.{name}", environ) for name, value in values.items()}
