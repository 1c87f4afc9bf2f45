"""The commands and their arguments.

Rules of this file: one function for each command, which checks nothing and prints little: the work is next door.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from rataccess import __version__
from rataccess.cli.fleet import fleet_app
from rataccess.cli.fleet_identity import DevEui, Imei, Lora, Notecard
from rataccess.config.model import UrgencyName
from rataccess.objects import ReceiptState, Service

app = typer.Typer(
    name="rataccess",
    help="Two secure channels to the cloud over whatever radio works.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(fleet_app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rataccess {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What all commands share."""


Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="rataccess.toml; default: RATACCESS_CONFIG, ./, /etc/rataccess/")
]


class LogLevel(enum.StrEnum):
    """How much a service logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.StrEnum):
    """What a line of a service's log is."""

    JSON = "json"
    TEXT = "text"


@app.command()
def demo(
    rats: Annotated[
        str, typer.Option("--rats", help="The links, comma-separated: wifi,cellular or wifi,cellular,lora,satellite.")
    ] = "wifi,cellular,lora,satellite",
    json: Annotated[Path | None, typer.Option("--json", help="Write the result as JSON to this file.")] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="Length of the script; default: what shows all.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the final table only.")] = False,
    folder: Annotated[Path | None, typer.Option("--folder", help="Keep all files here, for a look afterwards.")] = None,
) -> None:
    """Show the main job: records survive radios, hangs and kills.  Exit status 1 if one is lost or doubled."""
    from rataccess.cli.demo import SCRIPTS, run

    wanted = tuple(each.strip() for each in rats.split(","))
    script = next((each for each in SCRIPTS if set(each.rats) == set(wanted)), None)
    if script is None:
        allowed = " or ".join(",".join(each.rats) for each in SCRIPTS)
        raise typer.BadParameter(f"{rats!r}; allowed: {allowed}", param_hint="--rats")
    if seconds is not None and seconds < script.shortest:
        raise typer.BadParameter(
            f"{seconds:g} is too short for these; at least {script.shortest:g}", param_hint="--seconds"
        )
    raise typer.Exit(run(script=script, seconds=seconds or script.usual, json_file=json, quiet=quiet, folder=folder))


@app.command()
def serve(
    service: Annotated[Service, typer.Argument(help="Which of the two services to run.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="services.toml")] = Path("services.toml"),
    log_level: Annotated[
        LogLevel | None, typer.Option("--log-level", help="How much to log; default: log_level.")
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option("--log-format", help="Default: log_format.")] = None,
) -> None:
    """Run a service until SIGTERM or SIGINT.  It logs to standard output, one event a line."""
    from rataccess.services import logs, settings
    from rataccess.services.running import run

    found = settings.load(config, service)
    level, form = settings.LogLevel(log_level or found.log_level), settings.LogFormat(log_format or found.log_format)
    logs.configure(level, form, str(service))
    run(service, config)


@app.command()
def provision(
    serial_number: Annotated[str, typer.Argument(help="The device's serial number, 1 to 64 characters.")],
    folder: Annotated[
        Path | None, typer.Option("--folder", "-f", help="The device's folder; default: ./SERIAL")
    ] = None,
    services: Annotated[Path, typer.Option("--services", "-s", help="services.toml")] = Path("services.toml"),
    fleet: Annotated[
        list[str] | None, typer.Option("--fleet", help="Fleet that the device joins; may be repeated.")
    ] = None,
    deveui: DevEui = None,
    imei: Imei = None,
    lora: Lora = None,
    notecard: Notecard = None,
) -> None:
    """Make a device's keys, tell both services, and print the identity as text and as a QR code."""
    from rataccess.cli.fleet_identity import named
    from rataccess.cli.provision import default_folder, provision_device, show

    names = named(deveui=deveui, imei=imei, lora=lora, notecard=notecard)
    folder = folder or default_folder(serial_number)
    show(provision_device(serial_number, folder, services, fleet or [], identities=names))


@app.command()
def status(
    config: Config = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C, which ends with 130.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, max=3600, help="Seconds between looks of --watch.")] = 1.0,
) -> None:
    """Show the links, the link in use and what waits.  Exit status 5 where no device runs with this configuration."""
    from rataccess.cli import status as work

    if watch:
        work.watch(config, every)
    work.show_status(work.fetch(config), as_json=json)


@app.command()
def explain(config: Config = None) -> None:
    """Say why the device is on this radio, and what was decided lately."""
    from rataccess.cli.status import fetch

    typer.echo(fetch(config)["explanation"])


@app.command()
def send(
    value: Annotated[
        str | None, typer.Argument(metavar="JSON", help="The object as JSON; - for standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read it here: JSON, or CBOR in *.cbor.")] = None,
    service: Annotated[Service, typer.Option("--service", "-s", help="Where it goes.")] = Service.SOLUTION,
    queue: Annotated[str, typer.Option("--queue", "-q")] = "default",
    urgency: Annotated[UrgencyName, typer.Option("--urgency", "-u")] = UrgencyName.ROUTINE,
    ttl: Annotated[float | None, typer.Option("--ttl", help="Seconds after which delivery is pointless.")] = None,
    max_cost: Annotated[float | None, typer.Option("--max-cost", help="The most that its packet may cost.")] = None,
    link: Annotated[list[str] | None, typer.Option("--link", help="Only over this link; may be repeated.")] = None,
    wait: Annotated[float | None, typer.Option("--wait", help="Seconds to wait for its delivery.")] = None,
    config: Config = None,
) -> None:
    """Enqueue an object, by the running device or by opening it.  Exit status 1 where it was waited for in vain."""
    from rataccess.cli import send as work

    work.check_seconds("wait", wait)
    wish = work.Wish(work.read_object(value, file), service, queue, urgency.urgency, ttl, max_cost, tuple(link or ()))
    state = work.send(wish, config, wait)
    raise typer.Exit(int(wait is not None and state is not ReceiptState.DELIVERED))


@app.command()
def doctor(
    config: Config = None,
    json: Annotated[bool, typer.Option("--json", help="Print all facts and findings as JSON.")] = False,
    fix_rules: Annotated[
        bool, typer.Option("--fix-rules", help="Print udev rules and NetworkManager lines for what was found.")
    ] = False,
) -> None:
    """Find what keeps radios from working, say what it means and what mends it.  Exit status 1 if anything was found."""
    from rataccess.cli.doctor import Machine, examine, gather
    from rataccess.cli.doctor.rules import fix_rules as rules
    from rataccess.cli.doctor.show import as_json, exit_status, show

    facts = gather(Machine(), config)
    if fix_rules:
        typer.echo(rules(facts), nl=False)
        return
    findings = examine(facts)
    if json:
        typer.echo(as_json(facts, findings))
    else:
        show(facts, findings)
    raise typer.Exit(exit_status(findings))


Port = Annotated[
    str, typer.Argument(help="Port address (usb:2c7c:0700#if2, serial:/dev/..., pty:/...) or device file.")
]
Baudrate = Annotated[int, typer.Option("--baudrate", "-b", min=300, max=4_000_000, help="Of a UART; USB ignores it.")]


@app.command()
def at(
    port: Port,
    command: Annotated[
        list[str] | None, typer.Option("--command", "-c", help="Send this and print the reply; may be repeated.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for each answer.")] = 5.0,
    baudrate: Baudrate = 115_200,
) -> None:
    """Talk to a modem: replies on standard output, URCs on standard error.  With -c, exit status 1 where one fails."""
    from rataccess.cli.at import Console, converse, run_commands, show_urc

    with Console(port, baudrate=baudrate, on_urc=show_urc) as console:
        code = run_commands(console, command, timeout) if command else converse(console, timeout)
    raise typer.Exit(code)


@app.command()
def trace(
    port: Port,
    output: Annotated[Path, typer.Option("--output", "-o", help="The transcript; mode 0600, overwritten.")],
    link: Annotated[
        Path | None, typer.Option("--link", help="Where the stand-in's link goes; default: a new one.")
    ] = None,
    baudrate: Baudrate = 115_200,
) -> None:
    """Record a port's traffic while another program uses a stand-in for it.  Ends with Ctrl-C or when the port is lost."""
    import asyncio

    from rataccess.cli.trace import Trace, create, record

    async def run() -> None:
        with create(output) as out:
            await record(Trace(port, out, link=link, baudrate=baudrate), typer.echo)

    asyncio.run(run())
