"""Which drivers and transports there are: a table of strings, plus entry points; imported on use.

Rules of this file: nothing is imported until it is asked for, so the core never imports a radio.  A third party adds one
with the entry-point groups `rataccess.drivers` and `rataccess.transports`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rataccess.driver import Driver
from rataccess.errors import MissingExtra, UnknownRadio
from rataccess.transport import Transport

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

DRIVERS = {
    "lorawan_chip": "rataccess_drivers.lora.class_a:LoRaWanChipDriver",
    "lora_private": "rataccess_drivers.lora.private.driver:LoraPrivateDriver",
    "interface": "rataccess_drivers.ip.interface:InterfaceDriver",
    "quectel": "rataccess_drivers.cellular.quectel:QuectelDriver",
    "sbd": "rataccess_drivers.satellite.sbd:SbdDriver",
    "imt": "rataccess_drivers.satellite.imt:ImtDriver",
    "notecard": "rataccess_drivers.satellite.notecard:NotecardDriver",
    "rak3172": "rataccess_drivers.lora.modules.driver:Rak3172Driver",
    "wio_e5": "rataccess_drivers.lora.modules.driver:WioE5Driver",
    "rn2483": "rataccess_drivers.lora.modules.driver:Rn2483Driver",
}
TRANSPORTS = {
    "lora_private": "rataccess_transports.lora_private:LoraPrivateTransport",
    "udp": "rataccess_transports.udp:UdpTransport",
    "at_socket": "rataccess_transports.at_socket:AtSocketTransport",
    "lorawan": "rataccess_transports.lorawan:LoraWanTransport",
    "sbd": "rataccess_transports.sbd:SbdTransport",
    "imt": "rataccess_transports.imt:ImtTransport",
    "notecard": "rataccess_transports.notecard:NotecardTransport",
}

DISTRIBUTIONS = {"periphery": "python-periphery", "serial": "pyserial"}
"""What packages are called that are not installed by the name that they are imported by."""


def driver_names() -> list[str]:
    """Every name that `driver` takes, sorted."""
    return sorted({*DRIVERS, *(point.name for point in _plug_ins("rataccess.drivers"))})


def transport_names() -> list[str]:
    """Every name that `transport` takes, sorted."""
    return sorted({*TRANSPORTS, *(point.name for point in _plug_ins("rataccess.transports"))})


def driver(name: str) -> type[Driver]:
    """The driver class of that name; raises `UnknownRadio` or `MissingExtra`."""
    found: type[Driver] = _load("driver", name, DRIVERS, "rataccess.drivers", Driver)
    return found


def transport(name: str) -> type[Transport]:
    """The transport class of that name; raises `UnknownRadio` or `MissingExtra`."""
    found: type[Transport] = _load("transport", name, TRANSPORTS, "rataccess.transports", Transport)
    return found


def _plug_ins(group: str) -> Iterable[EntryPoint]:
    """What other distributions have registered; looked up only for names that are not ours (it costs 2 MB and 15 ms)."""
    from importlib.metadata import entry_points

    return entry_points(group=group)


def _load(kind: str, name: str, table: dict[str, str], group: str, base: type[Any]) -> Any:
    path = table.get(name)
    if path is None:
        path = next((point.value for point in _plug_ins(group) if point.name == name), None)
    if path is None:
        known = ", ".join(driver_names() if kind == "driver" else transport_names())
        raise UnknownRadio(f"there is no {kind} {name!r}; known: {known}")
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        module = (error.name or "").partition(".")[0]
        package = DISTRIBUTIONS.get(module, module)
        mend = f"{package}, which is not installed; pip install {package}" if package else f"a package: {error}"
        raise MissingExtra(f"the {kind} {name!r} needs {mend}") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UnknownRadio(f"{path}, registered as {kind} {name!r}, is not a {base.__name__}")
    return found
