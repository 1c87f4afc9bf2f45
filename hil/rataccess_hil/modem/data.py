"""PDP contexts and sockets of the virtual modem, apart from their commands.

Rules of this file: state and what the network does to it.  Sources: Quectel BG95 TCP/IP application note (buffer access
mode, URCs), replies of real modules in public logs.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from rataccess_hil.modem.actions import CloseSocket, OpenSocket, SendDatagram
from rataccess_hil.modem.schedule import Timer
from rataccess_hil.modem.state import Context, Socket

if TYPE_CHECKING:
    from rataccess_hil.modem.core import Modem

# What a socket's buffer holds (unverified; real ones hold some 10 kB): more is lost.
BUFFER = 20 * 1024


class Data:
    """Contexts and sockets."""

    def __init__(self, modem: Modem) -> None:
        self._modem = modem
        self._serials = itertools.count(1)
        self._hosts = itertools.count(2)
        self._losing: Timer | None = None
        self.last_error = 0
        """QIGETERROR."""
        self.traffic_at = float("-inf")
        self.sent = 0
        """Payload bytes sent since the modem was made."""
        self.received = 0
        self.overflowed = 0
        """Datagrams that found a socket's buffer full."""
        self.contexts: dict[int, Context] = {}
        self.sockets: dict[int, Socket] = {}
        self.opening: set[int] = set()
        """Numbers that QIOPEN has taken, and whose sockets are not there yet."""
        self.attached = True
        self.names: list[str] = []
        """Names being resolved."""
        self.dns: tuple[str, str] = ("198.51.100.253", "198.51.100.254")

    def reset(self) -> None:
        """The firmware starts anew: all is lost."""
        for socket in self.sockets.values():
            self._modem.act(CloseSocket(socket.serial))
        self.sockets.clear()
        self.contexts.clear()
        self.opening.clear()
        self.names.clear()
        self.attached = True
        self.last_error = 0
        self._losing = None

    # --- contexts -----------------------------------------------------------------------------------------------------

    def activate(self, number: int) -> None:
        """The network gives an address."""
        context = self.contexts.setdefault(number, Context())
        context.active, context.lost = True, False
        host = next(self._hosts) % 65534
        context.address = f"10.64.{host // 256}.{host % 256}" if context.kind != 2 else f"2001:DB8:0:0:0:0:0:{host:X}"

    def deactivate(self, number: int) -> None:
        """The host gives it up; its sockets close."""
        context = self.contexts.get(number)
        if context is not None:
            context.active, context.lost, context.address = False, False, ""
        for index, socket in list(self.sockets.items()):
            if socket.context == number:
                self.close(index)

    def lose(self, number: int) -> None:
        """The network takes a context away; tells of it by URC.  Nothing where it is not active."""
        context = self.contexts.get(number)
        if context is None or not context.active:
            return
        context.active, context.lost, context.address = False, True, ""
        for socket in self.sockets.values():
            if socket.context == number:
                socket.state = 4
                self._modem.act(CloseSocket(socket.serial))
        if self._modem.settings.event_reports:
            self._modem.urc(f"+CGEV: NW PDN DEACT {number}")
        self._modem.urc(f'+QIURC: "pdpdeact",{number}')

    def lose_all(self) -> None:
        """The radio goes off."""
        for number in list(self.contexts):
            self.lose(number)

    def lost_coverage(self) -> None:
        """Contexts outlive it for a while."""
        if self._losing is None:
            self._losing = self._modem.schedule.after(self._modem.timings.lost_context, self._give_up)

    def found_coverage(self) -> None:
        """In time."""
        if self._losing is not None:
            self._losing.cancel()
            self._losing = None

    def _give_up(self) -> None:
        self._losing = None
        self.lose_all()

    def resolved(self, host: str, addresses: list[str]) -> None:
        """The network's answer to a name, said as URCs."""
        if host not in self.names:
            return
        self.names.remove(host)
        if not addresses or not self._modem.registration.registered:
            self.last_error = 565
            self._modem.urc('+QIURC: "dnsgip",565')
            return
        self._modem.urc(f'+QIURC: "dnsgip",0,{len(addresses)},600')
        for address in addresses:
            self._modem.urc(f'+QIURC: "dnsgip","{address}"')

    # --- sockets ------------------------------------------------------------------------------------------------------

    def open(self, index: int, context: int, service: str, host: str, port: int, local_port: int, mode: int) -> None:
        """Begin to open, unless closed meanwhile; the network answers with `opened`."""
        if index not in self.opening:
            return
        self.opening.discard(index)
        serial = next(self._serials)
        self.sockets[index] = Socket(serial, context, service, host, port, local_port, mode)
        self._modem.act(OpenSocket(serial, service, host, port))

    def find(self, serial: int) -> tuple[int, Socket] | None:
        """A socket by its serial number, with the host's number for it."""
        return next(((i, socket) for i, socket in self.sockets.items() if socket.serial == serial), None)

    def opened(self, serial: int, error: int, local_port: int = 0) -> None:
        """The network's answer, said as a URC."""
        found = self.find(serial)
        if found is None or found[1].state == 4:  # given up meanwhile, with its context perhaps: nothing brings it back
            self._modem.act(CloseSocket(serial))
            return
        index, socket = found
        self.last_error = error
        if error:
            del self.sockets[index]
        else:
            socket.state = 2
            socket.local_port = socket.local_port or local_port
        self._modem.urc(f"+QIOPEN: {index},{error}")

    def close(self, index: int) -> None:
        """Close a socket; nothing where there is none."""
        self.opening.discard(index)
        socket = self.sockets.pop(index, None)
        if socket is not None:
            self._modem.act(CloseSocket(socket.serial))

    def close_by_peer(self, index: int) -> None:
        """The far end closes: `closed` is said, and the number stays taken until QICLOSE."""
        socket = self.sockets.get(index)
        if socket is not None:
            socket.state = 4
            self._modem.act(CloseSocket(socket.serial))
            self._modem.urc(f'+QIURC: "closed",{index}')

    def send(self, socket: Socket, data: bytes, to: tuple[str, int]) -> None:
        """A datagram goes up, or is lost in the air where there is no coverage."""
        socket.sent += len(data)
        self.sent += len(data)
        self.traffic_at = self._modem.schedule.now
        if self._modem.registration.registered:
            self._modem.act(SendDatagram(socket.serial, data, to))

    def arrived(self, serial: int, data: bytes, source: tuple[str, int]) -> None:
        """A datagram comes down."""
        found = self.find(serial)
        if found is None or not self._modem.alive or not self._modem.registration.registered:
            return
        index, socket = found
        self.traffic_at = self._modem.schedule.now
        if socket.unread + len(data) > BUFFER:
            self.overflowed += 1
            return
        socket.received += len(data)
        self.received += len(data)
        if socket.mode == 1:
            socket.read += len(data)
            origin = f',"{source[0]}",{source[1]}' if socket.service == "UDP SERVICE" else ""
            body = data.hex().upper().encode() if self._modem.settings.receive_hex else data
            self._modem.urc(f'+QIURC: "recv",{index},{len(data)}{origin}', body)
            return
        socket.buffer.append((data, source))
        if not socket.announced:
            # Not said again until everything has been read (Quectel BG95 TCP/IP application note, 2.3.8).
            socket.announced = True
            self._modem.urc(f'+QIURC: "recv",{index}')
