"""The virtual Notecard without port, bus and loop: bytes and time in, bytes out.

Rules of this file: framing, pacing, power, and when a reply is ready; what requests do is in `requests` and `peripherals`,
how notes travel in `syncing`.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from rataccess.clock import Clock
from rataccess_hil.lora.pins import Pin
from rataccess_hil.modem.schedule import Schedule
from rataccess_hil.satellite.notecard import line
from rataccess_hil.satellite.notecard.files import Notefiles
from rataccess_hil.satellite.notecard.line import LineError
from rataccess_hil.satellite.notecard.notehub import Event, VirtualNotehub
from rataccess_hil.satellite.notecard.state import (
    Binary,
    NotecardAir,
    NotecardCounts,
    NotecardFaults,
    NotecardModel,
    NotecardTimings,
    Settings,
)
from rataccess_hil.satellite.notecard.syncing import Syncing
from rataccess_hil.satellite.sky import Sky

_LONGEST_LINE = 300_000

Request = dict[str, Any]
Reply = dict[str, Any]
Handler = Callable[["NotecardCore", Request], Reply]


class RequestError(Exception):
    """The request fails; the text is the reply's `err`."""


class NotecardCore:
    """A Notecard.  What it says lies in `output`, message by message, once its time has come."""

    def __init__(
        self,
        notehub: VirtualNotehub,
        handlers: dict[str, Handler],
        *,
        model: NotecardModel,
        timings: NotecardTimings,
        sky: Sky,
        clock: Clock,
        seed: int,
    ) -> None:
        self.notehub, self.model, self.timings, self.sky, self.clock = notehub, model, timings, sky, clock
        self.chance = random.Random(seed)
        self.schedule = Schedule()
        self.output: list[bytes] = []
        self.air, self.faults, self.counts = NotecardAir(), NotecardFaults(), NotecardCounts()
        self.files = Notefiles()
        self.settings: Settings = {}
        self.binary = Binary()
        self.environment: dict[str, str] = {}
        self.variables: dict[str, Any] = {}
        self.ntn = model.ntn is not None
        """Whether the satellite module is paired."""
        self.attn_pin = Pin("attn", output=True)
        self.uplink: Callable[[Event], None] = notehub.take
        """Where notes go up."""
        self.stopped: Callable[[], None] = lambda: None
        """Called when its power goes."""
        self.syncing = Syncing(self)
        self.awake = True
        self.booted_at = 0.0
        self._handlers = handlers
        self._pending = bytearray()
        self._burst = 0
        self._last_byte = -1e9
        self._binary_left: int | None = None
        self._binary_at = 0
        self._binary_sum = ""
        self._taken_out = b""
        self._work: deque[bytes] = deque()
        self._busy = False

    # --- time, power --------------------------------------------------------------------------------------------------

    def run_until(self, now: float) -> None:
        """Do all that is due."""
        self.schedule.run_until(now)

    @property
    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.clock.wall())

    def restart(self, seconds: float | None = None) -> None:
        """Power cut or card.restart: what is in flash stays."""
        self.schedule.stop_firmware()
        self._pending.clear()
        self.output.clear()
        self._work.clear()
        self._busy, self._binary_left, self._burst = False, None, 0
        self.binary = Binary()
        self.faults.hang = None
        self.awake = False
        self.syncing.stop()
        self.stopped()
        self.schedule.after(self.timings.boot if seconds is None else seconds, self._boot, hardware=True)

    def _boot(self) -> None:
        self.awake = True
        self.booted_at = self.schedule.now
        self.counts.boots += 1
        self.syncing.start()

    def restore(self) -> None:
        """card.restore: settings go, the pairing with a satellite module stays."""
        self.settings.clear()
        self.files = Notefiles()
        self.environment.clear()
        self.variables.clear()

    # --- bytes --------------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a request is being worked on."""
        return self._busy

    def receive(self, data: bytes) -> None:
        """The host wrote."""
        if not self.awake or self.faults.hang is not None:
            self.counts.lost_bytes += len(data)
            return
        while data:
            data = self._take_binary(data) if self._binary_left is not None else self._take_text(data)

    def _take_text(self, data: bytes) -> bytes:
        head, newline, rest = data.partition(b"\n")
        self._pending += self._paced(head)
        if newline:
            text, self._pending = bytes(self._pending).strip(b"\r "), bytearray()
            self._work.append(text)
            self._begin()
        elif len(self._pending) > _LONGEST_LINE:
            self._pending.clear()
        return rest

    def _paced(self, data: bytes) -> bytes:
        """What the interrupt buffer still takes."""
        if self.schedule.now - self._last_byte >= self.timings.pause:
            self._burst = 0
        self._last_byte = self.schedule.now
        kept = data[: max(0, self.model.burst - self._burst)]
        self._burst += len(data)
        self.counts.lost_bytes += len(data) - len(kept)
        return kept

    def _begin(self) -> None:
        if self._busy or not self._work:
            return
        self._busy = True
        text = self._work.popleft()
        if not text:
            self._answered([b"\r\n"])
        else:
            self.schedule.after(self.timings.reply, lambda: self._answered(self._obey(text)))

    def _answered(self, said: list[bytes]) -> None:
        self._busy = False
        self.output += said
        self._begin()

    # --- requests -----------------------------------------------------------------------------------------------------

    def _obey(self, text: bytes) -> list[bytes]:
        self.counts.requests += 1
        sequence: int | None = None
        try:
            request, sequence = line.read(text)
            reply = self._serve(request)
        except LineError as error:
            reply = {"err": str(error)}
            request = {"req": ""}
        if "cmd" in request and "req" not in request:
            return []
        if "id" in request:
            reply = {**reply, "id": request["id"]}
        return self._told(reply, sequence if self.model.checks else None, request.get("req"))

    def _told(self, reply: Reply, sequence: int | None, name: Any) -> list[bytes]:
        beats = [line.write({"err": "still busy {heartbeat}", "status": "working"}, sequence)] * self.faults.heartbeats
        self.faults.heartbeats = 0
        said = [line.write(reply, sequence)]
        if self.faults.drop_replies:
            self.faults.drop_replies -= 1
            return []
        if self.faults.garble_replies:
            self.faults.garble_replies -= 1
            said = [said[0].replace(b'":', b'~":', 1)]
        if name == "card.binary.get" and "err" not in reply:
            said.append(line.stuff(self._taken_out) + b"\n")
        return beats + said

    def _serve(self, request: Request) -> Reply:
        name = request.get("req", request.get("cmd"))
        if not isinstance(name, str):
            return {"err": "no request type specified {io}"}
        if self.faults.errors:
            return {"err": self.faults.errors.popleft()}
        handler = self._handlers.get(name)
        if handler is None:
            return {"err": f"unrecognized request: {name} {{not-supported}}"}
        try:
            return handler(self, request)
        except RequestError as error:
            return {"err": str(error)}
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            return {"err": f"{name}: {error} {{bad-request}}"}

    # --- the binary store ---------------------------------------------------------------------------------------------

    def expect_binary(self, size: int, offset: int, checksum: str) -> None:
        """card.binary.put: so many stuffed bytes follow, and a newline."""
        self._binary_left, self._binary_at, self._binary_sum = size, offset, checksum
        self._pending.clear()

    def send_binary(self, data: bytes) -> None:
        """card.binary.get: these follow the reply."""
        self._taken_out = data

    def _take_binary(self, data: bytes) -> bytes:
        head, newline, rest = data.partition(b"\n")
        self._pending += head
        if newline:
            stuffed, self._pending = bytes(self._pending), bytearray()
            size, self._binary_left = self._binary_left, None
            self._keep_binary(stuffed, len(stuffed) == size)
        return rest

    def _keep_binary(self, stuffed: bytes, whole: bool) -> None:
        store = self.binary
        try:
            found = line.unstuff(stuffed)
        except LineError:
            found, whole = b"", False
        if not whole or hashlib.md5(found).hexdigest() != self._binary_sum.lower():
            store.bad = True
            return
        store.bad = False
        store.data[self._binary_at :] = found
