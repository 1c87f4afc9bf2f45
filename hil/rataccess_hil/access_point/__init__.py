"""The virtual access point: carries UDP between a device and services, with carrier, silence, delay and loss under control.

Two kinds with one Python interface (`AccessPoint`): `TunAccessPoint` gives the device a real network interface in a network
namespace of its own and needs privileges; `RelayAccessPoint` needs none and relays on loopback, with
`VirtualInterfaceDriver` in the place of the interface's carrier.  Either also runs as a process of its own:

    python -m rataccess_hil.access_point --kind relay --control /tmp/ap.sock --nat 127.0.0.1:0=127.0.0.1:5683
"""

from rataccess_hil.access_point.base import AccessPoint, Address, Stats
from rataccess_hil.access_point.control import Control, ControlServer
from rataccess_hil.access_point.driver import VirtualInterfaceDriver, VirtualInterfaceOptions
from rataccess_hil.access_point.namespaces import NetworkNamespace, why_not
from rataccess_hil.access_point.relay import RelayAccessPoint
from rataccess_hil.access_point.tun import TunAccessPoint

__all__ = [
    "AccessPoint",
    "Address",
    "Control",
    "ControlServer",
    "NetworkNamespace",
    "RelayAccessPoint",
    "Stats",
    "TunAccessPoint",
    "VirtualInterfaceDriver",
    "VirtualInterfaceOptions",
    "why_not",
]
