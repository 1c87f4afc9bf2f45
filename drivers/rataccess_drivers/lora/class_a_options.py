"""How a LoRaWAN device on a bare transceiver is configured.

Rules of this file: values and the checks that need no radio.  Durations are seconds.  The AppKey is never written here: the
key store has it under `<link>.appkey`, 32 hexadecimal digits.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from rataccess.driver import DriverContext
from rataccess.errors import ConfigurationError, KeyStoreError
from rataccess.lorawan.keys import is_key, plain_digits
from rataccess.lorawan.regions import REGIONS, Region
from rataccess_drivers.lora.mac import MacSettings
from rataccess_drivers.lora.transceiver import Transceiver, TransceiverOptions

Eui = Annotated[str, Meta(pattern=r"^([0-9A-Fa-f]{2}[:-]?){7}[0-9A-Fa-f]{2}$")]
"""64 bits as they are printed: 16 hexadecimal digits, in pairs or not."""
RegionName = Literal["EU868", "US915", "AS923", "AS923-2", "AS923-3", "AS923-4", "AU915", "IN865"]
DataRate = Annotated[int, Meta(ge=0, le=15)]


class LoRaWanChipOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A class A device."""

    transceiver: TransceiverOptions
    region: RegionName
    dev_eui: Eui
    join_eui: Eui = "0000000000000000"
    sub_band: Annotated[int, Meta(ge=1, le=8)] | None = None
    """US915 and AU915: which eight channels the gateways hear; The Things Network uses 2.  Left out: found by joining."""
    adr: bool = True
    """Whether the network controls data rate and power; right for a device that stays where it is."""
    data_rate: DataRate | None = None
    """To begin with, and for good without `adr`; left out: that of the join-request that was answered."""
    min_data_rate: DataRate | None = None
    """Never send data slower than this; left out: the slowest that carries a record."""
    confirmed: Literal["always", "never"] = "always"
    """Whether the network acknowledges each uplink; it then counts as handed over.  Each costs a gateway a downlink."""
    unacknowledged_limit: Annotated[int, Meta(ge=0, le=255)] = 8
    """Confirmed uplinks in a row without acknowledgement after which the device asks to join anew; 0: never."""
    attempts: Annotated[int, Meta(ge=1, le=15)] = 4
    """Transmissions of a confirmed uplink at most."""
    tx_power: Annotated[int, Meta(ge=-9, le=30)] | None = None
    """dBm at the transmitter's pin that are never exceeded; left out: what the region allows."""
    antenna_gain: Annotated[float, Meta(ge=-10, le=20)] = 2.15
    """dBi, less the loss of the cable; taken off the power that the region allows.  2.15: a half-wave dipole."""
    wake_latency: Annotated[float, Meta(gt=0, le=0.05)] = 0.02
    """How late this host may wake up at worst; receive windows open by so much earlier and last longer."""
    clock_error: Annotated[float, Meta(gt=0, le=0.02)] = 0.003
    """How wrong the time of a receive window may be, either way: clocks of both ends, time stamp of the interrupt."""
    join_nonce: Literal["counter", "any"] = "counter"
    """`any` for networks of LoRaWAN 1.0.3 and before that number their join-accepts at random: then a recorded one could be
    played to the device, which would cost it its session."""
    fetch_pending: Annotated[int, Meta(ge=0, le=16)] = 2
    """Empty uplinks in a row at most, to fetch what the network says it still has."""
    ask_time: bool = True
    """Whether to ask the network for the time (DeviceTimeReq), after joining and once a day."""
    link_check: bool = False
    """Whether to ask after joining how well the device is heard (LinkCheckReq); `status` shows the answer."""

    def __post_init__(self) -> None:
        _check(self)


def _check(options: LoRaWanChipOptions) -> None:
    """Raises `ConfigurationError` where two options contradict each other."""
    region = REGIONS[options.region]
    if options.sub_band is not None and not region.fixed:
        raise ConfigurationError(f"`sub_band` is for US915 and AU915; {region.name} has none: leave it out")
    for name in ("data_rate", "min_data_rate"):
        found = getattr(options, name)
        if found is not None and found not in region.data_rates:
            allowed = f"{min(region.data_rates)} to {max(region.data_rates)}"
            raise ConfigurationError(
                f"`{name}` = {found} is none of {region.name}'s LoRa data rates; allowed: {allowed}"
            )
    first, slowest = options.data_rate, options.min_data_rate
    if first is not None and slowest is not None and first < slowest:
        raise ConfigurationError(
            f"`data_rate` = {first} is slower than `min_data_rate` = {slowest}, which is never sent"
        )


def check_radio(region: Region, radio: Transceiver) -> None:
    """Raises `ConfigurationError` where the transceiver cannot do what every device of the region has to: ask to join with
    each data rate meant for that, and listen in RX2.
    """
    joins = [(each.frequency, region.data_rates[dr]) for each in region.channels for dr in region.join_data_rates]
    rx2 = region.downlink_modulation(region.rx2_dr)
    assert rx2 is not None, "each region has a modulation for RX2"
    try:
        for frequency, modulation in (*joins, (region.rx2_frequency, rx2)):
            radio.check(frequency, modulation)
    except ConfigurationError as error:
        raise ConfigurationError(f"{region.name} with this transceiver: {error}") from error


def settings(options: LoRaWanChipOptions, context: DriverContext) -> MacSettings:
    """What the MAC is told; raises `KeyStoreError` where the AppKey is missing or malformed."""
    return MacSettings(
        region=REGIONS[options.region],
        dev_eui=_eui(options.dev_eui),
        join_eui=_eui(options.join_eui),
        app_key=app_key(context),
        sub_band=options.sub_band,
        adr=options.adr,
        data_rate=options.data_rate,
        join_nonce=options.join_nonce,
        min_data_rate=options.min_data_rate,
        attempts=options.attempts,
        antenna_gain=options.antenna_gain,
        max_power=options.tx_power,
    )


def app_key(context: DriverContext) -> bytes:
    """The AppKey in the key store; raises `KeyStoreError`."""
    name = f"{context.name}.appkey"
    text = context.secret(name)
    if text is None:
        raise KeyStoreError(f"the key store has no {name!r}: put the device's AppKey there, 32 hexadecimal digits")
    digits = plain_digits(text)
    if not is_key(digits):
        raise KeyStoreError(f"{name!r} in the key store is no AppKey: 32 hexadecimal digits are needed")
    return bytes.fromhex(digits)


def _eui(text: str) -> int:
    return int(text.replace(":", "").replace("-", ""), 16)
