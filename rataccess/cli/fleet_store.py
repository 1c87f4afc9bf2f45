"""On which store a `rataccess fleet` command works, and the options that say so.

Rules of this file: finds settings, opens stores; no command, prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from rataccess.errors import ConfigurationError
from rataccess.objects import Service

Config = Annotated[Path, typer.Option("--config", "-c", help="services.toml")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OneOf = Annotated[Service | None, typer.Option("--service", help="At this service only.")]
DEFAULT = Path("services.toml")


def settings_of(config: Path, service: Service | None) -> dict[Service, Any]:
    """The settings of the service that was named, or of all that are configured."""
    from rataccess.services import settings

    if service is not None:
        return {service: settings.load(config, service)}
    found = settings.load_all(config)
    if not found:
        raise ConfigurationError(f"{config} configures no service: it has neither [management] nor [solution]")
    return dict(found)


def on(
    config: Path, service: Service | None, work: Callable[[Any, Any], Any], *, usual: Service = Service.MANAGEMENT
) -> Any:
    """What `work` returns, given the open store and the settings of one service: `usual` where none was named."""
    from rataccess.services import admin

    found = settings_of(config, service)
    chosen = found.get(usual) or next(iter(found.values()))
    with admin.opened(chosen.store) as store:
        return work(store, chosen)


def at_each(config: Path, service: Service | None, work: Callable[[Service, Any], object]) -> None:
    """`work` at each service, given its settings; a store that cannot be had leaves the others as they are."""
    for one, found in settings_of(config, service).items():
        work(one, found)
