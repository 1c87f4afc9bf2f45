"""Facts about the configuration: does what it names exist, and are the keys as they should be.

Rules of this file: no radio is opened, no key is read; of the key store only names and modes are looked at, and whether a
PIN is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from rataccess import registry
from rataccess.bus import parse_port
from rataccess.cli.doctor.facts import Configured, LinkFact
from rataccess.config import Configuration, load
from rataccess.config.load import DEFAULT_FILES, FILE_VARIABLE
from rataccess.errors import ConfigurationError, KeyStoreError, RataccessError
from rataccess.keys import FileKeyStore
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
        options = _options(link.options, kind.options_type)
        registry.transport(link.transport)
    except RataccessError as error:
        return LinkFact(name, link.driver, str(error))
    except (msgspec.ValidationError, ValueError) as error:
        return LinkFact(name, link.driver, f"links.{name}.options: {error}")
    port, interface = getattr(options, "port", None), getattr(options, "interface", None)
    port_error = None
    if port:
        try:
            path = resolve(parse_port(port), sysfs=root / "sys", dev=root / "dev")
            port_error = None if os.path.exists(path) else f"there is no {path}"
        except RataccessError as error:
            port_error = str(error)
    return LinkFact(name, link.driver, None, port, port_error, interface, _pin(name, options, keys))


def _options(given: dict[str, Any], wanted: type[Any] | None) -> Any:
    return msgspec.convert(dict(given), wanted) if wanted is not None else None


def _pin(name: str, options: Any, keys: FileKeyStore | None) -> bool | None:
    """Whether a SIM's PIN is kept, for radios that ask for one."""
    if not hasattr(options, "pin_tries_left") or keys is None:
        return None
    try:
        return keys.secret(f"{name}.pin") is not None
    except KeyStoreError:
        return None
