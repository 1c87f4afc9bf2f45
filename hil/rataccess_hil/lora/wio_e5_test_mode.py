"""The TEST mode of a virtual Wio-E5: the bare transceiver.

Rules of this file: words and formats of the AT command specification; nothing of LoRaWAN.
"""

from __future__ import annotations

from collections.abc import Callable

from rataccess_hil.lora.airtime import Waveform
from rataccess_hil.lora.end_device import EndDevice
from rataccess_hil.lora.ether import Heard, Listener
from rataccess_hil.lora.module import Bad, hex_bytes


class TestRadio:
    """The transceiver.  `say` says a line, `later` calls something so many seconds later."""

    __test__ = False  # no test of pytest's

    def __init__(
        self, device: EndDevice, say: Callable[[str], None], later: Callable[[float, Callable[[], None]], None]
    ) -> None:
        self._device, self._say, self._later = device, say, later
        self._wave = Waveform(868_000_000, 7, preamble=12, sync_word=0x12)
        self._power = 14.0
        self._listener: Listener | None = None

    def stop(self) -> None:
        """Hear nothing more."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def command(self, text: str) -> str:
        """The answer to `AT+TEST=text`; raises `Bad`."""
        name, _, value = text.partition(",")
        match name.strip().upper():
            case "RFCFG":
                return self._configure([part.strip() for part in value.split(",")])
            case "TXLRPKT":
                return self._transmit(hex_bytes(value.strip().strip('"').replace(" ", "")))
            case "RXLRPKT":
                return self._receive()
            case "STOP":
                self.stop()
                return "+TEST: STOP"
        raise Bad("-1")

    def _configure(self, parts: list[str]) -> str:
        if len(parts) < 6:
            raise Bad("-1")
        megahertz, factor, kilohertz, preamble, _, power = parts[:6]
        switches = [part.upper() == "ON" for part in parts[6:9]]
        crc, inverted, public = (switches + [False] * 3)[:3]
        self._wave = Waveform(
            frequency=round(float(megahertz) * 1e6),
            spreading_factor=int(factor.upper().removeprefix("SF")),
            bandwidth=int(kilohertz) * 1000,
            preamble=int(preamble),
            crc=crc,
            inverted_iq=inverted,
            sync_word=0x34 if public else 0x12,
        )
        self._power = float(power)
        self.stop()
        shown = ", ".join(
            f"{label}:{'ON' if on else 'OFF'}"
            for label, on in zip(("CRC", "IQ", "NET"), (crc, inverted, public), strict=True)
        )
        return (
            f"+TEST: RFCFG F:{self._wave.frequency}, {factor.upper()}, BW{kilohertz}K, "
            f"TXPR:{preamble}, RXPR:{parts[4]}, POW:{power}dBm, {shown}"
        )

    def _transmit(self, data: bytes) -> str:
        device = self._device
        packet = device.ether.transmit(device.station, self._wave, data, self._power)
        self._later(packet.end - packet.start, lambda: self._say("+TEST: TX DONE"))
        return f'+TEST: TXLRPKT "{data.hex().upper()}"'

    def _receive(self) -> str:
        self.stop()
        device = self._device
        self._listener = device.ether.listen(device.station, self._wave.matches, on_packet=self._heard)
        return "+TEST: RXLRPKT"

    def _heard(self, heard: Heard) -> None:
        if heard.intact:
            levels = f"RSSI:{round(heard.rssi_dbm)}, SNR:{round(heard.snr_db)}"
            self._say(f"+TEST: LEN:{len(heard.data)}, {levels}")
            self._say(f'+TEST: RX "{heard.data.hex().upper()}"')
