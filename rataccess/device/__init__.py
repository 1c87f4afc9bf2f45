"""The device: exactly two secure channels over whatever radio works."""

from rataccess.device.asynchronous import AsyncDevice
from rataccess.device.blocking import Device
from rataccess.device.faces import Channel, Environment, ManagementChannel, Packets, Receipt, SolutionChannel
from rataccess.device.hints import HintChanges
from rataccess.device.runner import Iteration

__all__ = [
    "AsyncDevice",
    "Channel",
    "Device",
    "Environment",
    "HintChanges",
    "Iteration",
    "ManagementChannel",
    "Packets",
    "Receipt",
    "SolutionChannel",
]
