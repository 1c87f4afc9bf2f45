"""What the kernel tells of interfaces and addresses, as it happens: one rtnetlink socket on the loop's reader.

Rules of this file: the only one that touches netlink, and the only one that imports pyroute2, when a monitor opens (any
entry to pyroute2 loads the whole of it: 115 ms and 13 MB on a fast machine).  pyroute2 decodes the messages; its own
socket classes are not used, as they bring an event loop or a thread with them.  No polling, no thread.

Sources: rtnetlink(7), netlink(7), linux/rtnetlink.h.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

from rataccess.errors import MissingExtra, PortLost, RadioSilent
from rataccess_drivers.ip.view import AddressGone, AddressSeen, Event, InterfaceView, LinkGone, LinkSeen

_log = logging.getLogger(__name__)

_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _DELADDR, _GETADDR = 16, 17, 18, 20, 21, 22
_ERROR, _DONE = 2, 3
_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_REQUEST_DUMP = 0x1 | 0x300  # NLM_F_REQUEST, NLM_F_DUMP
_DUMP_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR: the answer mixes two states
_HEADER = struct.Struct("=IHHIIB3x")  # nlmsghdr and rtgenmsg

DUMP_LIMIT = 5.0
"""Seconds for the kernel to tell everything; it takes well under a millisecond an interface."""
BATCH = 32
"""Datagrams read in one wake-up, so that a storm of routes and scans does not starve the loop."""


class RouteMonitor:
    """Keeps an `InterfaceView` true.  `changed` is called after each event of that interface that came unasked."""

    def __init__(self, view: InterfaceView, changed: Callable[[], None]) -> None:
        self._view = view
        self._changed = changed
        self._socket: socket.socket | None = None
        self._marshal: Any = None
        self._phase = 0  # which dump is running: _GETLINK, _GETADDR or none
        self._again = self._interrupted = False
        self._complete: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Listen, and return when the view is complete.  Raises `PortLost`, `RadioSilent` or `MissingExtra`."""
        try:
            from pyroute2.netlink.rtnl.marshal import MarshalRtnl
        except ImportError as error:
            raise MissingExtra("watching interfaces needs pyroute2, which is not installed") from error
        self._marshal = MarshalRtnl()
        await self.reread()

    async def reread(self) -> None:
        """Have everything told again on a new socket, and return when the view is complete.  Raises as `open`."""
        self._listen()
        if self._complete is None:
            self._complete = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(DUMP_LIMIT):
                await asyncio.shield(self._complete)
        except TimeoutError as error:
            self._complete = None
            raise RadioSilent(f"the kernel did not list the interfaces within {DUMP_LIMIT} s") from error

    def close(self) -> None:
        """Idempotent."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        self._finish(PortLost("the watch over the interfaces was closed"))

    # --- asking -------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """A new socket: after lost messages nothing of the old one can be trusted, not even that its dump will end."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
        self._phase, self._again = 0, False
        try:
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
            self._socket.bind((0, _GROUPS))
            asyncio.get_running_loop().add_reader(self._socket, self._readable)
            self._dump()
        except OSError as error:
            self._socket = None
            raise PortLost(f"the kernel's interface list (netlink) cannot be read: {error.strerror}") from error

    def _dump(self) -> None:
        if self._phase:  # one dump at a time (netlink(7))
            self._again = True
            return
        self._again = self._interrupted = False
        self._view.begin_dump()
        self._ask(_GETLINK)

    def _ask(self, kind: int) -> None:
        assert self._socket is not None
        self._phase = kind
        self._socket.send(_HEADER.pack(_HEADER.size, kind, _REQUEST_DUMP, kind, 0, socket.AF_UNSPEC))

    # --- hearing ------------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                if self._socket is None:  # a callback closed it
                    return
                data = self._socket.recv(65_536)
            except BlockingIOError:
                return
            except OSError as error:
                self._lost(error)
                return
            try:
                for message in self._messages(data):
                    self._take(message)
            except OSError as error:  # of a question that followed
                self._lost(error)
                return

    def _messages(self, data: bytes) -> Iterator[Any]:
        try:
            yield from self._marshal.parse(data)
        except Exception:  # noqa: BLE001  pyroute2 raises many kinds; a newer kernel's message must not stop the watch
            _log.warning("a netlink message of %d bytes cannot be read; skipped", len(data))

    def _lost(self, error: OSError) -> None:
        """ENOBUFS: the kernel had more to say than fitted.  Anything else is as bad; in each case start over."""
        level = logging.INFO if error.errno == errno.ENOBUFS else logging.WARNING
        _log.log(level, "netlink: %s; reading the interfaces anew", error.strerror)
        try:
            self._listen()
        except PortLost as lost:
            _log.error("%s", lost)
            self._view.begin_dump()
            self._view.end_dump()  # nothing is known any more
            self._finish(lost)
            self._changed()

    def _take(self, message: Any) -> None:
        header = message["header"]
        if header["flags"] & _DUMP_INTERRUPTED:
            self._interrupted = True
        kind = header["type"]
        if kind == _DONE:
            self._done(header["sequence_number"])
        elif kind == _ERROR and message["error"]:
            self._refused(abs(message["error"]))
        elif (event := _event(kind, message)) is not None:
            if self._view.apply(event) and self._phase != _GETLINK:  # else the addresses come next anyhow
                self._dump()
            if self._concerns(event):
                self._changed()

    def _concerns(self, event: Event) -> bool:
        return event.index == self._view.index or self._view.index is None

    def _done(self, kind: int) -> None:
        if kind == _GETLINK:
            self._ask(_GETADDR)
            return
        self._phase = 0
        if self._again or self._interrupted:
            self._dump()
            return
        self._view.end_dump()
        self._finish(None)
        self._changed()

    def _refused(self, number: int) -> None:
        self._phase = 0
        self._finish(PortLost(f"the kernel refuses to list the interfaces: {os.strerror(number)}"))

    def _finish(self, error: Exception | None) -> None:
        complete, self._complete = self._complete, None
        if complete is not None and not complete.done():
            if error is None:
                complete.set_result(None)
            else:
                complete.set_exception(error)
                complete.exception()  # somebody may wait, nobody must


def _event(kind: int, message: Any) -> Event | None:
    """What a message of pyroute2 says, where it says something for us."""
    if kind == _NEWLINK and message["family"] == socket.AF_UNSPEC:  # a bridge tells of its ports with AF_BRIDGE
        return LinkSeen(
            message["index"],
            message.get_attr("IFLA_IFNAME") or "",
            message["flags"],
            bool(message.get_attr("IFLA_CARRIER")),
            message.get_attr("IFLA_OPERSTATE") or "UNKNOWN",
            message.get_attr("IFLA_MTU"),
        )
    if kind == _DELLINK and message["family"] == socket.AF_UNSPEC:
        return LinkGone(message["index"])
    if kind not in (_NEWADDR, _DELADDR):
        return None
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")  # the peer's, on point-to-point links
    if not address:
        return None
    if kind == _DELADDR:
        return AddressGone(message["index"], address)
    flags = message.get_attr("IFA_FLAGS")
    return AddressSeen(message["index"], address, message["scope"], message["flags"] if flags is None else flags)
