"""`rataccess fleet identity` and `app-key`: what networks call a device, and its LoRaWAN key.

Rules of this file: the commands and their arguments.  A key comes from a file or standard input, never from the command
line, where every user of the machine could read it; none is ever printed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rataccess.cli.fleet_store import DEFAULT, Config, OneOf, at_each
from rataccess.errors import ConfigurationError, KeyStoreError
from rataccess.lorawan.keys import is_key, plain_digits
from rataccess.objects import Service

DevEui = Annotated[str | None, typer.Option("--deveui", help="LoRaWAN's DevEUI: 16 hexadecimal digits.")]
Imei = Annotated[str | None, typer.Option("--imei", help="The satellite modem's IMEI: 15 digits.")]
Lora = Annotated[str | None, typer.Option("--lora", help="Network and address in private LoRa, such as 2a0005.")]
Notecard = Annotated[str | None, typer.Option("--notecard", help="The Notecard's id.")]
_NONE = "none"


def named(**names: str | None) -> dict[str, str | None]:
    """Those that were given, by kind; `none` stands for no name any more."""
    return {kind: None if name == _NONE else name for kind, name in names.items() if name is not None}


def add_identity_commands(app: typer.Typer) -> None:
    """The commands, on `app`."""
    app.command()(identity)
    app.command("app-key")(app_key)


def identity(
    serial_number: Annotated[str, typer.Argument(help="The device's serial number.")],
    deveui: DevEui = None,
    imei: Imei = None,
    lora: Lora = None,
    notecard: Notecard = None,
    config: Config = DEFAULT,
    service: OneOf = None,
) -> None:
    """Say what networks call a device (`none`: nothing any more), at each configured service; or show it."""
    from rataccess.services import provisioning

    names = named(deveui=deveui, imei=imei, lora=lora, notecard=notecard)
    if names:
        odd: list[str] = []
        at_each(
            config,
            service,
            lambda one, found: odd.extend(provisioning.set_identities(found, one, serial_number, names)),
        )
        for each in dict.fromkeys(odd):
            typer.echo(f"note: {each}", err=True)
    at_each(config, service, lambda one, found: _show(one, found, serial_number))


def _show(service: Service, found: Any, serial_number: str) -> None:
    from rataccess.services import provisioning

    for each in provisioning.entries(found, service):
        if each.serial_number == serial_number and not each.revoked:
            parts = [f"{kind} {name}" for kind, name in each.identities.items()]
            key = ["an AppKey"] if each.lorawan_app_key else []
            typer.echo(f"{service}: {', '.join(parts + key) or 'no network knows it by a name'}")
            return
    raise KeyStoreError(f"{serial_number!r:.100} is not enrolled at the {service} service")


def app_key(
    serial_number: Annotated[str, typer.Argument(help="The device's serial number.")],
    file: Annotated[
        Path | None, typer.Option("--file", help="The file that holds it, in hexadecimal; - for standard input.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Forget it.")] = False,
    config: Config = DEFAULT,
    service: OneOf = None,
) -> None:
    """Keep a device's LoRaWAN AppKey at the service that is its network server (ways in of kind semtech)."""
    from rataccess.services import provisioning

    if (file is None) != remove:
        raise typer.BadParameter("say --file or --remove")
    key = None if file is None else _read_key(file)
    at_each(config, service or Service.SOLUTION, lambda one, found: _keep(provisioning, found, one, serial_number, key))
    typer.echo(f"{serial_number}: the AppKey is {'removed' if key is None else 'kept'}")


def _keep(provisioning: Any, found: Any, service: Service, serial_number: str, key: bytes | None) -> None:
    provisioning.set_app_key(found, service, serial_number, key)


def _read_key(file: Path) -> bytes:
    try:
        text = sys.stdin.read(1024) if str(file) == "-" else file.read_text(encoding="ascii")[:1024]
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"{file} is not text; an AppKey has 32 hexadecimal digits"
        ) from None  # it would show it
    digits = plain_digits(text)
    if not is_key(digits):
        what = "of which some are not hexadecimal" if len(digits) == 32 else "and an AppKey has 32 hexadecimal digits"
        raise ConfigurationError(f"{file} holds {len(digits)} characters, {what}")
    return bytes.fromhex(digits)
