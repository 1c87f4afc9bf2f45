"""Simulated GPIO lines: what a driver would drive with python-periphery's `GPIO`.

Rules of this file: the shape is `write(bool)`, `read()`, `close()`, so that a driver's line can be bound to it.
"""

from __future__ import annotations

from collections.abc import Callable


class VirtualLine:
    """An output line whose level is told to a virtual radio."""

    def __init__(self, changed: Callable[[bool], None], level: bool = False) -> None:
        self._changed = changed
        self._level = level

    def write(self, value: bool) -> None:
        """Drive the line; needs the running event loop of the radio."""
        self._level = bool(value)
        self._changed(self._level)

    def read(self) -> bool:
        """The level that was driven last."""
        return self._level

    def close(self) -> None:
        """Let go; the level stays."""

    def __repr__(self) -> str:
        return f"<VirtualLine {'high' if self._level else 'low'}>"
