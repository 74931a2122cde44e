"""Workspaces, and the accounts that belong to them."""

from datetime import date, datetime

from common.messages.base import Part


class AccountClaim(Part, frozen=True, kw_only=True):
    """Says which workspace a provider's account belongs to; one account belongs to one workspace."""

    workspace: str
    at: datetime


class Workspace(Part, frozen=True, kw_only=True):
    """A tenant: one QuickBooks company and one Qonto organization.

    `backfill_from` is where its first pull begins, instead of the setting of that name.
    """

    id: str
    region: str
    created_at: datetime
    realm: str | None = None
    organization: str | None = None
    backfill_from: date | None = None
