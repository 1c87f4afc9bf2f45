"""A route with its secrets looked up: what request a call becomes.

Rules of this file: no network.  Method, URL, headers and fixed query parameters are the route's; a device's body becomes the
request's body (JSON) or, for GET and DELETE, further query parameters, never others of the same name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from rataccess.config.check import refusal
from rataccess.errors import ConfigurationError, MissingExtra, ObjectError
from rataccess.objects import Object, decode
from rataccess.services import http
from rataccess.services.calls.settings import RouteSettings
from rataccess.services.jsonform import body_as_json
from rataccess.services.secret import reveal, reveal_all

_WITHOUT_BODY = frozenset({"GET", "DELETE"})
_NOTHING = b"\xf6"
"""CBOR's null: the body of a call that has none."""
_LONGEST_QUERY = 8000
"""Characters: RFC 9110 section 4.1 asks every server for 8000 octets of a URI."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent.  URL and headers may hold secrets."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)


class Route:
    """One route; raises `ConfigurationError` that names its key for every mistake of its settings."""

    def __init__(self, name: str, settings: RouteSettings, environ: Mapping[str, str] | None = None) -> None:
        self.name, self.settings = name, settings
        key = f"solution.routes.{name}"
        self._url = reveal(settings.url, f"{key}.url", environ)
        self._headers = reveal_all(settings.headers, f"{key}.headers", environ)
        self._query = reveal_all(settings.query, f"{key}.query", environ)
        mistakes = list(self._mistakes(key))
        if mistakes:
            raise refusal(mistakes)

    def _mistakes(self, key: str) -> Iterator[str]:
        yield from (f"{key}.url: {each}" for each in http.url_mistakes(self._url))
        if "?" in self._url:
            yield f"{key}.url: parameters are not allowed in it; use {key}.query"
        yield from (f"{key}.headers.{name}: {each}" for name, each in http.header_mistakes(self._headers))
        ca_file = self.settings.ca_file
        if ca_file is not None and not os.access(ca_file, os.R_OK):
            yield f"{key}.ca_file: {ca_file} cannot be read"

    def __repr__(self) -> str:
        return f"<Route {self.name} {self.settings.method}>"

    def request(self, body: bytes, key: str) -> HttpRequest:
        """The request for a call with the encoded object `body`; `key` says which call it is, however often it is sent.

        Raises `ObjectError` where the body cannot be query parameters.
        """
        headers = {"accept": "application/json, */*;q=0.5", "idempotency-key": key}
        content = None
        query = list(self._query.items())
        if self.settings.method in _WITHOUT_BODY:
            query += _parameters(decode(body), frozenset(self._query))
        elif body != _NOTHING:
            content = body_as_json(body).encode()
            headers["content-type"] = "application/json"
        headers |= {name.lower(): value for name, value in self._headers.items()}
        headers["accept-encoding"] = "identity"  # what is packed could be larger than any limit
        return HttpRequest(
            self.settings.method, self._url + (f"?{urlencode(query)}" if query else ""), headers, content
        )


def routes(settings: Mapping[str, RouteSettings], environ: Mapping[str, str] | None = None) -> dict[str, Route]:
    """All routes by name; raises one `ConfigurationError` for all mistakes."""
    found: dict[str, Route] = {}
    mistakes: list[str] = []
    for name, each in settings.items():
        try:
            found[name] = Route(name, each, environ)
        except MissingExtra:
            raise
        except ConfigurationError as error:
            mistakes += str(error).splitlines()
    if mistakes:
        raise refusal(each for each in mistakes if not each.endswith("mistakes in the configuration:"))
    return found


def _parameters(value: Object, taken: frozenset[str]) -> list[tuple[str, str]]:
    """Query parameters from a map of text to text, numbers, booleans or lists of these; null is left out."""
    if value is None:
        return []
    if not isinstance(value, Mapping):
        raise ObjectError("the body of a call by GET or DELETE is a map: its entries become query parameters")
    found: list[tuple[str, str]] = []
    for name, item in value.items():
        if not isinstance(name, str) or name in taken:
            raise ObjectError("a name of a query parameter is no text, or one that the route sets itself")
        found += [(name, _parameter(each)) for each in (item if isinstance(item, list) else [item]) if each is not None]
    if sum(len(name) + len(text) for name, text in found) > _LONGEST_QUERY:
        raise ObjectError(f"the query parameters have more than {_LONGEST_QUERY} characters")
    return found


def _parameter(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int | float):
        return repr(value)
    raise ObjectError(
        f"a query parameter is text, a number, a boolean or a list of these; found {type(value).__name__}"
    )
