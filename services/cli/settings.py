"""`weir settings`: every setting, its value now, its default and what it is for."""

from typing import Any

from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape

from common.settings import Settings, load, without_userinfo


def settings() -> None:
    """List every setting; secrets are shown only as set or not set."""
    values = load()
    console = Console(highlight=False, soft_wrap=True)
    for name, field in Settings.model_fields.items():
        value, default = _shown(getattr(values, name)), _shown(field.default)
        note = "" if value == default else f"   [dim](default {escape(default)})[/dim]"
        console.print(f"[bold]WEIR_{name.upper()}[/bold] = {escape(value)}{note}")
        console.print(f"    [dim]{escape(field.description or '')}[/dim]")


def _shown(value: Any) -> str:
    match value:
        case None | "":
            return "–"
        case SecretStr():
            return "set"
        case _:
            return without_userinfo(str(value))
