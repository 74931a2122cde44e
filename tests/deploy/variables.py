"""Which variables deploy/ may set."""

from common.settings import Settings

SETTINGS = frozenset(f"WEIR_{name.upper()}" for name in Settings.model_fields)
