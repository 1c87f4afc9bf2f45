"""What the services' HTTP clients have in common: web-hooks and proxied calls.

Rules of this file: how a client is made and how its errors are told.  No redirects, no cookies, no proxies or logins from
the environment, no request in the log: what is asked of whom is decided by the configuration alone, and no secret of a
header or URL gets out.
"""

from __future__ import annotations

import email.utils
import logging
import re
import ssl
from collections.abc import Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from types import ModuleType
from typing import TYPE_CHECKING

from rataccess.errors import MissingExtra

if TYPE_CHECKING:
    import httpx

    from rataccess.clock import Clock

_NAME = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
"""A header's name (RFC 9110 section 5.1)."""
_VALUE = re.compile(r"^[\x20-\x7e]*$")


def client(
    *, timeout: httpx.Timeout | float | None, ca_file: str | None = None, keep_alive: bool = True
) -> httpx.AsyncClient:
    """A client that does what it is told and nothing else.  `timeout` (s) is for each step of a request.  Blocks for
    some milliseconds, reading certificates."""
    module = _httpx()
    for name in ("httpx", "httpcore"):  # they log URLs and headers
        logging.getLogger(name).setLevel(logging.WARNING)
    made: httpx.AsyncClient = module.AsyncClient(
        verify=ssl.create_default_context(cafile=ca_file),
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
        limits=module.Limits(max_connections=None, max_keepalive_connections=None if keep_alive else 0),
        headers={"user-agent": "rataccess"},
    )
    made.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return made


def _httpx() -> ModuleType:
    try:
        import httpx
    except ImportError as error:
        raise MissingExtra("web-hooks and routes need the extra: pip install 'rataccess[services]'") from error
    return httpx


def told(error: Exception) -> str:
    """What went wrong, without the URL: it may hold a secret."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def retry_after(headers: Mapping[str, str], clock: Clock) -> float | None:
    """Seconds of a `Retry-After` header (RFC 9110 section 10.2.3), a number or a date; `None` where there is none."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - clock.wall())
    except (ValueError, TypeError, OverflowError):
        return None


def url_mistakes(url: str) -> Iterator[str]:
    """What is wrong with a URL to send requests to."""
    httpx = _httpx()
    try:
        parsed = httpx.URL(url)
        if "%" in parsed.host:
            raise ValueError
    except (httpx.InvalidURL, ValueError):
        yield "not a URL; allowed: http:// or https://, host, path"
        return
    if parsed.scheme not in ("http", "https") or not parsed.host:
        yield "allowed: a URL that begins with http:// or https:// and names a host"
    if parsed.userinfo:
        yield 'a user or password in it is not allowed; use headers = { Authorization = { env = "..." } }'
    if parsed.fragment:
        yield "a fragment (#) is not allowed"


def header_mistakes(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names and what is wrong with them or their values; never the value."""
    for name, value in headers.items():
        if not _NAME.match(name):
            yield name, "not a header's name (letters, digits, hyphens)"
        elif not _VALUE.match(value):
            yield name, "its value has characters other than printable ASCII"
        elif name.lower() in ("host", "content-length", "transfer-encoding", "connection"):
            yield name, "is not for configuration"
