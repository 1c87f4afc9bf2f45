"""SX1276, SX1277, SX1278, SX1279: transceivers that are a set of registers (RFM95W, Dragino HAT).

Rules of this file: which registers are written when; what is in them is data (`sx127x_registers`).  Source: Semtech,
SX1276/77/78/79 datasheet rev. 7, sections 4.1.2 (modes) and 4.1.3 (image calibration in 2.1.3.8).
"""

from __future__ import annotations

import asyncio

from rataccess.errors import RadioSilent, WrongRadio
from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora import sx127x_registers as registers
from rataccess_drivers.lora.spi import Openers, Wires
from rataccess_drivers.lora.spi_chip import Irq, SpiTransceiver
from rataccess_drivers.lora.sx127x_registers import Mode, Reg
from rataccess_drivers.lora.transceiver import AmplifierPin, TransceiverOptions

CHIPS = frozenset(registers.FREQUENCIES)
_LEAST_SYMBOLS = 4
"""RegSymbTimeout: 4 to 1023."""
_OSCILLATOR = 0.001
"""Seconds from sleep to standby: 250 us (table 7), rounded up to what a timer of Linux does."""
_CALIBRATION_LOOKS = 10
"""Image calibration takes about 10 ms (2.1.3.8)."""


class Sx127x(SpiTransceiver):
    """One of the family, by its options."""

    def __init__(self, options: TransceiverOptions, name: str, openers: Openers) -> None:
        super().__init__(options, name, openers)
        assert options.chip is not None, "wirings.resolve saw to it"
        self._chip = options.chip
        self.lowest, self.highest = registers.FREQUENCIES[options.chip]
        self._boost = options.pa is AmplifierPin.BOOST
        self.lowest_power, self.highest_power = (2, 20) if self._boost else (0, 14)
        self._mode_bits = registers.LORA
        self._calibrated_low: bool | None = None
        self._cool_at = 0.0
        """Loop time from which the amplifier may send with its highest power again."""

    def check(self, frequency: int, modulation: Modulation, data: bytes | None = None) -> None:
        """See `Transceiver.check`."""
        super().check(frequency, modulation, data)
        registers.check(self._chip, modulation)

    # --- registers ----------------------------------------------------------------------------------------------------

    def _read(self, register: int) -> int:
        return self._wires.transfer(bytes((register, 0)))[1]

    def _write(self, register: int, *values: int) -> None:
        self._wires.transfer(bytes((register | registers.WRITE, *values)))

    def _mode(self, mode: Mode) -> None:
        self._write(Reg.OP_MODE, self._mode_bits | mode)

    # --- opening ------------------------------------------------------------------------------------------------------

    async def _identify(self) -> None:
        version = self._read(Reg.VERSION)
        if version in (0x00, 0xFF):
            raise self._absent(version)
        if version != registers.VERSION:
            found = "an SX1272 or SX1273" if version == 0x22 else "not of the SX127x family"
            raise WrongRadio(
                f"the chip of {self.name} says version 0x{version:02x} where an {self._chip} says 0x12: it is {found}; "
                "set `chip` to what is on the board"
            )

    async def _set_up(self) -> None:
        self._mode_bits, self._calibrated_low = registers.LORA, None
        self._write(Reg.OP_MODE, Mode.SLEEP)  # as it may have been left in LoRa mode without a reset line
        self._write(Reg.OP_MODE, registers.LORA | Mode.SLEEP)
        if self._read(Reg.OP_MODE) & 0x87 != registers.LORA:
            raise RadioSilent(f"the transceiver of {self.name} does not change into LoRa mode; reset or power it anew")
        self._write(Reg.FIFO_TX_BASE, 0)
        self._write(Reg.FIFO_RX_BASE, 0)
        self._write(Reg.LNA, registers.LNA_MOST)
        self._write(Reg.MAX_PAYLOAD_LENGTH, 255)
        self._write(Reg.IRQ_MASK, 0)

    async def _calibrate(self, frequency: int) -> None:
        """Image rejection of the port in use; it can be calibrated in FSK mode only, and stays until the next reset."""
        low = frequency < registers.LOW_FREQUENCY_LIMIT
        if self._calibrated_low is low:
            return
        self._write(Reg.OP_MODE, self._mode_bits | Mode.SLEEP)
        self._write(Reg.OP_MODE, Mode.SLEEP | low << 3)
        self._write(Reg.OP_MODE, Mode.STANDBY | low << 3)
        await asyncio.sleep(_OSCILLATOR)
        self._write(Reg.FRF_MSB, *registers.frf(frequency))
        self._write(Reg.IMAGE_CALIBRATION, self._read(Reg.IMAGE_CALIBRATION) | 0x40)
        for _ in range(_CALIBRATION_LOOKS):
            await asyncio.sleep(0.002)
            if not self._read(Reg.IMAGE_CALIBRATION) & 0x20:
                break
        else:
            self.counters["calibrations that did not end"] += 1
        self._mode_bits = registers.LORA | low << 3
        self._write(Reg.OP_MODE, Mode.SLEEP | low << 3)
        self._mode(Mode.SLEEP)
        self._calibrated_low = low

    # --- one operation ------------------------------------------------------------------------------------------------

    async def _configure(
        self, frequency: int, modulation: Modulation, sync_word: int, *, inverted_iq: bool, sending: bool
    ) -> None:
        await self._calibrate(frequency)
        if self._read(Reg.OP_MODE) & 0x07 == Mode.SLEEP:
            self._mode(Mode.STANDBY)
            await asyncio.sleep(_OSCILLATOR)
        self._mode(Mode.STANDBY)
        offset = 0 if sending else registers.OFFSETS.get(modulation.bandwidth, 0)
        self._write(Reg.FRF_MSB, *registers.frf(frequency + offset))
        head, third = registers.modem(modulation)
        self._write(Reg.MODEM_CONFIG_1, *head)
        self._write(Reg.MODEM_CONFIG_3, third)
        for register, value in (
            *registers.detection(modulation, self._read(Reg.DETECT_OPTIMIZE)),
            *registers.high_bandwidth(modulation, frequency),
            *zip((Reg.INVERT_IQ, Reg.INVERT_IQ_2), registers.INVERT_IQ[inverted_iq, sending], strict=True),
            (Reg.SYNC_WORD, sync_word),
        ):
            self._write(register, value)
        self._write(Reg.IRQ_FLAGS, 0xFF)

    async def _load(self, data: bytes, modulation: Modulation, power_dbm: int) -> None:
        config, dac, limit = registers.pa(self._sparing(power_dbm, modulation, len(data)), boost=self._boost)
        self._write(Reg.PA_CONFIG, config)
        self._write(Reg.PA_DAC, dac)
        self._write(Reg.OCP, limit)
        self._write(Reg.FIFO_ADDR_PTR, 0)
        self._write(Reg.FIFO, *data)
        self._write(Reg.PAYLOAD_LENGTH, len(data))

    def _sparing(self, power_dbm: int, modulation: Modulation, size: int) -> int:
        """The power that the amplifier stands: a packet that would be its highest too soon goes with 3 dB less."""
        if power_dbm < registers.HOT or not self._boost:
            return power_dbm
        now = asyncio.get_running_loop().time()
        if now < self._cool_at:
            self.counters["packets with less power, to spare the amplifier"] += 1
            return registers.HOT - 1
        self._cool_at = now + modulation.time_on_air(size) / registers.HOT_SHARE
        return power_dbm

    async def _send(self, limit: float) -> None:
        self._write(Reg.DIO_MAPPING_1, registers.DIO0["sent"])
        self._mode(Mode.TRANSMIT)

    async def _listen(self, symbols: int | None, limit: float) -> None:
        self._write(Reg.DIO_MAPPING_1, registers.DIO0["received"])
        self._write(Reg.FIFO_ADDR_PTR, 0)
        if symbols is None:
            self._mode(Mode.RECEIVE)
            return
        window = max(_LEAST_SYMBOLS, symbols)
        second = self._read(Reg.MODEM_CONFIG_2) & 0xFC | window >> 8
        self._write(Reg.MODEM_CONFIG_2, second, window & 0xFF)
        self._mode(Mode.RECEIVE_SINGLE)

    async def _look(self, modulation: Modulation) -> None:
        self._write(Reg.DIO_MAPPING_1, registers.DIO0["looked"])
        self._mode(Mode.DETECT)

    async def _take_irq(self) -> Irq:
        flags = self._read(Reg.IRQ_FLAGS)
        if flags == 0xFF:  # no chip is in all modes at once: that is a bus without one
            await self._alive()
            return Irq.NOTHING
        if flags:
            self._write(Reg.IRQ_FLAGS, flags)
        return registers.irq(flags)

    async def _fetch(self, frequency: int) -> tuple[bytes, float, float]:
        size, start = self._read(Reg.RX_BYTES), self._read(Reg.FIFO_RX_CURRENT)
        self._write(Reg.FIFO_ADDR_PTR, start)
        data = self._wires.transfer(bytes((Reg.FIFO, *bytes(size))))[1:]
        low = frequency < registers.LOW_FREQUENCY_LIMIT
        rssi, snr = registers.strength(self._read(Reg.PACKET_RSSI), self._read(Reg.PACKET_SNR), low=low)
        return data, rssi, snr

    async def _in_receive_mode(self) -> bool:
        await self._alive()
        return self._read(Reg.OP_MODE) & 0x07 in (Mode.RECEIVE, Mode.RECEIVE_SINGLE)

    async def _alive(self) -> None:
        mode = self._read(Reg.OP_MODE)
        if not mode & 0x80 or mode == 0xFF:
            raise RadioSilent(f"the transceiver of {self.name} has lost its settings (mode 0x{mode:02x}); open it anew")
        # The pointer of the host's side of the FIFO: it is set before each use, and the modem has one of its own.
        written = self._read(Reg.FIFO_ADDR_PTR) ^ 0xFF
        self._write(Reg.FIFO_ADDR_PTR, written)
        if mode & 0x07 != Mode.SLEEP and self._read(Reg.FIFO_ADDR_PTR) != written:
            raise RadioSilent(f"the transceiver of {self.name} no longer takes what is written; open it anew")

    def _incoming(self) -> bool:
        return bool(self._read(Reg.MODEM_STAT) & registers.SIGNAL)

    async def _sleep(self) -> None:
        self._mode(Mode.SLEEP)

    def _stop(self, wires: Wires) -> None:
        wires.transfer(bytes((Reg.OP_MODE | registers.WRITE, self._mode_bits | Mode.STANDBY)))

    def _sleep_at_once(self, wires: Wires) -> None:
        wires.transfer(bytes((Reg.OP_MODE | registers.WRITE, self._mode_bits | Mode.SLEEP)))
