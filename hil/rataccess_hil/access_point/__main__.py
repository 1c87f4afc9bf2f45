"""An access point as a process of its own: `python -m rataccess_hil.access_point --help`.

Rules of this file: arguments only.  Once packets are carried, one line of JSON on the standard output tells so, with the
addresses to which the device sends.  SIGTERM or SIGINT ends it, and takes away what it made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rataccess_hil.access_point.base import AccessPoint, Address
from rataccess_hil.access_point.control import ControlServer
from rataccess_hil.access_point.namespaces import NetworkNamespace, why_not
from rataccess_hil.access_point.relay import RelayAccessPoint
from rataccess_hil.access_point.tun import TunAccessPoint
from rataccess_hil.serving import Serving, host_and_port, run_process


def _mapping(text: str) -> tuple[Address, Address]:
    public, _, real = text.partition("=")
    return host_and_port(public, least=0), host_and_port(real)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rataccess_hil.access_point", description="A virtual access point.")
    parser.add_argument("--kind", choices=("tun", "relay"), required=True)
    parser.add_argument("--control", type=Path, required=True, metavar="SOCK", help="UNIX socket to be made")
    parser.add_argument(
        "--nat",
        type=_mapping,
        action="append",
        required=True,
        metavar="PUBLIC=REAL",
        help="HOST:PORT=HOST:PORT, repeatable; a relay's public port may be 0",
    )
    parser.add_argument("--delay", type=float, default=0.0, help="seconds one way")
    parser.add_argument("--loss", type=float, default=0.0, help="share of datagrams lost, 0 to 1")
    parser.add_argument("--mtu", type=int, default=1400)
    parser.add_argument("--interface", default="wlan0", help="tun: name of the device's interface")
    parser.add_argument("--namespace", help="tun: an existing network namespace (default: one is made)")
    parser.add_argument("--address", default="10.64.0.2", help="tun: the device's address")
    parser.add_argument("--gateway", default="10.64.0.1", help="tun: the access point's address")
    parser.add_argument("--metric", type=int, default=600, help="tun: metric of the default route")
    return parser


def _make(given: argparse.Namespace) -> AccessPoint:
    common = {"delay": given.delay, "loss": given.loss, "mtu": given.mtu}
    if given.kind == "relay":
        return RelayAccessPoint(given.nat, **common)
    return TunAccessPoint(
        given.nat,
        interface=given.interface,
        namespace=NetworkNamespace(given.namespace) if given.namespace else None,
        address=given.address,
        gateway=given.gateway,
        metric=given.metric,
        **common,
    )


async def _serve(given: argparse.Namespace) -> None:
    if given.kind == "tun" and (reason := why_not()):
        raise OSError(f"a TUN access point cannot be made here: {reason}")
    serving = Serving(until_eof=False)
    point = _make(given)
    async with point:
        await serving.serve(lambda: _ready(point), parts=[ControlServer(point, given.control)])


def _ready(point: AccessPoint) -> dict[str, object]:
    namespace = point.namespace.name if isinstance(point, TunAccessPoint) else None
    return {"ready": True, "namespace": namespace, "nat": [[list(a), list(b)] for a, b in point.nat.items()]}


if __name__ == "__main__":
    run_process(_arguments(), _serve)
