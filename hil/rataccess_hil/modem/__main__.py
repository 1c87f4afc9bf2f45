"""A virtual modem as a process of its own: `python -m rataccess_hil.modem --link /run/bg95 --control /run/bg95.control`.

Rules of this file: arguments to objects, and back to a clean end.  It prints one line of JSON when it can be used, and
ends on SIGTERM, SIGINT, the control `stop`, or with `--until-eof` when its standard input ends (its parent died).
"""

from __future__ import annotations

import argparse

from rataccess_hil.lines import LineFiles
from rataccess_hil.modem.personality import BG95, EC25, Timings
from rataccess_hil.modem.state import Sim
from rataccess_hil.modem.virtual import Start, VirtualModem
from rataccess_hil.network import Address, VirtualNetwork
from rataccess_hil.serving import Serving, host_and_port, run_process

_PERSONALITIES = {"bg95": BG95, "ec25": EC25}


def _forwarding(text: str) -> tuple[Address, Address]:
    public, equals, real = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no PUBLIC_HOST:PORT=REAL_HOST:PORT")
    return host_and_port(public), host_and_port(real)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m rataccess_hil.modem", description="A virtual cellular modem.")
    made.add_argument("--link", help="path of the port's symbolic link; a temporary one by default")
    made.add_argument("--control", help="path of the UNIX socket to control it by")
    made.add_argument("--lines", help="folder for the named pipes power_key, reset and supply")
    made.add_argument("--nat", type=_forwarding, action="append", default=[], metavar="HOST:PORT=HOST:PORT")
    made.add_argument("--open-network", action="store_true", help="reach also addresses that no --nat names")
    made.add_argument("--model", choices=sorted(_PERSONALITIES), default="bg95")
    made.add_argument("--speed", type=float, default=50.0, help="how many times faster than a real one")
    made.add_argument("--start", choices=[str(start) for start in Start], default=str(Start.RUNNING))
    made.add_argument("--pin", help="the PIN that its SIM asks for")
    made.add_argument("--usb", action="store_true", help="the port vanishes while the modem restarts")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    return made


async def run(options: argparse.Namespace) -> None:
    """Serve until told to end."""
    network = VirtualNetwork(nat=dict(options.nat), strict=not options.open_network, seed=options.seed)
    modem = VirtualModem(
        network,
        personality=_PERSONALITIES[options.model],
        timings=Timings().scaled(1 / options.speed),
        link=options.link,
        sim=Sim(pin=options.pin),
        start=Start(options.start),
        usb=options.usb,
        seed=options.seed,
    )
    serving = Serving(until_eof=options.until_eof)
    lines = {"power_key": modem.power_key, "reset": modem.reset_line, "supply": modem.supply}
    files = [LineFiles(options.lines, lines)] if options.lines else []
    async with network, modem:
        await serving.serve(
            lambda: {"address": modem.address, "model": modem.core.personality.model},
            options.control,
            modem.controls.do,
            files,
        )


def main(arguments: list[str] | None = None) -> None:
    """Parse and run."""
    run_process(parser(), run, arguments)


if __name__ == "__main__":
    main()
