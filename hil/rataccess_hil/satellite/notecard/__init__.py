"""A virtual Blues Notecard, on serial and on I2C, and the Notehub that it syncs to."""

from rataccess_hil.satellite.notecard import line
from rataccess_hil.satellite.notecard.bus import VirtualPeripheryI2c, VirtualSmbus
from rataccess_hil.satellite.notecard.notehub import Event, VirtualNotehub
from rataccess_hil.satellite.notecard.state import I2C_ADDRESS, NotecardHang, NotecardModel, NotecardTimings
from rataccess_hil.satellite.notecard.uart import BlockingUart
from rataccess_hil.satellite.notecard.virtual import NotecardControls, VirtualNotecard

__all__ = [
    "I2C_ADDRESS",
    "BlockingUart",
    "Event",
    "NotecardControls",
    "NotecardHang",
    "NotecardModel",
    "NotecardTimings",
    "VirtualNotecard",
    "VirtualNotehub",
    "VirtualPeripheryI2c",
    "VirtualSmbus",
    "line",
]
