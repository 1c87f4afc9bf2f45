"""A LoRaWAN session: what both ends must remember for as long as it lives.

Rules of this file: values, and how they are kept.  A session is never changed, only replaced by a new one that is on disk;
so whatever fails half-way leaves the old one.  Keys are never in a `repr`.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping

import msgspec

from rataccess.errors import RataccessError
from rataccess.lorawan.crypto import SessionKeys
from rataccess.lorawan.regions import Region
from rataccess.objects import Memory

log = logging.getLogger("rataccess.lorawan")


class LiveChannel(msgspec.Struct, frozen=True):
    """An uplink channel as the network has it now."""

    frequency: int
    min_dr: int
    max_dr: int
    downlink: int = 0
    """Hz of its RX1 where DlChannelReq has moved it, else 0."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a join-accept and later MAC commands have settled."""

    identity: bytes
    """Of the device that it belongs to: `MacSettings.identity`."""
    nwk_s_key: bytes
    app_s_key: bytes
    dev_addr: int
    net_id: int
    fcnt_up_limit: int = 0
    """Every FCntUp given out is below this one."""
    fcnt_down: int | None = None
    """The last one accepted."""
    added: dict[int, LiveChannel] = {}
    """Channels beyond those that the region always has, and those of it that DlChannelReq has changed."""
    enabled: frozenset[int]
    rx1_delay: int = 1
    rx1_dr_offset: int = 0
    rx2_dr: int
    rx2_frequency: int
    dr: int
    tx_power: int = 0
    nb_trans: int = 1
    adr_ack_cnt: int = 0
    """Uplinks since the last downlink; kept when something else is."""
    max_dcycle: int = 0
    quiet: float = 0.0
    """Seconds of silence that DutyCycleReq still demanded when this was kept."""
    uplink_dwell: bool
    downlink_dwell: bool
    max_eirp: int
    sticky: bytes = b""
    """Answers that every uplink repeats until a downlink shows that they were heard."""

    def __repr__(self) -> str:
        return f"<Session {self.dev_addr:08x} DR{self.dr} up<{self.fcnt_up_limit} down={self.fcnt_down}>"

    @property
    def keys(self) -> SessionKeys:
        """For crypto.py."""
        return SessionKeys(self.nwk_s_key, self.app_s_key)

    def replace(self, **changes: object) -> Session:
        """A session with other values; itself where there are none."""
        return msgspec.structs.replace(self, **changes) if changes else self

    # --- channels -----------------------------------------------------------------------------------------------------

    def channels(self, region: Region) -> Mapping[int, LiveChannel]:
        """Every defined channel, by index."""
        given = {at: LiveChannel(each.frequency, each.min_dr, each.max_dr) for at, each in enumerate(region.channels)}
        return given | self.added

    def channels_for(self, region: Region, dr: int) -> dict[int, LiveChannel]:
        """Those that are on and carry `dr`."""
        found = self.channels(region)
        return {at: each for at, each in found.items() if at in self.enabled and each.min_dr <= dr <= each.max_dr}

    def data_rates(self, region: Region) -> list[int]:
        """Those that some channel carries and the dwell time allows, slowest first."""
        return usable_data_rates(region, self.channels(region), self.enabled, self.uplink_dwell)


def usable_data_rates(
    region: Region, channels: Mapping[int, LiveChannel], enabled: frozenset[int], dwell: bool
) -> list[int]:
    """Data rates that some channel carries which is on, and that the dwell time allows; slowest first."""
    found = {
        dr
        for at, each in channels.items()
        if at in enabled
        for dr in range(each.min_dr, each.max_dr + 1)
        if dr in region.data_rates and region.max_payload(dr, dwell=dwell)
    }
    return sorted(found)


class SessionFile:
    """Where the session is kept."""

    def __init__(self, memory: Memory, key: str, identity: bytes) -> None:
        """`key` is the memory's."""
        self._memory = memory
        self._key = key
        self._identity = identity

    def read(self) -> Session | None:
        """The session of this device, or `None`: there is none, it is another device's, or it is damaged."""
        data = self._memory.get(self._key)
        if not data:
            return None
        try:
            session = _opened(data)
        except (ValueError, msgspec.MsgspecError) as error:
            log.warning("the LoRaWAN session under %s is damaged (%s): the device joins anew", self._key, error)
            return None
        return session if session.identity == self._identity else None

    def write(self, session: Session | None) -> None:
        """On disk when it returns; raises `StoreError`, and then the old one stays."""
        self._memory.put_now(self._key, b"" if session is None else _sealed(session))

    def try_write(self, session: Session) -> None:
        """As `write`, for what may be forgotten.  Not with `put`: what waits there could come after a later `write`."""
        try:
            self.write(session)
        except RataccessError as error:  # a full disk, a store that is closed
            log.debug("the LoRaWAN session under %s stays as it was: %s", self._key, error)


_CHECK = 4
"""Octets of CRC-32 before the session: one altered bit of it could use a counter twice, or leave no receive window."""


def _sealed(session: Session) -> bytes:
    data = msgspec.msgpack.encode(session)
    return zlib.crc32(data).to_bytes(_CHECK, "big") + data


def _opened(data: bytes) -> Session:
    """Raises `ValueError` or `MsgspecError` for anything but a whole session."""
    check, session = data[:_CHECK], data[_CHECK:]
    if zlib.crc32(session).to_bytes(_CHECK, "big") != check:
        raise ValueError("its checksum is wrong")
    return msgspec.msgpack.decode(session, type=Session)
