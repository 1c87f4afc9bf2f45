"""`rataccess demo`: real processes, real sockets, real input; only the radio silicon is virtual.

Rules of this room: it stages, watches and judges; nothing here is used by a device.  The judgement compares what the
solution service has stored with what the application wrote down, sample by sample; counters of the library are not asked.
"""

from rataccess.cli.demo.run import run
from rataccess.cli.demo.script import SCRIPTS

__all__ = ["SCRIPTS", "run"]
