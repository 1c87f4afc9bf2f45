"""`rataccess fleet`: devices, fleets and their environment, on a service's store.

Rules of this file: the commands and their arguments; each works on the store and the key file that `services.toml` names,
whether the service runs or not: a running one notices.  What is printed is next door.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rataccess.cli.fleet_aside import aside_app
from rataccess.cli.fleet_identity import add_identity_commands
from rataccess.cli.fleet_store import DEFAULT, Config, Json, OneOf, at_each, on, settings_of
from rataccess.config import UrgencyName
from rataccess.errors import KeyStoreError, ObjectError
from rataccess.objects import Service

fleet_app = typer.Typer(
    name="fleet", help="Look after devices and fleets, on the services' stores.", no_args_is_help=True
)
env_app = typer.Typer(name="env", help="Environment variables of a fleet, or of one device.", no_args_is_help=True)
fleet_app.add_typer(env_app)
fleet_app.add_typer(aside_app)
add_identity_commands(fleet_app)

Serial = Annotated[str, typer.Argument(help="The device's serial number.")]
Device = Annotated[str | None, typer.Option("--device", "-d", help="Of this device (its serial number).")]
Fleet = Annotated[str | None, typer.Option("--fleet", "-f", help="Of this fleet.")]


@fleet_app.command("list")
def list_(config: Config = DEFAULT, service: OneOf = None, fleet: Fleet = None, json: Json = False) -> None:
    """List devices: state, fleets, last heard, last link, what waits.  As the management service knows them."""
    from rataccess.cli import fleet_show
    from rataccess.services import view

    fleet_show.devices(on(config, service, lambda store, found: view.devices(store, found, fleet=fleet)), as_json=json)


@fleet_app.command()
def show(serial_number: Serial, config: Config = DEFAULT, service: OneOf = None, json: Json = False) -> None:
    """Show one device: enrolments, queues, health, named objects."""
    from rataccess.cli import fleet_show
    from rataccess.services import view

    fleet_show.one(on(config, service, lambda store, found: view.device(store, found, serial_number)), as_json=json)


@fleet_app.command()
def health(serial_number: Serial, config: Config = DEFAULT, json: Json = False) -> None:
    """Show the device's last health report.  Exit status 5 where it has sent none."""
    from rataccess.cli import fleet_show
    from rataccess.services import view

    def work(store: Any, _: Any) -> view.View | None:
        view.must_be_known(store, serial_number)
        return view.health(store, serial_number)

    fleet_show.health(serial_number, on(config, Service.MANAGEMENT, work), as_json=json)


@fleet_app.command()
def move(
    serial_number: Serial,
    fleets: Annotated[
        list[str] | None, typer.Argument(help="All fleets it is to be in; the later one's values hold.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Take it out of every fleet.")] = False,
    config: Config = DEFAULT,
    service: OneOf = None,
) -> None:
    """Put a device into fleets and no others, at every service that is configured."""
    from rataccess.services import provisioning

    if bool(fleets) == none:
        raise typer.BadParameter("name the fleets, or say --none")
    at_each(config, service, lambda one, found: provisioning.set_fleets(found, one, serial_number, fleets or []))
    typer.echo(f"{serial_number} is in {', '.join(fleets) if fleets else 'no fleet'}")


@fleet_app.command()
def send(
    serial_number: Serial,
    value: Annotated[str, typer.Argument(help="The object as JSON; - reads it from standard input.")],
    queue: Annotated[str, typer.Option("--queue", "-q", help="The queue it is for.")] = "commands",
    urgency: Annotated[UrgencyName, typer.Option("--urgency", help="How urgent it is.")] = UrgencyName.PROMPT,
    config: Config = DEFAULT,
    service: OneOf = None,
) -> None:
    """Send an object to the application on a device, once; the device has it when it is next heard."""
    from rataccess.services import admin, view
    from rataccess.services.fromjson import object_from_json

    item = object_from_json(_parsed(sys.stdin.read() if value == "-" else value))

    def work(store: Any, found: Any) -> int:
        if view.state(store, found, serial_number) == "revoked":
            raise KeyStoreError(f"{serial_number} is revoked: nothing is sent to it any more")
        return admin.enqueue_inbound(store, serial_number, queue, item, urgency=urgency.urgency)

    number = on(config, service, work, usual=Service.SOLUTION)
    typer.echo(f"record {number} waits for {serial_number} in queue {queue}")


@fleet_app.command()
def revoke(
    serial_number: Serial,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: Config = DEFAULT,
    service: OneOf = None,
) -> None:
    """Refuse a device from now on, at every service that is configured.  Its records stay, what waits for it is dropped."""
    from rataccess.services import provisioning

    if not yes:
        typer.confirm(f"{serial_number} can only come back with new keys.  Revoke it?", abort=True)
    done, errors = [], []
    for one, found in settings_of(config, service).items():
        try:
            done.append(f"{one} ({provisioning.revoke_device(found, one, serial_number)} dropped)")
        except KeyStoreError as error:
            errors.append(error)
    if not done:
        raise errors[0]
    typer.echo(f"{serial_number} is revoked: {', '.join(done)}")


@fleet_app.command()
def conflicts(config: Config = DEFAULT, json: Json = False) -> None:
    """List variables to which fleets of one device give different values.  Exit status 1 where there are any."""
    from rataccess.cli import fleet_show
    from rataccess.services import view

    found = on(config, Service.MANAGEMENT, lambda store, _: view.conflicts(store))
    fleet_show.conflicts(found, as_json=json)
    raise typer.Exit(1 if found else 0)


# --- environment ------------------------------------------------------------------------------------------------------


@env_app.command()
def get(device: Device = None, fleet: Fleet = None, config: Config = DEFAULT, json: Json = False) -> None:
    """Show variables: of a fleet its own, of a device its own, what it is given, and what its fleets disagree about."""
    from rataccess.cli import fleet_show
    from rataccess.services import admin, view

    _one_owner(device, fleet)

    def work(store: Any, _: Any) -> view.View:
        if device is None:
            return {"values": admin.get_env(store, fleet=fleet)}
        view.must_be_known(store, device)
        return view.environment(store, device)

    fleet_show.environment(on(config, Service.MANAGEMENT, work), as_json=json)


@env_app.command("set")
def set_(
    values: Annotated[list[str], typer.Argument(help="NAME=VALUE", metavar="NAME=VALUE...")],
    device: Device = None,
    fleet: Fleet = None,
    config: Config = DEFAULT,
) -> None:
    """Set variables.  A device's own value holds over its fleets'."""
    wrong = [each for each in values if not each.partition("=")[0] or "=" not in each]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is not NAME=VALUE")
    _change_env(config, device, fleet, dict(each.split("=", 1) for each in values))


@env_app.command()
def unset(
    names: Annotated[list[str], typer.Argument(help="Names of variables.")],
    device: Device = None,
    fleet: Fleet = None,
    config: Config = DEFAULT,
) -> None:
    """Remove variables."""
    _change_env(config, device, fleet, dict.fromkeys(names))


def _change_env(config: Path, device: str | None, fleet: str | None, values: dict[str, Any]) -> None:
    from rataccess.services import admin, view

    _one_owner(device, fleet)

    def work(store: Any, _: Any) -> None:
        if device is not None:
            view.must_be_known(store, device)
        admin.set_env(store, values, fleet=fleet, serial_number=device)

    on(config, Service.MANAGEMENT, work)


def _one_owner(device: str | None, fleet: str | None) -> None:
    if (device is None) == (fleet is None):
        raise typer.BadParameter("say whose: --device SERIAL or --fleet NAME")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ObjectError(f"not JSON: {error}; text stands in double quotes: '\"on\"'") from error
