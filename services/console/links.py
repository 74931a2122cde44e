"""Where a bill and its entry are found in the two systems themselves."""

from urllib.parse import quote, urlsplit

from common.messages import Entry
from common.settings import Settings, loopback

_SANDBOX = "sandbox-quickbooks.api.intuit.com"


def in_quickbooks(settings: Settings, bill: str) -> str | None:
    """The page of a bill in QuickBooks; None where a stand-in takes its place, which has no pages."""
    api = settings.quickbooks_api_url
    if loopback(api):
        return None
    host = "sandbox.qbo.intuit.com" if urlsplit(api).hostname == _SANDBOX else "app.qbo.intuit.com"
    return f"https://{host}/app/bill?txnId={quote(bill, safe='')}"


def in_qonto(settings: Settings, entry: Entry) -> str | None:
    """The page of an entry in Qonto, which has an address for transactions only: invoices begin at the front page."""
    api = urlsplit(settings.qonto_api_url).hostname or ""
    if loopback(settings.qonto_api_url):
        return None
    app = "https://app.qonto.com" if api.endswith("qonto.com") else "https://sandbox.staging.qonto.co"
    return f"{app}/transactions/{quote(entry.id, safe='')}" if entry.kind == "transaction" else app
