"""How a Notecard's notes travel: when it syncs, over what, and what that costs in time.

Rules of this file: over Wi-Fi and cellular all that waits goes at once; over a satellite (NTN) only notes of compact
templates go, one packet each, slowly, and only in the sky.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from rataccess_hil.satellite.notecard.files import Note, Notefile
from rataccess_hil.satellite.notecard.notehub import Event

if TYPE_CHECKING:
    from rataccess_hil.modem.schedule import Timer
    from rataccess_hil.satellite.notecard.core import NotecardCore


class Syncing:
    """When and how."""

    def __init__(self, card: NotecardCore) -> None:
        self._card = card
        self.running: str | None = None
        """Over what it syncs now: wifi, cell, ntn."""
        self.completed_at: int | None = None
        """Seconds since 1970."""
        self.failed = ""
        """Tags of the last failure; empty after a success."""
        self._timer: Timer | None = None
        self._periodic: Timer | None = None
        self._again = False

    # --- when ---------------------------------------------------------------------------------------------------------

    @property
    def mode(self) -> str:
        """periodic, continuous, minimum, off or dfu; minimum until hub.set."""
        return str(self._card.settings.get("hub.set", {}).get("mode", "minimum"))

    @property
    def connected(self) -> bool:
        """Whether a session is open now."""
        return self.running is not None or (
            self.mode == "continuous" and self.completed_at is not None and self.way() is not None
        )

    def start(self) -> None:
        """After power came, or hub.set."""
        if self.mode == "continuous":
            self.request()
        self._arm()

    def stop(self) -> None:
        """Power is gone."""
        self.running, self._timer, self._periodic, self._again = None, None, None, False

    def _arm(self) -> None:
        if self._periodic is not None:
            self._periodic.cancel()
            self._periodic = None
        minutes = self._card.settings.get("hub.set", {}).get("outbound", 0)
        if self.mode in ("periodic", "continuous") and minutes and minutes > 0:
            self._periodic = self._card.schedule.after(minutes * 60, self._tick)

    def _tick(self) -> None:
        self.request()
        self._arm()

    def added(self, at_once: bool) -> None:
        """A note waits; `at_once` where it asked for a sync."""
        if at_once:
            self.request()

    def rang(self) -> None:
        """Something waits at the Notehub: a continuous session fetches it at once, others when they sync."""
        if self.mode == "continuous" and self.way() in ("wifi", "cell"):
            self.request()

    def request(self) -> None:
        """hub.sync: soon."""
        if self.mode == "off" or not self._card.settings.get("hub.set", {}).get("product"):
            self.failed = "{product-noexist}"
            return
        if self._timer is not None:
            self._again = True
            return
        way = self.way()
        self.running = way
        seconds = self._card.timings.search if way is None else self._card.chance.uniform(*self._card.timings.sync)
        self._timer = self._card.schedule.after(seconds, self._run)

    # --- over what ----------------------------------------------------------------------------------------------------

    @property
    def method(self) -> str:
        """As card.transport set it."""
        method = str(self._card.settings.get("card.transport", {}).get("method", "-"))
        return "wifi-cell" if method == "-" else method

    def way(self) -> str | None:
        """The first transport of the method that there is a network for."""
        air, card = self._card.air, self._card
        there = {
            "wifi": air.wifi,
            "cell": air.cell,
            "ntn": card.ntn and card.sky.bars(card.schedule.now) > 0,
        }
        return next((each for each in self.method.split("-") if there.get(each)), None)

    def _run(self) -> None:
        self._timer = None
        way = self.running = self.way()
        if way is None:
            self._card.counts.failed_syncs += 1
            self.failed = "{network-down}"
            self._finish()
        elif way == "ntn":
            self._packet()
        else:
            for file, note in self._unsent():
                self._up(file, note, way)
            while self._down(None):
                pass
            self._complete()

    def _complete(self) -> None:
        self.completed_at, self.failed = self._card.now, ""
        self._card.counts.syncs += 1
        self._finish()

    def _finish(self) -> None:
        self.running = None
        again, self._again = self._again, False
        if again:
            self.request()

    # --- what ---------------------------------------------------------------------------------------------------------

    def _unsent(self) -> list[tuple[Notefile, Note]]:
        return [
            (file, file.notes[name])
            for file in self._card.files.files.values()
            for name in list(file.notes)
            if name in file.unsent
        ]

    def _up(self, file: Notefile, note: Note, way: str) -> None:
        port = file.template.port if file.template is not None and file.template.compact else None
        self._card.counts.sent += 1
        self._card.files.forget(file, note.name)
        if note.deleted:
            return
        device = self._card.model.device
        self._card.uplink(Event(device, file.name, note.body, note.payload, note.time, port, way))

    def _down(self, longest: int | None) -> bool:
        """One note down; whether there was one."""
        card = self._card
        inbound = card.notehub.first(card.model.device)
        if inbound is None:
            return False
        card.notehub.done(card.model.device)
        size = len(base64.b64decode(inbound.payload or ""))
        if longest is not None and size > longest:
            return True
        file = card.files.get(inbound.file)
        note = card.files.put(file, None, inbound.body, inbound.payload, card.now)
        file.unsent.discard(note.name)
        card.counts.received += 1
        self.attend(inbound.file)
        return True

    def attend(self, file: str) -> None:
        """Raise the ATTN pin where card.attn watches this file."""
        armed: dict[str, Any] = self._card.settings.get("card.attn", {})
        if file in armed.get("files", ()) and armed.get("armed"):
            armed.setdefault("fired", []).append(file)
            armed["armed"] = False
            self._card.attn_pin.drive(True)

    # --- over satellite -----------------------------------------------------------------------------------------------

    def note_size(self, file: Notefile, payload: str | None) -> int:
        """Bytes of a note's whole packet over NTN."""
        template = file.template
        fixed = template.size if template is not None else 0
        return self._card.model.overhead + fixed + len(base64.b64decode(payload or ""))

    @property
    def longest_packet(self) -> int:
        """Over NTN."""
        return self._card.model.longest_packet.get(self._card.model.ntn or "", 256)

    def _fitting(self) -> list[tuple[Notefile, Note]]:
        return [
            (file, note)
            for file, note in self._unsent()
            if file.template is not None and file.template.compact and file.template.port
        ]

    def _packet(self) -> None:
        """One packet each way takes its time; then the next."""
        card = self._card
        waits = bool(self._fitting()) or card.notehub.waiting(card.model.device) > 0
        if not waits:
            self._complete()
            return
        self._timer = card.schedule.after(card.chance.uniform(*card.timings.ntn), self._packet_done)

    def _packet_done(self) -> None:
        self._timer = None
        if self.way() != "ntn":
            self._card.counts.failed_syncs += 1
            self.failed = "{ntn-no-signal}"
            self._finish()
            return
        fitting = self._fitting()
        if fitting:
            self._up(*fitting[0], "ntn")
        self._down(270)
        self._packet()
