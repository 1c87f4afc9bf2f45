"""Commands and registers of the SX1261/62/68 and LLCC68.

Rules of this file: data and arithmetic; nothing is transferred.  Source: Semtech, SX1261/2 datasheet rev. 2.1, sections 9
(modes, image calibration), 13 (commands), 15 (known limitations and their workarounds); LLCC68 datasheet rev. 1.0.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from rataccess.errors import ConfigurationError
from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora.spi_chip import Irq
from rataccess_drivers.lora.transceiver import Chip


class Op(enum.IntEnum):
    """First byte of a command."""

    CLEAR_IRQ = 0x02
    CLEAR_ERRORS = 0x07
    SET_IRQ = 0x08
    WRITE_REGISTER = 0x0D
    WRITE_BUFFER = 0x0E
    GET_IRQ = 0x12
    GET_BUFFER_STATUS = 0x13
    GET_PACKET_STATUS = 0x14
    GET_ERRORS = 0x17
    READ_REGISTER = 0x1D
    READ_BUFFER = 0x1E
    SET_STANDBY = 0x80
    SET_RX = 0x82
    SET_TX = 0x83
    SET_SLEEP = 0x84
    SET_FREQUENCY = 0x86
    SET_CAD_PARAMETERS = 0x88
    CALIBRATE = 0x89
    SET_PACKET_TYPE = 0x8A
    SET_MODULATION = 0x8B
    SET_PACKET = 0x8C
    SET_TX_PARAMETERS = 0x8E
    SET_BUFFER_BASE = 0x8F
    SET_FALLBACK = 0x93
    SET_PA = 0x95
    SET_REGULATOR = 0x96
    SET_TCXO = 0x97
    CALIBRATE_IMAGE = 0x98
    SET_DIO2_SWITCH = 0x9D
    STOP_TIMER_ON_PREAMBLE = 0x9F
    SET_SYMBOL_TIMEOUT = 0xA0
    GET_STATUS = 0xC0
    SET_CAD = 0xC5


class Reg(enum.IntEnum):
    """Register addresses."""

    RETENTION_LIST = 0x029F
    """How many registers outside of the chip's own list survive a warm sleep, and their addresses (9.6)."""
    SYMBOL_TIMEOUT = 0x0706
    IQ_POLARITY = 0x0736
    SYNC_WORD = 0x0740
    TX_MODULATION = 0x0889
    RX_GAIN = 0x08AC
    TX_CLAMP = 0x08D8
    OCP = 0x08E7


STANDBY_RC, STANDBY_XOSC = 0, 1
FALLBACK_RC = 0x20
LORA = 0x01
WARM_SLEEP = 0x04
CALIBRATE_ALL = 0x7F
CONTINUOUS = 0xFFFFFF
"""Of SetRx: until told otherwise."""
RAMP_200_US = 0x04
RX_GAIN_BOOSTED = 0x96
RETAINED = bytes((1, Reg.RX_GAIN >> 8, Reg.RX_GAIN & 0xFF))
"""Else the boosted gain is gone after the first sleep."""
MOST_SYMBOLS = 248
"""Of a receive window: a mantissa of 5 bits, an exponent to the base 4 (Semtech's SWDR001)."""
TICK = 15.625e-6
"""Seconds: the unit of every 24-bit time."""

MODE_STANDBY_RC, MODE_RECEIVE = 2, 5
"""Status, bits 6-4 (table 13-76)."""

PREAMBLE, HEADER = 1 << 2, 1 << 4
IRQS: dict[int, Irq] = {
    1 << 0: Irq.SENT,
    1 << 1: Irq.RECEIVED,
    1 << 5: Irq.HEADER_ERROR,
    1 << 6: Irq.CRC_ERROR,
    1 << 7: Irq.LOOKED,
    1 << 8: Irq.ACTIVITY,
    1 << 9: Irq.TIMEOUT,
}
"""Table 13-29."""
ON_DIO1 = sum(IRQS)
OSCILLATOR_FAILED = 1 << 5
"""Of GetDeviceErrors (table 13-85)."""
KEPT = ON_DIO1 | PREAMBLE | HEADER

TCXO_VOLTS = {1.6: 0, 1.7: 1, 1.8: 2, 2.2: 3, 2.4: 4, 2.7: 5, 3.0: 6, 3.3: 7}
"""Table 13-35."""
BANDWIDTHS = {
    7_800: 0x00,
    10_400: 0x08,
    15_600: 0x01,
    20_800: 0x09,
    31_250: 0x02,
    41_700: 0x0A,
    62_500: 0x03,
    125_000: 0x04,
    250_000: 0x05,
    500_000: 0x06,
}
"""Table 13-48."""
IMAGE_BANDS = (
    (430_000_000, 440_000_000, 0x6B, 0x6F),
    (470_000_000, 510_000_000, 0x75, 0x81),
    (779_000_000, 787_000_000, 0xC1, 0xC5),
    (863_000_000, 870_000_000, 0xD7, 0xDB),
    (902_000_000, 928_000_000, 0xE1, 0xE9),
)
"""Hz, and the parameters of CalibrateImage (table 9-2)."""
CAD_SYMBOLS, CAD_SYMBOLS_CODE = 4, 0x02
CAD_MINIMUM = 10
"""Detection in 4 symbols, with a peak of spreading factor + 13 (AN1200.48)."""


@dataclass(frozen=True, slots=True)
class Amplifier:
    """The transmitter of one chip."""

    lowest: int
    highest: int
    """dBm."""
    device: int
    """SetPaConfig: 0 the large amplifier, 1 the small one."""
    limit: int
    """RegOcp, steps of 2.5 mA."""


LARGE = Amplifier(-9, 22, 0, 0x38)
SMALL = Amplifier(-17, 15, 1, 0x18)


@dataclass(frozen=True, slots=True)
class Kind:
    """What differs between chips."""

    lowest: int
    highest: int
    """Hz."""
    amplifier: Amplifier


KINDS: dict[Chip, Kind] = {
    Chip.SX1261: Kind(150_000_000, 960_000_000, SMALL),
    Chip.SX1262: Kind(150_000_000, 960_000_000, LARGE),
    Chip.SX1268: Kind(410_000_000, 810_000_000, LARGE),
    Chip.LLCC68: Kind(150_000_000, 960_000_000, LARGE),
}
LLCC68_HIGHEST_FACTOR = {125_000: 9, 250_000: 10, 500_000: 11}
"""LLCC68 datasheet, section 6.1.1: it leaves the slowest modulations to its dearer sisters."""


def frequency(hertz: int) -> bytes:
    """SetRfFrequency: steps of 32 MHz / 2^25."""
    return round(hertz * 2**25 / 32_000_000).to_bytes(4, "big")


def ticks(seconds: float) -> bytes:
    """A 24-bit time, rounded up; at most 262 s."""
    return min(CONTINUOUS - 1, int(seconds / TICK) + 1).to_bytes(3, "big")


def symbol_timeout(symbols: int) -> tuple[int, int]:
    """SetLoRaSymbNumTimeout, and the register that it sets; rounded up to what the chip can hold, for it rounds down."""
    mantissa, exponent = (min(symbols, MOST_SYMBOLS) + 1) // 2, 0
    while mantissa > 31:
        mantissa, exponent = (mantissa + 3) // 4, exponent + 1
    return mantissa << 2 * exponent + 1, mantissa << 3 | exponent


def image_band(hertz: int) -> bytes:
    """The parameters of CalibrateImage: those of table 9-2, or the 4 MHz steps around any other frequency."""
    for lowest, highest, first, second in IMAGE_BANDS:
        if lowest <= hertz <= highest:
            return bytes((first, second))
    step = hertz // 4_000_000
    return bytes((step - 1, step + 1))


def pa(amplifier: Amplifier, power_dbm: int) -> tuple[bytes, int]:
    """SetPaConfig, and the power byte of SetTxParams, for a power within the amplifier's range."""
    if amplifier.device == 0:
        return bytes((0x04, 0x07, 0x00, 0x01)), power_dbm & 0xFF
    if power_dbm == 15:
        return bytes((0x06, 0x00, 0x01, 0x01)), 14
    return bytes((0x04, 0x00, 0x01, 0x01)), power_dbm & 0xFF


def modulation_parameters(modulation: Modulation) -> bytes:
    """SetModulationParams."""
    return bytes(
        (
            modulation.spreading_factor,
            BANDWIDTHS[modulation.bandwidth],
            modulation.coding_rate - 4,
            modulation.optimised,
        )
    )


def packet_parameters(modulation: Modulation, size: int, *, inverted_iq: bool) -> bytes:
    """SetPacketParams."""
    return modulation.preamble.to_bytes(2, "big") + bytes(
        (not modulation.explicit_header, size, modulation.crc, inverted_iq)
    )


def sync_word(short: int) -> bytes:
    """The two registers for a sync word of SX127x, as which LoRaWAN names it: 0x34 is 34 44, 0x12 is 14 24."""
    return bytes((short & 0xF0 | 0x04, (short & 0x0F) << 4 | 0x04))


def strength(rssi: int, snr: int) -> tuple[float, float]:
    """dBm and dB from GetPacketStatus."""
    return -rssi / 2, (snr - 256 if snr > 127 else snr) / 4


def irq(flags: int) -> Irq:
    """GetIrqStatus in general terms."""
    found = Irq.NOTHING
    for bit, meaning in IRQS.items():
        if flags & bit:
            found |= meaning
    return found


def check(chip: Chip, modulation: Modulation) -> None:
    """Raise `ConfigurationError` for a modulation that the chip does not have."""
    if modulation.bandwidth not in BANDWIDTHS:
        raise ConfigurationError(f"no bandwidth of {modulation.bandwidth} Hz; allowed: {sorted(BANDWIDTHS)}")
    highest = LLCC68_HIGHEST_FACTOR.get(modulation.bandwidth, 12) if chip is Chip.LLCC68 else 12
    if not 5 <= modulation.spreading_factor <= highest:
        raise ConfigurationError(
            f"an {chip} has no spreading factor {modulation.spreading_factor} at {modulation.bandwidth} Hz; "
            f"allowed: 5 to {highest}"
        )
