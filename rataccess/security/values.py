"""What proved genuine, and what tells which request an answer belongs to.

Rules of this file: values only; no key is in a `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rataccess.objects import Service
from rataccess.security.coap import POST

if TYPE_CHECKING:
    from rataccess.security.context import SecureContext


@dataclass(slots=True, eq=False)
class RequestIdentity:
    """Which request a response belongs to: its token, and what its protection is bound to."""

    context: SecureContext
    token: bytes
    sequence_number: int
    nonce: bytes = field(repr=False)
    additional_data: bytes = field(repr=False)
    outer_code: int = POST
    reusable: bool = False
    """Whether one response may still use the nonce of the request."""
    compact: Service | None = None
    """Where the request was in compact form: the service that it names."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A genuine request."""

    code: int
    path: tuple[str, ...]
    body: bytes = field(repr=False)
    token: bytes
    message_id: int
    confirmable: bool
    identity: RequestIdentity = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """A genuine response."""

    code: int
    body: bytes = field(repr=False)
