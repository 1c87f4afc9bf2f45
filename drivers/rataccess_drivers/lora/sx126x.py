"""SX1261, SX1262, SX1268, LLCC68: transceivers that take commands (Waveshare's HAT, Ebyte E22).

Rules of this file: which commands are given when; what is in them is data (`sx126x_commands`).  Source: Semtech, SX1261/2
datasheet rev. 2.1, sections 14.2 and 14.3 (order of commands), 8.3.1 (busy line), 15 (workarounds).
"""

from __future__ import annotations

import asyncio

from rataccess.errors import ConfigurationError, RadioSilent, WrongRadio
from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora import sx126x_commands as commands
from rataccess_drivers.lora.spi import Openers, Wires
from rataccess_drivers.lora.spi_chip import Irq, SpiTransceiver
from rataccess_drivers.lora.sx126x_commands import Op, Reg
from rataccess_drivers.lora.transceiver import TransceiverOptions

_QUICK_LOOKS = 5
"""Most commands are done before the next SPI transfer can be set up."""
_LOOKS_TO_STOP = 200
"""Looks at the busy line, some 20 to 50 us each, before a chip that is told to stop is left to its timers."""
_STEP = 0.0005
_FALL_ASLEEP = 0.001
"""Seconds: for 500 us the chip must be left alone (13.1.1)."""
_BUSY_LIMIT = 0.1
"""Seconds.  The longest is a wake-up or calibration of 3.5 ms (table 8-3), and the start of a TCXO."""
SX127X_VERSION_REGISTER, SX127X_VERSIONS = 0x42, (0x12, 0x22)


class Sx126x(SpiTransceiver):
    """One of the family, by its options."""

    most_symbols = commands.MOST_SYMBOLS

    def __init__(self, options: TransceiverOptions, name: str, openers: Openers) -> None:
        super().__init__(options, name, openers)
        assert options.chip is not None, "wirings.resolve saw to it"
        self._chip = options.chip
        kind = commands.KINDS[options.chip]
        self.lowest, self.highest = kind.lowest, kind.highest
        self._amplifier = kind.amplifier
        self.lowest_power, self.highest_power = kind.amplifier.lowest, kind.amplifier.highest
        self._tcxo = options.tcxo_volts or 0.0
        if self._tcxo and self._tcxo not in commands.TCXO_VOLTS:
            raise ConfigurationError(f"tcxo_volts is {self._tcxo}; allowed: 0 and {sorted(commands.TCXO_VOLTS)}")
        self.startup = 0.004 + (options.tcxo_delay if self._tcxo else 0.0)
        self._image_band = b""
        self._inverted_iq = False
        self._asleep = False

    def check(self, frequency: int, modulation: Modulation, data: bytes | None = None) -> None:
        """See `Transceiver.check`."""
        super().check(frequency, modulation, data)
        commands.check(self._chip, modulation)

    # --- commands -----------------------------------------------------------------------------------------------------

    async def _ready(self) -> Wires:
        """The wires, as soon as the chip takes commands."""
        for _ in range(_QUICK_LOOKS):
            if not self._wires.busy:
                return self._wires
        loop = asyncio.get_running_loop()
        end = loop.time() + _BUSY_LIMIT + self.startup
        while self._wires.busy:
            if loop.time() >= end:
                raise RadioSilent(
                    f"the busy line of {self.name} stays high: the chip hangs, its TCXO does not start "
                    "(tcxo_volts), or the line is another one"
                )
            await asyncio.sleep(_STEP)
        return self._wires

    async def _do(self, op: Op, parameters: bytes = b"") -> None:
        (await self._ready()).transfer(bytes((op,)) + parameters)

    async def _ask(self, op: Op, size: int, parameters: bytes = b"") -> bytes:
        """The `size` bytes after the status byte."""
        head = bytes((op,)) + parameters + b"\0"
        return (await self._ready()).transfer(head + bytes(size))[len(head) :]

    async def _write(self, register: Reg, data: bytes) -> None:
        await self._do(Op.WRITE_REGISTER, register.to_bytes(2, "big") + data)

    async def _read(self, register: Reg, size: int = 1) -> bytes:
        return await self._ask(Op.READ_REGISTER, size, register.to_bytes(2, "big"))

    async def _change(self, register: Reg, bits: int, on: bool) -> None:
        before = (await self._read(register))[0]
        await self._write(register, bytes((before | bits if on else before & ~bits,)))

    async def _status(self) -> int:
        return (await self._ready()).transfer(bytes((Op.GET_STATUS, 0)))[1]

    # --- opening ------------------------------------------------------------------------------------------------------

    async def _identify(self) -> None:
        self._asleep = True  # without a reset line it may be
        self._wake()
        status = await self._status()
        if status in (0x00, 0xFF):
            if self._wires.transfer(bytes((SX127X_VERSION_REGISTER, 0)))[1] in SX127X_VERSIONS:
                raise WrongRadio(f"the chip of {self.name} is an SX127x; set `chip` to what is on the board")
            raise self._absent(status)
        await self._do(Op.SET_STANDBY, bytes((commands.STANDBY_RC,)))  # without a reset line it may be anywhere
        status = await self._status()
        written = commands.sync_word(0x34)
        await self._write(Reg.SYNC_WORD, written)
        read = await self._read(Reg.SYNC_WORD, 2)
        if status >> 4 & 7 != commands.MODE_STANDBY_RC or read != written:
            raise WrongRadio(
                f"the chip of {self.name} is no {self._chip}: it answers status 0x{status:02x} in standby, and "
                f"0x{read.hex()} for a register in which 0x{written.hex()} was written; set `chip` to what is on the board"
            )

    async def _set_up(self) -> None:
        """The order of the datasheet (14.2): what is calibrated depends on the clock, which the TCXO is."""
        self._image_band = b""
        await self._do(Op.SET_STANDBY, bytes((commands.STANDBY_RC,)))
        if self._tcxo:
            code = commands.TCXO_VOLTS[self._tcxo]
            await self._do(Op.SET_TCXO, bytes((code,)) + commands.ticks(self.options.tcxo_delay))
        await self._do(
            Op.CLEAR_ERRORS, b"\0\0"
        )  # with a TCXO the oscillator has failed to start before it had its supply
        await self._do(Op.CALIBRATE, bytes((commands.CALIBRATE_ALL,)))
        await self._check_oscillator()
        await self._do(Op.SET_REGULATOR, bytes((bool(self.options.dc_dc),)))
        await self._do(Op.SET_DIO2_SWITCH, bytes((bool(self.options.dio2_rf_switch),)))
        await self._do(Op.SET_PACKET_TYPE, bytes((commands.LORA,)))
        await self._do(Op.SET_FALLBACK, bytes((commands.FALLBACK_RC,)))
        await self._do(Op.SET_BUFFER_BASE, b"\0\0")
        await self._write(Reg.RX_GAIN, bytes((commands.RX_GAIN_BOOSTED,)))
        await self._write(Reg.RETENTION_LIST, commands.RETAINED)
        if self._amplifier is commands.LARGE:
            await self._change(Reg.TX_CLAMP, 0x1E, on=True)  # 15.2: antennas that do not match

    async def _check_oscillator(self) -> None:
        await self._do(Op.SET_STANDBY, bytes((commands.STANDBY_XOSC,)))
        errors = int.from_bytes(await self._ask(Op.GET_ERRORS, 2), "big")
        await self._do(Op.CLEAR_ERRORS, b"\0\0")
        await self._do(Op.SET_STANDBY, bytes((commands.STANDBY_RC,)))
        if errors & commands.OSCILLATOR_FAILED:
            wrong = f"not {self._tcxo} V, or there is a crystal" if self._tcxo else "and the board has a TCXO"
            raise RadioSilent(f"the oscillator of {self.name} does not start: set tcxo_volts ({wrong})")

    # --- one operation ------------------------------------------------------------------------------------------------

    async def _configure(
        self, frequency: int, modulation: Modulation, sync_word: int, *, inverted_iq: bool, sending: bool
    ) -> None:
        self._wake()
        await self._do(Op.SET_STANDBY, bytes((commands.STANDBY_RC,)))
        if (band := commands.image_band(frequency)) != self._image_band:
            await self._do(Op.CALIBRATE_IMAGE, band)
            self._image_band = band
        await self._do(Op.SET_FREQUENCY, commands.frequency(frequency))
        await self._do(Op.SET_MODULATION, commands.modulation_parameters(modulation))
        await self._do(Op.SET_PACKET, commands.packet_parameters(modulation, 255, inverted_iq=inverted_iq))
        await self._change(Reg.IQ_POLARITY, 0x04, on=not inverted_iq)  # 15.4
        await self._write(Reg.SYNC_WORD, commands.sync_word(sync_word))
        masks = commands.KEPT.to_bytes(2, "big") + commands.ON_DIO1.to_bytes(2, "big") + bytes(4)
        await self._do(Op.SET_IRQ, masks)
        await self._do(Op.CLEAR_IRQ, b"\xff\xff")
        self._inverted_iq = inverted_iq

    def _wake(self) -> None:
        """A sleeping chip wakes when chip select falls, and takes no command before its busy line is low again (8.3.1)."""
        if self._asleep:
            self._wires.transfer(bytes((Op.GET_STATUS, 0)))
            self._asleep = False

    async def _load(self, data: bytes, modulation: Modulation, power_dbm: int) -> None:
        config, power = commands.pa(self._amplifier, power_dbm)
        await self._do(Op.SET_PA, config)
        await self._write(Reg.OCP, bytes((self._amplifier.limit,)))  # SetPaConfig sets it back
        await self._do(Op.SET_TX_PARAMETERS, bytes((power, commands.RAMP_200_US)))
        await self._do(Op.SET_PACKET, commands.packet_parameters(modulation, len(data), inverted_iq=self._inverted_iq))
        await self._change(Reg.TX_MODULATION, 0x04, on=modulation.bandwidth != 500_000)  # 15.1
        await self._do(Op.WRITE_BUFFER, b"\0" + data)

    async def _send(self, limit: float) -> None:
        await self._do(Op.SET_TX, commands.ticks(limit))

    async def _listen(self, symbols: int | None, limit: float) -> None:
        window, register = commands.symbol_timeout(symbols or 0)
        await self._do(Op.SET_SYMBOL_TIMEOUT, bytes((window,)))
        if symbols is None:
            await self._do(Op.SET_RX, commands.CONTINUOUS.to_bytes(3, "big"))
        else:  # the symbols end the window; the timer only what the chip takes for a packet and never ends
            await self._write(Reg.SYMBOL_TIMEOUT, bytes((register,)))
            await self._do(Op.SET_RX, commands.ticks(limit))

    async def _look(self, modulation: Modulation) -> None:
        peak = modulation.spreading_factor + 13
        parameters = bytes((commands.CAD_SYMBOLS_CODE, peak, commands.CAD_MINIMUM, 0, 0, 0, 0))
        await self._do(Op.SET_CAD_PARAMETERS, parameters)
        await self._do(Op.SET_CAD)

    async def _take_irq(self) -> Irq:
        flags = int.from_bytes(await self._ask(Op.GET_IRQ, 2), "big")
        if flags & ~commands.KEPT:  # masked: a bus without a chip, or a bit that was spoilt on it
            await self._alive()
            return Irq.NOTHING
        if flags:
            await self._do(Op.CLEAR_IRQ, flags.to_bytes(2, "big"))
        return commands.irq(flags)

    async def _fetch(self, frequency: int) -> tuple[bytes, float, float]:
        size, start = await self._ask(Op.GET_BUFFER_STATUS, 2)
        data = await self._ask(Op.READ_BUFFER, size, bytes((start,)))
        rssi, snr, _ = await self._ask(Op.GET_PACKET_STATUS, 3)
        return (data, *commands.strength(rssi, snr))

    async def _in_receive_mode(self) -> bool:
        await self._alive()
        return await self._status() >> 4 & 7 == commands.MODE_RECEIVE

    async def _alive(self) -> None:
        if self._asleep:
            return  # asking would wake it
        status = await self._status()
        if status in (0x00, 0xFF):
            raise RadioSilent(f"the transceiver of {self.name} no longer answers (status 0x{status:02x}); open it anew")

    def _incoming(self) -> bool:
        """A preamble counts once: what was none leads to no header, and its flag would stay."""
        wires = self._wires
        if wires.busy:
            return False
        flags = int.from_bytes(wires.transfer(bytes((Op.GET_IRQ, 0, 0, 0)))[2:], "big")
        if flags & commands.PREAMBLE and not flags & commands.HEADER and not wires.busy:
            wires.transfer(bytes((Op.CLEAR_IRQ, 0, commands.PREAMBLE)))
        return bool(flags & (commands.PREAMBLE | commands.HEADER))

    async def _sleep(self) -> None:
        self._wake()
        await self._do(Op.SET_STANDBY, bytes((commands.STANDBY_RC,)))
        await self._do(Op.SET_SLEEP, bytes((commands.WARM_SLEEP,)))
        self._asleep = True
        await asyncio.sleep(_FALL_ASLEEP)

    def _stop(self, wires: Wires) -> None:
        if _calm(wires):
            wires.transfer(bytes((Op.SET_STANDBY, commands.STANDBY_RC)))

    def _sleep_at_once(self, wires: Wires) -> None:
        if self._asleep:
            return
        self._stop(wires)
        if _calm(wires):
            wires.transfer(bytes((Op.SET_SLEEP, commands.WARM_SLEEP)))


def _calm(wires: Wires) -> bool:
    """Whether the chip takes a command, at once or as soon as its oscillator has started; without waiting for the loop."""
    return any(not wires.busy for _ in range(_LOOKS_TO_STOP))
