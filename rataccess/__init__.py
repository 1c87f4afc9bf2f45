"""Two secure channels over whatever radio works.

    from rataccess import Device, Urgency

    with Device.open() as device:
        device.solution.enqueue({"temp": 21.5}, queue="readings")

Rules of this file: names only.  What is heavy (keys, links, store) is loaded when `Device` or `AsyncDevice` is first used,
and templates when one of their names is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rataccess.errors import RataccessError
from rataccess.objects import ReceiptState, Service, Urgency
from rataccess.transport import Hints

if TYPE_CHECKING:
    from rataccess.channel import InboundObject
    from rataccess.device import AsyncDevice, Device
    from rataccess.template import Bool, Bytes, Enum, Integer, Real, Scaled, Template, Text

_TEMPLATE = {"Bool", "Bytes", "Enum", "Integer", "Real", "Scaled", "Template", "Text"}

__all__ = [
    "AsyncDevice",
    "Bool",
    "Bytes",
    "Device",
    "Enum",
    "Hints",
    "InboundObject",
    "Integer",
    "RataccessError",
    "Real",
    "ReceiptState",
    "Scaled",
    "Service",
    "Template",
    "Text",
    "Urgency",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in ("AsyncDevice", "Device"):
        import rataccess.device

        return getattr(rataccess.device, name)
    if name == "InboundObject":
        import rataccess.channel

        return rataccess.channel.InboundObject
    if name in _TEMPLATE:
        import rataccess.template

        return getattr(rataccess.template, name)
    raise AttributeError(f"module 'rataccess' has no attribute {name!r}")
