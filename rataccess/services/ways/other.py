"""Packets for the other service that arrive here, and its answers: ways that devices of both services use.

Rules of this file: a packet goes on in a relay frame, to the other service's way of kind `relay`, and its answers come back
on the same socket.  An answer is taken only for a device of which something went on before, and only so many: whoever can
write to the socket must not have us send what costs.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import OrderedDict
from typing import Any

from rataccess.errors import ObjectError, WayBroken
from rataccess.objects import Service
from rataccess.services.airway import Airway
from rataccess.services.sockets import host_and_port
from rataccess.services.ways.base import Surroundings, WayIn
from rataccess.services.ways.frames import RelayFrame, decode, encode
from rataccess.services.ways.udp import UdpSocket

MOST_KEPT = 4096
"""Devices of the other service that are remembered for its answers."""
MOST_ANSWERS = 4
"""Answers to one packet."""


class WayForBoth(WayIn):
    """A way on which packets for both services arrive."""

    def __init__(self, name: str, around: Surroundings, other: str | None) -> None:
        super().__init__(name, around)
        self._other = None if other is None else host_and_port(other)
        self._link: UdpSocket | None = None
        self._linking: asyncio.Task[None] | None = None
        self._asked: OrderedDict[tuple[str, str], tuple[Airway, int]] = OrderedDict()

    @property
    def other_service(self) -> Service:
        """The one that this is not."""
        return Service.MANAGEMENT if self._around.service is Service.SOLUTION else Service.SOLUTION

    def send(self, airway: Airway, data: bytes) -> None:
        """See `WayIn`."""
        self._send_for(self._around.service, airway, data)

    @abstractmethod
    def _send_for(self, service: Service, airway: Airway, data: bytes) -> None:
        """`send`, for either service."""

    async def _open(self) -> None:
        """See `WayIn`; a kind's own begins with this."""
        if self._other is not None:
            await self._link_up(*self._other)

    async def _link_up(self, host: str, port: int) -> None:
        link = UdpSocket(self._answered, self._met)
        try:
            await link.connected(host, port)
        except WayBroken as error:  # its name has no address now: looked up with the next packet that is for it
            self.last_error = str(error)
            self._warn("way %s: the other service at %s", error)
        else:
            self._link = link

    async def _close(self) -> None:
        linking, self._linking = self._linking, None
        if linking is not None:
            linking.cancel()
            await asyncio.wait({linking})
        if self._link is not None:
            self._link.close()
            self._link = None

    def _hear_for(self, service: Service | None, data: bytes, airway: Airway) -> bool:
        """Hand one packet to the service that it is for; `None`: it names none.  Whether it is done with, as `_hear`."""
        if service is None:
            self._count("malformed packets by ways in")
        elif service is self._around.service:
            return self._hear(data, airway)
        elif self._other is None:
            self._count("packets for the other service")
        else:
            return self._pass_on(data, airway)
        return True

    def _pass_on(self, data: bytes, airway: Airway) -> bool:
        told: dict[str, Any] = {
            "link": airway.link,
            "room": airway.room,
            "dear": airway.dear,
            "unasked": airway.unasked,
            **({} if airway.heard_at is None else {"heard_at": airway.heard_at}),
        }
        frame = encode(RelayFrame(airway.kind, airway.name, data, told))
        if self._link is None or not self._link.send(frame):
            self._count("packets that did not reach the other service")
            if self._link is None and self._other is not None and (self._linking is None or self._linking.done()):
                self._linking = asyncio.create_task(self._link_up(*self._other), name=f"way {self.name} other")
            return False
        self._count("packets passed on to the other service")
        self._asked[airway.kind, airway.name] = airway, MOST_ANSWERS
        self._asked.move_to_end((airway.kind, airway.name))
        while len(self._asked) > MOST_KEPT:
            self._asked.popitem(last=False)
        return True

    def _answered(self, datagram: bytes, _: Any) -> None:
        try:
            frame = decode(datagram)
        except ObjectError:
            self._count("malformed relay frames")
            return
        airway, left = self._asked.get((frame.kind, frame.name), (None, 0))
        if airway is None or left <= 0:
            self._count("answers that nobody asked for")
            return
        self._asked[frame.kind, frame.name] = airway, left - 1
        self._send_for(self.other_service, airway, frame.data)
