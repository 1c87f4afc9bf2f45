"""A serial port that is not there: a pseudo terminal whose byte path can be spoilt on purpose.

Rules of this file: bytes only; what they mean is the virtual radio's business.  No thread: the descriptors are readers of
the running event loop.  The port behaves as a USB serial port does: what the radio says while nobody has it open is lost,
a second opener is refused where the first asked for it (the flock of pyserial's `exclusive`, or TIOCEXCL, which root
overrides), unplugging hangs it up (whoever has it open reads the end of the file and gets EIO for all else, as from a USB
port that is pulled), and plugging it in again gives another /dev/pts node behind the same link, its stable identity.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import tempfile
import termios
import tty
from collections.abc import Callable
from pathlib import Path

from rataccess_hil.journal import Direction, Journal
from rataccess_hil.part import Part
from rataccess_hil.watch import FileWatch, holders
from rataccess_hil.wire import Wire

_MOST_WAITING = 1 << 20


def _nothing() -> None:
    return None


class PtyRadio(Part):
    """A radio's port.  `on_bytes` is called with what the host wrote; `write` says something to the host.

    `link` is the path of the symbolic link to make (its folder must exist); by default one in a temporary folder.
    With `exclusive` the kernel refuses (EBUSY) whoever opens the port while somebody has it open, without the first having
    asked; root excepted.  It is off by default, for the port learns of a closing a moment later, and would refuse one who
    closes and opens again at once.  Raises `FileExistsError` on opening where something that is no link is at `link`.
    """

    def __init__(
        self,
        link: Path | str | None = None,
        *,
        on_bytes: Callable[[bytes], None] = lambda data: None,
        on_open: Callable[[], None] = _nothing,
        on_close: Callable[[], None] = _nothing,
        exclusive: bool = False,
        seed: int = 0,
    ) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._wanted = Path(link) if link is not None else None
        self._link: Path | None = None
        self._exclusive = exclusive
        self.on_bytes = on_bytes
        self.on_open = on_open
        self.on_close = on_close
        self.journal = Journal()
        chance = random.Random(seed)
        self.to_radio = Wire(lambda data: self.on_bytes(data), chance)
        self.to_host = Wire(self._put, chance)
        self.opened_times = 0
        """How often somebody opened the port (openings at the very same moment may count as one)."""
        self.in_use = False
        """Whether somebody has the port open."""
        self._master: int | None = None
        self._slave = -1
        self._node = ""
        self._watch: FileWatch | None = None
        self._waiting = bytearray()

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the terminal and its link; needs the running loop for its reader.

        Raises `OSError` where the link cannot be made; nothing is left open then.
        """
        if self._wanted is None:
            self._folder = tempfile.TemporaryDirectory(prefix="rataccess-radio-")
            self._link = Path(self._folder.name) / "tty"
        else:
            self._link = self._wanted
        try:
            self.connect()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Hang up and remove the link; idempotent."""
        self.disconnect()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @property
    def link(self) -> Path:
        """The stable path; only after `open`."""
        if self._link is None:
            raise RuntimeError("the port was not opened yet")
        return self._link

    @property
    def address(self) -> str:
        """The port address for a configuration: `pty:/path`."""
        return f"pty:{self.link}"

    @property
    def node(self) -> str:
        """The /dev/pts node of this moment; empty while unplugged."""
        return self._node

    @property
    def connected(self) -> bool:
        """Whether the port is plugged in."""
        return self._master is not None

    def holders(self) -> list[int]:
        """The processes that have the port open."""
        return holders(self._node, self._slave) if self.connected else []

    # --- plugging -----------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Plug in: a new node behind the link.  Nothing where it is plugged in."""
        if self._master is None:
            self._check_link()
            self._connect(*os.openpty())

    def _check_link(self) -> None:
        if os.path.lexists(self.link) and not self.link.is_symlink():
            raise FileExistsError(f"{self.link} is in the way: it is no symbolic link")

    def _connect(self, master: int, slave: int) -> None:
        self._master, self._slave = master, slave
        self._node = os.ttyname(self._slave)
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._watch = FileWatch(self._node)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._master, self._readable)
        loop.add_reader(self._watch.descriptor, self._look)
        self._point_link()
        self.journal.note(loop.time(), f"connected as {self._node}")

    def disconnect(self) -> None:
        """Unplug: whoever has the port open is hung up on, and the link is gone.  Nothing where it is unplugged."""
        if self._master is None or self._watch is None:
            return
        loop = asyncio.get_running_loop()
        self._look()
        with contextlib.suppress(FileNotFoundError):
            if self.link.is_symlink() and os.readlink(self.link) == self._node:
                self.link.unlink()
        loop.remove_reader(self._master)
        loop.remove_writer(self._master)
        loop.remove_reader(self._watch.descriptor)
        self._watch.close()
        os.close(self._slave)
        os.close(self._master)
        self._master, self._watch, self._node = None, None, ""
        self._waiting.clear()
        self.journal.note(loop.time(), "disconnected")
        self._set_in_use(False)

    def renumber(self) -> None:
        """Unplug and plug in again at once; the node's number is another one, and the link points at it."""
        # Made while the old one still lives, for the lowest free number is given out.
        new = os.openpty()
        self.disconnect()
        self._connect(*new)

    def _point_link(self) -> None:
        new = self.link.with_name(self.link.name + ".new")
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        new.symlink_to(self._node)
        new.replace(self.link)

    # --- openers ------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Take note of openings and closings."""
        if self._watch is None:
            return
        events = self._watch.changes()
        self.opened_times += events.count("open")
        if "open" in events and self.in_use and events[0] == "open":
            self.journal.note(asyncio.get_running_loop().time(), "opened a second time")
        if "close open" in " ".join(events) and self.in_use:
            # Closed and opened again before we looked; an open that a close follows was an intruder's.
            self._set_in_use(False)
        if events:
            # Events may have been merged, so count who really is there; another user's process may be invisible.
            self._set_in_use(events[-1] == "open" or bool(self.holders()))

    def _set_in_use(self, now: bool) -> None:
        if now == self.in_use:
            return
        self.in_use = now
        self.journal.note(asyncio.get_running_loop().time(), "opened" if now else "closed")
        if self._master is not None:
            if now and self._exclusive:
                fcntl.ioctl(self._slave, termios.TIOCEXCL)
            if not now:
                # What the last user did not read is gone, and so is a claim of its own, as on a real port.
                fcntl.ioctl(self._slave, termios.TIOCNXCL)
                self._waiting.clear()
                termios.tcflush(self._slave, termios.TCIFLUSH)
        (self.on_open if now else self.on_close)()

    # --- bytes --------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """The radio says something; lost where nobody has the port open."""
        self.to_host.feed(data)

    def _readable(self) -> None:
        if self._master is None:
            return
        self._look_for_opening()
        try:
            data = os.read(self._master, 65536)
        except (BlockingIOError, OSError):
            return
        if data:
            self.journal.record(asyncio.get_running_loop().time(), Direction.TO_RADIO, data)
            self.to_radio.feed(data)
        self._look()

    def _look_for_opening(self) -> None:
        # Bytes prove an opener, even one that was faster than the news of its coming.
        if not self.in_use:
            self._look()

    def _put(self, data: bytes) -> None:
        self._look_for_opening()
        if self._master is None or not self.in_use:
            return
        self.journal.record(asyncio.get_running_loop().time(), Direction.TO_HOST, data)
        # A host that reads nothing loses what is new, once this much waits.
        self._waiting += data[: max(0, _MOST_WAITING - len(self._waiting))]
        self._flush()

    def _flush(self) -> None:
        if self._master is None:
            return
        loop = asyncio.get_running_loop()
        try:
            written = os.write(self._master, self._waiting) if self._waiting else 0
        except BlockingIOError:
            written = 0
        del self._waiting[:written]
        if self._waiting:
            loop.add_writer(self._master, self._flush)
        else:
            loop.remove_writer(self._master)

    def __repr__(self) -> str:
        return f"<PtyRadio {self._link} {self._node or 'unplugged'}{' in use' if self.in_use else ''}>"
