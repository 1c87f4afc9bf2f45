"""What can be done to a virtual LoRaWAN site from outside: the air, the module, its port, the gateway.

Rules of this file: controls only, see `Hands`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rataccess_hil.hands import Hands

if TYPE_CHECKING:
    from rataccess_hil.lora.network_device import NetworkDevice
    from rataccess_hil.lora.site import LoraSite


class SiteControls(Hands):
    """The hands on a site."""

    def __init__(self, site: LoraSite) -> None:
        self._site = site

    # --- the air ------------------------------------------------------------------------------------------------------

    def coverage(self, on: bool) -> None:
        """Whether module and gateway can hear each other at all."""
        self.obstruct(0.0 if on else 200.0)

    def obstruct(self, loss_db: float = 40.0) -> None:
        """Something stands before the gateway; 0 dB takes it away."""
        self._site.ether.obstruct(self._site.gateway.station, loss_db)

    def position(self, x: float, y: float) -> None:
        """Carry the module elsewhere: metres from the gateway."""
        self._site.module.device.station.position = (x, y)

    def loss(self, up: float, down: float) -> None:
        """Probabilities, 0 to 1, that a packet is spoilt."""
        self._site.gateway.station.loss_rate = up
        self._site.module.device.station.loss_rate = down

    # --- the module ---------------------------------------------------------------------------------------------------

    def hang(self) -> None:
        """The module stops answering, until power or reset."""
        self._site.module.hang()

    def crash(self) -> None:
        """The module restarts by itself."""
        self._site.module.crash()

    def power(self, on: bool) -> None:
        """The module's supply."""
        self._site.module.supply.write(on)

    def power_cut(self, seconds: float = 0.5) -> None:
        """The module's supply goes, and comes back so much later."""
        self._site.module.power_cut(seconds)

    def line(self, name: str, level: bool) -> None:
        """Drive a wire of the module: `supply` or `reset`."""
        lines = {"supply": self._site.module.supply, "reset": self._site.module.reset_line}
        if name not in lines:
            raise ValueError(f"{name!r} is no line; there are {', '.join(lines)}")
        lines[name].write(level)

    def interject(self, line: str) -> None:
        """Say something unasked before the next answer."""
        self._site.module.interject(line)

    def unasked(self, line: str) -> None:
        """Say something unasked now."""
        self._site.module.unasked(line)

    def ignore(self, beginning: str, on: bool = True) -> None:
        """Never answer commands that begin so."""
        self._site.module.ignore(beginning, on)

    def duty_cycle(self, on: bool) -> None:
        """Whether the module keeps its duty cycle."""
        self._site.module.device.plan.duty_cycle = on

    # --- the port -----------------------------------------------------------------------------------------------------

    def disconnect(self) -> None:
        """Unplug the port: whoever has it open is hung up on."""
        self._site.port.disconnect()

    def connect(self) -> None:
        """Plug it in again."""
        self._site.port.connect()

    def garble(self, count: int = 0, rate: float = 0.0) -> None:
        """Alter the next `count` bytes that the module says, and then each with probability `rate`."""
        self._site.port.to_host.garble(count, rate)

    def mend(self) -> None:
        """End every fault of the byte path."""
        self._site.port.to_host.mend()
        self._site.port.to_radio.mend()

    # --- the network --------------------------------------------------------------------------------------------------

    def backhaul(self, on: bool) -> None:
        """Whether the gateway reaches its server."""
        self._site.gateway.online = on

    def downlink(self, data: str, port: int = 2, confirmed: bool = False) -> None:
        """Queue a downlink (hexadecimal) at the site's own network server."""
        self._device().send(bytes.fromhex(data), port, confirmed=confirmed)

    def misbehave(self, kind: str) -> None:
        """Have the site's own network server behave badly in its next answer: see `Misdeed`."""
        self._device().misbehave(kind)

    def accept_joins(self, on: bool) -> None:
        """Whether the site's own network server answers join-requests."""
        self._device().accepts_joins = on

    def uplinks(self) -> list[dict[str, Any]]:
        """What the site's own network server has received."""
        return [
            {"port": each.port, "data": each.data.hex(), "counter": each.counter} for each in self._device().uplinks
        ]

    def _device(self) -> NetworkDevice:
        network = self._site.network
        if network is None or not network.devices:
            raise ValueError("the site has no network server of its own that knows the module")
        return next(iter(network.devices.values()))

    # --- looking ------------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Everything that can be counted; air time in seconds."""
        module, gateway, port = self._site.module, self._site.gateway, self._site.port
        station = module.device.station
        return {
            "airtime": round(station.airtime, 6),
            "uplinks": station.transmissions,
            "heard": gateway.counts["rxok"],
            "downlinks": gateway.counts["txnb"],
            "down_airtime": round(gateway.station.airtime, 6),
            "joined": module.device.session is not None,
            "rate": module.device.rate,
            "powered": module.powered,
            "hung": module.hung,
            "boots": module.boots,
            "key_reads": module.key_reads,
            "gateway": dict(gateway.counts),
            "gateway_errors": list(gateway.errors),
            "port": {"address": port.address, "in_use": port.in_use, "opened_times": port.opened_times},
        }

    def log(self, last: int = 100) -> list[dict[str, Any]]:
        """The last packets in the air."""
        packets = list(self._site.ether.log)[-last:]
        return [
            {
                "at": round(each.start, 6),
                "seconds": round(each.end - each.start, 6),
                "from": each.station.name,
                "rate": each.waveform.datr,
                "frequency": each.waveform.frequency,
                "size": len(each.data),
                "heard_by": list(each.heard_by),
            }
            for each in packets
        ]
