"""Fleets and environment variables.

Rules of this file: which device is in which fleets, what each says, what holds.  The tables' own triggers tell sessions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rataccess.services.store.facet import Facet


@dataclass(frozen=True, slots=True)
class Conflict:
    """A variable to which several fleets of a device give different values."""

    name: str
    values: tuple[tuple[str, str], ...]
    """Fleet and value, in the order of the device's fleets: the last one's holds."""
    overridden: bool
    """Whether the device has a value of its own, which holds over all."""


class EnvironmentFacet(Facet):
    """For the administration and for sessions."""

    def fleets(self, serial_number: str) -> list[str]:
        """The fleets that the device is in, in order."""
        statement = "SELECT fleet FROM device_fleets WHERE serial_number = ? ORDER BY place"
        return [row[0] for row in self.database.execute(statement, (serial_number,))]

    def set_fleets(self, serial_number: str, fleets: Iterable[str]) -> None:
        """Put the device into `fleets` and no others; of two fleets' values for a name the later fleet's holds."""
        rows = [(serial_number, place, fleet) for place, fleet in enumerate(dict.fromkeys(fleets))]
        with self.database.transaction() as database:
            database.execute("DELETE FROM device_fleets WHERE serial_number = ?", (serial_number,))
            database.many("INSERT INTO device_fleets VALUES (?, ?, ?)", rows)

    def members(self, fleet: str) -> list[str]:
        """Serial numbers of the devices in a fleet."""
        statement = "SELECT serial_number FROM device_fleets WHERE fleet = ? ORDER BY serial_number"
        return [row[0] for row in self.database.execute(statement, (fleet,))]

    def environment(self, serial_number: str, fleets: Sequence[str] = ()) -> dict[str, str]:
        """The union of its fleets' environments (the later fleet's value holds), the device's own over all.

        `fleets` are others that it is in (those of the key file); they come first.
        """
        merged: dict[str, str] = {}
        for fleet in dict.fromkeys([*fleets, *self.fleets(serial_number)]):
            merged.update(self.fleet_environment(fleet))
        return merged | self.device_environment(serial_number)

    def conflicts(self, serial_number: str, fleets: Sequence[str] = ()) -> list[Conflict]:
        """The variables to which its fleets give different values, by name."""
        given: dict[str, dict[str, str]] = {}
        for fleet in dict.fromkeys([*fleets, *self.fleets(serial_number)]):
            for name, value in self.fleet_environment(fleet).items():
                given.setdefault(name, {})[fleet] = value
        own = self.device_environment(serial_number)
        return [
            Conflict(name, tuple(values.items()), name in own)
            for name, values in sorted(given.items())
            if len(set(values.values())) > 1
        ]

    def fleet_environment(self, fleet: str) -> dict[str, str]:
        """What the fleet says."""
        return dict(self.database.execute("SELECT name, value FROM fleet_environment WHERE fleet = ?", (fleet,)))

    def device_environment(self, serial_number: str) -> dict[str, str]:
        """What is said for this one device."""
        statement = "SELECT name, value FROM device_environment WHERE serial_number = ?"
        return dict(self.database.execute(statement, (serial_number,)))

    def set_environment(
        self, values: Mapping[str, str | None], *, fleet: str | None = None, serial_number: str | None = None
    ) -> None:
        """Set variables of a fleet, or else of one device; `None` removes one."""
        table, key = ("device_environment", "serial_number") if fleet is None else ("fleet_environment", "fleet")
        owner = serial_number if fleet is None else fleet
        with self.database.transaction() as database:
            for name, value in sorted(values.items()):
                database.execute(f"DELETE FROM {table} WHERE {key} = ? AND name = ?", (owner, name))
                if value is not None:
                    database.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", (owner, name, value))

    def stamps(self) -> tuple[int, int]:
        """Two numbers: another first one than before where a fleet, or a variable of any fleet or device, has changed since;
        another second one where something was posted to any device."""
        found: dict[str, int] = dict(self.database.execute("SELECT name, value FROM stamps"))
        return found["environment"], found["outgoing"]
