"""Facts about the configuration: does what it names exist, and are the keys as they should be.

Rules of this file: no radio is opened, no key is read; of the key store only names and modes are looked at, and whether a
PIN or an AppKey is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rataccess import registry
from rataccess.bus import parse_port
from rataccess.cli.doctor.facts import Configured, LinkFact
from rataccess.config import Configuration, check_options, load
from rataccess.config.load import DEFAULT_FILES, FILE_VARIABLE
from rataccess.device.build import counted
from rataccess.errors import ConfigurationError, KeyStoreError, RataccessError
from rataccess.keys import FileKeyStore
from rataccess_drivers.lora.wirings import resolve as complete
from rataccess_drivers.ports import resolve


def configured(config: Path | None, environ: Mapping[str, str], root: Path) -> Configured:
    """What is configured; nothing where there is no configuration file at all."""
    source = _source(config, environ)
    if source is None:
        return Configured()
    try:
        found = load(Path(source), environ)
    except ConfigurationError as error:
        return Configured(source, str(error))
    keys = Path(found.device.keys or found.device.state)
    store, key_error = _keys(keys)
    return Configured(
        source,
        None,
        tuple(_link(name, found, store, root) for name in found.links),
        found.device.state,
        str(keys),
        tuple(_modes(keys)),
        key_error,
    )


def _source(config: Path | None, environ: Mapping[str, str]) -> str | None:
    if config is not None:
        return str(config)
    if environ.get(FILE_VARIABLE):
        return environ[FILE_VARIABLE]
    return next((str(each) for each in DEFAULT_FILES if each.is_file()), None)


def _keys(folder: Path) -> tuple[FileKeyStore | None, str | None]:
    try:
        return FileKeyStore.open(folder), None
    except KeyStoreError as error:
        return None, str(error)


def _modes(folder: Path) -> Iterator[tuple[str, int]]:
    for path in (folder, *(folder / name for name in ("root.key", "identity.json", "secrets.toml"))):
        try:
            yield str(path), os.stat(path).st_mode & 0o777
        except OSError:
            continue


def _link(name: str, found: Configuration, keys: FileKeyStore | None, root: Path) -> LinkFact:
    link = found.links[name]
    try:
        kind = registry.driver(link.driver)
        options = check_options(link.options, kind.options_type, f"links.{name}.options")
        transport = registry.transport(link.transport)
        check_options(link.transport_options, transport.options_type, f"links.{name}.transport_options")
        counted(name, link)
    except (RataccessError, ValueError) as error:
        return LinkFact(name, link.driver, str(error))
    port, interface = getattr(options, "port", None), getattr(options, "interface", None)
    return LinkFact(
        name,
        link.driver,
        None,
        port,
        _port_error(port, root) if port else _bus_error(options, root),
        interface,
        _kept(f"{name}.pin", keys) if hasattr(options, "pin_tries_left") else None,
        _kept(f"{name}.appkey", keys) if link.transport == "lorawan" else None,
        hasattr(options, "transceiver"),
    )


def _port_error(port: str, root: Path) -> str | None:
    try:
        path = resolve(parse_port(port), sysfs=root / "sys", dev=root / "dev")
    except RataccessError as error:
        return str(error)
    return None if os.path.exists(path) else f"there is no {path}"


def _bus_error(options: Any, root: Path) -> str | None:
    """What is wrong with the SPI or I2C bus that the options name, if they name one."""
    bus = getattr(options, "i2c", None)
    if isinstance(bus, int):
        bus = f"/dev/i2c-{bus}"
    if hasattr(options, "transceiver"):
        try:
            bus = complete(options.transceiver).spi
        except ConfigurationError as error:
            return str(error)
    return None if bus is None or (root / str(bus).lstrip("/")).exists() else f"there is no {bus}"


def _kept(secret: str, keys: FileKeyStore | None) -> bool | None:
    """Whether the key store has that secret; `None` where it cannot be read."""
    if keys is None:
        return None
    try:
        return keys.secret(secret) is not None
    except KeyStoreError:
        return None
