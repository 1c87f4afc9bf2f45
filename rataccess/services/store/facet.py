"""What the parts of a store have in common: the database.

Rules of this file: nothing else.  Each part is one subject's statements; `ServiceStore` is all of them.
"""

from __future__ import annotations

from rataccess.services.store.database import Database


class Facet:
    """One subject of the store."""

    database: Database
