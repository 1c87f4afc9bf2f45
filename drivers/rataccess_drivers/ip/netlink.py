"""What the kernel tells of interfaces and addresses, as it happens: one rtnetlink socket on the loop's reader.

Rules of this file: the only one that touches netlink; what the bytes mean is read next door.  No polling, no thread.

Sources: rtnetlink(7), netlink(7), linux/rtnetlink.h.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable

from rataccess.errors import PortLost, RadioSilent
from rataccess_drivers.ip import rtnetlink
from rataccess_drivers.ip.rtnetlink import DONE, DUMP_INTERRUPTED, ERROR, GETADDR, GETLINK, Message
from rataccess_drivers.ip.view import Event, InterfaceView

_log = logging.getLogger("rataccess.netlink")

_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR

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
        self._phase = 0  # which dump is running: GETLINK, GETADDR or none
        self._again = self._interrupted = False
        self._complete: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Listen, and return when the view is complete.  Raises `PortLost` or `RadioSilent`."""
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
        self._ask(GETLINK)

    def _ask(self, kind: int) -> None:
        assert self._socket is not None
        self._phase = kind
        self._socket.send(rtnetlink.dump_request(kind))

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
                self._heard(data)
            except OSError as error:  # of a question that followed
                self._lost(error)
                return

    def _heard(self, data: bytes) -> None:
        try:
            for message in rtnetlink.messages(data):
                self._take(message)
        except rtnetlink.Damaged as error:  # a newer kernel's message must not stop the watch
            _log.warning("a netlink datagram of %d bytes cannot be read: %s; the rest is skipped", len(data), error)

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

    def _take(self, message: Message) -> None:
        if message.flags & DUMP_INTERRUPTED:
            self._interrupted = True
        if message.kind == DONE:
            self._done(message.sequence)
        elif message.kind == ERROR and message.error:
            self._refused(message.error)
        elif (event := rtnetlink.event(message)) is not None:
            if self._view.apply(event) and self._phase != GETLINK:  # else the addresses come next anyhow
                self._dump()
            if self._concerns(event):
                self._changed()

    def _concerns(self, event: Event) -> bool:
        return event.index == self._view.index or self._view.index is None

    def _done(self, kind: int) -> None:
        if kind == GETLINK:
            self._ask(GETADDR)
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
