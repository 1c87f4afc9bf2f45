"""A virtual RAKwireless RAK3172: the RUI3 AT commands and events.

Rules of this file: words and formats, from the RUI3 manual, and lines of real modules.  Firmwares differ: `Rui3Firmware`.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable
from typing import Any

from rataccess_hil.lora import mac_commands
from rataccess_hil.lora.end_device import Downlink, Finished, Refused
from rataccess_hil.lora.ether import Ether
from rataccess_hil.lora.module import Bad, Port, SerialModule, hex_bytes
from rataccess_hil.lora.rak3172_firmware import RUI3_4, Rui3Firmware
from rataccess_hil.lora.rak3172_words import FACTORY, LORAWAN_ONLY, flag, whole

_BANDS = {3: "IN865", 4: "EU868", 5: "US915", 6: "AU915", 8: "AS923"}
_NUMBERS = {name: number for number, name in _BANDS.items()}
_SECRETS = ("APPKEY", "NWKKEY", "APPSKEY", "NWKSKEY")


class VirtualRak3172(SerialModule):
    """A RAK3172.  `point_to_point` starts it in P2P mode (`AT+NWM=0`), as some are sold; `transparent` where all bytes are
    payload until three plus signs come.
    """

    model = "rak3172"

    def __init__(
        self,
        port: Port,
        ether: Ether,
        *,
        firmware: Rui3Firmware = RUI3_4,
        point_to_point: bool = False,
        echo: bool = False,
        transparent: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(port, ether, **options)
        self.firmware = firmware
        self._lorawan = not point_to_point
        self._echo = echo
        self._transparent = transparent
        self._escaping = 0
        self._band = _NUMBERS[self.device.region.name]
        self._confirmed = False
        self._last_confirmed_ok = False
        self._link_check = 0
        self._time_request = False
        self._time: float | None = None
        self._received = ""
        self._auto_join, self._interval, self._tries = 0, 8, 0
        self._tries_left = 0
        self._joining = False
        self._plain = dict(FACTORY)
        self.device.set_app_key(bytes(16))
        self.device.retries = 0

    # --- lines --------------------------------------------------------------------------------------------------------

    def _character(self, byte: int) -> None:
        if self._transparent:
            self._escaping = self._escaping + 1 if byte == 0x2B else 0
            self._transparent = self._escaping < 3
            return
        if self._echo:
            self.port.write(bytes([byte]))
        super()._character(byte)

    def _banner(self) -> list[str]:
        mode = "LoRaWAN" if self._lorawan else "LoRa P2P"
        return [
            "RAKwireless RAK3172-E Example",
            "------------------------------------------------------",
            f"Version: {self.firmware.version}",
            f"Current Work Mode: {mode}.",
        ]

    def _forget(self) -> None:
        self._joining = False
        self._received = ""
        self._time = None

    def _recall(self) -> None:
        self._apply_band()
        if self._auto_join and self._lorawan:
            self._tries_left = max(1, self._tries)
            self._joining = True
            self._try_join()

    def _execute(self, line: str) -> None:
        text = line.strip()
        upper = text.upper()
        if not upper.startswith("AT"):
            return
        try:
            self._dispatch(upper[2:], text[2:])
        except Bad as bad:
            self._say(str(bad))
        except ValueError:
            self._say("AT_PARAM_ERROR")

    def _dispatch(self, upper: str, text: str) -> None:
        simple = {"": self._ok, "Z": self.crash, "E": self._toggle_echo, "R": self._restore, "?": self._help}
        if upper in simple:
            simple[upper]()
            return
        name, equals, _ = upper.removeprefix("+").partition("=")
        if upper.endswith("?") and not equals:
            self._say(f"AT{upper[:-1]}: get or set it")
            self._ok()
            return
        value = text.partition("=")[2]
        if not upper.startswith("+"):
            raise Bad("AT_ERROR")
        if value == "?":
            self._get(name)
        else:
            self._set(name, value if equals else "")

    def _ok(self) -> None:
        if self.firmware.blank_before_ok:
            self._say("")
        self._say("OK")

    def _help(self) -> None:
        self._say("AT+<CMD>?: help on <CMD>")
        self._ok()

    def _toggle_echo(self) -> None:
        self._echo = not self._echo
        self._ok()

    def _restore(self) -> None:
        self._factory_settings()
        self._ok()

    def _factory_settings(self) -> None:
        self.device.set_app_key(bytes(16))
        self.device.dev_eui, self.device.join_eui = self._burnt_in, 0
        self.device.adr, self.device.rate, self.device.retries = False, 0, 0
        self._confirmed, self._auto_join = False, 0
        self._plain = dict(FACTORY)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _get(self, name: str) -> None:
        if name in _SECRETS:
            self.key_reads += 1
            raise Bad("AT_ERROR")
        value = self._values().get(name) or self._plain.get(name)
        if value is None:
            raise Bad(self.firmware.unknown)
        self._check_mode(name)
        self._say(f"AT+{name}={value}" if self.firmware.named_values else value)
        self._ok()

    def _values(self) -> dict[str, str]:
        device, session = self.device, self.device.session
        return {
            "VER": self.firmware.version,
            "HWMODEL": "rak3172",
            "HWID": "stm32wle5xx",
            "SN": "0000000000000000",
            "NWM": str(int(self._lorawan)),
            "BAND": str(self._band),
            "DEVEUI": f"{device.dev_eui:016X}",
            "APPEUI": f"{device.join_eui:016X}",
            "DEVADDR": f"{session.address if session else 0:08X}",
            "NETID": f"{session.net_id if session else 0:06X}",
            "ADR": str(int(device.adr)),
            "DR": str(device.rate),
            "TXP": str(device.power_index),
            "CFM": str(int(self._confirmed)),
            "CFS": str(int(self._last_confirmed_ok)),
            "NJS": str(int(session is not None)),
            "JOIN": f"{int(self._joining)}:{self._auto_join}:{self._interval}:{self._tries}",
            "RETY": str(device.retries),
            "DCS": str(int(device.plan.duty_cycle)),
            "RSSI": str(round(device.last_rssi)),
            "SNR": str(round(device.last_snr)),
            "RECV": self._received or "0:",
            "LINKCHECK": str(self._link_check),
            "TIMEREQ": str(int(self._time_request)),
            "LTIME": self._local_time(),
            "BAT": "3.300",
            "UID": f"{self._burnt_in:016X}",
        }

    def _local_time(self) -> str:
        if self._time is None:
            return "00h00m00s on 01/01/1970"
        at = datetime.datetime.fromtimestamp(self._time + self.device._now(), datetime.UTC)
        return at.strftime("%Hh%Mm%Ss on %m/%d/%Y")

    # --- writing ------------------------------------------------------------------------------------------------------

    def _set(self, name: str, value: str) -> None:
        handlers: dict[str, Callable[[str], None]] = {
            "NWM": self._set_mode,
            "BAND": self._set_band,
            "DEVEUI": self._set_dev_eui,
            "APPEUI": self._set_app_eui,
            "APPKEY": lambda text: self.device.set_app_key(hex_bytes(text, 16)),
            "DR": self._set_rate,
            "ADR": lambda text: setattr(self.device, "adr", flag(text)),
            "TXP": lambda text: setattr(self.device, "power_index", whole(text, 0, 14)),
            "CFM": lambda text: setattr(self, "_confirmed", flag(text)),
            "RETY": lambda text: setattr(self.device, "retries", whole(text, 0, 7)),
            "DCS": lambda text: setattr(self.device.plan, "duty_cycle", flag(text)),
            "LINKCHECK": lambda text: setattr(self, "_link_check", whole(text, 0, 2)),
            "TIMEREQ": lambda text: setattr(self, "_time_request", flag(text)),
            "JOIN": self._join,
            "SEND": self._send,
            "LPSEND": self._long_send,
            "SLEEP": self._sleep,
        }
        if name in ("APPSKEY", "NWKSKEY", "DEVADDR"):
            hex_bytes(value, 4 if name == "DEVADDR" else 16)
        elif name in handlers:
            self._check_mode(name)
            handlers[name](value)
            if name == "NWM":
                return
        elif name in self._plain:
            self._check_mode(name)
            self._plain[name] = value
        else:
            raise Bad(self.firmware.unknown)
        self._ok()

    def _check_mode(self, name: str) -> None:
        if not self._lorawan and name in LORAWAN_ONLY:
            raise Bad("AT_MODE_NO_SUPPORT")

    def _set_mode(self, value: str) -> None:
        # It starts anew whatever the mode was, and before it could answer.
        self._lorawan = flag(value)
        self.crash()

    def _set_band(self, value: str) -> None:
        number = whole(value, 0, 12)
        if self.device.busy:
            raise Bad("AT_BUSY_ERROR")
        if number != self._band:
            self._band = number
            self._apply_band()

    def _apply_band(self) -> None:
        name = _BANDS.get(self._band)
        # On a band of elsewhere nobody hears it.
        self.device.station.antenna_gain = 0.0 if name else -300.0
        self.device.set_region(name or "EU868")

    def _set_dev_eui(self, value: str) -> None:
        self.device.dev_eui = int.from_bytes(hex_bytes(value, 8))

    def _set_app_eui(self, value: str) -> None:
        self.device.join_eui = int.from_bytes(hex_bytes(value, 8))

    def _set_rate(self, value: str) -> None:
        rate = whole(value, 0, 7)
        if rate not in self.device.region.rates:
            raise Bad("AT_PARAM_ERROR")
        self.device.rate = rate

    def _sleep(self, value: str) -> None:
        self.asleep = True
        if value:
            self._later(whole(value, 1, 1 << 31) / 1000, self._wake)

    # --- joining and sending ------------------------------------------------------------------------------------------

    def _join(self, value: str) -> None:
        parts = value.split(":") if value else ["1"]
        start = flag(parts[0])
        auto = int(flag(parts[1])) if len(parts) > 1 else self._auto_join
        interval = whole(parts[2], 7, 255) if len(parts) > 2 else self._interval
        tries = whole(parts[3], 0, 255) if len(parts) > 3 else self._tries
        if start and (self.device.busy or self._joining):
            raise Bad("AT_BUSY_ERROR")
        self._auto_join, self._interval, self._tries = auto, interval, tries
        self._joining = start
        if start:
            self._tries_left = max(1, tries)
            self._later(0.001, self._try_join)

    def _try_join(self) -> None:
        if not self._joining:
            return
        try:
            self.device.join()
        except Refused as refused:
            self._later(max(1.0, refused.wait), self._try_join)

    def _send(self, value: str) -> None:
        port, colon, payload = value.partition(":")
        number, data = whole(port, 1, 223), hex_bytes(payload)
        if not colon or len(payload) > 500:
            raise Bad("AT_PARAM_ERROR")
        self._uplink(number, data, self._confirmed)

    def _long_send(self, value: str) -> None:
        port, ack, payload = [*value.split(":"), "", ""][:3]
        self._uplink(whole(port, 1, 223), hex_bytes(payload), flag(ack))

    def _uplink(self, port: int, data: bytes, confirmed: bool) -> None:
        if self._joining:
            raise Bad("AT_BUSY_ERROR")
        if self._link_check:
            self.device.requests += bytes([mac_commands.LINK_CHECK])
            self._link_check = 0 if self._link_check == 1 else 2
        if self._time_request:
            self.device.requests += bytes([mac_commands.DEVICE_TIME])
        try:
            self.device.send(data, port, confirmed=confirmed)
        except Refused as refused:
            self._refuse(refused)

    def _refuse(self, refused: Refused) -> None:
        if refused.cause == "length":
            self._send_nothing()  # takes MAC commands along, which may have been what left no room
            raise Bad("AT_PARAM_ERROR") from refused
        if refused.cause in ("not_joined", "busy"):
            raise Bad({"not_joined": "AT_NO_NETWORK_JOINED", "busy": "AT_BUSY_ERROR"}[refused.cause]) from refused
        *before, last = self.firmware.no_band
        for line in before:
            self._say(line.format(milliseconds=round(refused.wait * 1000)))
        raise Bad(last) from refused

    def _send_nothing(self) -> None:
        with contextlib.suppress(Refused):
            self.device.send(b"", 2)

    def _sent(self) -> None:
        """Nothing is said before the windows are over."""

    def _finished(self, finished: Finished) -> None:
        if self._joining:
            self._joined(finished.ok)
            return
        if finished.confirmed:
            self._last_confirmed_ok = finished.ok
            self._say(self.firmware.confirmed_ok if finished.ok else self.firmware.confirmed_failed)
        elif self.firmware.tx_done:
            self._say(self.firmware.tx_done)
        downlink = finished.downlink
        if downlink is None:
            return
        self._downlink(downlink)
        if self.firmware.answers_by_itself and (downlink.pending or self.device.owes_ack):
            self._send_nothing()

    def _joined(self, ok: bool) -> None:
        self._tries_left -= 1
        if ok:
            self._joining = False
            self._say("+EVT:JOINED")
        elif self._tries_left > 0:
            self._later(self._interval, self._try_join)
        else:
            self._joining = False
            self._say(self.firmware.join_failed)

    def _downlink(self, downlink: Downlink) -> None:
        levels = {"rssi": round(downlink.rssi_dbm), "snr": round(downlink.snr_db)}
        for told in downlink.told:
            if told.what == "link_check":
                margin, gateways = told.values
                self._say(f"+EVT:LINKCHECK:0:{margin:.0f}:{gateways:.0f}:{levels['rssi']}:{levels['snr']}")
            else:
                self._time_request = False
                self._time = told.values[0] + 315_964_800 - 18 - self.device._now()
                self._say("+EVT:TIMEREQ OK")
        if downlink.port is not None:
            data = downlink.data.hex().upper()
            self._received = f"{downlink.port}:{data}"
            for each in self.firmware.reception:
                self._say(each.format(window=downlink.window, port=downlink.port, data=data, **levels))
