"""Templates: the fields of a queue's records, so that only their values travel, in as few bits as they take.

Rules of this package: pure, on the lowest floor; no I/O, no clock, nothing of services, links or keys.  docs/wire.md
describes each bit.
"""

from rataccess.template.book import TemplateBook
from rataccess.template.decimals import Scaled
from rataccess.template.fields import Field
from rataccess.template.kinds import Bool, Bytes, Enum, Integer, Real, Text
from rataccess.template.template import MOST_RECORDS, Packing, Template

__all__ = [
    "MOST_RECORDS",
    "Bool",
    "Bytes",
    "Enum",
    "Field",
    "Integer",
    "Packing",
    "Real",
    "Scaled",
    "Template",
    "TemplateBook",
    "Text",
]
