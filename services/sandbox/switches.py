"""What the two providers leave open, or what only happens on a bad day, as settings a test can turn."""

from typing import Annotated, Any, Literal

import msgspec


class Switches(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One value per open question of the two APIs; the defaults are the likeliest real behaviour.

    Durations are seconds. `clock_offset` is added to the clock of both providers, so that a day
    or a hundred days can pass at once. `phantom_deletes` counts down: so many answers of change data
    capture still report a live object as deleted. With `one_grant`
    all consents to a QuickBooks company are one grant: revoking any of its tokens ends them all. Without `ocr_touches`
    an invoice keeps its `updated_at` when OCR has read it.
    """

    clock_offset: float = 0.0
    approval: Literal["auto", "manual", "deny"] = "auto"
    approve_company: str = ""
    limits: bool = True
    retry_after: bool = False

    throttle_shape: Literal["xml", "Fault", "fault"] = "Fault"
    rotate_after: float = 86_400.0
    old_token: Literal["grace_24h", "dead_at_once", "reuse_revokes_family"] = "grace_24h"  # noqa: S105
    one_grant: bool = True
    query_lag: float = 0.0
    hard_expiry: float = 157_680_000.0
    access_lifetime: float = 3600.0
    refuse_duplicate_docnumber: bool = False
    changed_since: Literal["inclusive", "exclusive"] = "inclusive"
    capture_empty: Literal["braces", "left_out"] = "braces"
    capture_too_old: Literal["500", "5020", "4000"] = "500"
    capture_attachables: bool = True
    phantom_deletes: Annotated[int, msgspec.Meta(ge=0)] = 0
    id_order: Literal["numeric", "lexical"] = "numeric"
    start_zero: Literal["reject", "accept"] = "reject"
    attach_touches_bill: bool = False
    download_link: Literal["bare", "quoted"] = "bare"
    expired_link: Literal[403, 404, 400, 410] = 403

    replay: Literal["a", "b", "c", "d"] = "a"
    pointer: Literal["key", "key_file"] = "key"
    indexed_names: Literal["reject", "accept"] = "reject"
    over_twenty: Literal["200", "400"] = "200"
    time_filters: Literal["inclusive", "exclusive"] = "inclusive"
    ocr_delay: float = 1.0
    ocr: Literal["reads", "fails", "misreads"] = "reads"
    ocr_touches: bool = True
    auto_match: bool = False
    transaction_attachment_delay: float = 0.5

    @property
    def grace(self) -> bool:
        """Whether a superseded QuickBooks refresh token lives on for a day."""
        return self.old_token.startswith("grace")

    @property
    def reuse_revokes(self) -> bool:
        """Whether using a superseded QuickBooks token or a spent code kills the whole grant."""
        return self.old_token.startswith("reuse")

    def changed(self, values: dict[str, Any]) -> "Switches":
        """The same switches with `values` put over them; `msgspec.ValidationError` on a bad one."""
        return msgspec.convert({**msgspec.to_builtins(self), **values}, Switches, strict=False)
