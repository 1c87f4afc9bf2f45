"""The `radio` commands of a virtual RN2483: the bare transceiver, while its MAC is paused.

Rules of this file: words and formats of the command reference; nothing of LoRaWAN.
"""

from __future__ import annotations

from collections.abc import Callable

from rataccess_hil.lora.airtime import Waveform
from rataccess_hil.lora.end_device import EndDevice
from rataccess_hil.lora.ether import Heard, Listener
from rataccess_hil.lora.module import hex_bytes


class RawRadio:
    """The transceiver.  `say` says a line, `later` calls something so many seconds later."""

    def __init__(
        self, device: EndDevice, say: Callable[[str], None], later: Callable[[float, Callable[[], None]], None]
    ) -> None:
        self._device, self._say, self._later = device, say, later
        self._settings = {"freq": "868100000", "sf": "sf12", "bw": "125", "cr": "4/5", "pwr": "1", "sync": "34"}
        self._settings |= {"mod": "lora", "crc": "on", "iqi": "off", "wdt": "15000", "prlen": "8"}
        self._listener: Listener | None = None

    def stop(self) -> None:
        """Hear nothing more."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def command(self, words: list[str], *, free: bool) -> str:
        """The answer to a command; `free` says whether the MAC is paused."""
        match words:
            case ["set", name, value] if name in self._settings:
                self._settings[name] = value
                return "ok"
            case ["get", name] if name in self._settings:
                return self._settings[name]
            case ["get", "snr"]:
                return str(round(self._device.last_snr))
            case ["tx", text, *_]:
                data = hex_bytes(text)
                return self._transmit(data) if free and self._listener is None else "busy"
            case ["rx", symbols]:
                return self._receive(int(symbols)) if free and self._listener is None else "busy"
            case ["rxstop"]:
                self.stop()
                return "ok"
        return "invalid_param"

    def _wave(self) -> Waveform:
        settings = self._settings
        return Waveform(
            frequency=int(settings["freq"]),
            spreading_factor=int(settings["sf"].removeprefix("sf")),
            bandwidth=int(settings["bw"]) * 1000,
            coding_rate=int(settings["cr"][-1]),
            preamble=int(settings["prlen"]),
            crc=settings["crc"] == "on",
            inverted_iq=settings["iqi"] == "on",
            sync_word=int(settings["sync"], 16),
        )

    def _transmit(self, data: bytes) -> str:
        device = self._device
        packet = device.ether.transmit(device.station, self._wave(), data, float(self._settings["pwr"]))
        self._later(packet.end - packet.start, lambda: self._say("radio_tx_ok"))
        return "ok"

    def _receive(self, symbols: int) -> str:
        wave = self._wave()

        def heard(packet: Heard) -> None:
            self.stop()
            self._device.last_snr = packet.snr_db
            # The real one says two blanks.
            self._say(f"radio_rx  {packet.data.hex().upper()}" if packet.intact else "radio_err")

        def over() -> None:
            if self._listener is listener and not listener.locked:
                self.stop()
                self._say("radio_err")

        listener = self._listener = self._device.ether.listen(self._device.station, wave.matches, on_packet=heard)
        limit = symbols * wave.symbol_time if symbols else int(self._settings["wdt"]) / 1000
        if limit:
            self._later(limit, over)
        return "ok"
