"""A device with Wi-Fi, cellular, LoRaWAN and satellite, and what its network operators would put on the bill.

Rules of this file: the world and its account; no scenes.  Broken laws are sentences in `faults`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tests.system.radios as radios
from rataccess import registry
from rataccess.exchange.sending import Sender
from rataccess.objects import Service
from rataccess.security.sequence import SequenceNumbers
from rataccess.services import settings
from rataccess.services.airway import Airway
from rataccess.services.keyfile import read_entries, write_entries
from rataccess.transport import Handover
from tests.system.air import Air
from tests.system.radios import KINDS, LoRaAir, RadioAir, SatelliteAir
from tests.system.system_world import SystemWorld

registry.TRANSPORTS["radio_lora"] = f"{radios.__name__}:LoRaTransport"
registry.TRANSPORTS["radio_sat"] = f"{radios.__name__}:SatelliteTransport"

LINKS = {
    "wifi": "order = 1\nfailback_after = 30",
    "cellular": "order = 2\nfailback_after = 30\ncost_per_byte = 0.00001\n"
    "budget = { bytes = 2000000, period = 86400.0, billing_quantum = 100 }",
    "lora": 'order = 3\nfailback_after = 60\nmin_urgency = "routine"\nbudget = { airtime = 300.0, period = 86400.0 }',
    "sat": 'order = 4\nfailback_after = 60\nmin_urgency = "alarm"\nbudget = { credits = 60, period = 86400.0 }',
}


class FourRats(SystemWorld):
    """See `LINKS`; `sent` has, for each link, how often its network accepted each record number whole."""

    transports: Mapping[str, str] = {"lora": "radio_lora", "sat": "radio_sat"}

    def __init__(self, folder: Path, links: Mapping[str, str] = LINKS, **options: Any) -> None:
        super().__init__(folder, links, **options)
        self.bought: dict[str, Counter[int]] = {name: Counter() for name in links}
        """By link: how often its network took each record of the solution service, whole or in part."""
        for service in Service:
            path = Path(settings.load(folder / "services.toml", service).keys)
            named = {kind.kind: identity for kind, identity in KINDS.values()}
            write_entries(path, [msgspec.structs.replace(each, identities=named) for each in read_entries(path)])

    @property
    def lora(self) -> LoRaAir:
        air = self.airs["lora"]
        assert isinstance(air, LoRaAir)
        return air

    @property
    def sat(self) -> SatelliteAir:
        air = self.airs["sat"]
        assert isinstance(air, SatelliteAir)
        return air

    def air(self, name: str, seed: int) -> Air:
        if name not in KINDS:
            return super().air(name, seed)
        kind, identity = KINDS[name]
        return kind(name, self._carry_by_way, self.clock, identity, seed=seed)

    def _carry_by_way(self, service: Service, data: bytes, airway: Airway) -> list[bytes]:
        core = self.services.get(service)
        return [answer for answer, _ in core.process([(data, airway)])] if core else []

    def tick(self) -> None:
        for service, core in self.services.items():
            for data, address in core.tick():
                name = address.link if isinstance(address, Airway) else str(address)
                self.airs[name].answer(service, data)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have each number that protects a request looked at, and each record that a network takes."""
        used: set[tuple[str, int]] = set()
        take, sent = SequenceNumbers.take, Sender._sent

        def taken(numbers: SequenceNumbers) -> int:
            number = take(numbers)
            if "device." not in numbers._key:  # those of the two services bear the same names
                if (numbers._key, number) in used:
                    self.faults.append(f"sequence number {number} of {numbers._key} was used twice")
                used.add((numbers._key, number))
            return number

        def left(sender: Sender, flight: Any, handover: Handover | None) -> Any:
            counted = self.bought[flight.lane.link]
            if sender._exchange.service is Service.SOLUTION and (handover or flight.lane.link not in KINDS):
                counted.update({item.record.number for item, _, end in flight.parts if not end})
            return sent(sender, flight, handover)

        monkeypatch.setattr(SequenceNumbers, "take", taken)
        monkeypatch.setattr(Sender, "_sent", left)

    def account(self) -> list[str]:
        """What is wrong, once everything should have arrived."""
        delivered = self.delivered()
        lost = self.accepted.keys() - delivered.keys()
        if lost:
            self.faults.append(f"{len(lost)} records were lost: {sorted(lost)[:10]}")
        wrong = [number for number, value in self.accepted.items() if delivered.get(number, value) != value]
        if wrong:
            self.faults.append(f"records {wrong[:10]} arrived altered")
        for name, air in self.airs.items():
            self.faults += air.faults
            budget = self.configuration.links[name].budget
            if isinstance(air, RadioAir) and budget is not None:
                over = {day: units for day, units in air.spent.items() if units > budget.limit}
                self.faults += [f"{name}: {units} of {budget.limit} spent on day {day}" for day, units in over.items()]
        return self.faults
