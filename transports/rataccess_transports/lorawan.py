"""Packets as LoRaWAN application payloads: the FPort names the service.

Rules of this file: ports and nothing else; any driver that moves messages with a port.  How uplinks are confirmed, which
data rate they have and what air time is left is the driver's business, and shows in its hints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from rataccess.driver import MovesMessages
from rataccess.objects import Service
from rataccess.tariff import Unit
from rataccess_transports.messages import MessageTransport

FPort = Annotated[int, Meta(ge=1, le=223)]
"""Ports for applications (LoRaWAN L2 1.0.4 section 4.3.2); 0 is MAC commands, 224 the certification protocol."""


class LoraWanOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be set for a link over LoRaWAN.  The services' ways in must be told where it differs from this."""

    management_port: FPort = 1
    solution_port: FPort = 2

    def __post_init__(self) -> None:
        if self.management_port == self.solution_port:
            raise ValueError("`management_port` and `solution_port` are the same; the FPort names the service")


class LoraWanTransport(MessageTransport):
    """One uplink for each packet."""

    medium = "lorawan"
    unit = Unit.AIRTIME
    options_type = LoraWanOptions
    options: LoraWanOptions

    def __init__(self, driver: MovesMessages, options: LoraWanOptions | None = None) -> None:
        super().__init__(driver, options or LoraWanOptions())

    def ports(self) -> Mapping[Service, int]:
        """See `MessageTransport.ports`."""
        return {Service.MANAGEMENT: self.options.management_port, Service.SOLUTION: self.options.solution_port}
