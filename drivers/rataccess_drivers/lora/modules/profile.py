"""A LoRaWAN module as data: how it says things, and what to write for what is wanted.

Rules of this file: the shape of the data; the modules are in files of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rataccess_drivers.lora.modules.commands import Command
from rataccess_drivers.lora.modules.events import Kind, Pattern, Why


@dataclass(frozen=True, slots=True)
class Setting:
    """Something that the module keeps, and that is written only where it differs."""

    name: str
    """What the driver calls it: `region`, `mode`, `class`, `adr`, `confirm`, `join_eui`, `dev_eui`, `data_rate` ..."""
    ask: Command | None
    """`None`: it cannot be asked for, and is written once after each start of the module."""
    tell: Callable[[str], Sequence[Command]]
    words: Mapping[str, str] | None = None
    """The module's word for each value; `None`: the value itself."""
    restarts: bool = False
    """It takes a restart to be in force."""
    needed: bool = True
    """Whether a refusal is an error."""

    def word(self, value: str) -> str | None:
        """The module's word; `None` where it has none."""
        return value if self.words is None else self.words.get(value)


@dataclass(frozen=True, slots=True)
class Profile:
    """One family of modules."""

    name: str
    model: re.Pattern[str]
    """What its answer to `identify` looks like."""
    table: tuple[Pattern, ...]
    baudrates: tuple[int, ...]
    """Usual one first."""
    probe: Command
    """Harmless, and answered at once by every such module."""
    identify: Command
    settings: tuple[Setting, ...]
    ask_dev_eui: Command
    join: Command
    uplink: Callable[[int, str, bool], Sequence[Command]]
    """(port, hexadecimal digits, confirmed): the commands to send it; the last one sends."""
    ask_data_rate: Command
    key: Callable[[str], Command]
    reset: Command | None
    """Starts the firmware anew."""
    misheard: frozenset[Why] = frozenset({Why.UNKNOWN, Why.GARBLED})
    """Refusals that a command which was spoilt on its way gets: it was not carried out, and is said once more."""
    models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Regions that a model is made for, where only some."""
    transmissions: int = 8
    """Of a confirmed uplink that nobody acknowledges, where the module does not tell: the LoRaWAN stacks' usual (u)."""
    sends_by_itself: bool = False
    """Whether it sends empty uplinks unasked (for what the network still holds, and for MAC commands) and says so."""
    flushes: bool = False
    """Whether it can be told to send an uplink without payload."""
    mark: re.Pattern[str] | None = None
    """How an event begins that has come in the middle of another line."""
    ask_limit: Command | None = None
    """Bytes that fit now, where the module tells."""
    ask_joined: Command | None = None
    joined: Callable[[str, str], bool] = lambda answer, model: bool(answer)
    """Whether the answer to `ask_joined` of a module that calls itself so says so."""
    hides_activation: bool = False
    """Whether it does not tell a session that it has joined for from one by personalisation."""
    ask_retries: Command | None = None
    """How often a confirmed uplink is sent again where nobody acknowledges it."""
    ask_counter: Command | None = None
    """Frame counter of uplinks, for references."""
    hardware_eui: Command | None = None
    """The EUI that the module was made with."""
    save: Command | None = None
    """Keeps settings and keys across a power cut."""
    resume: Command | None = None
    """Ends a pause of the LoRaWAN stack."""
    link_check: Command | None = None
    ask_time: Command | None = None
    """Has the next uplink ask the network for the time."""
    rejoin: Command | None = None
    """Joins although it has joined, where `join` would not."""
    rest: Command | None = None
    """Puts the module to sleep until something is written to it."""
    rests_silently: bool = False
    """Whether `rest` is answered only when the module wakes."""
    wake: bytes = b""
    """What wakes it, or brings it back from where another program left it; no answer is waited for."""
    breaks: bool = False
    """Whether a break and `wake` have it find the baud rate anew."""
    stranger: bytes = b""
    """What others answer to, where none does to `probe`: to name the wrong module."""
    end: bytes = b"\r\n"
    boot_time: float = 3.0
    """Seconds until it answers after a start."""
    reset_pulse: float = 0.1
    discharge: float = 2.0
    acked: frozenset[Kind] = frozenset({Kind.ACKED})
    """What says that a confirmed uplink was acknowledged."""


def question(text: str, expect: str, name: str = "", *, ends: Kind = Kind.OK, limit: float = 2.0) -> Command:
    """A command that is answered with a value (group 1 of `expect`)."""
    return Command(text, frozenset({ends}), name=name, expect=re.compile(expect), first=limit, limit=limit)


def order(text: str, name: str = "", *, ends: Kind = Kind.OK, limit: float = 5.0, shown: str = "") -> Command:
    """A command that is answered with yes or no."""
    return Command(text, frozenset({ends}), shown, name, first=limit, limit=limit)
