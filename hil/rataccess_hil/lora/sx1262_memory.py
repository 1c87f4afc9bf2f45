"""What a virtual SX1261/62/68 remembers: settings, registers, buffer, and the commands that read and write them.

Rules of this file: nothing here takes time and nothing goes on the air; that is `sx1262`.  Source: Semtech SX1261/2
datasheet rev. 2.1, sections 11 to 13 and 15.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping

from rataccess_hil.lora.airtime import Waveform
from rataccess_hil.lora.chip import VirtualChip
from rataccess_hil.lora.ether import Ether, Position
from rataccess_hil.lora.pins import Pin

SLEEP, STBY_RC, STBY_XOSC, FS, RX, TX = 0, 2, 3, 4, 5, 6
CAD = 7  # shown as RX in the status byte
DATA_AVAILABLE, PROCESSING_ERROR, EXECUTION_FAILURE, TX_COMPLETE = 2, 4, 5, 6
ERROR_XOSC_START, ERROR_PLL_LOCK = 1 << 5, 1 << 6

_BANDWIDTHS = {0x00: 7_800, 0x08: 10_400, 0x01: 15_600, 0x09: 20_800, 0x02: 31_250, 0x0A: 41_700, 0x03: 62_500}
_BANDWIDTHS |= {0x04: 125_000, 0x05: 250_000, 0x06: 500_000}
_PA_OF_1262 = {(4, 7): 22, (3, 5): 20, (2, 3): 17, (2, 2): 14}
_PA_OF_1261 = {(4, 0): 14, (6, 0): 15, (1, 0): 10}
_REGISTERS = {0x0736: 0x0D, 0x0740: 0x14, 0x0741: 0x24, 0x0889: 0x01, 0x08AC: 0x94, 0x08D8: 0xC8, 0x08E7: 0x38}
_REGISTERS |= {0x0320 + at: byte for at, byte in enumerate(b"SX1261 V2D 2D02\0")}


class Sx1262Memory(VirtualChip):
    """The memory of the chip; `VirtualSx1262` is all of it."""

    kind = "sx1262"
    usual_pins = {20: "busy", 18: "reset", 16: "dio1", 6: "tx_enable"}

    def __init__(
        self,
        ether: Ether,
        *,
        position: Position = (0.0, 0.0),
        name: str | None = None,
        model: str = "sx1262",
        tcxo: bool = False,
        tcxo_volts: float = 1.8,
        switch: str = "none",
        pins: Mapping[int, str] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(ether, position=position, name=name or model, pins=pins, seed=seed)
        self._model = model
        self._tcxo, self._volts = tcxo, tcxo_volts
        self._switch = switch
        for each in ("dio1", "dio2", "dio3", "busy"):
            self.pins[each] = Pin(each, output=True)
        self.pins["busy"].read_as = self._busy_seen
        self._busy_until = 0.0
        self._busy_looks = 0
        self._mode = STBY_RC
        self._reset()

    # --- reset, sleep, busy -------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._mode = STBY_RC
        self._status = 1
        self._errors = ERROR_XOSC_START if self._tcxo else 0
        self._registers = dict(_REGISTERS)
        self._buffer = bytearray(256)
        self._lora_packet = False
        self._tcxo_fed = False
        self._dio2_switch = False
        self._frequency = 434_000_000
        self._pa = (4, 7) if self._model != "sx1261" else (4, 0)
        self._tx_power = 14
        self._bases = (0, 0)
        self._modulation = (7, 125_000, 1, 0)
        self._packet_settings = (8, 0, 0xFF, 1, 0)
        self._masks = [0, 0, 0, 0]
        self._irq = 0
        self._fallback = STBY_RC
        self._stop_on_preamble = False
        self._cad = (0, 0, 0, 0, 0)
        self._continuous = False
        self._warm = False
        self._image = (0.0, 0.0)
        self._last = (0, 0)
        self._last_levels = (0.0, 0.0)
        self._rx_timer: asyncio.TimerHandle | None = None

    # --- settings -----------------------------------------------------------------------------------------------------

    def _feed_tcxo(self, data: bytes) -> None:
        volts = (1.6, 1.7, 1.8, 2.2, 2.4, 2.7, 3.0, 3.3)[data[0] & 7]
        if self._mode != STBY_RC:
            return self._fail("SetDIO3AsTcxoCtrl outside of STDBY_RC")
        if not self._tcxo:
            # A plain crystal does not mind; the chip waits for it in vain.
            return None
        self._tcxo_fed = volts >= self._volts - 0.15 and int.from_bytes(data[1:4]) > 0
        return None

    def _set_dio2_switch(self, data: bytes) -> None:
        self._dio2_switch = data[0] == 1

    def _antenna(self, *, sending: bool) -> float:
        lines = self.pins["tx_enable"].level, self.pins["rx_enable"].level
        right = {
            "none": True,
            "dio2": self._dio2_switch,
            "lines": lines[0] if sending else not lines[0],
        }[self._switch]
        return 0.0 if right else -50.0

    def _set_packet_type(self, data: bytes) -> None:
        if self._mode not in (STBY_RC, STBY_XOSC):
            return self._fail("SetPacketType outside of standby")
        self._lora_packet = data[0] == 1
        return None

    def _set_frequency(self, data: bytes) -> None:
        self._frequency = round(int.from_bytes(data[:4]) * 32e6 / 2**25)

    def _set_pa(self, data: bytes) -> None:
        self._pa = (data[0], data[1])
        if (data[2] == 1) != (self._model == "sx1261"):
            self._fail("SetPaConfig for another chip (deviceSel)")

    def _set_tx_params(self, data: bytes) -> None:
        power = data[0] - 256 if data[0] > 127 else data[0]
        lowest, highest = (-17, 15) if self._model == "sx1261" else (-9, 22)
        if not lowest <= power <= highest or data[1] > 7:
            return self._fail(f"SetTxParams with {power} dBm, ramp {data[1]}")
        self._tx_power = power
        return None

    def _power(self) -> float:
        if self._model == "sx1261":
            return min(self._tx_power, _PA_OF_1261.get(self._pa, 10))
        # Section 13.1.14.1: SetTxParams at 22 gives what SetPaConfig allows.
        return _PA_OF_1262.get(self._pa, 14) - (22 - self._tx_power)

    def _set_bases(self, data: bytes) -> None:
        self._bases = (data[0], data[1])

    def _set_modulation(self, data: bytes) -> None:
        if not self._lora_packet:
            return self._fail("SetModulationParams with the packet type not set to LoRa")
        factor, code, rate, slow = data[:4]
        if not 5 <= factor <= 12 or code not in _BANDWIDTHS or not 1 <= rate <= 7:
            return self._fail(f"SetModulationParams with SF {factor}, bandwidth code {code:#x}, coding rate {rate}")
        self._modulation = (factor, _BANDWIDTHS[code], min(rate, 4), slow & 1)
        return None

    def _set_packet_params(self, data: bytes) -> None:
        if not self._lora_packet:
            return self._fail("SetPacketParams with the packet type not set to LoRa")
        self._packet_settings = (int.from_bytes(data[:2]), data[2] & 1, data[3], data[4] & 1, data[5] & 1)
        return None

    def _waveform(self) -> Waveform:
        factor, bandwidth, rate, slow = self._modulation
        preamble, implicit, _, crc, inverted = self._packet_settings
        sync = self._registers[0x0740] & 0xF0 | self._registers[0x0741] >> 4
        return Waveform(
            frequency=self._frequency,
            spreading_factor=factor,
            bandwidth=bandwidth,
            coding_rate=4 + rate,
            preamble=preamble,
            explicit_header=not implicit,
            crc=bool(crc),
            low_data_rate=bool(slow),
            inverted_iq=bool(inverted),
            sync_word=sync,
        )

    def _check_workarounds(self, wave: Waveform, *, sending: bool) -> None:
        """Section 15 of the datasheet: known limitations."""
        if bool(self._registers[0x0736] & 4) == wave.inverted_iq:
            self.missed.add("15.4: register 0736 bit 2 for the polarity of IQ")
        if sending and bool(self._registers[0x0889] & 4) == (wave.bandwidth == 500_000):
            self.missed.add("15.1: register 0889 bit 2 for the bandwidth")
        if sending and self._model != "sx1261" and self._registers[0x08D8] & 0x1E != 0x1E:
            self.missed.add("15.2: register 08D8 for the PA clamping")

    def _set_irq(self, data: bytes) -> None:
        self._masks = [int.from_bytes(data[at : at + 2]) for at in range(0, 8, 2)]
        self._drive_lines()

    def _clear_irq(self, data: bytes) -> None:
        self._irq &= ~int.from_bytes(data[:2])
        self._drive_lines()

    def _set_fallback(self, data: bytes) -> None:
        found = {0x40: FS, 0x30: STBY_XOSC, 0x20: STBY_RC}.get(data[0])
        if found is None:
            self._fail(f"SetRxTxFallbackMode {data[0]:#x}")
        else:
            self._fallback = found

    def _set_cad_params(self, data: bytes) -> None:
        self._cad = (data[0], data[1], data[2], data[3], int.from_bytes(data[4:7]))

    def _set_stop_on_preamble(self, data: bytes) -> None:
        self._stop_on_preamble = data[0] == 1

    def _set_symbol_timeout(self, data: bytes) -> None:
        """What register 0706 cannot hold of it (mantissa of 5 bits, exponent to the base 4) is cut off."""
        mantissa, exponent = data[0] >> 1, 0
        while mantissa > 31:
            mantissa, exponent = mantissa >> 2, exponent + 1
        self._registers[0x0706] = mantissa << 3 | exponent

    @property
    def _symbol_timeout(self) -> int:
        held = self._registers.get(0x0706, 0)
        return (held >> 3) << 2 * (held & 7) + 1

    def _forget_in_sleep(self) -> None:
        """A warm sleep keeps what commands have set, but of some registers only those in the list at 029F (9.6)."""
        listed = [self._registers.get(0x02A0 + at, 0) for at in range(8)]
        count = min(4, self._registers.get(0x029F, 0))
        kept = {listed[2 * at] << 8 | listed[2 * at + 1] for at in range(count)}
        for address in {0x0889, 0x08AC} - kept:
            self._registers[address] = _REGISTERS[address]

    def _ignored(self, data: bytes) -> None:
        return None

    @abstractmethod
    def _drive_lines(self) -> None:
        """Put the interrupts on their lines."""

    @abstractmethod
    def _status_byte(self) -> int:
        """Mode and command status."""

    @abstractmethod
    def _busy_seen(self) -> bool:
        """Whether a host that looks sees BUSY."""

    def _fail(self, why: str) -> None:
        self._status = EXECUTION_FAILURE
        self.violations.append(why)

    # --- memory -------------------------------------------------------------------------------------------------------

    def _write_register(self, data: bytes) -> None:
        address = int.from_bytes(data[:2])
        for at, byte in enumerate(data[2:]):
            if not 0x0320 <= address + at < 0x0330:
                self._registers[address + at] = byte

    def _read_register(self, data: bytes) -> bytes:
        address = int.from_bytes(data[:2])
        status = bytes([self._status_byte()])
        return status * 3 + bytes(self._registers.get(address + at, 0) for at in range(max(0, len(data) - 3)))

    def _write_buffer(self, data: bytes) -> None:
        for at, byte in enumerate(data[1:]):
            self._buffer[(data[0] + at) & 0xFF] = byte

    def _read_buffer(self, data: bytes) -> bytes:
        status = bytes([self._status_byte()])
        return status * 2 + bytes(self._buffer[(data[0] + at) & 0xFF] for at in range(max(0, len(data) - 2)))

    def _said(self, *values: int) -> bytes:
        return bytes([self._status_byte(), *(value & 0xFF for value in values)])

    def _get_status(self, data: bytes) -> bytes:
        return self._said()

    def _get_irq(self, data: bytes) -> bytes:
        return self._said(self._irq >> 8, self._irq)

    def _get_errors(self, data: bytes) -> bytes:
        return self._said(self._errors >> 8, self._errors)

    def _clear_errors(self, data: bytes) -> None:
        self._errors = 0

    def _get_rx_buffer(self, data: bytes) -> bytes:
        return self._said(*self._last)

    def _get_packet_status(self, data: bytes) -> bytes:
        rssi, snr = self._last_levels
        signal = rssi + min(0.0, snr)
        return self._said(_half_dbm(rssi), round(snr * 4), _half_dbm(signal))

    def _get_rssi(self, data: bytes) -> bytes:
        return self._said(_half_dbm(self.ether.rssi(self.station, self._frequency, self._modulation[1])))

    def _get_packet_type(self, data: bytes) -> bytes:
        return self._said(int(self._lora_packet))


def _half_dbm(level: float) -> int:
    return min(255, max(0, round(-2 * level)))
