"""A running sandbox as tests see it: start, control, and one company's two accounts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from services.sandbox.app import DEFAULTS, Urls

ROOT = Path(__file__).parent.parent.parent
QUIET = {"limits": False, "ocr_delay": 0.0}
CALLBACK = "http://localhost:9/callback"


T = TypeVar("T")


def until(look: Callable[[], T | None], seconds: float = 10.0) -> T:
    """The first answer that is not None or false; fails after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, "the condition did not come"
        time.sleep(0.01)


class Process:
    """`python -m services.sandbox` on a folder, on ports of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self._settings = settings
        self.start()

    def start(self) -> None:
        known = self.folder / "urls.json"
        before = known.stat().st_mtime_ns if known.exists() else 0
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "WEIR_SANDBOX_DIR": str(self.folder)}
        environment |= {"WEIR_SANDBOX_QUICKBOOKS_PORT": "0", "WEIR_SANDBOX_QONTO_PORT": "0", **self._settings}
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.sandbox"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        until(lambda: known.exists() and known.stat().st_mtime_ns > before, 20)
        self.urls = msgspec.json.decode(known.read_bytes(), type=Urls)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


class Desk:
    """The control API."""

    def __init__(self, urls: Urls) -> None:
        self.urls = urls
        self.http = httpx.Client(timeout=20.0, trust_env=False)

    def call(self, method: str, path: str, **options: Any) -> Any:
        response = self.http.request(method, f"{self.urls.quickbooks}/sandbox{path}", **options)
        assert response.status_code == 200, response.text
        return response.json()

    def turn(self, **switches: Any) -> None:
        self.call("PUT", "/switches", json=switches)

    def fault(self, kind: str, *, side: str, method: str = "", path: str = "", **rest: Any) -> None:
        match: dict[str, str] = {"side": side, "path_regex": path}
        if method:
            match["method"] = method
        self.call("POST", "/faults", json={"match": match, "kind": kind, **rest})

    def company(self, bills: int = 40, seed: str = "test") -> "Company":
        return Company(self, self.call("POST", "/companies", json={"seed": seed, "bills": bills}))


class Company:
    """One company with a token for either provider."""

    def __init__(self, desk: Desk, made: dict[str, Any]) -> None:
        self.desk = desk
        self.made = made
        self.realm: str = made["realm"]
        self.organization: str = made["organization"]
        self.http = desk.http
        self.quickbooks_token: str = self.act("POST", "/tokens", json={"side": "quickbooks"})["access_token"]
        self.qonto_token: str = self.act("POST", "/tokens", json={"side": "qonto"})["access_token"]

    def act(self, method: str, path: str, **options: Any) -> Any:
        """What a person does in this company, over the control API."""
        return self.desk.call(method, f"/companies/{self.realm}{path}", **options)

    def truth(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.desk.call("GET", f"/truth/{self.realm}")["truth"]
        return found

    def quickbooks(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.quickbooks_token}", "Accept": "application/json"}
        headers |= options.pop("headers", {})
        url = f"{self.desk.urls.quickbooks}/v3/company/{self.realm}{path}"
        return self.http.request(method, url, headers=headers, **options)

    def query(self, statement: str) -> dict[str, Any]:
        """The content of QueryResponse; fails unless 200."""
        response = self.quickbooks("GET", "/query", params={"query": statement, "minorversion": "75"})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()["QueryResponse"]
        return found

    def refused(self, statement: str) -> dict[str, str]:
        """The one error of a refused query."""
        response = self.quickbooks("GET", "/query", params={"query": statement})
        assert response.status_code == 400, response.text
        error: dict[str, str] = response.json()["Fault"]["Error"][0]
        return error

    def qonto(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.qonto_token}", **options.pop("headers", {})}
        return self.http.request(method, f"{self.desk.urls.qonto}{path}", headers=headers, **options)

    def invoices(self, **params: Any) -> list[dict[str, Any]]:
        response = self.qonto("GET", "/v2/supplier_invoices", params={"per_page": "100", **params})
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()["supplier_invoices"]
        return found

    def invoice(self, ident: str) -> dict[str, Any]:
        response = self.qonto("GET", f"/v2/supplier_invoices/{ident}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()["supplier_invoice"]
        return found

    def upload(self, *pairs: tuple[str, bytes, str], **fields: str) -> dict[str, Any]:
        """Bulk upload of (file name, bytes, key); the answer, which must be 200."""
        parts: list[tuple[str, Any]] = []
        for name, content, key in pairs:
            parts.append(("supplier_invoices[][file]", (name, content, "application/pdf")))
            parts.append(("supplier_invoices[][idempotency_key]", (None, key)))
        parts += [(name, (None, value)) for name, value in fields.items()]
        response = self.qonto("POST", "/v2/supplier_invoices/bulk", files=parts)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def read_by_ocr(self, ident: str) -> dict[str, Any]:
        """The invoice once its document was read."""

        def look() -> dict[str, Any] | None:
            invoice = self.invoice(ident)
            return invoice if invoice["analyzed_at"] else None

        return until(look)


QUICKBOOKS_APP = (DEFAULTS.quickbooks_client_id, DEFAULTS.quickbooks_client_secret)
QONTO_APP = {"client_id": DEFAULTS.qonto_client_id, "client_secret": DEFAULTS.qonto_client_secret}
