"""What can be done to a virtual radio from outside, by name.

Rules of this file: nothing of any radio.  Every public method of a subclass is a control that takes and returns plain
values, so that the same names work through the control channel of a radio that runs as a process of its own
(`rataccess_hil.control`).
"""

from __future__ import annotations

from typing import Any


class Hands:
    """The base of all controls."""

    def do(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        """Call a control, or `names`; raises `ValueError` for one that does not exist, and what the control raises."""
        if name != "names" and name not in self.names():
            raise ValueError(f"there is no control {name!r}; there are {', '.join(self.names())}")
        return getattr(self, name)(**(arguments or {}))

    @classmethod
    def names(cls) -> list[str]:
        """Every control."""
        return sorted(name for name in vars(cls) if not name.startswith("_") and name != "do")
