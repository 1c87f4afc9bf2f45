"""A virtual satellite site as a process of its own, for demonstrations and tests of whole programs.

Rules of this file: the arguments of `python -m rataccess_hil.satellite`; starting and ending is the rig's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rataccess_hil.rig import RadioProcess
from rataccess_hil.satellite.directip_link import Address


class SatelliteProcess(RadioProcess):
    """A 9603 on a port (`address`) whose gateway speaks DirectIP to `servers`; ends with this process.

    `mt` is where the gateway takes MT messages by DirectIP, once open.  `session_seconds` is how long a session takes.
    `controls.do(name, ...)` takes the names of `SbdControls` and `SiteControls`: sky, break_session, hang, power_cut, send,
    messages, stats and others.  `arguments` are further ones of `python -m rataccess_hil.satellite`.
    """

    def __init__(
        self,
        servers: Sequence[Address] = (),
        *arguments: str,
        imei: str = "300234010753370",
        session_seconds: float | None = None,
        listen: Address = ("127.0.0.1", 0),
        folder: Path | str | None = None,
    ) -> None:
        given = ["--imei", imei, "--mt", f"{listen[0]}:{listen[1]}"]
        for host, port in servers:
            given += ["--mo", f"{host}:{port}"]
        if session_seconds is not None:
            given += ["--session-seconds", str(session_seconds)]
        super().__init__("rataccess_hil.satellite", *given, *arguments, folder=folder)
        self.imei = imei
        self.lines = Path()
        """The folder of its lines' named pipes, once open."""

    @property
    def mt(self) -> Address:
        """Where MT messages are taken; raises `KeyError` before it is open."""
        host, port = self.told["mt"]
        return host, port

    def _more(self, folder: Path) -> Sequence[str]:
        self.lines = folder / "lines"
        return "--lines", str(self.lines)
