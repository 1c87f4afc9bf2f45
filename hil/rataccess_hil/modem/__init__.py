"""Virtual Quectel modems.

    async with VirtualBg95(network=network) as modem:
        port = modem.address          # "pty:/tmp/.../tty": it speaks AT there
        modem.controls.coverage(False)

Rules of this package: written from the manuals and the replies of real modems, never from a driver, so
that the two can disagree.  `core` and what it uses is sans-I/O; only `virtual` knows the event loop.
"""

from rataccess_hil.modem.core import Modem
from rataccess_hil.modem.personality import BG95, EC25, FAST, LineTimings, Personality, Timings
from rataccess_hil.modem.state import Air, Cell, Hang, Power, Sim, Stat
from rataccess_hil.modem.virtual import COMMANDS, Start, VirtualBg95, VirtualEc25, VirtualModem

__all__ = [
    "BG95",
    "COMMANDS",
    "EC25",
    "FAST",
    "Air",
    "Cell",
    "Hang",
    "LineTimings",
    "Modem",
    "Personality",
    "Power",
    "Sim",
    "Start",
    "Stat",
    "Timings",
    "VirtualBg95",
    "VirtualEc25",
    "VirtualModem",
]
