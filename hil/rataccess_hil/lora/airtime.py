"""How a LoRa packet is modulated, how long it is in the air, and how weak it may be.

Rules of this file: arithmetic only.  Sources: Semtech AN1200.13 and the SX1276 datasheet, section 4.1.1.7, for the time on
air; the SX1276 datasheet, tables 10 and 13, for the signal-to-noise limits.  Written independently of the library's own
formula, so that the two can disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

_SNR_LIMITS = {5: -2.5, 6: -5.0, 7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}
_THERMAL_NOISE = -174.0  # dBm in 1 Hz at room temperature
_DECIBELS = {7_800: 38.9, 10_400: 40.2, 15_600: 41.9, 20_800: 43.2, 31_250: 44.9, 41_700: 46.2, 62_500: 48.0}
_DECIBELS |= {125_000: 51.0, 250_000: 54.0, 500_000: 57.0}


@dataclass(frozen=True, slots=True)
class Waveform:
    """How a packet is put on the air: everything that a receiver must agree with."""

    frequency: int
    """Hz, the middle of the channel."""
    spreading_factor: int
    bandwidth: int = 125_000
    """Hz."""
    coding_rate: int = 5
    """5 to 8, for 4/5 to 4/8."""
    preamble: int = 8
    """Symbols programmed; 4.25 (6.25 for spreading factors 5 and 6) follow them."""
    explicit_header: bool = True
    crc: bool = True
    low_data_rate: bool | None = None
    """Low data rate optimisation; `None`: where a symbol takes 16 ms or longer."""
    inverted_iq: bool = False
    """As gateways transmit, so that devices do not hear each other."""
    sync_word: int = 0x34
    """One byte as the SX127x has it: 0x34 LoRaWAN, 0x12 private."""

    @property
    def symbol_time(self) -> float:
        """Seconds that one symbol takes."""
        return (1 << self.spreading_factor) / self.bandwidth

    @property
    def optimised(self) -> bool:
        """Whether low data rate optimisation is on."""
        return self.low_data_rate if self.low_data_rate is not None else self.symbol_time > 0.01599

    @property
    def preamble_time(self) -> float:
        """Seconds from the start to the first symbol of the header."""
        return (self.preamble + (6.25 if self.spreading_factor < 7 else 4.25)) * self.symbol_time

    def payload_symbols(self, size: int) -> int:
        """Symbols of header and payload, for `size` bytes (0 to 255)."""
        bits = 8 * size - 4 * self.spreading_factor + (16 if self.crc else 0)
        bits += 20 if self.explicit_header else 0
        if self.spreading_factor >= 7:
            bits += 8
        rows = self.spreading_factor - 2 * (self.optimised and self.spreading_factor >= 7)
        blocks = -(-bits // (4 * rows))
        return 8 + (blocks * self.coding_rate if blocks > 0 else 0)

    def time_on_air(self, size: int) -> float:
        """Seconds that a packet of `size` bytes takes."""
        return self.preamble_time + self.payload_symbols(size) * self.symbol_time

    def same_channel(self, other: Waveform) -> bool:
        """Whether a receiver of one can demodulate the other: same bandwidth, and a quarter of it apart at most."""
        return self.bandwidth == other.bandwidth and abs(self.frequency - other.frequency) * 4 <= self.bandwidth

    def matches(self, other: Waveform) -> bool:
        """Whether a single receiver that is set to this one locks to the other."""
        return (
            self.same_channel(other)
            and self.spreading_factor == other.spreading_factor
            and self.inverted_iq == other.inverted_iq
            and self.sync_word == other.sync_word
        )

    @property
    def snr_limit(self) -> float:
        """dB below which nothing can be demodulated."""
        return _SNR_LIMITS[self.spreading_factor]

    @property
    def datr(self) -> str:
        """The data rate as packet forwarders spell it: `SF7BW125`."""
        return f"SF{self.spreading_factor}BW{self.bandwidth // 1000}"


def noise_floor(bandwidth: int, noise_figure: float = 6.0) -> float:
    """dBm of noise in `bandwidth` Hz at a receiver with this noise figure (dB)."""
    return _THERMAL_NOISE + _DECIBELS[bandwidth] + noise_figure


def sensitivity(waveform: Waveform, noise_figure: float = 6.0) -> float:
    """dBm of the weakest packet that can be received: about -124 at SF7 and -137 at SF12, 125 kHz."""
    return noise_floor(waveform.bandwidth, noise_figure) + waveform.snr_limit
