"""Fleet environment variables, as the management service sent them last.

Rules of this file: read only; the service decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rataccess.errors import ObjectError
from rataccess.objects import Service, decode
from rataccess.store import Store

KEY = "$environment"


class Environment(Mapping[str, str]):
    """A live view: text to text; empty until the service has sent something once, kept across restarts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._raw: bytes | None = None
        self._values: dict[str, str] = {}

    def _current(self) -> dict[str, str]:
        raw = self._store.get_object(Service.MANAGEMENT, KEY)
        if raw != self._raw:
            self._values = _texts(raw)
            self._raw = raw  # last: another thread that sees it finds the values of it
        return self._values

    def __getitem__(self, name: str) -> str:
        return self._current()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._current()))

    def __len__(self) -> int:
        return len(self._current())

    def __repr__(self) -> str:
        return f"<Environment {sorted(self)}>"


def _texts(raw: bytes | None) -> dict[str, str]:
    try:
        value = decode(raw) if raw else {}
    except ObjectError:
        return {}
    return {str(name): str(each) for name, each in value.items()} if isinstance(value, dict) else {}
