"""A virtual LoRaWAN site as a process of its own, for demonstrations and tests of whole programs.

Rules of this file: the arguments of `python -m rataccess_hil.lora`; starting and ending is the rig's.
"""

from __future__ import annotations

from pathlib import Path

from rataccess_hil.rig import RadioProcess


class LoraProcess(RadioProcess):
    """A module on a port (`address`) in reach of a gateway that speaks Semtech UDP to `server`; ends with this process.

    `controls.do(name, …)` takes the names of `SiteControls`: coverage, obstruct, hang, power_cut, stats and others.
    """

    def __init__(
        self,
        server: tuple[str, int],
        *arguments: str,
        model: str = "rak3172",
        region: str = "EU868",
        dev_eui: str = "70B3D57ED0000001",
        folder: Path | str | None = None,
    ) -> None:
        given = ["--server", f"{server[0]}:{server[1]}", "--model", model, "--region", region, "--dev-eui", dev_eui]
        super().__init__("rataccess_hil.lora", *given, *arguments, folder=folder)
        self.dev_eui = dev_eui
