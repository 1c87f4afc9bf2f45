"""The drivers and transports of this distribution: other tests of the same process add some of their own to the table."""

from __future__ import annotations

from rataccess import registry

DRIVERS = sorted(name for name, path in registry.DRIVERS.items() if path.startswith("rataccess_drivers."))
TRANSPORTS = sorted(name for name, path in registry.TRANSPORTS.items() if path.startswith("rataccess_transports."))
