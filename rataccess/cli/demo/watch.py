"""Looking on: the device's own account and the service's stored records, collected while the script runs.

Rules of this file: it reads; the application may be dead at any moment, and then there is no news.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rataccess.cli.demo.configuration import WAYS
from rataccess.cli.demo.verdict import Stored
from rataccess.objects import decode
from rataccess.services import admin

COUNTED = ("packets", "bytes", "units", "cost")
"""What is added up for each link."""


class Watch:
    """What is known of device and service at the moment, and what was decided since the start."""

    def __init__(self, state: Path, store: Path) -> None:
        self._socket = state / "control.sock"
        self._store = store
        self.device: dict[str, Any] | None = None
        """The device's last account; `None` while it does not run."""
        self.decisions: list[dict[str, Any]] = []
        self.recoveries: list[dict[str, Any]] = []
        self.stored: list[Stored] = []
        self.traffic: dict[str, dict[str, float]] = {}
        """Packets, bytes, units and cost of each link over all runs of the application."""
        self.rats: dict[str, str] = {}
        self.units: dict[str, str] = {}
        """What the network of each link counts."""
        self.transfers: list[dict[str, Any]] = []
        """Objects that the device has sent in parts, as it last told."""
        self.expired = 0
        self._before: dict[str, dict[str, float]] = {}
        self._last = 0
        self._seen: set[tuple[float, str]] = set()
        self._recovered: set[tuple[str, float]] = set()
        self.on_decision: Callable[[dict[str, Any]], None] = lambda decision: None

    @property
    def in_use(self) -> str | None:
        """The link that the device uses; `None` where it uses none or does not run."""
        return self.device["in_use"] if self.device else None

    @property
    def ready(self) -> set[str]:
        """The links over which the device could send."""
        return {name for name, link in self.device["links"].items() if link["ready"]} if self.device else set()

    def look(self) -> None:
        """Look once."""
        self._ask_device()
        self._read_store()

    def _ask_device(self) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.settimeout(2.0)
                client.connect(str(self._socket))
                client.shutdown(socket.SHUT_WR)  # nothing is asked but the state
                found = json.loads(b"".join(iter(lambda: client.recv(65_536), b"")))
        except (OSError, ValueError):
            self.device = None
            return
        self.device = found
        self.transfers = found["transfers"] or self.transfers
        self._note_decisions(found)
        self._note_traffic(found)

    def _note_decisions(self, found: dict[str, Any]) -> None:
        for decision in found["decisions"]:
            key = (decision["at"], decision["text"])
            if key not in self._seen:
                self._seen.add(key)
                self.decisions.append(decision)
                self.on_decision(decision)
        for recovery in found["recoveries"]:
            key = (recovery["link"], recovery["at"])
            if recovery["ok"] and key not in self._recovered:
                self._recovered.add(key)
                shown = {name: recovery[name] for name in ("link", "step")}
                self.recoveries.append({**shown, "seconds": round(recovery["seconds"], 3)})

    def _note_traffic(self, found: dict[str, Any]) -> None:
        """Counters start again with each process: add what the run before had counted."""
        self.expired = max(self.expired, found["counters"].get("expired", 0))
        for name, link in found["links"].items():
            if link["rat"]:
                self.rats[name] = link["rat"]
            self.units[name] = link["unit"]
            total = self.traffic.setdefault(name, dict.fromkeys(COUNTED, 0))
            before = self._before.setdefault(name, dict.fromkeys(COUNTED, 0))
            for what in COUNTED:
                now = link[what]
                total[what] += now - before[what] if now >= before[what] else now
                before[what] = now

    def _read_store(self) -> None:
        while page := admin.records(self._store, after=self._last, limit=2000):
            for record in page:
                body = decode(record.body)
                link = WAYS.get(record.link or "", record.link)
                self.stored.append(Stored(record.number, record.received_at, link, body))
                self._last = record.id
