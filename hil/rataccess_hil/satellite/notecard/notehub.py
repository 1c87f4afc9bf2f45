"""A virtual Notehub: where Notecards sync to.

Rules of this file: no socket, no time; a Notecard calls it while it is connected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """A note that came up."""

    device: str
    file: str
    body: dict[str, Any] | None
    payload: str | None
    """Base64."""
    time: int
    port: int | None
    """Of its template, where it was a compact one."""
    transport: str
    """wifi, cell or ntn."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A note for a device."""

    file: str
    body: dict[str, Any] | None
    payload: str | None


class VirtualNotehub:
    """Takes notes up (`listeners` hear each), and keeps notes, environment and answers of routes for devices.

    `packets` counts what was billed over satellite, one for each note.
    """

    def __init__(self) -> None:
        self.listeners: list[Callable[[Event], None]] = []
        self.events: list[Event] = []
        self.environment: dict[str, str] = {}
        self.environment_changed = 0
        self.routes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
        """What web.* requests get, by route."""
        self.packets: dict[str, int] = {}
        self._inbound: dict[str, deque[Inbound]] = {}
        self._rings: dict[str, Callable[[], None]] = {}

    def attach(self, device: str, ring: Callable[[], None]) -> None:
        """A device that may be called when something waits for it."""
        self._rings[device] = ring

    def take(self, event: Event) -> None:
        """A device's note."""
        self.events.append(event)
        if event.transport == "ntn":
            self.packets[event.device] = self.packets.get(event.device, 0) + 1
        for each in tuple(self.listeners):
            each(event)

    def send(self, device: str, file: str, body: dict[str, Any] | None = None, payload: str | None = None) -> None:
        """Have a note wait for a device (`file` ends in .qi or .db)."""
        self._inbound.setdefault(device, deque()).append(Inbound(file, body, payload))
        ring = self._rings.get(device)
        if ring is not None:
            ring()

    def waiting(self, device: str) -> int:
        """How many notes wait for a device."""
        return len(self._inbound.get(device, ()))

    def first(self, device: str) -> Inbound | None:
        """The note that goes down next; it stays until `done`."""
        queue = self._inbound.get(device)
        return queue[0] if queue else None

    def done(self, device: str) -> None:
        """The device has the first one."""
        self._inbound[device].popleft()

    def set_environment(self, name: str, value: str, time: int) -> None:
        """A fleet variable."""
        self.environment[name] = value
        self.environment_changed = time

    def web(self, route: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer of a route: its `result` (HTTP status) and `body`; 404 where there is no such route."""
        handler = self.routes.get(route)
        return handler(request) if handler is not None else {"result": 404}
