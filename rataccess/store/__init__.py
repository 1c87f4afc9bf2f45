"""The store: outbox, inbox, named objects and key-value memory of a device, in one SQLite file.

Rules of this package: nothing here knows links, keys or the wire's bytes; a record is on disk before its number is given to
anybody.  How it is built is in docs/decisions/0002-store.md.
"""

from rataccess.store.database import StoreBusy, StoreTooNew
from rataccess.store.records import Accepted, Inbound, NewRecord, Record, StoreTrouble
from rataccess.store.store import Store

__all__ = ["Accepted", "Inbound", "NewRecord", "Record", "Store", "StoreBusy", "StoreTooNew", "StoreTrouble"]
