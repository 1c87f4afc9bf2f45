"""`rataccess doctor`: what on this machine keeps radios from working, what that means, and what mends it.

Rules of this room: facts are gathered in one place (`machine`, `ports`, `configured`), judged by pure checks (`checks`, a
table), and shown by `show`; what is proposed is text (`rules`): nothing is changed here but one file that is written and
removed again in the state folder, to see whether it can be.
"""

from __future__ import annotations

from rataccess.cli.doctor.checks import CHECKS, examine
from rataccess.cli.doctor.facts import Facts, Finding, Level
from rataccess.cli.doctor.machine import Machine, gather

__all__ = ["CHECKS", "Facts", "Finding", "Level", "Machine", "examine", "gather"]
