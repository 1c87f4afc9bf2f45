"""Which link now; budgets; the decision log."""

from rataccess.access.access import Access, User
from rataccess.access.budget import Budget
from rataccess.access.decisions import DecisionLog, Entry, Kind
from rataccess.access.standing import Standing, Traffic
from rataccess.access.timing import ResponseTimer

__all__ = ["Access", "Budget", "DecisionLog", "Entry", "Kind", "ResponseTimer", "Standing", "Traffic", "User"]
