"""A virtual modem as a process of its own: `python -m rataccess_hil.modem --link /run/bg95 --control /run/bg95.control`.

Rules of this file: arguments to objects, and back to a clean end.  It prints one line of JSON when it can be used, and
ends on SIGTERM, SIGINT, the control `stop`, or with `--until-eof` when its standard input ends (its parent died).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys

from rataccess_hil.control import ControlServer
from rataccess_hil.lines import LineFiles
from rataccess_hil.modem.personality import BG95, EC25, Timings
from rataccess_hil.modem.state import Sim
from rataccess_hil.modem.virtual import Start, VirtualModem
from rataccess_hil.network import Address, VirtualNetwork

_PERSONALITIES = {"bg95": BG95, "ec25": EC25}


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT")
    return host.strip("[]"), int(port)


def _forwarding(text: str) -> tuple[Address, Address]:
    public, equals, real = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no PUBLIC_HOST:PORT=REAL_HOST:PORT")
    return _address(public), _address(real)


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
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if options.until_eof:
        loop.add_reader(sys.stdin, lambda: None if os.read(sys.stdin.fileno(), 4096) else ended.set())
    lines = {"power_key": modem.power_key, "reset": modem.reset_line, "supply": modem.supply}
    files = LineFiles(options.lines, lines) if options.lines else None
    server = ControlServer(options.control, modem.controls.do, ended.set) if options.control else None
    async with network, modem:
        try:
            for part in (files, server):
                if part is not None:
                    await part.open()
            sys.stdout.write(json.dumps({"address": modem.address, "model": modem.core.personality.model}) + "\n")
            sys.stdout.flush()
            await ended.wait()
        finally:
            for part in (server, files):
                if part is not None:
                    await part.aclose()
            if options.until_eof:
                loop.remove_reader(sys.stdin)


def main(arguments: list[str] | None = None) -> None:
    """Parse and run."""
    asyncio.run(run(parser().parse_args(arguments)))


if __name__ == "__main__":
    main()
