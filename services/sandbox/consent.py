"""The page on which a person picks a company and approves or denies, for both providers."""

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, RedirectResponse

STYLE = """
:root { color-scheme: light; font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: #f3f4f6; color: #111827; }
main { background: #fff; width: min(26rem, calc(100vw - 2rem)); border-radius: 14px; padding: 2rem;
  box-sizing: border-box; box-shadow: 0 1px 2px #0001, 0 12px 32px #0000000f; }
.mark { display: flex; align-items: center; gap: .6rem; font-weight: 600; font-size: .95rem; color: var(--brand); }
.mark span { width: 1.5rem; height: 1.5rem; border-radius: 50%; background: var(--brand); }
.mark small { margin-left: auto; font-weight: 500; color: #6b7280; border: 1px solid #e5e7eb;
  border-radius: 99px; padding: .1rem .6rem; }
h1 { font-size: 1.3rem; line-height: 1.35; margin: 1.4rem 0 .5rem; }
p { color: #4b5563; line-height: 1.5; margin: 0 0 1.2rem; font-size: .95rem; }
fieldset { border: 0; padding: 0; margin: 0 0 1.2rem; display: grid; gap: .5rem; }
legend { font-size: .85rem; font-weight: 600; padding: 0; margin-bottom: .5rem; }
label { display: flex; align-items: center; gap: .7rem; border: 1px solid #d1d5db; border-radius: 9px;
  padding: .65rem .8rem; cursor: pointer; }
label:has(:checked) { border-color: var(--brand); box-shadow: 0 0 0 1px var(--brand); }
label small { display: block; color: #6b7280; margin-top: .1rem; }
input { accent-color: var(--brand); margin: 0; }
ul { margin: 0 0 1.4rem; padding-left: 1.1rem; color: #4b5563; font-size: .85rem; line-height: 1.6; }
.act { display: flex; gap: .6rem; }
button { flex: 1; font: inherit; font-weight: 600; padding: .7rem; border-radius: 9px; cursor: pointer;
  border: 1px solid #d1d5db; background: #fff; color: #374151; }
button.yes { background: var(--brand); border-color: var(--brand); color: #fff; }
"""


def page(
    *,
    provider: str,
    brand: str,
    app: str,
    companies: Sequence[tuple[str, str]],
    scopes: Sequence[str],
    fields: Mapping[str, str],
    action: str,
) -> HTMLResponse:
    """The form; it posts `fields` back to `action` with `company` and `decision`."""
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )
    choices = "".join(
        f'<label><input type="radio" name="company" value="{escape(company)}"{" checked" if n == 0 else ""}>'
        f"<span>{escape(name)}<small>{escape(company)}</small></span></label>"
        for n, (company, name) in enumerate(companies)
    )
    asked = "".join(f"<li>{escape(scope)}</li>" for scope in scopes)
    return document(
        provider,
        brand,
        f"<h1>{escape(app)} asks for access to a company</h1>"
        "<p>It will be able to read and write on your behalf until you disconnect it.</p>"
        f'<form method="post" action="{escape(action)}">{hidden}'
        f"<fieldset><legend>Company</legend>{choices}</fieldset><ul>{asked}</ul>"
        '<div class="act"><button name="decision" value="deny">Deny</button>'
        '<button class="yes" name="decision" value="approve">Approve</button></div></form>',
    )


def document(provider: str, brand: str, inside: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(provider)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>:root {{ --brand: {brand}; }}{STYLE}</style></head><body><main>"
        f'<div class="mark"><span></span>{escape(provider)}<small>Sandbox</small></div>{inside}</main></body></html>',
        status,
    )


def refusal(provider: str, brand: str, reason: str) -> HTMLResponse:
    """The page for a request that must not be redirected back."""
    return document(provider, brand, f"<h1>Sorry, that didn’t work</h1><p>{escape(reason)}</p>", 400)


def back(redirect_uri: str, **values: str) -> RedirectResponse:
    """To the app again, with `values` added to its address."""
    joint = "&" if "?" in redirect_uri else "?"
    return RedirectResponse(f"{redirect_uri}{joint}{urlencode(values)}", 302)
