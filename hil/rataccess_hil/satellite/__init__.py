"""Virtual satellite modems and their gateways."""

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
