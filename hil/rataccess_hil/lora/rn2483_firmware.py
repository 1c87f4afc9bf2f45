"""How the firmwares of RN2483 and RN2903 differ.

Rules of this file: data and bits, from the command references of 1.0.1 and 1.0.5; "joined" before 1.0.4 from public drivers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RnFirmware:
    """A firmware."""

    banner: str = "RN2483 1.0.5 Oct 31 2018 15:06:52"
    wide_status: bool = True
    """32 bits rather than 16."""
    joined_first: bool = False
    """Whether "joined" is bit 0; it is bit 4 from 1.0.4 on."""
    counter_error: str = "frame_counter_err_rejoin_needed"


RN2483_105 = RnFirmware()
RN2483_101 = RnFirmware("RN2483 1.0.1 Dec 15 2015 09:38:09", False, True, "fram_counter_err_rejoin_needed")
RN2483_103 = RnFirmware("RN2483 1.0.3 Mar 22 2017 06:00:42", joined_first=True)
RN2903_105 = RnFirmware("RN2903 1.0.5 Nov 06 2018 10:45:27")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFlags:
    """What `mac get status` tells."""

    joined: bool
    busy: bool
    adr: bool
    silent: bool
    paused: bool
    link_check: bool
    rejoin_needed: bool

    def spelt(self, firmware: RnFirmware) -> str:
        """In hexadecimal."""
        if not firmware.joined_first:
            bits = self.busy | self.joined << 4 | self.adr << 6 | self.silent << 7 | self.paused << 8
            return f"{bits | self.link_check << 10 | self.rejoin_needed << 17:08X}"
        bits = self.joined | self.busy << 1 | self.adr << 5 | self.silent << 6 | self.paused << 7
        return f"{bits | self.link_check << 9:0{8 if firmware.wide_status else 4}X}"
