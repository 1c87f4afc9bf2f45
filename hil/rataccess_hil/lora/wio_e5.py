"""A virtual Seeed Wio-E5 (LoRa-E5, RHF76): `AT+CMD` in, `+CMD: text` out.

Rules of this file: words and formats, from the AT command specification and lines of real modules.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

from rataccess_hil.lora import mac_commands
from rataccess_hil.lora.end_device import Downlink, Finished, Refused
from rataccess_hil.lora.ether import Ether
from rataccess_hil.lora.module import Bad, Port, SerialModule, hex_bytes
from rataccess_hil.lora.regions import REGIONS
from rataccess_hil.lora.wio_e5_test_mode import TestRadio
from rataccess_hil.lora.wio_e5_words import colons, unquoted

_PARAMETER, _UNKNOWN, _FORMAT, _UNAVAILABLE, _TOO_LONG, _CHARACTER = -1, -10, -11, -12, -21, -23
_FOREIGN = ("EU433", "CN470", "CN779", "KR920", "RU864", "US915HYBRID")
_LONGEST = 528


class VirtualWioE5(SerialModule):
    """A Wio-E5.  `mode` is LWOTAA, LWABP or TEST; `length_comma` is how `AT+LW=LEN` is spelt by its firmware."""

    model = "wio-e5"

    def __init__(
        self,
        port: Port,
        ether: Ether,
        *,
        version: str = "4.0.11",
        mode: str = "LWOTAA",
        length_comma: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(port, ether, **options)
        self._version = version
        self._mode = mode
        self._comma = length_comma
        self._scheme = self.device.region.name
        self._port_number = 8
        self._joining = False
        self._sending = ""
        self._link_check = False
        self._dozing = False  # AT+LOWPOWER=AUTOON: asleep after each command
        self._time: float | None = None
        self.device.retries = 3
        self._radio = TestRadio(self.device, self._say, self._later)

    # --- lines --------------------------------------------------------------------------------------------------------

    def _banner(self) -> list[str]:
        return []

    def _forget(self) -> None:
        self._joining, self._sending, self._time = False, "", None
        self._radio.stop()

    def _recall(self) -> None:
        self._apply_scheme()

    def _heard_asleep(self, byte: int) -> None:
        self.swallowed += 1
        if byte in b"\r\n" or self.swallowed % 4 == 0:
            self._wake()

    def _wake(self) -> None:
        if self.asleep:
            self.asleep = False
            if not self._dozing:
                self._say("+LOWPOWER: WAKEUP")

    def _execute(self, line: str) -> None:
        text = line.lstrip("\ufffd").strip()  # 0xFF, as wakes it
        found = re.fullmatch(r"AT(?:\+([A-Z0-9]+))?(?:=(.*))?", text, re.IGNORECASE)
        if found is None:
            if text.upper().startswith("AT"):
                self._say(f"+AT: ERROR({_FORMAT})")
            return
        name, value = (found[1] or "AT").upper(), found[2]
        handler = self._handlers().get(name)
        try:
            if len(text) > _LONGEST:
                raise Bad(str(_TOO_LONG))
            if handler is None:
                raise Bad(str(_UNKNOWN))
            handler(value)
        except Bad as bad:
            self._say(f"+{name}: ERROR({bad})")
        except ValueError:
            self._say(f"+{name}: ERROR({_PARAMETER})")
        self.asleep = self.asleep or self._dozing

    def _handlers(self) -> dict[str, Callable[[str | None], None]]:
        return {
            "AT": lambda value: self._say("+AT: OK"),
            "VER": lambda value: self._say(f"+VER: {self._version}"),
            "ID": self._id,
            "KEY": self._key,
            "MODE": self._set_mode,
            "DR": self._rate,
            "CH": self._channels,
            "PORT": self._set_port,
            "CLASS": self._class,
            "ADR": self._adr,
            "POWER": self._power_index,
            "RETRY": self._retry,
            "LW": self._lw,
            "RTC": self._rtc,
            "JOIN": self._join,
            "MSG": lambda value: self._message("MSG", value, confirmed=False, hexadecimal=False),
            "CMSG": lambda value: self._message("CMSG", value, confirmed=True, hexadecimal=False),
            "MSGHEX": lambda value: self._message("MSGHEX", value, confirmed=False, hexadecimal=True),
            "CMSGHEX": lambda value: self._message("CMSGHEX", value, confirmed=True, hexadecimal=True),
            "TEST": self._test,
            "LOWPOWER": self._low_power,
            "RESET": self._reset,
            "FDEFAULT": self._factory,
            "VDD": lambda value: self._say("+VDD: 3.30V"),
        }

    # --- settings -----------------------------------------------------------------------------------------------------

    def _id(self, value: str | None) -> None:
        device = self.device
        address = device.session.address if device.session else 0
        lines = {
            "DEVADDR": f"+ID: DevAddr, {colons(address.to_bytes(4))}",
            "DEVEUI": f"+ID: DevEui, {colons(device.dev_eui.to_bytes(8))}",
            "APPEUI": f"+ID: AppEui, {colons(device.join_eui.to_bytes(8))}",
        }
        if value is None:
            for line in lines.values():
                self._say(line)
            return None
        name, comma, text = value.partition(",")
        key = name.strip().upper()
        if key not in lines:
            raise Bad(str(_PARAMETER))
        if comma:
            number = int.from_bytes(hex_bytes(unquoted(text), 4 if key == "DEVADDR" else 8))
            if key == "DEVADDR":
                return self._say(f"+ID: DevAddr, {colons(number.to_bytes(4))}")
            setattr(device, {"DEVEUI": "dev_eui", "APPEUI": "join_eui"}[key], number)
            spelt = {"DEVEUI": "DevEui", "APPEUI": "AppEui"}[key]
            return self._say(f"+ID: {spelt}, {colons(number.to_bytes(8))}")
        return self._say(lines[key])

    def _key(self, value: str | None) -> None:
        name, comma, text = (value or "").partition(",")
        if not comma:
            self.key_reads += 1
            raise Bad(str(_PARAMETER))
        key = hex_bytes(unquoted(text), 16)
        kind = name.strip().upper()
        if kind not in ("APPKEY", "NWKSKEY", "APPSKEY"):
            raise Bad(str(_PARAMETER))
        if kind == "APPKEY":
            self.device.set_app_key(key)
        # The real one says back what it was told.
        self._say(f"+KEY: {kind} {key.hex(' ').upper()}")

    def _set_mode(self, value: str | None) -> None:
        if value is not None:
            if value.upper() not in ("LWOTAA", "LWABP", "TEST"):
                raise Bad(str(_PARAMETER))
            if value.upper() != self._mode:
                self.device.session = None
            self._mode = value.upper()
        self._say(f"+MODE: {self._mode}")

    def _rate(self, value: str | None) -> None:
        wanted = (value or "").upper()
        if wanted in REGIONS or wanted in _FOREIGN:
            if wanted != self._scheme:
                self._scheme = wanted
                self._apply_scheme()
            return self._say(f"+DR: {wanted}")
        if wanted and wanted != "SCHEME":
            rate = int(wanted.removeprefix("DR"))
            if rate not in self.device.region.rates:
                raise Bad(str(_PARAMETER))
            self.device.rate = rate
        factor, bandwidth = self.device.region.rates[self.device.rate]
        self._say(f"+DR: DR{self.device.rate}")
        return self._say(f"+DR: {self._scheme} DR{self.device.rate}  SF{factor}  BW{bandwidth // 1000}K ")

    def _apply_scheme(self) -> None:
        # On a band of elsewhere nobody hears it.
        self.device.station.antenna_gain = 0.0 if self._scheme in REGIONS else -300.0
        self.device.set_region(self._scheme if self._scheme in REGIONS else "EU868")

    def _channels(self, value: str | None) -> None:
        plan = self.device.plan
        if value is not None and value.upper().startswith("NUM"):
            wanted: set[int] = set()
            for part in value.split(",")[1:]:
                low, _, high = part.strip().partition("-")
                wanted |= set(range(int(low), int(high or low) + 1))
            for index, channel in plan.channels.items():
                channel.enabled = index in wanted
            return self._say(f"+CH: NUM, {value.partition(',')[2].strip()}")
        enabled = {index: each for index, each in plan.channels.items() if each.enabled}
        self._say(f"+CH: {len(enabled)}")
        for index, each in enabled.items():
            self._say(f"+CH: {index},{each.frequency},DR{each.lowest},DR{each.highest}")
        return None

    def _set_port(self, value: str | None) -> None:
        if value is not None:
            number = int(value)
            if not 1 <= number <= 223:
                raise Bad(str(_PARAMETER))
            self._port_number = number
        self._say(f"+PORT: {self._port_number}")

    def _class(self, value: str | None) -> None:
        if (value or "A").upper() != "A":
            raise Bad(str(_PARAMETER))
        self._say("+CLASS: A")

    def _adr(self, value: str | None) -> None:
        if value is not None:
            if value.upper() not in ("ON", "OFF"):
                raise Bad(str(_PARAMETER))
            self.device.adr = value.upper() == "ON"
        self._say(f"+ADR: {'ON' if self.device.adr else 'OFF'}")

    def _power_index(self, value: str | None) -> None:
        if value is not None:
            self.device.power_index = max(0, (self.device.region.max_eirp - int(value)) // 2)
        self._say(f"+POWER: {self.device.region.max_eirp - 2 * self.device.power_index}")

    def _retry(self, value: str | None) -> None:
        if value is not None:
            self.device.retries = int(value)
        self._say(f"+RETRY: {self.device.retries}")

    def _lw(self, value: str | None) -> None:
        name, _, argument = (value or "").upper().partition(",")
        session = self.device.session
        if name == "LEN":
            limit = max(0, self.device.limit)
            self._say(f"+LW: LEN, {limit}" if self._comma else f"+LW: LEN {limit}")
        elif name == "ULDL":
            up, down = (session.up, max(0, session.down)) if session else (0, 0)
            self._say(f"+LW: ULDL, {up}, {down}")
        elif name == "LCR":
            self._link_check = True
            self._say("+LW: LCR")
        elif name == "DTR":
            self.device.requests += bytes([mac_commands.DEVICE_TIME])
            self._say("+LW: DTR")
        elif name in ("DC", "JDC"):
            if argument.strip() in ("ON", "OFF"):
                self.device.plan.duty_cycle = argument.strip() == "ON"
            self._say(f"+LW: {name}, {'ON' if self.device.plan.duty_cycle else 'OFF'}")
        elif name == "BAT":
            self.device.battery = int(argument or self.device.battery)
            self._say(f"+LW: BAT, {self.device.battery}")
        else:
            raise Bad(str(_PARAMETER))

    def _rtc(self, value: str | None) -> None:
        if self._time is None:
            return self._say("+RTC: 2000-01-01 00:00:00")
        at = datetime.datetime.fromtimestamp(self._time + self.device._now(), datetime.UTC)
        return self._say(at.strftime("+RTC: %Y-%m-%d %H:%M:%S"))

    def _test(self, value: str | None) -> None:
        if self._mode != "TEST":
            raise Bad(str(_UNAVAILABLE))
        self._say(self._radio.command(value or ""))

    # --- power --------------------------------------------------------------------------------------------------------

    def _low_power(self, value: str | None) -> None:
        if self.device.busy:
            return self._say("+LOWPOWER: LoRaWAN modem is busy")
        if (value or "").upper() in ("AUTOON", "AUTOOFF"):
            self._dozing = (value or "").upper() == "AUTOON"
            return self._say(f"+LOWPOWER: {(value or '').upper()}")
        self._say("+LOWPOWER: SLEEP")
        self.asleep = True
        if value:
            self._later(int(value) / 1000, self._wake)
        return None

    def _reset(self, value: str | None) -> None:
        self._say("+RESET: OK")
        self.crash()

    def _factory(self, value: str | None) -> None:
        self._say("+FDEFAULT: OK")
        self._factory_settings()
        self.crash()

    def _factory_settings(self) -> None:
        self.device.dev_eui, self.device.join_eui = self._burnt_in, 0
        self.device.set_app_key(b"")
        self.device.adr, self.device.rate, self.device.retries = False, 0, 3
        self._mode, self._scheme, self._port_number = "LWABP", "EU868", 8

    # --- joining and sending ------------------------------------------------------------------------------------------

    def _join(self, value: str | None) -> None:
        forced = (value or "").upper() == "FORCE"
        if self._mode != "LWOTAA":
            raise Bad(str(_UNAVAILABLE))
        if self.device.busy:
            return self._say("+JOIN: LoRaWAN modem is busy")
        if self.device.session is not None and not forced:
            return self._say("+JOIN: Joined already")
        waiting = self.device.waiting()
        if waiting:
            return self._say(f"+JOIN: No band in {round(waiting * 1000)}ms")
        self._joining = True
        if not self.device.has_app_key:
            self.device.set_app_key(bytes(16))
        self._say("+JOIN: Start")
        self._say("+JOIN: FORCE" if forced else "+JOIN: NORMAL")
        self.device.join()
        return None

    def _message(self, name: str, value: str | None, *, confirmed: bool, hexadecimal: bool) -> None:
        text = unquoted(value) if value is not None else ""
        if hexadecimal:
            try:
                data = hex_bytes(text.replace(" ", ""))
            except ValueError:
                raise Bad(str(_CHARACTER)) from None
        else:
            data = text.encode()
        if self._mode == "TEST":
            raise Bad(str(_UNAVAILABLE))
        if self._link_check:
            self.device.requests += bytes([mac_commands.LINK_CHECK])
            self._link_check = False
        try:
            if len(data) > max(0, self.device.limit) and self.device.session is not None:
                raise Refused("length", limit=max(0, self.device.limit))
            self.device.send(data, self._port_number, confirmed=confirmed)
        except Refused as refused:
            return self._refused(name, refused)
        self._sending = name
        self._say(f"+{name}: Start")
        if confirmed:
            self._say(f"+{name}: Wait ACK")
        return None

    def _refused(self, name: str, refused: Refused) -> None:
        if refused.cause == "no_free_channel":
            text = f"No band in {round(refused.wait * 1000)}ms" if refused.wait else "No free channel"
        elif refused.cause == "length":
            text = f"Length error {refused.limit}"
        else:
            text = {"not_joined": "Please join network first", "busy": "LoRaWAN modem is busy"}[refused.cause]
        self._say(f"+{name}: {text}")

    def _sent(self) -> None:
        """Nothing is said before the windows are over."""

    def _finished(self, finished: Finished) -> None:
        if self._joining:
            self._joining = False
            session = self.device.session
            if finished.ok and session is not None:
                self._say("+JOIN: Network joined")
                address = colons(session.address.to_bytes(4))
                self._say(f"+JOIN: NetID {session.net_id:06X} DevAddr {address}")
            else:
                self._say("+JOIN: Join failed")
            self._say("+JOIN: Done")
            return
        name, self._sending = self._sending, ""
        if finished.downlink is not None:
            self._downlink(name, finished.downlink, finished.confirmed)
        self._say(f"+{name}: Done")

    def _downlink(self, name: str, downlink: Downlink, confirmed: bool) -> None:
        if downlink.pending:
            self._say(f"+{name}: FPENDING")
        for told in downlink.told:
            if told.what == "link_check":
                self._say(f"+{name}: Link {told.values[0]:.0f}, {told.values[1]:.0f}")
            else:
                self._time = told.values[0] + 315_964_800 - 18 - self.device._now()
        if confirmed and downlink.ack:
            self._say(f"+{name}: ACK Received")
        if downlink.port is not None:
            self._say(f'+{name}: PORT: {downlink.port}; RX: "{downlink.data.hex().upper()}"')
        levels = f"RSSI {downlink.rssi_dbm:.0f}, SNR {downlink.snr_db:.1f}"
        self._say(f"+{name}: RXWIN{downlink.window}, {levels}")
