"""Facts about the configuration: does what it names exist, and are the keys as they should be.

Rules of this file: no radio is opened, and of the key store only names and modes are looked at, and whether a PIN or an
AppKey is there and could be one; what it is stays there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rataccess.bus import parse_port
from rataccess.cli.doctor.facts import Configured, LinkFact
from rataccess.clock import SystemClock
from rataccess.config import Configuration, LinkSettings, load
from rataccess.config.load import DEFAULT_FILES, FILE_VARIABLE
from rataccess.device.build import checked
from rataccess.driver import DriverContext
from rataccess.errors import ConfigurationError, KeyStoreError, RataccessError
from rataccess.keys import FileKeyStore
from rataccess.lorawan.keys import is_key, plain_digits
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
        options = _options(name, link)
    except (RataccessError, ValueError) as error:
        return LinkFact(name, link.driver, str(error))
    port, place = getattr(options, "port", None), _bus_place(options)
    path, missing = _device_file(port, root) if port else (place, _absent(place, root))
    return LinkFact(
        name,
        link.driver,
        None,
        port,
        missing,
        getattr(options, "interface", None),
        _pin_kept(name, keys) if hasattr(options, "pin_tries_left") else None,
        _app_key_error(name, keys) if link.transport == "lorawan" else None,
        hasattr(options, "transceiver"),
        path,
    )


def _options(name: str, link: LinkSettings) -> Any:
    """The driver's options, where a driver can be made of them and its port is one."""
    parts = checked(name, link)
    parts.driver.create(parts.options, DriverContext(name, SystemClock()))
    if port := getattr(parts.options, "port", None):
        parse_port(port)
    return parts.options


def _device_file(port: str, root: Path) -> tuple[str | None, str | None]:
    """The device file of a port, and what is wrong with it."""
    try:
        path = resolve(parse_port(port), sysfs=root / "sys", dev=root / "dev")
    except RataccessError as error:
        return None, str(error)
    return os.path.realpath(path), None if os.path.exists(path) else f"there is no {path}"


def _bus_place(options: Any) -> str | None:
    """The SPI or I2C bus that the options name, and where on it the radio is; `None` where they name none."""
    if hasattr(options, "transceiver"):
        whole = complete(options.transceiver)
        return str(whole.spi) + (f" {whole.chip_select}" if whole.chip_select else "")
    bus = getattr(options, "i2c", None)
    return None if bus is None else f"{f'/dev/i2c-{bus}' if isinstance(bus, int) else bus} {options.address:#x}"


def _absent(place: str | None, root: Path) -> str | None:
    bus = (place or "").partition(" ")[0]
    return None if not bus or (root / bus.lstrip("/")).exists() else f"there is no {bus}"


def _pin_kept(link: str, keys: FileKeyStore | None) -> bool | None:
    """Whether the key store has a PIN for the link; `None` where it cannot be read."""
    try:
        return None if keys is None else keys.secret(f"{link}.pin") is not None
    except KeyStoreError:
        return None


def _app_key_error(link: str, keys: FileKeyStore | None) -> str | None:
    """See `LinkFact.app_key_error`."""
    try:
        text = None if keys is None else keys.secret(f"{link}.appkey")
    except KeyStoreError:
        return None
    if text is None:
        return None if keys is None else ""
    digits = plain_digits(text)
    if is_key(digits):
        return None
    return f"{link}.appkey in the key store has {len(digits)} characters; an AppKey has 32 hexadecimal digits"
