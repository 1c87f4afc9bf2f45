"""`rataccess fleet aside`: records that a receiver refused.

Rules of this file: the commands and their arguments, on the solution service's store, whether the service runs or not: a
running one notices.  What is printed is next door.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rataccess.cli.fleet_store import DEFAULT, Config, Json, on
from rataccess.errors import ConfigurationError
from rataccess.objects import Service

if TYPE_CHECKING:
    from rataccess.services.store import ServiceStore

aside_app = typer.Typer(
    name="aside", help="Records that receivers refused: look, send again, drop.", no_args_is_help=True
)

Receiver = Annotated[str, typer.Argument(help="The receiver's name.")]
Keys = Annotated[list[str] | None, typer.Argument(help="Keys, as listed.", metavar="KEY...")]
All = Annotated[bool, typer.Option("--all", help="All of this receiver's.")]


@aside_app.command("list")
def list_(
    receiver: Annotated[str | None, typer.Argument(help="Of this receiver; absent: how many each has.")] = None,
    after: Annotated[str, typer.Option("--after", help="The last key of the page before.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most that are listed.")] = 100,
    config: Config = DEFAULT,
    json: Json = False,
) -> None:
    """List what stands aside: how many by receiver, or each of one receiver's with the reason."""
    from rataccess.cli import fleet_show
    from rataccess.services.receivers import aside

    if receiver is None:
        fleet_show.aside_counts(_on_solution(config, lambda store, _: aside.counted(store)), as_json=json)
        return
    found = _on_solution(config, lambda store, _: aside.listed(store, receiver, after=after, limit=limit))
    fleet_show.aside(found, as_json=json)


@aside_app.command()
def show(receiver: Receiver, key: Annotated[str, typer.Argument(help="Its key.")], config: Config = DEFAULT) -> None:
    """Show one, its record included, as JSON."""
    from rataccess.cli import fleet_show
    from rataccess.services.receivers import aside

    fleet_show.aside_one(_on_solution(config, lambda store, _: aside.shown(store, receiver, key)))


@aside_app.command()
def again(receiver: Receiver, keys: Keys = None, all_: All = False, config: Config = DEFAULT) -> None:
    """Have the service send them again, each alone; what is refused once more stands aside again."""
    from rataccess.services.receivers import aside

    def work(store: ServiceStore, found: Any) -> int:
        _must_be_configured(receiver, found)
        if all_:
            return aside.send_all_again(store, receiver)
        return _each(keys, lambda key: aside.send_again(store, receiver, key))

    _keys_or_all(keys, all_)
    count = _on_solution(config, work)
    typer.echo(f"{count} record(s) will be sent to {receiver} again")


@aside_app.command()
def drop(
    receiver: Receiver,
    keys: Keys = None,
    all_: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: Config = DEFAULT,
) -> None:
    """Delete the copies for good."""
    from rataccess.services.receivers import aside

    def work(store: ServiceStore, _: Any) -> int:
        if all_:
            return aside.drop_all(store, receiver)
        return _each(keys, lambda key: aside.drop(store, receiver, key))

    _keys_or_all(keys, all_)
    if not yes:
        told = "all records" if all_ else ", ".join(keys or [])
        typer.confirm(f"{receiver} will never be given {told}.  Drop?", abort=True)
    typer.echo(f"{_on_solution(config, work)} record(s) dropped")


def _on_solution(config: Any, work: Callable[[ServiceStore, Any], Any]) -> Any:
    return on(config, Service.SOLUTION, work)


def _keys_or_all(keys: list[str] | None, all_: bool) -> None:
    if bool(keys) == all_:
        raise typer.BadParameter("name the keys, or say --all")


def _each(keys: list[str] | None, work: Callable[[str], None]) -> int:
    for key in keys or []:
        work(key)
    return len(keys or [])


def _must_be_configured(receiver: str, found: Any) -> None:
    from rataccess.services.running import receivers_of

    names = [each.name for each in receivers_of(found)]
    if receiver not in names:
        raise ConfigurationError(f"no receiver {receiver!r} is configured; configured: {', '.join(names) or 'none'}")
