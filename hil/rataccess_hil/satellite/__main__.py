"""A satellite site as a process of its own: `python -m rataccess_hil.satellite --link /run/sbd --mo 127.0.0.1:10800`.

Rules of this file: arguments to objects, and back to a clean end.  It prints one line of JSON when it can be used, and
ends on SIGTERM, SIGINT, the control `stop`, or with `--until-eof` when its standard input ends (its parent died).
"""

from __future__ import annotations

import argparse

from rataccess_hil.satellite.site import HOOKS, SatelliteSite
from rataccess_hil.satellite.sky import Sky
from rataccess_hil.serving import Serving, host_and_port, run_process


def _address(text: str) -> tuple[str, int]:
    """0 has the system choose a port."""
    return host_and_port(text, least=0)


def _imei(text: str) -> str:
    if len(text) != 15 or not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no IMEI of 15 digits")
    return text


def _hook(text: str) -> tuple[str, str]:
    form, equals, url = text.partition("=")
    if not equals or form not in HOOKS:
        raise argparse.ArgumentTypeError(f"{text!r} is no FORM=URL with a form of {', '.join(HOOKS)}")
    return form, url


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m rataccess_hil.satellite", description="A virtual Iridium modem on a port, and its gateway."
    )
    made.add_argument("--link", help="path of the port's symbolic link; a temporary one by default")
    made.add_argument("--control", help="path of the UNIX socket to control it by")
    made.add_argument("--lines", help="folder for the named pipe supply, the modem's ON/OFF pin")
    made.add_argument("--model", choices=("9603", "9704"), default="9603")
    made.add_argument("--imei", type=_imei, help="15 digits")
    made.add_argument("--mo", type=_address, action="append", default=[], metavar="HOST:PORT", help="a DirectIP server")
    made.add_argument("--mo-confirmed", action="store_true", help="DirectIP servers confirm each message")
    made.add_argument(
        "--mt", type=_address, default="127.0.0.1:0", metavar="HOST:PORT", help="where to take MT messages"
    )
    made.add_argument("--hook", type=_hook, action="append", default=[], metavar="FORM=URL", help="form, json or lingo")
    made.add_argument("--web", type=_address, metavar="HOST:PORT", help="where to take MT messages over HTTP")
    made.add_argument("--session-seconds", type=float, help="everything over the air takes about so long")
    made.add_argument("--bars", type=int, choices=range(6), default=5, help="the most bars of the sky")
    made.add_argument("--passing", action="store_true", help="satellites come and go")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    return made


def site_of(options: argparse.Namespace) -> SatelliteSite:
    """What the arguments describe; nothing is opened."""
    return SatelliteSite(
        model=options.model,
        imei=options.imei,
        servers=options.mo,
        confirmed=options.mo_confirmed,
        hooks=options.hook,
        listen=options.mt,
        web=options.web,
        session_seconds=options.session_seconds,
        sky=Sky(options.bars, passing=options.passing, seed=options.seed),
        link=options.link,
        lines=options.lines,
        seed=options.seed,
    )


async def run(options: argparse.Namespace) -> None:
    """Serve until told to end."""
    serving = Serving(until_eof=options.until_eof)
    async with site_of(options) as site:
        await serving.serve(site.told, options.control, site.controls.do)


def main(arguments: list[str] | None = None) -> None:
    """Parse and run."""
    run_process(parser(), run, arguments)


if __name__ == "__main__":
    main()
