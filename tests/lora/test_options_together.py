"""What is configured and cannot work is refused when the driver is made, not when it first sends; nothing is opened."""

from __future__ import annotations

import msgspec
import pytest

from rataccess.clock import LoopClock
from rataccess.driver import DriverContext, Forgetful
from rataccess.errors import ConfigurationError
from rataccess_drivers.lora.class_a import LoRaWanChipDriver
from rataccess_drivers.lora.class_a_options import LoRaWanChipOptions
from rataccess_drivers.lora.private.bridge import Bridge, BridgeSettings
from rataccess_drivers.lora.private.driver import LoraPrivateDriver
from rataccess_drivers.lora.private.options import NodeOptions
from rataccess_drivers.lora.transceiver import Chip, ChipLine, TransceiverOptions
from rataccess_drivers.satellite.notecard_options import NotecardOptions
from rataccess_drivers.satellite.sbd_options import SbdOptions

CONTEXT = DriverContext("x", LoopClock(), memory=Forgetful())


def transceiver(chip: str) -> TransceiverOptions:
    busy = None if chip.startswith("sx127") else ChipLine(line=2)
    return TransceiverOptions(chip=Chip(chip), irq=ChipLine(line=1), busy=busy)


def chip_driver(chip: str, region: str) -> LoRaWanChipDriver:
    told = {"transceiver": msgspec.to_builtins(transceiver(chip)), "region": region, "dev_eui": "00" * 8}
    return LoRaWanChipDriver(msgspec.convert(told, LoRaWanChipOptions), CONTEXT)


@pytest.mark.parametrize("region", ["EU868", "US915", "AU915", "AS923", "AS923-2", "AS923-3", "AS923-4", "IN865"])
def test_chips_for_the_high_bands_do_all_that_a_region_asks_for(region: str) -> None:
    for chip in ("sx1276", "sx1262"):
        chip_driver(chip, region)
    with pytest.raises(ConfigurationError, match=rf"{region} with this transceiver: .*spreading factor"):
        chip_driver("llcc68", region)
    for low in ("sx1278", "sx1268"):
        with pytest.raises(ConfigurationError, match=rf"{region} with this transceiver: .* Hz is beyond"):
            chip_driver(low, region)


def test_private_lora() -> None:
    for chip, factor, said in (("sx1278", 9, "beyond this transceiver"), ("sx1276", 5, "spreading factor 5")):
        options = NodeOptions(transceiver=transceiver(chip), network=1, address=1, spreading_factor=factor)
        with pytest.raises(ConfigurationError, match=said):
            LoraPrivateDriver(options, CONTEXT)
        settings = BridgeSettings(
            transceiver=transceiver(chip), network=1, spreading_factor=factor, management="m:1", solution="s:1"
        )
        with pytest.raises(ConfigurationError, match=said):
            Bridge(settings, LoopClock(), Forgetful())


def test_a_data_rate_that_is_never_sent() -> None:
    with pytest.raises(ConfigurationError, match="`data_rate` = 0 is slower than `min_data_rate` = 3"):
        LoRaWanChipOptions(
            transceiver=transceiver("sx1262"), region="EU868", dev_eui="00" * 8, data_rate=0, min_data_rate=3
        )


def test_satellites() -> None:
    card = {"port": "serial:/dev/x"}
    for struct, told, said in (
        (SbdOptions, {"port": "x", "mailbox": {"check_every": 600, "credits_a_day": 0}}, "credits_a_day"),
        (NotecardOptions, {**card, "outbound": 5}, "`mode` is minimum"),
        (NotecardOptions, {**card, "mode": "minimum", "inbound": 5}, "`mode` is minimum"),
        (NotecardOptions, {**card, "method_seconds": 600}, "`method`"),
    ):
        with pytest.raises(msgspec.ValidationError, match=said):
            msgspec.convert(told, struct)
    msgspec.convert({**card, "mode": "periodic", "inbound": 5, "method": "ntn", "method_seconds": 60}, NotecardOptions)
