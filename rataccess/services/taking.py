"""A batch of datagrams on its way through a service.

Rules of this file: values only.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from rataccess.security import Request, Response
from rataccess.services.common import Now
from rataccess.services.session import Session
from rataccess.services.store import Changes

Datagram = tuple[bytes, Hashable]
"""Bytes, and an address that means something to the caller only; its `str` tells it from others."""


@dataclass(slots=True)
class Genuine:
    """A datagram that proves who sent it; not yet struck out."""

    session: Session
    address: Hashable
    request: Request | None = None
    response: Response | None = None
    key: Hashable | None = None


@dataclass(slots=True)
class Answer:
    session: Session
    request: Request
    code: int
    body: bytes
    address: Hashable
    key: Hashable | None
    reusing: bool
    """Whether it may take the nonce of the request: no other era of the store can have answered that."""


@dataclass(slots=True)
class Batch:
    now: Now
    changes: Changes = field(default_factory=Changes)
    sessions: dict[bytes, Session] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    """What was counted and is kept with it."""
    answers: list[Answer] = field(default_factory=list)
    again: list[Datagram] = field(default_factory=list)
    """Answers of before, for confirmable requests that came twice."""
