"""Registers of the SX1276/77/78/79 in LoRa mode.

Rules of this file: data and arithmetic; nothing is transferred.  Source: Semtech, SX1276/77/78/79 datasheet rev. 7,
sections 4.1 (LoRa), 6.4 (registers), and its errata note rev. 1 (500 kHz sensitivity, spurious reception).
"""

from __future__ import annotations

import enum

from rataccess.errors import ConfigurationError
from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora.spi_chip import Irq
from rataccess_drivers.lora.transceiver import Chip

VERSION = 0x12
"""RegVersion of the whole family; an SX1272 has 0x22."""
WRITE = 0x80
"""First bit of the address byte."""


class Reg(enum.IntEnum):
    """Addresses."""

    FIFO = 0x00
    OP_MODE = 0x01
    FRF_MSB = 0x06
    PA_CONFIG = 0x09
    PA_RAMP = 0x0A
    OCP = 0x0B
    LNA = 0x0C
    FIFO_ADDR_PTR = 0x0D
    FIFO_TX_BASE = 0x0E
    FIFO_RX_BASE = 0x0F
    FIFO_RX_CURRENT = 0x10
    IRQ_MASK = 0x11
    IRQ_FLAGS = 0x12
    RX_BYTES = 0x13
    MODEM_STAT = 0x18
    PACKET_SNR = 0x19
    PACKET_RSSI = 0x1A
    MODEM_CONFIG_1 = 0x1D
    MODEM_CONFIG_2 = 0x1E
    SYMBOL_TIMEOUT = 0x1F
    PREAMBLE_MSB = 0x20
    PREAMBLE_LSB = 0x21
    PAYLOAD_LENGTH = 0x22
    MAX_PAYLOAD_LENGTH = 0x23
    MODEM_CONFIG_3 = 0x26
    IF_FREQUENCY_2 = 0x2F
    IF_FREQUENCY_1 = 0x30
    DETECT_OPTIMIZE = 0x31
    INVERT_IQ = 0x33
    HIGH_BANDWIDTH_1 = 0x36
    DETECTION_THRESHOLD = 0x37
    SYNC_WORD = 0x39
    HIGH_BANDWIDTH_2 = 0x3A
    INVERT_IQ_2 = 0x3B
    IMAGE_CALIBRATION = 0x3B
    """In FSK mode."""
    DIO_MAPPING_1 = 0x40
    VERSION = 0x42
    PA_DAC = 0x4D


class Mode(enum.IntEnum):
    """RegOpMode, bits 2 to 0."""

    SLEEP = 0
    STANDBY = 1
    TRANSMIT = 3
    RECEIVE = 5
    RECEIVE_SINGLE = 6
    DETECT = 7


LORA = 0x80
"""RegOpMode, bit 7; changes in sleep only."""
LOW_FREQUENCY = 0x08
"""RegOpMode, bit 3: registers of the low frequency port."""
LOW_FREQUENCY_LIMIT = 779_000_000
"""Hz: below it the low frequency port is used (bands 2 and 3)."""

IRQS: dict[int, Irq] = {
    0x80: Irq.TIMEOUT,
    0x40: Irq.RECEIVED,
    0x20: Irq.CRC_ERROR,
    0x08: Irq.SENT,
    0x04: Irq.LOOKED,
    0x01: Irq.ACTIVITY,
}
"""RegIrqFlags; writing a 1 clears."""
DIO0 = {"received": 0x00, "sent": 0x40, "looked": 0x80}
"""RegDioMapping1, bits 7-6: what DIO0 tells; DIO1 (bits 5-4) stays RxTimeout."""
SIGNAL = 0x0B
"""RegModemStat: signal detected, signal synchronised, header info valid."""

BANDWIDTHS = {
    7_800: 0,
    10_400: 1,
    15_600: 2,
    20_800: 3,
    31_250: 4,
    41_700: 5,
    62_500: 6,
    125_000: 7,
    250_000: 8,
    500_000: 9,
}
"""Hz to RegModemConfig1, bits 7-4."""
IF_FREQUENCIES = {0: 0x48, 1: 0x44, 2: 0x44, 3: 0x44, 4: 0x44, 5: 0x44}
"""Errata, 2.3: RegIfFreq2 by bandwidth; 0x40 for the others, and left alone at 500 kHz."""
OFFSETS = {7_800: 7_810, 10_400: 10_420, 15_600: 15_620, 20_800: 20_830, 31_250: 31_250, 41_700: 41_670}
"""Errata, 2.3: Hz by which the receiver is then to be tuned higher, by bandwidth."""

SPREADING_FACTORS: dict[Chip, tuple[int, int]] = {
    Chip.SX1276: (6, 12),
    Chip.SX1277: (6, 9),
    Chip.SX1278: (6, 12),
    Chip.SX1279: (6, 12),
}
FREQUENCIES: dict[Chip, tuple[int, int]] = {
    Chip.SX1276: (137_000_000, 1_020_000_000),
    Chip.SX1277: (137_000_000, 1_020_000_000),
    Chip.SX1278: (137_000_000, 525_000_000),
    Chip.SX1279: (137_000_000, 960_000_000),
}
"""Hz, table 1."""

INVERT_IQ = {
    (False, False): (0x27, 0x1D),
    (False, True): (0x27, 0x1D),
    (True, False): (0x67, 0x19),
    (True, True): (0x26, 0x19),
}
"""(inverted, sending) to RegInvertIQ and RegInvertIQ2."""

OCP_USUAL, OCP_20_DBM = 0x20 | 11, 0x20 | 17
"""100 mA (45 + 5 * 11), and 140 mA (-30 + 10 * 17) for 20 dBm."""
HOT, HOT_SHARE = 20, 0.01
"""dBm that PA_BOOST may send for so much of the time only (5.4.3, operating range); less power it may always."""
LNA_MOST = 0x23
"""Highest gain, boosted on the high frequency port."""
DAC_USUAL, DAC_20_DBM = 0x84, 0x87


def frf(frequency: int) -> bytes:
    """RegFrf for a frequency in Hz: steps of 32 MHz / 2^19."""
    return round(frequency * 2**19 / 32_000_000).to_bytes(3, "big")


def pa(power_dbm: int, *, boost: bool) -> tuple[int, int, int]:
    """RegPaConfig, RegPaDac and RegOcp for a power in dBm, 2 to 20 (BOOST) or 0 to 14 (RFO), rounded down."""
    if not boost:  # MaxPower 7: Pmax = 10.8 + 0.6 * 7 = 15 dBm; P = Pmax - (15 - OutputPower)
        return 0x70 | max(0, min(14, power_dbm)), DAC_USUAL, OCP_USUAL
    if power_dbm >= 20:
        return 0x80 | 0x70 | 15, DAC_20_DBM, OCP_20_DBM
    return 0x80 | 0x70 | (max(2, min(17, power_dbm)) - 2), DAC_USUAL, OCP_USUAL


def modem(modulation: Modulation, symbols: int = 0) -> tuple[bytes, int]:
    """RegModemConfig1 to RegPreambleLsb, and RegModemConfig3 (automatic gain on)."""
    bandwidth = BANDWIDTHS[modulation.bandwidth]
    first = bandwidth << 4 | (modulation.coding_rate - 4) << 1 | (not modulation.explicit_header)
    second = modulation.spreading_factor << 4 | modulation.crc << 2 | symbols >> 8
    head = bytes((first, second, symbols & 0xFF)) + modulation.preamble.to_bytes(2, "big")
    return head, modulation.optimised << 3 | 0x04


def high_bandwidth(modulation: Modulation, frequency: int) -> list[tuple[int, int]]:
    """Errata, 2.1: registers that sensitivity at 500 kHz asks for; otherwise the first is at its default."""
    if modulation.bandwidth != 500_000:
        return [(Reg.HIGH_BANDWIDTH_1, 0x03)]
    return [
        (Reg.HIGH_BANDWIDTH_1, 0x02),
        (Reg.HIGH_BANDWIDTH_2, 0x64 if frequency >= LOW_FREQUENCY_LIMIT else 0x7F),
    ]


def detection(modulation: Modulation, before: int) -> list[tuple[int, int]]:
    """RegDetectOptimize (of which `before` is read), RegDetectionThreshold and, by the errata, the IF registers."""
    wide, six = modulation.bandwidth == 500_000, modulation.spreading_factor == 6
    found: list[tuple[int, int]] = [
        (Reg.DETECT_OPTIMIZE, before & 0x78 | wide << 7 | (0x05 if six else 0x03)),
        (Reg.DETECTION_THRESHOLD, 0x0C if six else 0x0A),
    ]
    if not wide:
        frequency = IF_FREQUENCIES.get(BANDWIDTHS[modulation.bandwidth], 0x40)
        found += [(Reg.IF_FREQUENCY_2, frequency), (Reg.IF_FREQUENCY_1, 0x00)]
    return found


def strength(rssi: int, snr: int, *, low: bool) -> tuple[float, float]:
    """dBm and dB of a packet from RegPktRssiValue and RegPktSnrValue; section 5.5.5."""
    db = (snr - 256 if snr > 127 else snr) / 4
    offset = -164 if low else -157
    return (offset + rssi + db if db < 0 else offset + rssi * 16 / 15), db


def check(chip: Chip, modulation: Modulation) -> None:
    """Raise `ConfigurationError` for a modulation that the chip does not have."""
    lowest, highest = SPREADING_FACTORS[chip]
    factor = modulation.spreading_factor
    if not lowest <= factor <= highest or (factor == 6 and modulation.explicit_header):
        raise ConfigurationError(
            f"an {chip} has no spreading factor {factor} with this header; allowed: {max(7, lowest)} to {highest}, "
            "and 6 with an implicit header"
        )
    if modulation.bandwidth not in BANDWIDTHS:
        raise ConfigurationError(f"no bandwidth of {modulation.bandwidth} Hz; allowed: {sorted(BANDWIDTHS)}")


def irq(flags: int) -> Irq:
    """RegIrqFlags in general terms."""
    found = Irq.NOTHING
    for bit, meaning in IRQS.items():
        if flags & bit:
            found |= meaning
    return found
