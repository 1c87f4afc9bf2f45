"""Configuration: one TOML file, each value of which an environment variable can override."""

from rataccess.config.check import check_options, place
from rataccess.config.load import load, parse
from rataccess.config.model import (
    BUDGET_KEYS,
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
    "BUDGET_KEYS",
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
    "place",
]
