"""Bringing a module's settings, identity and keys in line with the options: what differs is written, and nothing else.

Rules of this file: what is wanted and in which order; the words are in the profile.  Keys are written and never read back;
a mark in the driver's memory says which were written last, by four bytes of a hash, so that a module's flash is spared.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Protocol

from rataccess.driver import DriverContext
from rataccess.errors import AttachFailed, CommandFailed, ConfigurationError, KeyStoreError, RadioSilent, WrongRadio
from rataccess.lorawan.keys import is_key, plain_digits
from rataccess_drivers.lora.modules.commands import Command, Transaction
from rataccess_drivers.lora.modules.identity import normal_eui, unset
from rataccess_drivers.lora.modules.options import Confirmed, ModuleOptions
from rataccess_drivers.lora.modules.profile import Profile, Setting

log = logging.getLogger("rataccess.lora")


class Asked(Protocol):
    """The module, as far as its configuration needs it."""

    dev_eui: str

    def restarting(self, why: str) -> None:
        """A restart that is meant."""
        ...

    async def ask(self, command: Command) -> str | None:
        """The value; `None` where the module does not tell."""
        ...

    async def run(self, command: Command) -> Transaction:
        """A command; a refusal is in what is returned."""
        ...

    async def obey(self, command: Command) -> Transaction:
        """A command that must not be refused."""
        ...


class Configuration:
    """What one module is to be set to."""

    def __init__(
        self,
        module: Asked,
        profile: Profile,
        options: ModuleOptions,
        context: DriverContext,
        restart: Callable[[str], Awaitable[None]],
    ) -> None:
        self._module = module
        self._profile = profile
        self._options = options
        self._name = context.name
        self._context = context
        self._restart = restart
        self._mark_key = f"driver/{context.name}/keyed"
        self._rekey = False
        self.changed = False
        """Whether anything was written since the module last kept its settings."""
        self.renewed = False
        """Whether something was written that a session does not outlive: region, mode, DevEUI or JoinEUI."""

    def wanted(self) -> dict[str, str]:
        """Value of each setting that the options care for."""
        options = self._options
        found = {
            "mode": "lorawan",
            "region": options.region,
            "activation": "otaa",
            "class": "A",
            "adr": "on" if options.adr else "off",
            "confirm": "on" if options.confirmed is Confirmed.ALWAYS else "off",
        }
        if options.sub_band is not None:
            found["sub_band"] = str(options.sub_band)
        if options.join_eui is not None:
            found["join_eui"] = options.join_eui.upper()
        if options.data_rate is not None:
            found["data_rate"] = str(options.data_rate)
        if options.duty_cycle is not None:
            found["duty_cycle"] = "on" if options.duty_cycle else "off"
        if options.sleep:
            found["sleep"] = "on"
        return found

    # --- settings -----------------------------------------------------------------------------------------------------

    async def apply(self, *, joined: bool) -> None:
        """Write what differs; of a module that has joined, what its network decides is left alone.

        Raises `CommandFailed`, `AttachFailed`, `WrongRadio` or `ConfigurationError`.
        """
        wanted = self.wanted()
        if joined and self._options.adr:
            wanted.pop("data_rate", None)
        for setting in self._profile.settings:
            value = wanted.get(setting.name)
            if setting.name == "dev_eui":
                await self._settle_dev_eui(setting)
            elif value is not None and not (joined and setting.ask is None):
                await self._settle(setting, value)
        await self._keep()

    async def _settle(self, setting: Setting, value: str) -> None:
        word = setting.word(value)
        if word is None:
            if setting.needed:
                raise ConfigurationError(f"{self._name}: a {self._profile.name} has no {setting.name} {value}")
            return
        found = None if setting.ask is None else await self._module.ask(setting.ask)
        if found is not None and same(found, word):
            return
        if found is None and not setting.needed and setting.ask is not None:
            return
        log.info("%s: %s is %s and is set to %s", self._name, setting.name, found or "not known", word)
        await self._write(setting, word)
        # Some forget their keys with mode and region; and what is not as it was set has perhaps been reset altogether.
        self._rekey = self._rekey or (found is not None and setting.name != "data_rate")
        if setting.restarts:
            await self._restart(f"{setting.name} was set")
            again = None if setting.ask is None else await self._module.ask(setting.ask)
            if again is not None and not same(again, word):
                raise AttachFailed(f"{self._name}: {setting.name} is still {again} after it was set to {word}")

    async def _write(self, setting: Setting, word: str) -> None:
        self.renewed = self.renewed or setting.name in ("mode", "region", "activation", "dev_eui", "join_eui")
        if setting.restarts:
            self._module.restarting(f"{setting.name} is set")
        for command in setting.tell(word):
            self.changed = True
            try:
                answer = await self._module.run(command)
            except (CommandFailed, RadioSilent):
                if setting.restarts:  # some start anew at once, without an answer
                    return
                raise
            if answer.refusal is None:
                continue
            if setting.name == "region":
                raise WrongRadio(
                    f"{self._name}: the module refuses the region {self._options.region}; it is probably built for"
                    " another one"
                )
            if setting.needed:
                await self._module.obey(command)  # once more, for its error
            return

    async def _keep(self) -> None:
        if self.changed and self._profile.save is not None:
            await self._module.obey(self._profile.save)
        self.changed = False

    # --- identity -----------------------------------------------------------------------------------------------------

    async def check_dev_eui(self) -> None:
        """Ask for the DevEUI; raises `WrongRadio` where the module has another one than the options say."""
        found = await self._module.ask(self._profile.ask_dev_eui)
        if found is None:
            return
        self._module.dev_eui = normal_eui(found)
        wanted = self._options.dev_eui
        if wanted is None or self._options.adopt or unset(self._module.dev_eui):
            return
        if self._module.dev_eui != wanted.upper():
            raise WrongRadio(
                f"{self._name}: the module is {self._module.dev_eui}; the configuration expects {wanted.upper()}; "
                "set `adopt = true` to give this one that DevEUI"
            )

    async def _settle_dev_eui(self, setting: Setting) -> None:
        await self.check_dev_eui()
        found = self._module.dev_eui
        wanted = self._options.dev_eui
        if wanted is None and unset(found) and self._profile.hardware_eui is not None:
            wanted = await self._module.ask(self._profile.hardware_eui)
        if wanted is None or unset(wanted):
            if found and unset(found):
                raise ConfigurationError(f"{self._name}: the module has no DevEUI; set `dev_eui` in its options")
            return
        if normal_eui(wanted) != found:
            log.info("%s: the DevEUI is %s and is set to %s", self._name, found or "not known", normal_eui(wanted))
            await self._write(setting, normal_eui(wanted))
            self._module.dev_eui = normal_eui(wanted)

    # --- keys ---------------------------------------------------------------------------------------------------------

    @property
    def has_key(self) -> bool:
        """Whether the key store has a key for this link; else the module's own is used."""
        return self._key() is not None

    def _key(self) -> str | None:
        name = f"{self._name}.appkey"
        text = self._context.secret(name)
        if text is None:
            return None
        digits = plain_digits(text)
        if not is_key(digits):
            raise KeyStoreError(f"the secret {name!r} is no AppKey: it has to be 32 hexadecimal digits")
        return digits

    @property
    def trusted(self) -> bool:
        """Whether a session that the module has may be used: not one of another key, nor one by personalisation."""
        key, mark = self._key(), self._context.memory.get(self._mark_key)
        if key is None or mark == self._mark(key):
            return True
        return not mark and not self._profile.hides_activation

    async def write_key(self, *, always: bool = False) -> bool:
        """Write the key where it was not written to this module before; whether it was written now."""
        key = self._key()
        if key is None:
            return False
        if not always and not self._rekey and self._context.memory.get(self._mark_key) == self._mark(key):
            return False
        await self._module.obey(self._profile.key(key))
        self.changed, self._rekey = True, False
        await self._keep()
        return True

    def key_worked(self) -> None:
        """The module has joined with it."""
        key = self._key()
        if key is not None and self._context.memory.get(self._mark_key) != self._mark(key):
            self._context.memory.put(self._mark_key, self._mark(key))

    def key_failed(self) -> None:
        """The module has not joined: the key is written again before the next attempt."""
        if self._context.memory.get(self._mark_key):
            self._context.memory.put(self._mark_key, b"")

    def _mark(self, key: str) -> bytes:
        text = f"rataccess AppKey {self._module.dev_eui} {key}"
        return hashlib.sha256(text.encode()).digest()[:4]


def same(found: str, word: str) -> bool:
    """Whether the module's word is the wanted one, whatever its separators and letters' size."""
    plain = re.compile(r"[^0-9A-Za-z]")
    return plain.sub("", found).upper() == plain.sub("", word).upper()
