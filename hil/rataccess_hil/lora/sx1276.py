"""A virtual SX1276/77/78/79 (RFM95W): registers behind an SPI bus, and the five DIO lines.

Rules of this file: what the datasheet (Semtech SX1276/77/78/79 rev. 7, sections 4.1 and 6.4) says that the LoRa modem does,
and no more: the FSK modem has registers but does nothing.  A write that the datasheet forbids is ignored, and noted in
`violations`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace

from rataccess_hil.lora.airtime import Waveform
from rataccess_hil.lora.chip import VirtualChip
from rataccess_hil.lora.ether import Ether, Heard, Position, Transmission
from rataccess_hil.lora.pins import Pin

_STEP = 32e6 / 2**19  # Hz of one count of RegFrf
_BANDWIDTHS = (7_800, 10_400, 15_600, 20_800, 31_250, 41_700, 62_500, 125_000, 250_000, 500_000)
SLEEP, STANDBY, FSTX, TX, FSRX, RX_CONTINUOUS, RX_SINGLE, CAD = range(8)
RX_TIMEOUT, RX_DONE, CRC_ERROR, VALID_HEADER = 0x80, 0x40, 0x20, 0x10
TX_DONE, CAD_DONE, FHSS_CHANGE, CAD_DETECTED = 0x08, 0x04, 0x02, 0x01
_LORA_PAGE = range(0x0D, 0x40)
_READ_ONLY = {0x10, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x25, 0x28, 0x29, 0x2A, 0x42}
_DEFAULTS = {0x01: 0x09, 0x06: 0x6C, 0x07: 0x80, 0x09: 0x4F, 0x0A: 0x09, 0x0B: 0x2B, 0x0C: 0x20, 0x0E: 0x80}
_DEFAULTS |= {0x1D: 0x72, 0x1E: 0x70, 0x1F: 0x64, 0x21: 0x08, 0x22: 0x01, 0x23: 0xFF, 0x31: 0xC3, 0x33: 0x27}
_DEFAULTS |= {
    0x36: 0x03,
    0x37: 0x0A,
    0x39: 0x12,
    0x3A: 0x65,
    0x3B: 0x1D,
    0x42: 0x12,
    0x4B: 0x09,
    0x4D: 0x84,
    0x70: 0xD0,
}
_FLAG_OF = {
    # line: what RegDioMapping's value puts on it (table 18, LoRa mode)
    "dio0": (RX_DONE, TX_DONE, CAD_DONE, 0),
    "dio1": (RX_TIMEOUT, FHSS_CHANGE, CAD_DETECTED, 0),
    "dio2": (FHSS_CHANGE, FHSS_CHANGE, FHSS_CHANGE, 0),
    "dio3": (CAD_DONE, VALID_HEADER, CRC_ERROR, 0),
}


class VirtualSx1276(VirtualChip):
    """An SX1276 on `spi`, with the wires reset, dio0 to dio3, tx_enable and rx_enable.

    `version` is what RegVersion says: 0x12, or 0x22 for an SX1272, which this library is not for.
    """

    kind = "sx1276"
    usual_pins = {25: "reset", 22: "dio0", 23: "dio1", 24: "dio2"}

    def __init__(
        self,
        ether: Ether,
        *,
        position: Position = (0.0, 0.0),
        name: str | None = None,
        version: int = 0x12,
        pins: Mapping[int, str] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(ether, position=position, name=name, pins=pins, seed=seed)
        for each in _FLAG_OF:
            self.pins[each] = Pin(each, output=True)
        self.version = version
        self._timeout: asyncio.TimerHandle | None = None
        self._ready_at = 0.0
        self._reset()
        self._ready_at = 0.0  # on for long

    def _reset(self) -> None:
        self._registers = bytearray(0x80)
        for address, value in _DEFAULTS.items():
            self._registers[address] = value
        self._registers[0x42] = self.version
        self._fsk_page = bytearray(0x80)
        self._fifo = bytearray(256)
        self._write_at = 0
        self._timeout = None

    def _start_anew(self) -> None:
        super()._start_anew()
        # Section 7.2: the host waits 5 ms after reset (10 ms after power) before it uses the bus.
        self._ready_at = self._now() + 0.005

    # --- the bus ------------------------------------------------------------------------------------------------------

    def _exchange(self, data: bytes) -> bytes:
        if self._now() < self._ready_at - 1e-6:
            self.violations.append("used before it was ready after reset")
            return bytes(len(data))
        if not data:
            return b""
        address, writing = data[0] & 0x7F, bool(data[0] & 0x80)
        answer = bytearray([0])
        for byte in data[1:]:
            answer.append(0 if writing and not address else self._read(address))
            if writing:
                self._write(address, byte)
            if address:
                address = (address + 1) & 0x7F
        return bytes(answer)

    @property
    def mode(self) -> int:
        """The mode of operation, 0 (sleep) to 7 (channel activity detection)."""
        return self._registers[1] & 7

    @property
    def lora(self) -> bool:
        """Whether it is a LoRa modem now."""
        return bool(self._registers[1] & 0x80)

    def register(self, address: int) -> int:
        """A register as it is, LoRa page; for tests."""
        return self._registers[address]

    def _read(self, address: int) -> int:
        if address == 0:
            if self.mode == SLEEP:
                return 0
            value = self._fifo[self._registers[0x0D]]
            self._registers[0x0D] = (self._registers[0x0D] + 1) & 0xFF
            return value
        if not self.lora and address in _LORA_PAGE:
            return self._fsk_page[address]
        if address == 0x1B:
            return self._rssi_code(self.ether.rssi(self.station, self.frequency, self._bandwidth()))
        return self._registers[address]

    def _write(self, address: int, value: int) -> None:
        if self.faults.hung or address in _READ_ONLY:
            return
        if address == 0x01:
            self._set_mode(value)
        elif not self.lora and address in _LORA_PAGE:
            self._fsk_page[address] = value
        elif address == 0:
            self._write_fifo(value)
        elif address == 0x12:
            self._registers[0x12] &= ~value & 0xFF
            self._drive_lines()
        elif address in (0x06, 0x07) and self.mode in (TX, RX_CONTINUOUS, RX_SINGLE):
            self.violations.append("frequency written while the synthesiser is in use")
        else:
            self._registers[address] = value
            if address in (0x40, 0x41):
                self._drive_lines()

    def _write_fifo(self, value: int) -> None:
        if self.mode == SLEEP:
            self.violations.append("FIFO written in sleep mode")
            return
        self._fifo[self._registers[0x0D]] = value
        self._registers[0x0D] = (self._registers[0x0D] + 1) & 0xFF

    # --- settings -----------------------------------------------------------------------------------------------------

    @property
    def frequency(self) -> int:
        """Hz."""
        return round(int.from_bytes(self._registers[0x06:0x09]) * _STEP)

    def _bandwidth(self) -> int:
        return _BANDWIDTHS[min(9, self._registers[0x1D] >> 4)]

    def _waveform(self, *, inverted: bool) -> Waveform:
        first, second, third = self._registers[0x1D], self._registers[0x1E], self._registers[0x26]
        return Waveform(
            frequency=self.frequency,
            spreading_factor=min(12, max(6, second >> 4)),
            bandwidth=self._bandwidth(),
            coding_rate=4 + min(4, max(1, first >> 1 & 7)),
            preamble=int.from_bytes(self._registers[0x20:0x22]),
            explicit_header=not first & 1,
            crc=bool(second & 4),
            low_data_rate=bool(third & 8),
            inverted_iq=inverted,
            sync_word=self._registers[0x39],
        )

    def _power(self) -> float:
        value = self._registers[0x09]
        if value & 0x80:
            return 2 + (value & 15) + (3 if self._registers[0x4D] & 7 == 7 else 0)
        return 10.8 + 0.6 * (value >> 4 & 7) - 15 + (value & 15)

    def _configured(self) -> bool:
        """Whether the modem can work as it is set: section 4.1.1.2 on SF6, and the detection registers."""
        six = self._registers[0x1E] >> 4 == 6
        wanted = (5, 0x0C) if six else (3, 0x0A)
        return (self._registers[0x31] & 7, self._registers[0x37]) == wanted

    # --- modes --------------------------------------------------------------------------------------------------------

    def _set_mode(self, value: int) -> None:
        lora = self._registers[1] & 0x80
        if value & 0x80 != lora:
            if self.mode == SLEEP:
                lora = value & 0x80
            else:
                self.violations.append("LoRa bit changed outside of sleep mode")
        mode = value & 7
        before = self.mode
        self._registers[1] = lora | (value & 0x78) | mode
        if mode == before and mode in (TX, RX_CONTINUOUS, RX_SINGLE, CAD):
            return  # at it; each of them ends in standby
        self._stop()
        self._registers[0x18] = 0x10
        if mode == SLEEP:
            self._fifo = bytearray(256)
        elif lora:
            start = {TX: self._transmit, RX_CONTINUOUS: self._receive, RX_SINGLE: self._receive, CAD: self._detect}
            start.get(mode, lambda: None)()

    def _transmit(self) -> None:
        wave = self._waveform(inverted=not self._registers[0x33] & 1)
        size, base = self._registers[0x22], self._registers[0x0E]
        data = bytes(self._fifo[(base + index) & 0xFF] for index in range(size))
        self._registers[0x0D] = (base + size) & 0xFF
        if wave.inverted_iq != (self._registers[0x3B] == 0x19):
            self.missed.add("RegInvertIQ2 of the transmitter")
        self._send(wave, data, self._power())

    def _sent(self) -> None:
        self._standby()
        self._raise(TX_DONE)

    def _standby(self) -> None:
        self._registers[1] = self._registers[1] & 0xF8 | STANDBY

    def _tuned(self, wave: Waveform) -> Waveform:
        """What the receiver hears, and whether the errata note (rev. 1, 2.1 and 2.3) was followed.

        The intermediate frequencies that narrow bandwidths ask for move it down by about one bandwidth.
        """
        wide = wave.bandwidth == 500_000
        wanted = 0x48 if wave.bandwidth == 7_800 else 0x44 if wave.bandwidth < 62_500 else 0x40
        if bool(self._registers[0x31] & 0x80) != wide or (
            not wide and self._registers[0x2F:0x31] != bytes((wanted, 0))
        ):
            self.missed.add("2.3: RegDetectOptimize and RegIfFreq for the bandwidth")
        if (self._registers[0x36] == 0x02) != wide:
            self.missed.add("2.1: register 36 for the bandwidth")
        moved = wave.bandwidth if self._registers[0x2F] in (0x44, 0x48) and not wide else 0
        return replace(wave, frequency=wave.frequency - moved)

    def _receive(self) -> None:
        wave = self._tuned(self._waveform(inverted=bool(self._registers[0x33] & 0x40)))
        self._write_at = self._registers[0x0F]
        self._registers[0x0D] = self._registers[0x0F]
        if wave.inverted_iq != (self._registers[0x3B] == 0x19):
            self.missed.add("RegInvertIQ2 of the receiver")
        if self._configured():
            self._listen(wave.matches)
        if self.mode == RX_SINGLE:
            symbols = max(4, (self._registers[0x1E] & 3) << 8 | self._registers[0x1F])
            deadline = self._now() + symbols * wave.symbol_time
            self._timeout = self._at(deadline, lambda: self._no_preamble(deadline))

    def _no_preamble(self, deadline: float) -> None:
        if self._listener is not None:
            self._listener.settle(deadline)
            if self._listener.locked:
                return
        self._stop_listening()
        self._standby()
        self._raise(RX_TIMEOUT)

    def _detect(self) -> None:
        wave = self._tuned(self._waveform(inverted=False))
        # Section 4.1.6: one symbol and 32 chips.
        heard = self.ether.activity(self.station, wave)

        def done() -> None:
            again = self.ether.activity(self.station, wave)
            self._standby()
            self._raise(CAD_DONE | (CAD_DETECTED if heard or again else 0))

        self._later(wave.symbol_time + 32 / wave.bandwidth, done)

    # --- reception ----------------------------------------------------------------------------------------------------

    def _preamble(self, packet: Transmission) -> None:
        self._registers[0x18] = 0x03

    def _header(self, packet: Transmission) -> None:
        if packet.waveform.explicit_header and not self._registers[0x1D] & 1:
            self._registers[0x18] = packet.waveform.coding_rate - 4 << 5 | 0x0F
            self._registers[0x1C] = self._registers[0x1C] & 0x3F | (0x40 if packet.waveform.crc else 0)
            self._raise(VALID_HEADER)

    def _packet(self, heard: Heard) -> None:
        sent, own = heard.transmission.waveform, self._waveform(inverted=False)
        self._registers[0x18] = 0x10
        if sent.explicit_header and own.explicit_header and not heard.transmission.aborted:
            size, intact, checked = len(heard.data), heard.intact, sent.crc
        else:
            size, checked = self._registers[0x22], own.crc
            intact = heard.intact and not sent.explicit_header and not own.explicit_header
            intact = intact and (sent.crc, sent.coding_rate) == (own.crc, own.coding_rate) and size == len(heard.data)
            if own.explicit_header:
                return self._end_of_reception()  # no header: nothing is reported
        if sent.optimised != own.optimised:
            intact = False
        data = heard.data if intact or not heard.intact else bytes(self._chance.randrange(256) for _ in range(size))
        self._store(data[:size].ljust(size, b"\0"), heard)
        self._raise(RX_DONE | (CRC_ERROR if checked and not intact else 0))
        return self._end_of_reception()

    def _store(self, data: bytes, heard: Heard) -> None:
        self._registers[0x10] = self._write_at
        for byte in data:
            self._fifo[self._write_at] = byte
            self._write_at = (self._write_at + 1) & 0xFF
        self._registers[0x13] = len(data)
        self._registers[0x25] = self._write_at
        self._registers[0x19] = round(heard.snr_db * 4) & 0xFF
        self._registers[0x1A] = self._rssi_code(heard.rssi_dbm - min(0.0, heard.snr_db))

    def _end_of_reception(self) -> None:
        if self.mode == RX_SINGLE:
            if self._timeout is not None:
                self._timeout.cancel()
            self._stop_listening()
            self._standby()

    def _rssi_code(self, dbm: float) -> int:
        offset = 157 if self.frequency > 525_000_000 else 164
        return min(255, max(0, math.floor((dbm + offset) * 15 / 16 + 0.5)))

    # --- interrupts ---------------------------------------------------------------------------------------------------

    def _raise(self, flags: int) -> None:
        self._registers[0x12] |= flags & ~self._registers[0x11]
        self._drive_lines()

    def _drive_lines(self) -> None:
        for index, (line, flags) in enumerate(_FLAG_OF.items()):
            chosen = flags[self._registers[0x40] >> (6 - 2 * index) & 3]
            self.pins[line].drive(bool(self._registers[0x12] & chosen))
