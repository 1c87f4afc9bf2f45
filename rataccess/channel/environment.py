"""Fleet environment variables, as the management service sent them last.

Rules of this file: read only; the service decides.  Reading touches no disk: the variables are kept in memory and replaced
whole when the service has sent others.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from rataccess.channel.watching import Watched
from rataccess.errors import ObjectError
from rataccess.objects import decode

_log = logging.getLogger("rataccess")
D = TypeVar("D")
N = TypeVar("N", int, float, bool)

KEY = "$environment"
Changes = dict[str, "str | None"]
"""What changed, by name: the new text, or `None` for a variable that is gone."""
Report = Callable[[dict[str, object]], None]

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_MOST_SHOWN = 40


class Variables:
    """The variables of one device, shared by the faces that an application sees."""

    def __init__(self, raw: bytes | None, report: Report) -> None:
        """`raw`: as the service sent them; `report` takes health reports."""
        self.watched: Watched[dict[str, str]] = Watched(_texts(raw))
        self._report = report
        self._complained: set[tuple[str, str, str]] = set()

    def replace(self, raw: bytes) -> None:
        """The service has sent these; in the event loop's thread."""
        if (values := _texts(raw)) != self.watched.value:
            self.watched.change(values)

    def complain(self, name: str, text: str, allowed: str) -> None:
        """A value cannot be read as what the application asked for: say so once for each value."""
        if (name, text, allowed) in self._complained:
            return
        self._complained.add((name, text, allowed))
        shown = text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."
        found = f"environment variable {name} is {shown!r}, not {allowed}; the application's default is used"
        _log.warning("%s", found)
        self._report({"event": "environment", "text": found})


class Environment(Mapping[str, str]):
    """A live view: text to text; empty until the service has sent something once, kept across restarts.

    May be read from any thread.
    """

    def __init__(self, variables: Variables) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> str:
        return self._variables.watched.value[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables.watched.value)  # never changed, only replaced

    def __len__(self) -> int:
        return len(self._variables.watched.value)

    def __repr__(self) -> str:
        return f"<Environment {sorted(self)}>"

    def get_int(self, name: str, default: D) -> int | D:
        """The variable as a whole number (decimal, up to 18 digits); `default` where it is absent or malformed.

        A malformed value is logged and reported to the management service, once for each value; so it is below.
        """
        return self._read(name, default, _whole, "a whole number")

    def get_float(self, name: str, default: D) -> float | D:
        """The variable as a finite number, such as `0.5` or `1e-3`; `default` where it is absent or malformed."""
        return self._read(name, default, _finite, "a number")

    def get_bool(self, name: str, default: D) -> bool | D:
        """The variable as a truth value: `true`, `yes`, `on`, `1`, or `false`, `no`, `off`, `0`, in any case; `default`
        where it is absent or malformed."""
        return self._read(name, default, _truth, f"one of {', '.join(_TRUTHS)}")

    def _read(self, name: str, default: D, convert: Callable[[str], N | None], allowed: str) -> N | D:
        text = self.get(name)
        if text is None:
            return default
        found = convert(text.strip())
        if found is None:
            self._variables.complain(name, text, allowed)
            return default
        return found


class AsyncEnvironment(Environment):
    """The variables for an application with an event loop."""

    def changes(self) -> EnvironmentChanges:
        """What changes from now on, to be iterated over with `async for`; see `EnvironmentChanges`."""
        return EnvironmentChanges(self._variables.watched)


class EnvironmentChanges:
    """Each item is what changed since the one before: name to new text, or to `None` where the variable is gone.

    Changes that come while nobody waits are given as one, and those that cancel out not at all.  The iteration ends where
    the device is closed.
    """

    def __init__(self, watched: Watched[dict[str, str]]) -> None:
        self._watched = watched
        self._seen = watched.value

    def __aiter__(self) -> EnvironmentChanges:
        return self

    async def __anext__(self) -> Changes:
        before, self._seen = self._seen, await self._watched.another(self._seen)
        return {
            name: self._seen.get(name) for name in sorted({*before, *self._seen}) if _differ(name, before, self._seen)
        }


def _differ(name: str, before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    return before.get(name) != after.get(name)


def _whole(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) else None


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _truth(text: str) -> bool | None:
    return _TRUTHS.get(text.lower())


def _texts(raw: bytes | None) -> dict[str, str]:
    try:
        value = decode(raw) if raw else {}
    except ObjectError:
        return {}
    return {str(name): str(each) for name, each in value.items()} if isinstance(value, dict) else {}
