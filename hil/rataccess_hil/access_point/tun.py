"""An access point with a real network interface on the device's side: a TUN device, and a NAT in this process.

Rules of this file: the device's side only.  The interface lives in a network namespace; what the device sends into it
arrives here as IPv4 packets.  Its carrier is the kernel's own (TUNSETCARRIER), so netlink, sysfs and routes behave as with
a radio.  Sources: Documentation/networking/tuntap.rst, linux/if_tun.h.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct

from rataccess_hil.access_point.base import BATCH, AccessPoint, Address, AddressMap
from rataccess_hil.access_point.namespaces import NetworkNamespace, ip
from rataccess_hil.access_point.packets import (
    FRAGMENTATION_NEEDED,
    PORT_UNREACHABLE,
    Datagram,
    Malformed,
    NotCarried,
    build,
    dont_fragment,
    parse,
    unreachable,
)

_TUNSETIFF = 0x400454CA  # _IOW('T', 202, int)
_TUNSETCARRIER = 0x400454E2  # _IOW('T', 226, int)
_IFF_TUN_NO_PI = 0x0001 | 0x1000


class TunAccessPoint(AccessPoint):
    """Carries between `interface` within `namespace` and services on this machine's loopback.

    Without `namespace` one is made, and deleted at `stop`.  Several access points can share one: give them interfaces,
    addresses and metrics of their own.  `path_mtu`, where smaller than `mtu`, is the narrowest place of the path behind
    the air: a larger packet is answered with ICMP "fragmentation needed".
    """

    def __init__(
        self,
        nat: AddressMap,
        *,
        interface: str = "wlan0",
        namespace: NetworkNamespace | None = None,
        address: str = "10.64.0.2",
        gateway: str = "10.64.0.1",
        metric: int = 600,
        delay: float = 0.0,
        loss: float = 0.0,
        mtu: int = 1400,
        seed: int = 1,
    ) -> None:
        super().__init__(nat, delay=delay, loss=loss, mtu=mtu, seed=seed)
        self.interface = interface
        self.address = address
        self.gateway = gateway
        self.metric = metric
        self.path_mtu: int | None = None
        self.namespace = namespace or NetworkNamespace()
        self._own_namespace = namespace is None
        self._file = -1

    def __repr__(self) -> str:
        return f"<TunAccessPoint {self.interface} in {self.namespace.name} {self.state()}>"

    async def start(self) -> None:
        """See `AccessPoint.start`; `namespaces.why_not` says beforehand whether it can work."""
        try:
            if self._own_namespace:
                self.namespace.create()
            self._make_interface()
            asyncio.get_running_loop().add_reader(self._file, self._readable)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """See `AccessPoint.stop`; the interface vanishes as if it was unplugged."""
        self._free()
        self.unplug()
        if self._own_namespace:
            self.namespace.delete()

    def unplug(self) -> None:
        """The interface goes, as a USB dongle that is pulled out; the rest stays."""
        if self._file >= 0:
            asyncio.get_running_loop().remove_reader(self._file)
            os.close(self._file)
            self._file = -1

    def plug(self) -> None:
        """The interface comes back after `unplug`: same name, another index."""
        self._make_interface()
        asyncio.get_running_loop().add_reader(self._file, self._readable)

    def public(self, real: Address) -> Address:
        """See `AccessPoint.public`."""
        return {mapped: public for public, mapped in self.nat.items()}[real]

    # --- the interface ------------------------------------------------------------------------------------------------

    def _make_interface(self) -> None:
        self._file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack("16sH22x", b"rat%d", _IFF_TUN_NO_PI)  # the kernel puts a free number in
        made = fcntl.ioctl(self._file, _TUNSETIFF, request)[:16].rstrip(b"\0").decode()
        ip("link", "set", made, "netns", self.namespace.name, "name", self.interface)
        there, name = self.namespace.ip, self.interface
        there("link", "set", name, "addrgenmode", "none")  # no router solicitations of IPv6, which is not carried
        there("addr", "add", self.address, "peer", self.gateway, "dev", name)
        there("link", "set", name, "mtu", str(self.mtu), "up")
        if not self._state.carrier:
            self._carrier_changed(False)
        there("route", "add", "default", "via", self.gateway, "dev", name, "metric", str(self.metric), "onlink")

    def _carrier_changed(self, up: bool) -> None:
        if self._file >= 0:
            fcntl.ioctl(self._file, _TUNSETCARRIER, struct.pack("i", up))

    # --- packets ------------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                packet = os.read(self._file, 65_536)
            except OSError:
                return
            self._from_device(packet)

    def _from_device(self, packet: bytes) -> None:
        try:
            datagram = parse(packet)
        except NotCarried:
            return
        except Malformed:
            self._stats.malformed += 1
            return
        if self.path_mtu is not None and len(packet) > self.path_mtu and dont_fragment(packet):
            error = unreachable(packet, FRAGMENTATION_NEEDED, mtu=self.path_mtu, reporter=self.gateway)
            self._carry(lambda: self._carry(lambda: self._write(error)))  # there and back
            return
        refusal = unreachable(packet, PORT_UNREACHABLE)
        self._up(
            (datagram.source, datagram.destination),
            datagram.destination,
            datagram.data,
            lambda data: self._write(build(Datagram(datagram.destination, datagram.source, data))),
            lambda: self._write(refusal),
        )

    def _write(self, packet: bytes) -> None:
        try:
            os.write(self._file, packet)
        except OSError:  # unplugged or switched off meanwhile
            self._stats.dropped += 1
