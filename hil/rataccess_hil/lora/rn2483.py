"""A virtual Microchip RN2483 or RN2903: `sys`, `mac` and `radio` commands, lower-case words, no echo.

Rules of this file: words and formats, from the command reference of the modules and lines of real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rataccess_hil.lora import mac_commands
from rataccess_hil.lora.crypto import SessionKeys
from rataccess_hil.lora.device_plan import Channel
from rataccess_hil.lora.end_device import DeviceSession, Finished, Refused
from rataccess_hil.lora.ether import Ether
from rataccess_hil.lora.module import Bad, Port, SerialModule, hex_bytes
from rataccess_hil.lora.rn2483_firmware import RN2483_105, RN2903_105, RnFirmware, StatusFlags
from rataccess_hil.lora.rn2483_radio import RawRadio

_INVALID = "invalid_param"


class VirtualRn2483(SerialModule):
    """An RN2483.  What `mac save` has written survives the loss of power; all else does not."""

    model = "rn2483"

    def __init__(self, port: Port, ether: Ether, *, firmware: RnFirmware = RN2483_105, **options: Any) -> None:
        super().__init__(port, ether, **options)
        self.firmware = firmware
        self._hardware_eui = 0x0004A30B001A2B3C if self._burnt_in == 0xFFFFFFFFFFFFFFFF else self._burnt_in
        self.device.dev_eui, self.device.adr = 0, False
        self.device.rate = self.device.region.highest_rate
        self._has = {"deveui": False, "appeui": False, "appkey": False}
        self._personal: dict[str, bytes] = {}
        self._saved: dict[str, Any] = {}
        self._joining = False
        self._paused = False
        self._silent = False
        self._link_check, self._margin, self._gateways = 0, 255, 0
        self._radio = RawRadio(self.device, self._say, self._later)
        self.counters_used_up = False
        """Whether the uplink counter has reached its end: only a join helps."""
        self.nvm = bytearray(256)

    # --- lines --------------------------------------------------------------------------------------------------------

    def _banner(self) -> list[str]:
        return [self.firmware.banner]

    def _heard_asleep(self, byte: int) -> None:
        # Woken by a break (seen as 0x00) and the auto-baud character 0x55; anything else is noise.
        self.swallowed += 1
        if byte == 0x55:
            self._wake()

    def _wake(self) -> None:
        if self.asleep:
            self.asleep = False
            self._say("ok")

    def _character(self, byte: int) -> None:
        if byte == 0 or (byte == 0x55 and not self._line):
            return  # a break and the auto-baud character before a command
        super()._character(byte)

    def _forget(self) -> None:
        self._joining = self._paused = self._silent = False
        self._personal.clear()
        self._has = dict.fromkeys(self._has, False)
        self._radio.stop()

    def _recall(self) -> None:
        device, saved = self.device, self._saved
        device.dev_eui, device.join_eui = saved.get("deveui", 0), saved.get("appeui", 0)
        device.set_app_key(saved.get("appkey", b""))
        self._has = dict(saved.get("has", dict.fromkeys(self._has, False)))
        device.rate = saved.get("rate", device.region.highest_rate)
        device.adr = saved.get("adr", False)
        self._personal = dict(saved.get("personal", {}))

    def _factory_settings(self) -> None:
        self._saved.clear()

    def _execute(self, line: str) -> None:
        words = line.strip("\r\n").split(" ")
        table: dict[str, Callable[[list[str]], str | None]] = {
            "sys": self._sys,
            "mac": self._mac,
            "radio": lambda rest: self._radio.command(rest, free=self._paused),
        }
        try:
            answer = table[words[0]](words[1:])
        except Bad as bad:
            answer = str(bad)
        except (ValueError, IndexError, KeyError):
            answer = _INVALID
        if answer is not None:
            self._say(answer)

    # --- sys ----------------------------------------------------------------------------------------------------------

    def _sys(self, words: list[str]) -> str | None:
        match words:
            case ["reset"]:
                self.crash()
                return None
            case ["factoryRESET"]:
                self._factory_settings()
                self.crash()
                return None
            case ["sleep", time] if 100 <= int(time) <= 4294967296:
                self.asleep = True
                self._later(int(time) / 1000, self._wake)
                return None
            case ["get", "ver"]:
                return self.firmware.banner
            case ["get", "vdd"]:
                return "3294"
            case ["get", "hweui"]:
                return f"{self._hardware_eui:016X}"
            case ["get", "nvm", address]:
                return f"{self.nvm[int(address, 16) - 0x300]:02X}"
            case ["set", "nvm", address, value]:
                self.nvm[int(address, 16) - 0x300] = hex_bytes(value, 1)[0]
                return "ok"
        return _INVALID

    # --- mac ----------------------------------------------------------------------------------------------------------

    def _mac(self, words: list[str]) -> str | None:
        table: dict[str, Callable[[list[str]], str | None]] = {
            "reset": self._mac_reset,
            "set": self._mac_set,
            "get": self._mac_get,
            "join": self._mac_join,
            "tx": self._mac_tx,
            "save": self._mac_save,
            "pause": self._mac_pause,
            "resume": self._mac_resume,
            "forceENABLE": self._mac_enable,
        }
        return table[words[0]](words[1:])

    def _mac_reset(self, words: list[str]) -> str:
        us = self.firmware.banner.startswith("RN2903")
        if words and (us or words[0] not in ("868", "433")):
            return _INVALID
        region = "US915" if us else "EU868"
        self.device.stop()
        self.device.station.antenna_gain = -300.0 if words == ["433"] else 0.0
        self.device.set_region(region)
        self._joining = False
        return "ok"

    def _mac_set(self, words: list[str]) -> str:
        device = self.device
        match words:
            case ["deveui", text]:
                device.dev_eui = int.from_bytes(hex_bytes(text, 8))
                self._has["deveui"] = True
            case ["appeui", text]:
                device.join_eui = int.from_bytes(hex_bytes(text, 8))
                self._has["appeui"] = True
            case ["appkey", text]:
                device.set_app_key(hex_bytes(text, 16))
                self._has["appkey"] = True
            case ["devaddr" | "nwkskey" | "appskey" as name, text]:
                self._personal[name] = hex_bytes(text, 4 if name == "devaddr" else 16)
            case ["dr", text]:
                if int(text) not in device.region.rates or int(text) > device.region.highest_rate + 1:
                    return _INVALID
                device.rate = int(text)
            case ["pwridx", text] if 0 <= int(text) <= 10:
                device.power_index = max(0, int(text) - 1)
            case ["adr" | "ar" as name, "on" | "off" as switch]:
                if name == "adr":
                    device.adr = switch == "on"
            case ["retx", text] if 0 <= int(text) <= 255:
                device.retries = int(text)
            case ["linkchk", text] if 0 <= int(text) <= 65535:
                self._link_check = int(text)
            case ["bat", text] if 0 <= int(text) <= 255:
                device.battery = int(text)
            case ["rx2", rate, frequency]:
                if device.session is not None:
                    device.session.rx2_rate, device.session.rx2_frequency = int(rate), int(frequency)
            case ["rxdelay1", text]:
                if device.session is not None:
                    device.session.rx_delay = max(1, int(text) // 1000)
            case ["ch", *rest]:
                return self._channel(rest)
            case ["class", "a"]:
                pass
            case ["upctr", text]:
                if device.session is not None:
                    device.session.up = int(text)
            case ["dnctr", text]:
                if device.session is not None:
                    device.session.down = int(text)
            case _:
                return _INVALID
        return "ok"

    def _channel(self, words: list[str]) -> str:
        channels = self.device.plan.channels
        match words:
            case ["status", number, "on" | "off" as switch] if int(number) in channels:
                channels[int(number)].enabled = switch == "on"
            case ["freq", number, frequency] if 3 <= int(number) <= 15 and not self.device.region.fixed:
                channels[int(number)] = Channel(int(frequency), 0, self.device.region.highest_rate)
            case ["dcycle", number, cycle] if int(number) in channels and 0 <= int(cycle) <= 65535:
                if int(cycle) == 0:
                    self.device.plan.duty_cycle = False
            case ["drrange", number, low, high] if int(number) in channels:
                channels[int(number)].lowest, channels[int(number)].highest = int(low), int(high)
            case _:
                return _INVALID
        return "ok"

    def _mac_get(self, words: list[str]) -> str:
        device, session = self.device, self.device.session
        match words:
            case ["appkey" | "nwkskey" | "appskey"]:
                self.key_reads += 1
                return _INVALID
            case ["ch", "freq", number]:
                return str(device.plan.channels[int(number)].frequency)
            case ["ch", "status", number]:
                return "on" if device.plan.channels[int(number)].enabled else "off"
            case ["ch", "drrange", number]:
                channel = device.plan.channels[int(number)]
                return f"{channel.lowest} {channel.highest}"
            case ["rx2", *_]:
                rate, frequency = device.region.rx2_rate, device.region.rx2_frequency
                if session is not None:
                    rate, frequency = session.rx2_rate, session.rx2_frequency
                return f"{rate} {frequency}"
            case [name]:
                return self._values()[name]
        return _INVALID

    def _values(self) -> dict[str, str]:
        device, session = self.device, self.device.session
        return {
            "deveui": f"{device.dev_eui:016X}",
            "appeui": f"{device.join_eui:016X}",
            "devaddr": f"{session.address if session else 0:08X}",
            "dr": str(device.rate),
            "band": "868" if device.region.name == "EU868" else "900",
            "pwridx": str(device.power_index + 1),
            "adr": "on" if device.adr else "off",
            "ar": "off",
            "retx": str(device.retries),
            "rxdelay1": str(1000 * (session.rx_delay if session else 1)),
            "rxdelay2": str(1000 * (session.rx_delay if session else 1) + 1000),
            "dcycleps": "1",
            "mrgn": str(self._margin),
            "gwnb": str(self._gateways),
            "upctr": str(session.up if session else 0),
            "dnctr": str(max(0, session.down) if session else 0),
            "status": self._status(),
            "class": "A",
            "sync": "34",
        }

    def _status(self) -> str:
        flags = StatusFlags(
            joined=self.device.session is not None,
            busy=self.device.busy,
            adr=self.device.adr,
            silent=self._silent,
            paused=self._paused,
            link_check=bool(self._link_check),
            rejoin_needed=self.counters_used_up,
        )
        return flags.spelt(self.firmware)

    def _mac_save(self, words: list[str]) -> str:
        device = self.device
        self._saved = {
            "deveui": device.dev_eui,
            "appeui": device.join_eui,
            "appkey": device._app_key,
            "has": dict(self._has),
            "rate": device.rate,
            "adr": device.adr,
            "personal": dict(self._personal),
            "session": device.session,
        }
        return "ok"

    def _mac_pause(self, words: list[str]) -> str:
        if self.device.busy:
            return "0"
        self._paused = True
        return "4294967245"

    def _mac_resume(self, words: list[str]) -> str:
        self._radio.stop()
        self._paused = False
        return "ok"

    def _mac_enable(self, words: list[str]) -> str:
        self._silent = False
        return "ok"

    def silence(self) -> None:
        """The network has told it to be silent for good; only `mac forceENABLE` helps."""
        self._silent = True

    # --- joining and sending ------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._silent:
            raise Bad("silent")
        if self._paused:
            raise Bad("mac_paused")
        if self.device.busy:
            raise Bad("busy")

    def _mac_join(self, words: list[str]) -> str:
        match words:
            case ["otaa"]:
                if not all(self._has.values()):
                    return "keys_not_init"
                self._check()
                try:
                    self.device.join()
                except Refused:
                    return "no_free_ch"
                self._joining = True
                self.counters_used_up = False
                return "ok"
            case ["abp"]:
                return self._join_by_personalisation()
        return _INVALID

    def _join_by_personalisation(self) -> str:
        self._check()
        saved: DeviceSession | None = self._saved.get("session")
        keys = self._personal
        if len(keys) == 3:
            self.device.personalise(int.from_bytes(keys["devaddr"]), keys["nwkskey"], keys["appskey"])
        elif saved is not None:
            session_keys = SessionKeys(saved.keys.network, saved.keys.application)
            self.device.personalise(saved.address, session_keys.network, session_keys.application)
            assert self.device.session is not None
            self.device.session.up, self.device.session.down = saved.up, saved.down
            self.device.session.rx_delay = saved.rx_delay
        else:
            return "keys_not_init"
        self._later(0.01, lambda: self._say("accepted"))
        return "ok"

    def _mac_tx(self, words: list[str]) -> str:
        if len(words) != 3 or words[0] not in ("cnf", "uncnf") or not 1 <= int(words[1]) <= 223:
            return _INVALID
        data = hex_bytes(words[2])
        if self.device.session is None:
            return "not_joined"
        self._check()
        if self.counters_used_up:
            return self.firmware.counter_error
        if self._link_check:
            self.device.requests += bytes([mac_commands.LINK_CHECK])
        try:
            self.device.send(data, int(words[1]), confirmed=words[0] == "cnf")
        except Refused as refused:
            return "invalid_data_len" if refused.cause == "length" else "no_free_ch"
        return "ok"

    def _sent(self) -> None:
        """Nothing is said before the windows are over."""

    def _finished(self, finished: Finished) -> None:
        if self._joining:
            self._joining = False
            self._say("accepted" if finished.ok else "denied")
            return
        downlink = finished.downlink
        for told in downlink.told if downlink is not None else ():
            if told.what == "link_check":
                self._margin, self._gateways = round(told.values[0]), round(told.values[1])
        if not finished.ok:
            self._say("mac_err")
        elif downlink is not None and downlink.port is not None:
            self._say(f"mac_rx {downlink.port} {downlink.data.hex().upper()}")
        else:
            self._say("mac_tx_ok")


class VirtualRn2903(VirtualRn2483):
    """An RN2903: the same for US915."""

    model = "rn2903"

    def __init__(self, port: Port, ether: Ether, *, firmware: RnFirmware = RN2903_105, **options: Any) -> None:
        super().__init__(port, ether, firmware=firmware, **{"region": "US915", **options})
