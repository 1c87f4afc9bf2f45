"""A virtual SX1261/62/68: opcodes behind an SPI bus, the BUSY line and three DIO lines.

Rules of this file: what the datasheet (Semtech SX1261/2 rev. 2.1, sections 8, 9 and 13) says that the chip does in LoRa
mode.  A command that cannot be executed sets the command status and leaves everything as it was; what the host did against
the datasheet is noted in `violations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rataccess_hil.lora.airtime import Waveform
from rataccess_hil.lora.ether import Heard, Transmission
from rataccess_hil.lora.sx1262_memory import (
    CAD,
    DATA_AVAILABLE,
    ERROR_PLL_LOCK,
    ERROR_XOSC_START,
    FS,
    PROCESSING_ERROR,
    RX,
    SLEEP,
    STBY_RC,
    STBY_XOSC,
    TX,
    TX_COMPLETE,
    Sx1262Memory,
)

IRQ_TX_DONE, IRQ_RX_DONE, IRQ_PREAMBLE, IRQ_SYNC, IRQ_HEADER, IRQ_HEADER_ERROR, IRQ_CRC = (1 << bit for bit in range(7))
IRQ_CAD_DONE, IRQ_CAD_DETECTED, IRQ_TIMEOUT = 1 << 7, 1 << 8, 1 << 9

_TICK = 15.625e-6
_CAD_SYMBOLS = (1, 2, 4, 8, 16)


class VirtualSx1262(Sx1262Memory):
    """An SX1262 on `spi`, with the wires reset, busy, dio1 to dio3, tx_enable and rx_enable.

    `model` is sx1261, sx1262 or sx1268 (their powers differ).  With `tcxo` its crystal is one that DIO3 must feed, at
    `tcxo_volts` at least; `switch` says what moves the antenna switch: "dio2", "lines" (tx_enable, rx_enable) or "none".
    """

    def _start_anew(self) -> None:
        super()._start_anew()
        if self.powered and self.pins["reset"].level:
            self._busy_for(0.0035)
        else:
            self._busy_for(0.0)

    def _busy_for(self, seconds: float) -> None:
        self._busy_until = self._now() + seconds
        # A short wait is over after a few looks too, for who waits for microseconds looks again and again at once.
        self._busy_looks = 2 if seconds < 0.001 else -1
        self.pins["busy"].drive(seconds > 0)
        if seconds > 0:
            self._at(self._busy_until, self._busy_over)

    def _busy_over(self) -> None:
        if self._now() >= self._busy_until - 1e-6 and self._mode != SLEEP:
            self.pins["busy"].drive(False)

    @property
    def busy(self) -> bool:
        """Whether BUSY is high."""
        faults = self.faults
        if faults.stuck_busy or faults.hung or not self.powered:
            return not faults.absent and (faults.stuck_busy or faults.hung)
        if not self.pins["reset"].level:
            return True
        return self._mode == SLEEP or self._now() < self._busy_until - 1e-7

    def _busy_seen(self) -> bool:
        if self.busy and self._busy_looks > 0 and self._mode != SLEEP:
            self._busy_looks -= 1
            if not self._busy_looks and not (self.faults.stuck_busy or self.faults.hung):
                self._busy_until = self._now()
                self.pins["busy"].drive(False)
        return self.busy

    # --- the bus ------------------------------------------------------------------------------------------------------

    @property
    def mode(self) -> int:
        """0 sleep, 2 standby RC, 3 standby XOSC, 4 synthesiser, 5 reception, 6 transmission, 7 activity detection."""
        return self._mode

    @property
    def errors(self) -> int:
        """The device errors of GetDeviceErrors."""
        return self._errors

    def _status_byte(self) -> int:
        shown = RX if self._mode == CAD else self._mode
        return shown << 4 | self._status << 1

    def _exchange(self, data: bytes) -> bytes:
        if not data or self.faults.hung:
            return bytes(len(data))
        if self._mode == SLEEP:
            self._wake()
            return bytes(len(data))
        if self.busy:
            self.violations.append(f"command {data[0]:02x} while BUSY is high")
            return bytes([self._status_byte()]) * len(data)
        opcode, rest = data[0], data[1:]
        before = self._status_byte()
        handler = _COMMANDS.get(opcode)
        if handler is None:
            self._status = PROCESSING_ERROR
            return bytes([before]) * len(data)
        minimum, run = handler
        if len(rest) < minimum:
            self._status = PROCESSING_ERROR
            return bytes([before]) * len(data)
        if opcode not in _READS:
            self._status = 1
        busy_before = self._busy_until
        answer = run(self, rest)
        if self._busy_until == busy_before and self._mode != SLEEP:
            self._busy_for(20e-6 if opcode not in _READS else 1e-6)
        return (bytes([before]) + (answer or b"")).ljust(len(data), bytes([before]))[: len(data)]

    def _wake(self) -> None:
        if self._warm:
            self._forget_in_sleep()
        else:
            self._reset()
        self._mode = STBY_RC
        self._busy_for(0.00034 if self._warm else 0.0035)

    # --- modes --------------------------------------------------------------------------------------------------------

    def _set_sleep(self, data: bytes) -> None:
        if self._mode not in (STBY_RC, STBY_XOSC):
            return self._fail("SetSleep outside of standby")
        self._stop()
        self._warm = bool(data[0] & 4)
        self._mode = SLEEP
        self.pins["busy"].drive(True)
        return None

    def _crystal(self) -> bool:
        """Start the crystal; where a TCXO is not fed it does not start."""
        if self._tcxo and not self._tcxo_fed:
            self._errors |= ERROR_XOSC_START
            return False
        return True

    def _set_standby(self, data: bytes) -> None:
        self._leave()
        self._mode = STBY_XOSC if data[0] == 1 and self._crystal() else STBY_RC

    def _set_fs(self, data: bytes) -> None:
        self._leave()
        self._mode = FS if self._crystal() else STBY_RC

    def _leave(self) -> None:
        busy_until = self._busy_until
        self._stop()
        if self._now() < busy_until:
            self._at(busy_until, self._busy_over)
        else:
            self.pins["busy"].drive(False)

    def _can_work(self, what: str) -> bool:
        if not self._lora_packet:
            self._fail(f"{what} with the packet type not set to LoRa")
            return False
        if not self._crystal():
            self._errors |= ERROR_PLL_LOCK
            self._fail(f"{what} without a clock: the TCXO is not fed")
            return False
        return True

    def _set_tx(self, data: bytes) -> None:
        if not self._can_work("SetTx"):
            self._mode = STBY_RC
            return
        self._leave()
        wave = self._waveform()
        size, (base, _) = self._packet_settings[2], self._bases
        payload = bytes(self._buffer[(base + index) & 0xFF] for index in range(size))
        ticks = int.from_bytes(data[:3])
        self._mode = TX
        self._check_workarounds(wave, sending=True)
        if ticks and ticks * _TICK < wave.time_on_air(size):
            self._later(ticks * _TICK, self._tx_timed_out)
        self._busy_for(0.0001)
        self._send(wave, payload, self._power())

    def _tx_timed_out(self) -> None:
        self._leave()
        self._mode = self._fallback
        self._raise(IRQ_TIMEOUT)

    def _sent(self) -> None:
        self._mode = self._fallback
        self._status = TX_COMPLETE
        self._raise(IRQ_TX_DONE)

    def _set_rx(self, data: bytes) -> None:
        if not self._can_work("SetRx"):
            self._mode = STBY_RC
            return
        self._leave()
        ticks = int.from_bytes(data[:3])
        self._continuous = ticks == 0xFFFFFF
        self._busy_for(0.0001)
        self._start_receiving(0.0 if self._continuous else ticks * _TICK)

    def _start_receiving(self, limit: float) -> None:
        wave = self._waveform()
        self._mode = RX
        self._check_workarounds(wave, sending=False)
        self._listen(wave.matches)
        now = self._now()
        if limit:
            self._rx_timer = self._at(now + limit, lambda: self._rx_timed_out(now + limit, symbols=False))
        if self._symbol_timeout:
            until = now + self._symbol_timeout * wave.symbol_time
            self._at(until, lambda: self._rx_timed_out(until, symbols=True))

    def _rx_timed_out(self, at: float, *, symbols: bool) -> None:
        if self._listener is None:
            return
        self._listener.settle(at)
        if symbols and self._listener.locked:
            return
        self._stop_listening()
        self._mode = self._fallback
        self._raise(IRQ_TIMEOUT)

    def _set_cad(self, data: bytes) -> None:
        if not self._can_work("SetCAD"):
            return
        self._leave()
        wave = self._waveform()
        self._mode = CAD
        self._busy_for(0.0001)
        early = self.ether.activity(self.station, wave)
        symbols = _CAD_SYMBOLS[min(4, self._cad[0])]
        self._later(symbols * wave.symbol_time, lambda: self._cad_done(wave, early))

    def _cad_done(self, wave: Waveform, early: bool) -> None:
        detected = early or self.ether.activity(self.station, wave)
        self._mode = STBY_RC
        self._raise(IRQ_CAD_DONE | (IRQ_CAD_DETECTED if detected else 0))
        if detected and self._cad[3] == 1:
            self._continuous = False
            self._start_receiving(self._cad[4] * _TICK)

    def _calibrate(self, data: bytes) -> None:
        if self._mode != STBY_RC:
            return self._fail("Calibrate outside of STDBY_RC")
        self._crystal()
        self._busy_for(0.0035)
        return None

    def _calibrate_image(self, data: bytes) -> None:
        low, high = data[0] * 4e6, data[1] * 4e6
        self._image = (low, high)
        self._busy_for(0.001)

    # --- reception ----------------------------------------------------------------------------------------------------

    def _preamble(self, packet: Transmission) -> None:
        if self._stop_on_preamble:
            self._stop_rx_timer()
        self._raise(IRQ_PREAMBLE)

    def _header(self, packet: Transmission) -> None:
        self._stop_rx_timer()
        if self._packet_settings[1]:
            return
        self._raise(IRQ_HEADER if packet.waveform.explicit_header and not packet.aborted else IRQ_HEADER_ERROR)

    def _stop_rx_timer(self) -> None:
        if self._rx_timer is not None:
            self._rx_timer.cancel()
            self._rx_timer = None

    def _packet(self, heard: Heard) -> None:
        sent, own = heard.transmission.waveform, self._waveform()
        intact = heard.intact and sent.optimised == own.optimised and sent.explicit_header == own.explicit_header
        if own.explicit_header:
            if not sent.explicit_header:
                return
            size, checked = len(heard.data), sent.crc
        else:
            size, checked = self._packet_settings[2], own.crc
            intact = intact and (sent.crc, sent.coding_rate) == (own.crc, own.coding_rate) and size == len(heard.data)
        garbled = heard.intact and not intact
        data = bytes(self._chance.randrange(256) for _ in range(size)) if garbled else heard.data
        start = self._store(data[:size].ljust(size, b"\0"))
        self._last, self._last_levels = (size, start), (heard.rssi_dbm, heard.snr_db)
        self._status = DATA_AVAILABLE
        if not self._continuous:
            self._stop_listening()
            self._stop_rx_timer()
            self._mode = self._fallback
        self._raise(IRQ_RX_DONE | (IRQ_CRC if checked and not intact else 0))

    def _store(self, data: bytes) -> int:
        start = (self._last[0] + self._last[1]) & 0xFF if self._continuous and self._last != (0, 0) else self._bases[1]
        for at, byte in enumerate(data):
            self._buffer[(start + at) & 0xFF] = byte
        return start

    # --- interrupts ---------------------------------------------------------------------------------------------------

    def _raise(self, flags: int) -> None:
        self._irq |= flags & self._masks[0]
        self._drive_lines()

    def _drive_lines(self) -> None:
        for line, mask in zip(("dio1", "dio2", "dio3"), self._masks[1:], strict=True):
            if line == "dio2" and self._dio2_switch:
                continue
            self.pins[line].drive(bool(self._irq & mask))


_Command = Callable[[VirtualSx1262, bytes], bytes | None]
_CHIP = VirtualSx1262
_COMMANDS: Mapping[int, tuple[int, _Command]] = {
    # opcode: how many bytes must follow, and what it does
    0x84: (1, _CHIP._set_sleep),
    0x80: (1, _CHIP._set_standby),
    0xC1: (0, _CHIP._set_fs),
    0x96: (1, _CHIP._ignored),
    0x89: (1, _CHIP._calibrate),
    0x98: (2, _CHIP._calibrate_image),
    0x97: (4, _CHIP._feed_tcxo),
    0x9D: (1, _CHIP._set_dio2_switch),
    0x8A: (1, _CHIP._set_packet_type),
    0x86: (4, _CHIP._set_frequency),
    0x95: (4, _CHIP._set_pa),
    0x8E: (2, _CHIP._set_tx_params),
    0x8F: (2, _CHIP._set_bases),
    0x8B: (4, _CHIP._set_modulation),
    0x8C: (6, _CHIP._set_packet_params),
    0x08: (8, _CHIP._set_irq),
    0x0E: (1, _CHIP._write_buffer),
    0x1E: (2, _CHIP._read_buffer),
    0x0D: (3, _CHIP._write_register),
    0x1D: (3, _CHIP._read_register),
    0x83: (3, _CHIP._set_tx),
    0x82: (3, _CHIP._set_rx),
    0x12: (3, _CHIP._get_irq),
    0x02: (2, _CHIP._clear_irq),
    0x13: (3, _CHIP._get_rx_buffer),
    0x14: (4, _CHIP._get_packet_status),
    0x15: (2, _CHIP._get_rssi),
    0x11: (2, _CHIP._get_packet_type),
    0xC0: (0, _CHIP._get_status),
    0x17: (3, _CHIP._get_errors),
    0x07: (2, _CHIP._clear_errors),
    0xC5: (0, _CHIP._set_cad),
    0x88: (7, _CHIP._set_cad_params),
    0x9F: (1, _CHIP._set_stop_on_preamble),
    0xA0: (1, _CHIP._set_symbol_timeout),
    0x93: (1, _CHIP._set_fallback),
    0x10: (1, _CHIP._ignored),
    0x94: (2, _CHIP._ignored),
}
_READS = frozenset((0x1E, 0x1D, 0x12, 0x13, 0x14, 0x15, 0x11, 0xC0, 0x17))
