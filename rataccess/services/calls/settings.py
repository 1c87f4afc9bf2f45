"""Settings of the routes: `[solution.routes.<name>]`, what a call of that name becomes.

Rules of this file: values and their limits; opens nothing.  No repr shows a value that may be a secret.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from rataccess.objects import MAX_OBJECT_BYTES
from rataccess.services.secret import FromEnvironment, Secret

MOST_RESPONSE = MAX_OBJECT_BYTES - 1024
"""A response must fit one object, with its heads."""


class RouteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One route.  Nothing that a device sends changes method, host, path, headers or the query parameters given here."""

    url: Annotated[str, Meta(min_length=1)] | FromEnvironment
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, Secret] = {}
    query: dict[str, Secret] = {}
    """Query parameters that every request has."""
    deadline: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    """Most seconds that one call may take, repetitions included; the caller's own limit holds as well."""
    response_limit: Annotated[int, Meta(ge=0, le=MOST_RESPONSE)] = 64 * 1024
    """Most bytes of a response's body; a larger one is not taken, the call is answered with status 5."""
    repeatable: bool = False
    """Whether doing it twice is harmless: only then is a call tried again, unless the caller says so itself."""
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""

    def __repr__(self) -> str:
        return f"<RouteSettings {self.method}>"
