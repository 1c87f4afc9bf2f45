"""The device: exactly two secure channels over whatever radio works."""

from rataccess.device.asynchronous import AsyncDevice
from rataccess.device.blocking import Channel, Device, ManagementChannel, Receipt

__all__ = ["AsyncDevice", "Channel", "Device", "ManagementChannel", "Receipt"]
