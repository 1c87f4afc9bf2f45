"""Our own driver of a bare LoRa chip joins our own network server: chip, ether and gateway are virtual, and know neither."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from rataccess.clock import LoopClock
from rataccess.driver import DriverContext, Forgetful, RadioMessage
from rataccess_drivers.lora.class_a import LoRaWanChipDriver
from rataccess_drivers.lora.class_a_options import LoRaWanChipOptions
from rataccess_drivers.lora.transceiver import Chip, ChipLine, TransceiverOptions
from rataccess_hil.lora import VirtualSx1262
from tests.ways.farm import DEV_EUI, Farm, farm
from tests.ways.ways_world import APP_KEY


def driver_of(made: Farm, memory: Forgetful, **options: Any) -> LoRaWanChipDriver:
    chip = VirtualSx1262(made.ether, position=(400.0, 0.0))
    lines: dict[str, Any] = {
        role: ChipLine(line=line) for role, line in {"reset": "reset", "irq": "dio1", "busy": "busy"}.items()
    }
    context = DriverContext("field", LoopClock(), {"field.appkey": APP_KEY.hex()}.get, memory)
    told = {"region": made.settings.region, "dev_eui": f"{DEV_EUI:016X}", "confirmed": "never", **options}
    return LoRaWanChipDriver(
        LoRaWanChipOptions(transceiver=TransceiverOptions(chip=Chip.SX1262, **lines), **told),
        context,
        open_spi=chip.open_spi,
        open_gpio=chip.open_gpio,
        chance=Random(3),
    )


@pytest.mark.looptime
@pytest.mark.parametrize(("region", "sub_band"), [("EU868", None), ("US915", 2)])
async def test_a_chip_joins_sends_and_hears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str, sub_band: int | None
) -> None:
    options: dict[str, Any] = {"region": region, "sub_band": sub_band}
    async with farm(tmp_path, monkeypatch, joined=False, **options) as made:
        driver = driver_of(made, Forgetful(), **({"sub_band": sub_band} if sub_band else {}))
        try:
            await driver.open()
            await driver.attach()
            assert made.counted["joins"] == 1
            for n in range(3):
                await driver.send_message(RadioMessage(b"\x20" + bytes([n]), 2))
                answer = await driver.receive_message()
                assert (answer.data, answer.port) == (b"re:\x20" + bytes([n]), 2)
            await made.restart()
            await driver.send_message(RadioMessage(b"\x20\x03", 2))
            assert (await driver.receive_message()).data == b"re:\x20\x03"
        finally:
            await driver.aclose()
        assert made.counted["joins"] == 1
        assert made.gateways[0].errors == []
        assert "uplinks with a wrong MIC" not in made.counted
