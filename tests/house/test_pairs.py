"""Each of our drivers says which of our transports carry packets over it, and each transport has such a driver."""

from __future__ import annotations

from rataccess import registry


def test_drivers_and_transports_go_together() -> None:
    told = {name: registry.driver(name).transports for name in registry.DRIVERS}
    assert all(told.values()), told
    assert {each for names in told.values() for each in names} == set(registry.TRANSPORTS)
