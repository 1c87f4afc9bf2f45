"""Configuration: one TOML file, each value of which an environment variable can override."""

from rataccess.config.check import check_options
from rataccess.config.load import load, parse
from rataccess.config.model import (
    BudgetSettings,
    Configuration,
    DeviceSettings,
    LinkSettings,
    ServiceSettings,
    StoreSettings,
    UrgencyName,
    WhenFull,
)

__all__ = [
    "BudgetSettings",
    "Configuration",
    "DeviceSettings",
    "LinkSettings",
    "ServiceSettings",
    "StoreSettings",
    "UrgencyName",
    "WhenFull",
    "check_options",
    "load",
    "parse",
]
