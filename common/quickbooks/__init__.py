"""QuickBooks Online's wire shapes (API v3, minor version 75) and how they become our messages.

Shapes follow developer.intuit.com, "Explore the QuickBooks Online API" and the entity reference, and bodies
recorded in 2026: absent fields are missing, not null; money has two decimals and zero is `0`; ids are strings
even where they look like numbers; unknown fields are ignored.
"""

from common.quickbooks.envelopes import Changes, Fault, FaultError, Page, changes, fault, query_page, single
from common.quickbooks.objects import (
    NO_CURRENCY,
    Attachable,
    Normalized,
    attachable,
    company,
    content_hash,
    normalize,
    tax_code,
    tax_rate,
)

__all__ = [
    "NO_CURRENCY",
    "Attachable",
    "Changes",
    "Fault",
    "FaultError",
    "Normalized",
    "Page",
    "attachable",
    "changes",
    "company",
    "content_hash",
    "fault",
    "normalize",
    "query_page",
    "single",
    "tax_code",
    "tax_rate",
]
