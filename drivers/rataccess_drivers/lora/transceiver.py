"""A LoRa transceiver without a protocol: what MAC layers and private links are built on, and how one is configured.

Rules of this file: the base, the options and the factory; no register, no bus, no periphery.  A transceiver does one thing
at a time: a second caller waits until the first has done.  It knows no duty cycle, no addresses and no retries.

Errors: `RadioNotFound`, `WrongRadio`, `RadioSilent`, `PortLost`, `MissingExtra` on opening; later `RadioSilent` where the
chip does not answer or finish, `PortLost` where its bus fails, `Closed` after `aclose`.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from rataccess.errors import ConfigurationError, PacketTooLarge
from rataccess.lorawan.airtime import Modulation

if TYPE_CHECKING:
    from rataccess_drivers.lora.spi import GpioOpener, SpiOpener

MAX_PAYLOAD = 255
"""Bytes: the length field of a LoRa header has 8 bits."""


@dataclass(frozen=True, slots=True)
class Reception:
    """A packet that came in whole, its CRC (where it has one) right."""

    data: bytes
    rssi_dbm: float
    snr_db: float
    at: float
    """`loop.time()` of the end of the packet, from the edge of the interrupt."""


class Transceiver(ABC):
    """One LoRa radio.  The constructor opens nothing."""

    lowest: int
    """Hz."""
    highest: int
    """Hz; which part of it the board's matching network serves, the chip does not know."""
    lowest_power: int
    """dBm at the chip's pin.  Powers outside of the range are brought into it."""
    highest_power: int
    """dBm."""
    startup: float = 0.004
    """Seconds from a call of `receive` or `transmit` to the antenna, about: SPI, oscillator."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        """What went wrong and was dealt with: `crc errors`, `header errors`, `lost interrupts`, `timeouts` ..."""

    @abstractmethod
    async def open(self) -> None:
        """Reset the chip, see that it is the right one, and set up what never changes.  Idempotent; closed again where
        it raises.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Put the chip to sleep where it still listens, and let go of the bus; idempotent, never fails."""

    @abstractmethod
    async def transmit(
        self,
        data: bytes,
        *,
        frequency: int,
        modulation: Modulation,
        power_dbm: int,
        inverted_iq: bool = False,
        sync_word: int = 0x34,
    ) -> float:
        """Send 1 to 255 bytes and return the `loop.time()` of the end of the transmission.

        `frequency` is in Hz; `sync_word` 0x34 is LoRaWAN's, 0x12 that of private networks.  Raises `PacketTooLarge`,
        `ConfigurationError` (a frequency or modulation that the chip does not have), `RadioSilent`, `PortLost` or `Closed`.
        Cancelled, it stops the transmission.
        """

    @abstractmethod
    async def receive(
        self,
        *,
        frequency: int,
        modulation: Modulation,
        inverted_iq: bool = False,
        sync_word: int = 0x34,
        symbols: int | None = None,
    ) -> Reception | None:
        """Listen, at once.

        With `symbols` (1 to 1023; 248 with SX126x): one window of that many symbols in which a preamble must be found;
        `None` where none was, or the packet was broken.  Without: until a good packet has come; cancel it to end that.
        Broken packets are counted.  Raises as `transmit`.
        """

    @abstractmethod
    async def channel_free(self, *, frequency: int, modulation: Modulation) -> bool:
        """Whether channel activity detection (one look of a few symbols) finds nobody with the same spreading factor and
        bandwidth.  Raises as `transmit`.
        """

    @abstractmethod
    def receiving(self) -> bool:
        """Whether a packet is coming in right now; `False` where nobody is in `receive`.  Raises `PortLost`."""

    async def probe(self) -> None:  # noqa: B027 - may be left as it is
        """Ask the chip whether it is there, whatever it is doing; changes nothing.  Raises `RadioSilent`, `PortLost` or
        `Closed`.
        """

    @abstractmethod
    async def sleep(self) -> None:
        """Least current; whatever is done next wakes the chip.  Raises `RadioSilent`, `PortLost` or `Closed`."""

    def check(self, frequency: int, modulation: Modulation, data: bytes | None = None) -> None:
        """Raise `ConfigurationError` or `PacketTooLarge` for what this chip cannot do; subclasses know more."""
        if not self.lowest <= frequency <= self.highest:
            raise ConfigurationError(
                f"{frequency} Hz is beyond this transceiver; allowed: {self.lowest} to {self.highest} Hz"
            )
        if data is not None and not data:
            raise ConfigurationError("an empty packet cannot be sent")
        if data is not None and len(data) > MAX_PAYLOAD:
            raise PacketTooLarge(len(data), MAX_PAYLOAD)
        if data is None and not modulation.explicit_header:
            raise ConfigurationError(
                "packets with an implicit header can only be sent: what is received tells its length"
            )


# --- configuration ----------------------------------------------------------------------------------------------------


class Chip(enum.StrEnum):
    """Transceivers that there are drivers for."""

    SX1276 = "sx1276"
    """Also as RFM95W, RFM96W, and on the Dragino HAT."""
    SX1277 = "sx1277"
    SX1278 = "sx1278"
    SX1279 = "sx1279"
    SX1261 = "sx1261"
    SX1262 = "sx1262"
    SX1268 = "sx1268"
    LLCC68 = "llcc68"


class ChipLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A GPIO line that leads to the transceiver; levels are those of the wire."""

    chip: Annotated[str, Meta(pattern=r"^/")] = "/dev/gpiochip0"
    line: Annotated[int, Meta(ge=0)] | str
    """Number (offset) or name of the line on the chip."""


class AmplifierPin(enum.StrEnum):
    """Where an SX127x sends (its PaConfig bit 7); boards are wired for one of them."""

    BOOST = "boost"
    """PA_BOOST, 2 to 17 and 20 dBm: RFM95W and nearly every module."""
    RFO = "rfo"
    """RFO_HF or RFO_LF, 0 to 14 dBm."""


class TransceiverOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which transceiver, and how it is wired.  What is left out comes from `wiring`, where that is given."""

    wiring: str | None = None
    """A board known by name (`rataccess_drivers.lora.wirings`), such as `waveshare_sx1262`."""
    chip: Chip | None = None
    spi: Annotated[str, Meta(pattern=r"^/")] | None = None
    """By default `/dev/spidev0.0`."""
    speed: Annotated[int, Meta(ge=10_000, le=10_000_000)] = 2_000_000
    """Hz; both families take 10 MHz, long jumper wires do not."""
    chip_select: ChipLine | None = None
    """Where the board's NSS is not the SPI controller's own chip select."""
    reset: ChipLine | None = None
    """NRESET.  Without it a chip that hangs cannot be helped."""
    busy: ChipLine | None = None
    """SX126x only, and needed there."""
    irq: ChipLine | None = None
    """DIO0 of SX127x, DIO1 of SX126x."""
    timeout_irq: ChipLine | None = None
    """DIO1 of SX127x; without it a receive window that stayed empty is found by asking."""
    rx_enable: ChipLine | None = None
    """High while receiving: an external RF switch."""
    tx_enable: ChipLine | None = None
    """High while sending."""
    tcxo_volts: float | None = None
    """SX126x: supply of the TCXO by DIO3: 1.6, 1.7, 1.8, 2.2, 2.4, 2.7, 3.0 or 3.3 V.  0 or left out: a crystal."""
    tcxo_delay: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.005
    """Seconds that the TCXO takes to be stable."""
    dio2_rf_switch: bool | None = None
    """SX126x: whether DIO2 drives the RF switch."""
    dc_dc: bool | None = None
    """SX126x: DC-DC converter rather than LDO; needs its inductor on the board.  By default the LDO, which always works."""
    pa: AmplifierPin = AmplifierPin.BOOST
    """SX127x."""
    max_power_dbm: Annotated[int, Meta(ge=-17, le=22)] | None = None
    """Never send with more than this, whatever is asked."""


def open_transceiver(
    options: TransceiverOptions,
    name: str,
    *,
    open_spi: SpiOpener | None = None,
    open_gpio: GpioOpener | None = None,
) -> Transceiver:
    """The transceiver that `options` describe, for the link `name`; nothing is opened before its `open`.

    `open_spi` and `open_gpio` stand in for python-periphery, such as those of a virtual chip.  Raises `ConfigurationError`
    where a line or the chip's type is missing, or the wiring is unknown.
    """
    from rataccess_drivers.lora import spi, sx126x, sx127x, wirings

    whole = wirings.resolve(options)
    opener = spi.Openers(open_spi or spi.open_spi, open_gpio or spi.open_gpio)
    if whole.chip in sx127x.CHIPS:
        return sx127x.Sx127x(whole, name, opener)
    return sx126x.Sx126x(whole, name, opener)
