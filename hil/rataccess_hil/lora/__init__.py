"""Virtual LoRa: the ether, transceiver chips, a gateway, a network server, and serial modules.

    ether = Ether(seed=1)
    chip = VirtualSx1262(ether, position=(500.0, 0.0))       # chip.spi, chip.gpio("dio1"): as python-periphery's
    gateway = VirtualGateway(ether, server=network)          # or server=("127.0.0.1", 1700), over real UDP

Rules of this package: written from the datasheets, public drivers and published vectors, with its own codec and its own
arithmetic, never from a driver, so that the two can disagree.
"""

from rataccess_hil.lora.airtime import Waveform, noise_floor, sensitivity
from rataccess_hil.lora.chip import ChipFaults, VirtualChip
from rataccess_hil.lora.ether import Ether, Heard, Listener, Station, Transmission
from rataccess_hil.lora.gateway import VirtualGateway
from rataccess_hil.lora.network_device import Misdeed, NetworkDevice, ReceivedUplink
from rataccess_hil.lora.network_server import NetworkServer
from rataccess_hil.lora.rak3172 import VirtualRak3172
from rataccess_hil.lora.rak3172_firmware import RUI3_1, RUI3_4, RUI3_FIRST, WISBLOCK, Rui3Firmware
from rataccess_hil.lora.rn2483 import VirtualRn2483, VirtualRn2903
from rataccess_hil.lora.rn2483_firmware import RN2483_101, RN2483_103, RN2483_105, RN2903_105, RnFirmware
from rataccess_hil.lora.sx1262 import VirtualSx1262
from rataccess_hil.lora.sx1276 import VirtualSx1276
from rataccess_hil.lora.wio_e5 import VirtualWioE5

__all__ = [
    "RN2483_101",
    "RN2483_103",
    "RN2483_105",
    "RN2903_105",
    "RUI3_1",
    "RUI3_4",
    "RUI3_FIRST",
    "WISBLOCK",
    "ChipFaults",
    "Ether",
    "Heard",
    "Listener",
    "Misdeed",
    "NetworkDevice",
    "NetworkServer",
    "ReceivedUplink",
    "RnFirmware",
    "Rui3Firmware",
    "Station",
    "Transmission",
    "VirtualChip",
    "VirtualGateway",
    "VirtualRak3172",
    "VirtualRn2483",
    "VirtualRn2903",
    "VirtualSx1262",
    "VirtualSx1276",
    "VirtualWioE5",
    "Waveform",
    "noise_floor",
    "sensitivity",
]
