"""Registers, commands and wirings as data, against figures of the datasheets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rataccess.errors import ConfigurationError, PacketTooLarge
from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora import sx126x_commands as commands
from rataccess_drivers.lora import sx127x_registers as registers
from rataccess_drivers.lora.spi_chip import Irq
from rataccess_drivers.lora.transceiver import Chip, ChipLine, Transceiver, TransceiverOptions, open_transceiver
from rataccess_drivers.lora.wirings import WIRINGS, resolve


def line(number: int) -> ChipLine:
    return ChipLine(line=number)


def built(chip: Chip, **options: object) -> Transceiver:
    return open_transceiver(TransceiverOptions(chip=chip, irq=line(1), busy=line(2), **options), "x")  # type: ignore[arg-type]


def test_frequencies() -> None:
    assert registers.frf(868_100_000).hex() == "d90666"
    assert registers.frf(434_000_000).hex() == "6c8000"
    assert commands.frequency(868_000_000).hex() == "36400000"
    assert commands.frequency(915_000_000).hex() == "39300000"


@pytest.mark.parametrize(
    ("modulation", "head", "third"),
    [
        (Modulation(7), "7274000008", 0x04),
        (Modulation(12), "72c4000008", 0x0C),
        (Modulation(12, 500_000), "92c4000008", 0x04),
        (Modulation(10, 250_000, coding_rate=8, crc=False, preamble=300), "88a000012c", 0x04),
        (Modulation(6, explicit_header=False), "7364000008", 0x04),
    ],
)
def test_modem_registers(modulation: Modulation, head: str, third: int) -> None:
    assert registers.modem(modulation) == (bytes.fromhex(head), third)


def test_modulation_commands() -> None:
    assert commands.modulation_parameters(Modulation(11)).hex() == "0b040101"
    assert commands.modulation_parameters(Modulation(9, 500_000, coding_rate=8)).hex() == "09060400"
    assert commands.packet_parameters(Modulation(7), 13, inverted_iq=True).hex() == "0008000d0101"
    assert commands.packet_parameters(Modulation(7, crc=False), 255, inverted_iq=False).hex() == "000800ff0000"


def test_sync_words() -> None:
    assert commands.sync_word(0x34).hex() == "3444"
    assert commands.sync_word(0x12).hex() == "1424"


@pytest.mark.parametrize(
    ("power", "expected"),
    [(2, (0xF0, 0x84, 0x2B)), (14, (0xFC, 0x84, 0x2B)), (17, (0xFF, 0x84, 0x2B)), (19, (0xFF, 0x84, 0x2B)),
     (20, (0xFF, 0x87, 0x31))],
)  # fmt: skip
def test_boost_power(power: int, expected: tuple[int, int, int]) -> None:
    assert registers.pa(power, boost=True) == expected


def test_other_amplifiers() -> None:
    assert registers.pa(14, boost=False)[0] == 0x7E
    assert commands.pa(commands.LARGE, -9) == (bytes.fromhex("04070001"), 0xF7)
    assert commands.pa(commands.SMALL, 14) == (bytes.fromhex("04000101"), 14)
    assert commands.pa(commands.SMALL, 15) == (bytes.fromhex("06000101"), 14)


def test_windows_in_symbols() -> None:
    """Never shorter than asked, and what the command says is what the register holds: the chip would round down."""
    for symbols in range(1, 249):
        window, register = commands.symbol_timeout(symbols)
        assert symbols <= window <= min(248, symbols + max(2, symbols // 8))
        assert window == (register >> 3) << 2 * (register & 7) + 1
    assert commands.symbol_timeout(0) == (0, 0)
    assert commands.symbol_timeout(107) == (112, 14 << 3 | 1)


def test_image_bands() -> None:
    assert commands.image_band(868_100_000).hex() == "d7db"
    assert commands.image_band(915_000_000).hex() == "e1e9"
    assert commands.image_band(434_000_000).hex() == "6b6f"
    assert commands.image_band(600_000_000).hex() == "9597"


@given(st.integers(0, 0xFFFF))
def test_flags_of_any_value(flags: int) -> None:
    assert (Irq.SENT in commands.irq(flags)) == bool(flags & 1)
    assert (Irq.RECEIVED in registers.irq(flags & 0xFF)) == bool(flags & 0x40)


def test_strengths() -> None:
    assert registers.strength(60, 24, low=False) == (-93.0, 6.0)
    assert registers.strength(40, 0xD8, low=False) == (-127.0, -10.0)
    assert registers.strength(60, 24, low=True) == (-100.0, 6.0)
    assert commands.strength(200, 0xEC) == (-100.0, -5.0)


def test_ticks_round_up_and_never_mean_for_good() -> None:
    assert commands.ticks(0.005) == (321).to_bytes(3, "big")
    assert commands.ticks(1e6) == b"\xff\xff\xfe"


@pytest.mark.parametrize(
    ("chip", "frequency", "modulation"),
    [
        (Chip.SX1276, 868_000_000, Modulation(5)),
        (Chip.SX1276, 868_000_000, Modulation(7, 100_000)),
        (Chip.SX1277, 868_000_000, Modulation(10)),
        (Chip.SX1278, 868_000_000, Modulation(7)),
        (Chip.SX1262, 2_400_000_000, Modulation(7)),
        (Chip.LLCC68, 868_000_000, Modulation(10)),
    ],
)
def test_what_a_chip_cannot_do_is_refused(chip: Chip, frequency: int, modulation: Modulation) -> None:
    with pytest.raises(ConfigurationError):
        built(chip).check(frequency, modulation, b"x")


def test_sizes_are_checked() -> None:
    radio = built(Chip.SX1262)
    radio.check(868_000_000, Modulation(7), bytes(255))
    with pytest.raises(PacketTooLarge):
        radio.check(868_000_000, Modulation(7), bytes(256))
    with pytest.raises(ConfigurationError, match="empty"):
        radio.check(868_000_000, Modulation(7), b"")
    with pytest.raises(ConfigurationError, match="implicit"):
        radio.check(868_000_000, Modulation(7, explicit_header=False))


@pytest.mark.parametrize("name", sorted(WIRINGS))
def test_wirings_are_whole(name: str) -> None:
    whole = resolve(TransceiverOptions(wiring=name, irq=line(99)))
    assert whole.irq == line(99)
    assert whole.chip is WIRINGS[name].chip
    assert whole.spi is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (TransceiverOptions(wiring="nonsense"), "waveshare_sx1262"),
        (TransceiverOptions(), "`chip`"),
        (TransceiverOptions(chip=Chip.SX1276), "`irq`"),
        (TransceiverOptions(chip=Chip.SX1262, irq=line(1)), "`busy`"),
        (TransceiverOptions(chip=Chip.SX1262, irq=line(1), busy=line(2), tcxo_volts=5.0), "tcxo_volts"),
    ],
)
def test_options_that_make_no_sense(options: TransceiverOptions, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_transceiver(options, "x")
