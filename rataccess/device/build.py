"""From a configuration to the parts of a device.

Rules of this file: construction only; nothing is opened or started here, except that the store's file is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rataccess import registry
from rataccess.access import Access
from rataccess.clock import Clock
from rataccess.config import BUDGET_KEYS, Configuration, LinkSettings, check_options, place
from rataccess.driver import Bearer, Driver, DriverContext
from rataccess.errors import ConfigurationError, KeyStoreError, MissingExtra, UnknownRadio
from rataccess.exchange import replay_key
from rataccess.exchange.footing import WINDOW
from rataccess.keys import KeyStore
from rataccess.link import Link
from rataccess.objects import Service
from rataccess.security import SecureContext
from rataccess.security.sequence import sequence_key
from rataccess.store import Store
from rataccess.tariff import Unit
from rataccess.transport import Endpoint, Transport

T = TypeVar("T")

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux's identifier of this run of the kernel, see random(4)."""


def boot_identifier() -> bytes:
    """16 bytes that change with each boot of the machine; random where the kernel does not say."""
    try:
        return bytes.fromhex(BOOT_ID.read_text().strip().replace("-", ""))
    except (OSError, ValueError):
        return random.SystemRandom().randbytes(16)


def endpoints(configuration: Configuration) -> dict[Service, Endpoint]:
    """Where the two services are."""
    return {
        Service.MANAGEMENT: Endpoint(configuration.management.host, configuration.management.port),
        Service.SOLUTION: Endpoint(configuration.solution.host, configuration.solution.port),
    }


def witness(keys: KeyStore, state: Path) -> Path | None:
    """Where the store tells how far the keys were used: not in its own folder, which is deleted or put back as a whole."""
    found = keys.witness()
    return None if found is None or found.parent.resolve() == state.resolve() else found


def contexts(keys: KeyStore, store: Store) -> dict[Service, SecureContext]:
    """One OSCORE context for each service; nothing is shared between them.

    Raises `KeyStoreError` where the store has lost the sender sequence numbers: with the same keys, nonces would repeat.
    """
    if store.trouble is not None and store.trouble.counters_lost:
        raise KeyStoreError(
            f"{store.trouble}: the sender sequence numbers of these keys are lost, and using one twice would give the keys "
            "away; provision the device again, into a new folder"
        )
    return {service: _context(service, keys, store) for service in Service}


def _context(service: Service, keys: KeyStore, store: Store) -> SecureContext:
    used = int.from_bytes(store.get(sequence_key(str(service))) or b"", "big")
    context = SecureContext(
        sender_id=keys.device_id(service),
        recipient_id=b"",
        secret=keys.session_secret(service),
        memory=store,
        name=str(service),
        replay_state=store.get(replay_key(service)),
        least=used + WINDOW if used else 0,
    )
    if store.trouble is not None and store.trouble.memory_lost:
        context.lose_window()
        store.put(replay_key(service), context.replay_state())
    return context


def add_links(
    access: Access,
    configuration: Configuration,
    *,
    clock: Clock,
    store: Store,
    source: random.Random,
    secret: Callable[[str], str | None],
) -> None:
    """Make every configured link and give it to `access`; all option errors are found here, before anything opens."""
    where = endpoints(configuration)
    for name, settings in configuration.links.items():
        context = DriverContext(name, clock, secret, store)
        parts = checked(name, settings)
        link = Link(
            name,
            settings,
            endpoints=where,
            listener=access,
            clock=clock,
            memory=store,
            random=source,
            make_driver=partial(parts.driver.create, parts.options, context),
            make_transport=_transport_maker(parts, where, clock),
            unit=parts.unit,
        )
        access.add(link)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a link is made of: a driver, a transport, and the options of both."""

    driver: type[Driver]
    options: Any
    transport: type[Transport]
    transport_options: Any
    unit: Unit
    """What the link's network counts."""


def checked(name: str, settings: LinkSettings) -> Parts:
    """The parts of the link `name`.

    Raises `UnknownRadio`, `MissingExtra`, and `ConfigurationError` for an option that is wrong, a driver and a transport
    that do not go together, and a budget or a price that is not in what the link's network counts.
    """
    driver = _registered(registry.driver, settings.driver, f"{place(name, settings, 'driver')}: ")
    transport = _registered(registry.transport, settings.transport, f"{place(name, settings, 'transport')}: ")
    if driver.transports and settings.transport not in driver.transports:
        raise ConfigurationError(
            f"{place(name, settings, 'transport')}: found {settings.transport}; allowed with the driver {settings.driver}: "
            f"{' or '.join(driver.transports)}"
        )
    options = check_options(settings.options, driver.options_type, f"links.{name}.options")
    unit: Unit = getattr(options, "unit", transport.unit)  # some networks count in one way or another, by contract
    _check_unit(name, settings, unit)
    transport_options = check_options(
        settings.transport_options, transport.options_type, f"links.{name}.transport_options"
    )
    return Parts(driver, options, transport, transport_options, unit)


def _registered(look_up: Callable[[str], T], wanted: str, where: str) -> T:
    try:
        return look_up(wanted)
    except (UnknownRadio, MissingExtra) as error:
        raise type(error)(f"{where}{error}") from error


def _check_unit(name: str, settings: LinkSettings, unit: Unit) -> None:
    """A budget or price in what the network does not count would be no limit and no price at all."""
    counted = f"the transport {settings.transport} counts {BUDGET_KEYS[unit].replace('airtime', 'air time')}"
    if settings.budget is not None and settings.budget.unit is not unit:
        found = f"found {BUDGET_KEYS[settings.budget.unit]}; allowed: {BUDGET_KEYS[unit]}"
        raise ConfigurationError(f"{place(name, settings, 'budget')}: {counted}; {found}")
    wrong, right = ("cost_per_unit", "cost_per_byte") if unit is Unit.BYTE else ("cost_per_byte", "cost_per_unit")
    if getattr(settings, wrong):
        raise ConfigurationError(f"{place(name, settings, wrong)}: {counted}; found {wrong}; allowed: {right}")


def _transport_maker(
    parts: Parts, where: Mapping[Service, Endpoint], clock: Clock
) -> Callable[[Driver, Bearer], Transport]:
    def make(driver: Driver, bearer: Bearer) -> Transport:
        return parts.transport.create(
            driver=driver, bearer=bearer, endpoints=where, options=parts.transport_options, clock=clock
        )

    return make
