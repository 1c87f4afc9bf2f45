"""What the sessions of one service process have in common, and the moment at which something happens to them.

Rules of this file: values only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rataccess.objects import Service
from rataccess.services.floors import Era
from rataccess.services.settings import ServerSettings
from rataccess.services.store import ServiceStore
from rataccess.template import Template


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both clocks, in seconds."""

    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Common:
    """What all sessions of a service process have in common."""

    service: Service
    store: ServiceStore
    settings: ServerSettings
    templates: Mapping[int, Template]
    """Of the configuration, by id."""
    count: Callable[[str], None]
    holder: str
    """This process's name among those that share the store."""
    era: Era
    now: Callable[[], float]
    """Seconds since 1970."""
