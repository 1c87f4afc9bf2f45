"""A virtual LoRaWAN site as a process of its own: `python -m rataccess_hil.lora --link /run/lora --server 127.0.0.1:1700`.

Rules of this file: arguments to objects, and back to a clean end.  It prints one line of JSON when it can be used, and
ends on SIGTERM, SIGINT, the control `stop`, or with `--until-eof` when its standard input ends (its parent died).  No key
is an argument, for arguments can be read by everybody: a network server of its own takes its key from a file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rataccess_hil.lora.regions import REGIONS
from rataccess_hil.lora.site import MODULES, LoraSite
from rataccess_hil.serving import Serving, host_and_port, run_process


def _eui(text: str) -> int:
    if len(text) != 16:
        raise argparse.ArgumentTypeError(f"{text!r} is no EUI-64 of 16 hexadecimal digits")
    return int(text, 16)


def _position(text: str) -> tuple[float, float]:
    x, _, y = text.partition(",")
    return float(x), float(y or 0)


def _key(path: str) -> bytes:
    try:
        key = bytes.fromhex(Path(path).read_text().strip())
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be read as hexadecimal digits") from error
    if len(key) != 16:
        raise argparse.ArgumentTypeError(f"{path} holds {len(key)} bytes; an AppKey has 16")
    return key


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m rataccess_hil.lora", description="A virtual LoRaWAN module on a port, and a gateway."
    )
    made.add_argument("--link", help="path of the port's symbolic link; a temporary one by default")
    made.add_argument("--control", help="path of the UNIX socket to control it by")
    made.add_argument(
        "--server", type=host_and_port, help="HOST:PORT of the network server (Semtech UDP); else its own"
    )
    made.add_argument("--model", choices=sorted(MODULES), default="rak3172")
    made.add_argument("--region", choices=sorted(REGIONS), default="EU868")
    made.add_argument("--dev-eui", type=_eui, default="70B3D57ED0000001")
    made.add_argument("--gateway-eui", type=_eui, default="AA555A0000000101")
    made.add_argument(
        "--app-key-file",
        type=_key,
        metavar="FILE",
        help="file with the AppKey in hexadecimal, for its own network server",
    )
    made.add_argument("--position", type=_position, default="300,0", help="metres from the gateway: X,Y")
    made.add_argument("--no-duty-cycle", action="store_true", help="the module keeps none")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    return made


async def run(options: argparse.Namespace) -> None:
    """Serve until told to end."""
    site = LoraSite(
        model=options.model,
        server=options.server,
        region=options.region,
        dev_eui=options.dev_eui,
        app_key=options.app_key_file,
        gateway_eui=options.gateway_eui,
        position=options.position,
        link=options.link,
        duty_cycle=not options.no_duty_cycle,
        seed=options.seed,
    )
    serving = Serving(until_eof=options.until_eof)
    async with site:
        told = {"address": site.address, "model": options.model, "dev_eui": f"{options.dev_eui:016X}"}
        await serving.serve(lambda: told, options.control, site.controls.do)


def main(arguments: list[str] | None = None) -> None:
    """Parse and run."""
    run_process(parser(), run, arguments)


if __name__ == "__main__":
    main()
