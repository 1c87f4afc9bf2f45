"""How boards for the Raspberry Pi are wired.

Rules of this file: data, and how it is laid under what a configuration says.  None of it has been tried on the board
itself: the pins are what vendors and users publish (docs/lora.md), and each of them can be overridden.  Lines are BCM
numbers, which are the offsets of /dev/gpiochip0 (up to the Raspberry Pi 4; the 5 has them on its RP1's chip).
"""

from __future__ import annotations

import msgspec

from rataccess.errors import ConfigurationError
from rataccess_drivers.lora.transceiver import Chip, ChipLine, TransceiverOptions


def _line(number: int) -> ChipLine:
    return ChipLine(line=number)


WIRINGS: dict[str, TransceiverOptions] = {
    # Waveshare's SX1262 LoRa HAT, the variant on SPI: NSS is no chip select of the controller, DIO2 switches the antenna.
    "waveshare_sx1262": TransceiverOptions(
        chip=Chip.SX1262,
        chip_select=_line(21),
        reset=_line(18),
        busy=_line(20),
        irq=_line(16),
        tx_enable=_line(6),
        dio2_rf_switch=True,
    ),
    # Adafruit's RFM95W bonnet.
    "adafruit_rfm95": TransceiverOptions(
        chip=Chip.SX1276, spi="/dev/spidev0.1", reset=_line(25), irq=_line(22), timeout_irq=_line(23)
    ),
    # Dragino's LoRa/GPS HAT, and Elecrow's copy.
    "dragino": TransceiverOptions(
        chip=Chip.SX1276, chip_select=_line(25), reset=_line(17), irq=_line(4), timeout_irq=_line(23)
    ),
}
"""By the name that `wiring` takes."""

_DEFAULTS = TransceiverOptions(spi="/dev/spidev0.0", tcxo_volts=0.0, dio2_rf_switch=False, dc_dc=False)


def resolve(options: TransceiverOptions) -> TransceiverOptions:
    """`options`, completed by their wiring and the defaults.

    Raises `ConfigurationError` for an unknown wiring, and where the chip or a line that it needs is missing.
    """
    if options.wiring is not None and options.wiring not in WIRINGS:
        raise ConfigurationError(f"there is no wiring {options.wiring!r}; known: {', '.join(sorted(WIRINGS))}")
    below = [WIRINGS[options.wiring]] if options.wiring else []
    whole = _over(options, *below, _DEFAULTS)
    if whole.chip is None:
        raise ConfigurationError(f"a transceiver needs `chip`; allowed: {', '.join(Chip)}")
    needed = ("irq", "busy") if whole.chip in COMMAND_CHIPS else ("irq",)
    if missing := [name for name in needed if getattr(whole, name) is None]:
        raise ConfigurationError(f"an {whole.chip} needs the line `{missing[0]}`; say where it is wired")
    return whole


COMMAND_CHIPS = frozenset({Chip.SX1261, Chip.SX1262, Chip.SX1268, Chip.LLCC68})
"""Those that take commands and have a busy line; the others are sets of registers."""


def _over(first: TransceiverOptions, *others: TransceiverOptions) -> TransceiverOptions:
    changes = {
        field: next((found for each in others if (found := getattr(each, field)) is not None), None)
        for field in first.__struct_fields__
        if getattr(first, field) is None
    }
    return msgspec.structs.replace(first, **changes)
