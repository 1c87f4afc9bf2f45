"""Relay frames over UDP: from gateways of private LoRa, and from the other service.

Rules of this file: one datagram, one packet; the answer goes to the address that the genuine packet came from.
"""

from __future__ import annotations

import logging
from typing import Any

from rataccess.errors import ObjectError
from rataccess.services.airway import Airway
from rataccess.services.sockets import Allowed
from rataccess.services.ways.base import Surroundings, WayIn
from rataccess.services.ways.frames import RelayFrame, decode, encode
from rataccess.services.ways.rooms import LORAWAN, believed
from rataccess.services.ways.settings import RelaySettings
from rataccess.services.ways.udp import UdpSocket

logger = logging.getLogger("rataccess.services.ways")

LINKS = {"lora": "lora_private", "deveui": LORAWAN, "imei": "sbd", "notecard": "notecard"}
"""What records are filed under, by kind, where the frame does not say."""
_DEAR = ("imei", "notecard")


class RelayWay(WayIn):
    """A UDP port."""

    def __init__(self, settings: RelaySettings, around: Surroundings, key: str) -> None:
        super().__init__(settings.name, around)
        self._settings = settings
        self._allowed = Allowed(settings.allowed, f"{key}.allowed")
        self._socket = UdpSocket(self._take, self._met)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self._socket.address

    async def _open(self) -> None:
        self._socket = UdpSocket(self._take, self._met)
        await self._socket.listening(self._settings.host, self._settings.port)
        logger.info("way %s listens on %s port %d (UDP)", self.name, *self.address)

    async def _run(self) -> None:
        await self._socket.until_lost()

    async def _close(self) -> None:
        self._socket.close()

    def _take(self, datagram: bytes, address: Any) -> None:
        if address[0] not in self._allowed:
            self._count("datagrams from addresses that are not allowed")
            return
        try:
            frame = decode(datagram)
        except ObjectError:
            self._count("malformed relay frames")
            return
        self._hear(frame.data, self._airway(frame, address))

    def _airway(self, frame: RelayFrame, address: Any) -> Airway:
        told = frame.told
        return Airway(
            self.name,
            frame.kind,
            frame.name,
            told.get("link", LINKS[frame.kind]),
            told.get("room", self._settings.room),
            unasked=told.get("unasked", False),
            dear=told.get("dear", frame.kind in _DEAR),
            heard_at=believed(told.get("heard_at"), self._around.clock),
            via=address,
        )

    def send(self, airway: Airway, data: bytes) -> None:
        """See `WayIn`."""
        frame = encode(RelayFrame(airway.kind, airway.name, data))
        sent = airway.via is not None and self._socket.send(frame, airway.via)
        self._count("answers by a way in" if sent else "answers that a way in lost")
