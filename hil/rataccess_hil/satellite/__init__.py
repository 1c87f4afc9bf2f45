"""Virtual satellite modems, and the gateways behind them.

    gateway = IridiumGateway(clock=clock)
    gateway.outlets.append(service.heard)                   # each MoMessage, in memory; MoSender does it over DirectIP
    port = MemoryPort()                                     # or PtyRadio: then `address` is a real terminal
    async with Virtual9603(port, gateway, imei="300234010753370") as modem:
        modem.controls.sky(bars=2, rain=1)
        modem.controls.break_session("after mo")
        gateway.submit(MtMessage(modem.imei, b"down"))      # MtListener does it over DirectIP

`Virtual9704` shares the gateway; `rataccess_hil.satellite.notecard` has a Notecard and its Notehub; `process` runs a whole
site as a process.  Rules of this package: written from public sources, never from a driver, so that
the two can disagree.
"""

from rataccess_hil.satellite.directip import Disposition, Location, MoMessage, MtConfirmation, MtMessage, MtStatus
from rataccess_hil.satellite.gateway import IridiumGateway, credits_for
from rataccess_hil.satellite.imt import USUAL_IMT_IMEI, ImtControls, Virtual9704
from rataccess_hil.satellite.imt_state import ImtBreak, ImtModel, ImtTimings, Topic
from rataccess_hil.satellite.sbd import USUAL_IMEI, SbdControls, Virtual9603
from rataccess_hil.satellite.sbd_state import Hang, Model, Step, Timings
from rataccess_hil.satellite.sky import Sky

__all__ = [
    "USUAL_IMEI",
    "USUAL_IMT_IMEI",
    "Disposition",
    "Hang",
    "ImtBreak",
    "ImtControls",
    "ImtModel",
    "ImtTimings",
    "IridiumGateway",
    "Location",
    "MoMessage",
    "Model",
    "MtConfirmation",
    "MtMessage",
    "MtStatus",
    "SbdControls",
    "Sky",
    "Step",
    "Timings",
    "Topic",
    "Virtual9603",
    "Virtual9704",
    "credits_for",
]
