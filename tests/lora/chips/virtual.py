"""Virtual chips on an ether with our drivers on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora.transceiver import Chip, ChipLine, Transceiver, TransceiverOptions, open_transceiver
from rataccess_hil.lora import Ether, VirtualChip, VirtualSx1262, VirtualSx1276

KINDS = ("sx1276", "sx1262")
FREQUENCY = 868_100_000
SF7 = Modulation(7)
SF9 = Modulation(9)


def virtual_chip(kind: str, ether: Ether, **more: Any) -> VirtualChip:
    """A chip of either family."""
    return VirtualSx1276(ether, **more) if kind == "sx1276" else VirtualSx1262(ether, **more)


def options(kind: str, **more: Any) -> TransceiverOptions:
    """How its wires are told to the driver."""
    lines = {"reset": "reset", "irq": "dio0", "timeout_irq": "dio1"}
    if kind != "sx1276":
        lines = {"reset": "reset", "irq": "dio1", "busy": "busy"}
    wires: dict[str, Any] = {role: ChipLine(line=line) for role, line in lines.items()}
    return TransceiverOptions(chip=Chip(kind), **{**wires, **more})


def transceiver(kind: str, chip: VirtualChip, **more: Any) -> Transceiver:
    """The driver on it, not opened."""
    return open_transceiver(options(kind, **more), kind, open_spi=chip.open_spi, open_gpio=chip.open_gpio)


@asynccontextmanager
async def opened(
    kind: str, ether: Ether, *, chip: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[tuple[VirtualChip, Transceiver]]:
    """A virtual chip and its open driver."""
    virtual = virtual_chip(kind, ether, **(chip or {}))
    radio = transceiver(kind, virtual, **more)
    await radio.open()
    try:
        yield virtual, radio
    finally:
        await radio.aclose()
