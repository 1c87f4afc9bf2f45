"""The sessions in memory, by kid, and the key file that says who may have one.

Rules of this file: what is genuine is not known here: a session that nobody has used yet is not kept, so that forged
datagrams push no device out of the memory.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable

from rataccess.errors import KeyStoreError
from rataccess.services.common import Common
from rataccess.services.keyfile import DeviceEntry, KeyFile
from rataccess.services.session import Session

logger = logging.getLogger("rataccess.services")


class Sessions:
    """At most `settings.sessions`; the least recently used goes first."""

    def __init__(self, common: Common, keys: KeyFile) -> None:
        self._common = common
        self._keys = keys
        self._ids = common.store.known_devices()
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        keys.refresh()

    def __len__(self) -> int:
        return len(self._sessions)

    def __getitem__(self, kid: bytes) -> Session:
        return self._sessions[kid]

    def values(self) -> Iterable[Session]:
        """All of them."""
        return self._sessions.values()

    def look_around(self) -> None:
        """Notice what other processes did to the key file."""
        try:
            if self._keys.refresh():
                self._sweep()
        except KeyStoreError as error:
            self._common.count("unreadable key files")
            logger.error("%s; the devices of before stay in force", error)

    def _sweep(self) -> None:
        for kid, session in list(self._sessions.items()):
            entry = self._keys.by_kid(kid)
            if entry is None or entry.secret != session.entry.secret:
                self.forget(kid)
            elif entry is not session.entry:
                session.entry, session.stamp = entry, 0  # its fleets may be others now

    def find(self, kid: bytes | None) -> Session | None:
        """The session of a device that is enrolled; a new one is not kept before `keep`."""
        session = None if kid is None else self._sessions.get(kid)
        if session is not None or kid is None:
            return session
        entry = self._keys.by_kid(kid)
        if entry is None:
            return None
        try:
            return Session(entry, self._device(entry, kid), self._common)
        except KeyStoreError as error:
            self.unusable(entry, error)
            return None

    def find_named(self, kind: str, name: str) -> Session | None:
        """The session of the enrolled device that a network calls `name`, as `find`."""
        return self.find(self._keys.kid_of(kind, name))

    def is_revoked(self, kid: bytes | None) -> bool:
        """Whether a device had this kid that may not use it any more."""
        return kid is not None and self._keys.is_revoked(kid)

    def in_memory(self, kid: bytes) -> Session | None:
        """The session of a device, where there is one."""
        return self._sessions.get(kid)

    def _device(self, entry: DeviceEntry, kid: bytes) -> int:
        known = entry.serial_number, kid
        if known not in self._ids:
            self._ids[known] = self._common.store.device(*known).id
        return self._ids[known]

    def keep(self, session: Session) -> None:
        """It was used."""
        self._sessions[session.kid] = session
        self._sessions.move_to_end(session.kid)

    def forget(self, kid: bytes) -> None:
        """Nothing of it is to be used any more."""
        self._sessions.pop(kid, None)

    def shrink(self) -> list[bytes]:
        """Let the least recently used go; which."""
        gone = []
        while len(self._sessions) > self._common.settings.sessions:
            kid, _ = self._sessions.popitem(last=False)
            gone.append(kid)
        return gone

    def unusable(self, entry: DeviceEntry, error: Exception) -> None:
        """Its keys must not be used."""
        self._common.count("devices whose keys cannot be used")
        logger.error("%s: %s", entry.serial_number, error)
