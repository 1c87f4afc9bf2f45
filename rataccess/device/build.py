"""From a configuration to the parts of a device.

Rules of this file: construction only; nothing is opened or started here, except that the store's file is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from rataccess import registry
from rataccess.access import Access
from rataccess.clock import Clock
from rataccess.config import Configuration, LinkSettings, check_options
from rataccess.driver import Bearer, Driver, DriverContext
from rataccess.errors import ConfigurationError, KeyStoreError
from rataccess.exchange import replay_key
from rataccess.keys import KeyStore
from rataccess.link import Link
from rataccess.objects import Service
from rataccess.security import SecureContext
from rataccess.store import Store
from rataccess.tariff import Unit
from rataccess.transport import Endpoint, Transport

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


def contexts(keys: KeyStore, store: Store) -> dict[Service, SecureContext]:
    """One OSCORE context for each service; nothing is shared between them.

    Raises `KeyStoreError` where the store has lost the sender sequence numbers: with the same keys, nonces would repeat.
    """
    if store.trouble is not None and store.trouble.counters_lost:
        raise KeyStoreError(
            f"{store.trouble}: the sender sequence numbers of these keys are lost, and using one twice would give the keys "
            "away; provision the device again, into a new folder"
        )
    return {
        service: SecureContext(
            sender_id=keys.device_id(service),
            recipient_id=b"",
            secret=keys.session_secret(service),
            memory=store,
            name=str(service),
            replay_state=store.get(replay_key(service)),
        )
        for service in Service
    }


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
        link = Link(
            name,
            settings,
            endpoints=where,
            listener=access,
            clock=clock,
            memory=store,
            random=source,
            make_driver=_driver_maker(name, settings, context),
            make_transport=_transport_maker(name, settings, where, clock),
            unit=counted(name, settings),
        )
        access.add(link)


def counted(name: str, settings: LinkSettings) -> Unit:
    """What the link's network counts; raises `ConfigurationError` where its budget counts something else."""
    unit = registry.transport(settings.transport).unit
    if settings.budget is not None and settings.budget.unit is not unit:
        allowed = {Unit.BYTE: "bytes", Unit.CREDIT: "credits", Unit.MESSAGE: "messages", Unit.AIRTIME: "airtime"}[unit]
        raise ConfigurationError(
            f"links.{name}.budget: found a budget of {settings.budget.unit}; the transport {settings.transport} counts "
            f"{unit}: set {allowed}"
        )
    return unit


def _driver_maker(name: str, settings: LinkSettings, context: DriverContext) -> Callable[[], Driver]:
    kind = registry.driver(settings.driver)
    options = check_options(settings.options, kind.options_type, f"links.{name}.options")
    return partial(kind.create, options, context)


def _transport_maker(
    name: str, settings: LinkSettings, where: Mapping[Service, Endpoint], clock: Clock
) -> Callable[[Driver, Bearer], Transport]:
    kind = registry.transport(settings.transport)
    options = check_options(settings.transport_options, kind.options_type, f"links.{name}.transport_options")

    def make(driver: Driver, bearer: Bearer) -> Transport:
        return kind.create(driver=driver, bearer=bearer, endpoints=where, options=options, clock=clock)

    return make
