"""An access point without privileges: a UDP relay on loopback.

Rules of this file: the device's side only.  Loopback has no carrier to take away: `VirtualInterfaceDriver` tells the device
of it over the control socket, and while it is down the relay drops.  Nor can a relay send ICMP: a service that is down is
silence here; a `TunAccessPoint` refuses as a network does.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from pathlib import Path

from rataccess_hil.access_point.base import BATCH, AccessPoint, Address, AddressMap
from rataccess_hil.access_point.control import ControlServer


class RelayAccessPoint(AccessPoint):
    """Relays between loopback addresses.

    Public addresses may have port 0: the kernel then gives free ones at `start`, and `nat` has them.  With `control`, the
    path of a UNIX socket to be made, the device's driver and other processes can reach the controls.
    """

    def __init__(
        self,
        nat: AddressMap,
        *,
        control: Path | None = None,
        rat: str = "wifi",
        delay: float = 0.0,
        loss: float = 0.0,
        mtu: int = 1400,
        seed: int = 1,
    ) -> None:
        super().__init__(nat, delay=delay, loss=loss, mtu=mtu, seed=seed)
        self.rat = rat
        self._server = ControlServer(self, control) if control else None
        self._sockets: list[socket.socket] = []

    def __repr__(self) -> str:
        return f"<RelayAccessPoint {self.nat} {self.state()}>"

    async def start(self) -> None:
        """See `AccessPoint.start`."""
        try:
            self.nat = {self._listen(public): real for public, real in self._wanted}
            if self._server:
                await self._server.open()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """See `AccessPoint.stop`."""
        if self._server:
            await self._server.aclose()
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()
        self._free()

    def public(self, real: Address) -> Address:
        """See `AccessPoint.public`."""
        return next((public for public, mapped in self.nat.items() if mapped == real), None) or _missing(real)

    def _listen(self, public: Address) -> Address:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sockets.append(sock)
        sock.bind(public)
        bound: Address = sock.getsockname()
        asyncio.get_running_loop().add_reader(sock, self._readable, sock, bound)
        return bound

    def _readable(self, sock: socket.socket, public: Address) -> None:
        for _ in range(BATCH):
            try:
                data, device = sock.recvfrom(65_536)
            except OSError:
                return
            self._up((device, public), public, data, partial(_send, sock, device), lambda: None)


def _send(sock: socket.socket, to: Address, data: bytes) -> None:
    try:
        sock.sendto(data, to)
    except OSError:  # closed meanwhile, or no room: the air loses datagrams
        return


def _missing(real: Address) -> Address:
    raise KeyError(real)
