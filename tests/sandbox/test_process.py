"""The process: what survives kill -9, scripted faults, call counts, duplicates, switches, and how it stops."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Scope

from services.sandbox.app import DEFAULTS, Urls, build, serving
from services.sandbox.document import draw
from tests.sandbox.desk import QUIET, Company, Desk, Process
from tests.sandbox.test_qonto_invoices import recipe


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Process]:
    """A process of this test alone."""
    process = Process(tmp_path)
    yield process
    process.kill()


def test_kill_and_restart_keeps_what_was_answered(own: Process) -> None:
    desk = Desk(own.urls)
    desk.turn(**{**QUIET, "ocr_delay": 2.0, "replay": "d"})
    company = desk.company(bills=20)
    bill = company.query("select * from Bill where Balance > '0' maxresults 1")["Bill"][0]["Id"]
    company.act("POST", f"/quickbooks/bill/{bill}/pay", json={})
    paid = company.quickbooks("GET", f"/bill/{bill}").json()["Bill"]
    invoice = company.upload(("QBO-1-1-r1__x.pdf", draw(recipe()), "key"))["supplier_invoices"][0]
    before = own.urls
    own.kill()
    own.start()
    assert own.urls == before
    assert desk.call("GET", "/switches")["replay"] == "d"
    assert company.quickbooks("GET", f"/bill/{bill}").json()["Bill"] == paid
    assert company.upload(("QBO-1-1-r1__x.pdf", b"%PDF", "key"))["supplier_invoices"][0]["id"] == invoice["id"]
    assert company.read_by_ocr(invoice["id"])["invoice_number"] == "F-2026-0042"
    assert desk.company(bills=5).realm != company.realm


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Urls]:
    """A sandbox inside the test's own process."""
    async with serving(build(tmp_path, DEFAULTS), tmp_path) as urls:
        yield urls


async def test_serves_inside_another_process(embedded: Urls) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        made = await http.post(f"{embedded.quickbooks}/sandbox/companies", json={"bills": 5})
        assert made.json()["bills"] == 5
        assert (await http.get(f"{embedded.qonto}/v2/organization")).status_code == 401


async def test_a_taken_port_is_an_error_or_avoided(embedded: Urls, tmp_path: Path) -> None:
    port = int(embedded.quickbooks.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        async with serving(build(tmp_path / "second", DEFAULTS), tmp_path / "second", quickbooks_port=port):
            pass
    async with serving(build(tmp_path / "third", DEFAULTS), tmp_path / "third") as urls:
        assert urls.quickbooks != embedded.quickbooks


def test_stops_cleanly_with_an_open_connection(own: Process) -> None:
    desk = Desk(own.urls)
    desk.call("GET", "/switches")
    began = time.monotonic()
    assert own.stop() == 0
    assert time.monotonic() - began < 5
    assert b"Traceback" not in (own.folder / "log").read_bytes()


def count(company: Company) -> int:
    return int(company.query("select count(*) from Vendor where DisplayName = 'Once'").get("totalCount", 0))


def make_vendor(company: Company) -> httpx.Response:
    return company.quickbooks("POST", "/vendor", json={"DisplayName": "Once"})


@pytest.mark.parametrize("kind, effect", [("drop_before", 0), ("drop_after", 1)])
def test_dropped_connections(company: Company, desk: Desk, kind: str, effect: int) -> None:
    desk.fault(kind, side="quickbooks", method="POST", path="/vendor$")
    with pytest.raises(httpx.TransportError):
        make_vendor(company)
    assert count(company) == effect


def test_truncated_answer(company: Company, desk: Desk) -> None:
    desk.fault("truncate", side="quickbooks", method="POST", path="/vendor$")
    with pytest.raises(httpx.RemoteProtocolError):
        make_vendor(company)
    assert count(company) == 1


@pytest.mark.parametrize("after", [False, True])
def test_proxy_page(company: Company, desk: Desk, after: bool) -> None:
    desk.fault("html502", side="quickbooks", path="/vendor$", after=after)
    answer = make_vendor(company)
    assert (answer.status_code, "502 Bad Gateway" in answer.text) == (502, True)
    assert count(company) == int(after)


def test_faults_count_down_skip_and_match(company: Company, desk: Desk) -> None:
    desk.fault("status", side="quickbooks", path="/preferences$", status=503, body="{}", times=2, skip=1)
    seen = [company.quickbooks("GET", "/preferences").status_code for _ in range(4)]
    assert seen == [200, 503, 503, 200]
    desk.fault("storm429", side="qonto", path="/v2/organization$")
    assert company.quickbooks("GET", "/preferences").status_code == 200
    stormy = company.qonto("GET", "/v2/organization")
    assert (stormy.status_code, stormy.json()["errors"][0]["code"]) == (429, "too_many_requests")
    assert desk.call("GET", "/faults") == {"faults": []}


def test_delay(company: Company, desk: Desk) -> None:
    desk.fault("delay", side="quickbooks", path="/preferences$", seconds=0.3)
    began = time.monotonic()
    assert company.quickbooks("GET", "/preferences").status_code == 200
    assert time.monotonic() - began >= 0.3


def test_wrong_control_calls_say_why(desk: Desk) -> None:
    base = f"{desk.urls.quickbooks}/sandbox"
    for method, path, body in [
        ("PUT", "/switches", {"replay": "z"}),
        ("PUT", "/switches", {"unknown": 1}),
        ("POST", "/faults", {"kind": "explode"}),
        ("POST", "/companies", {"bills": -1}),
    ]:
        answer = desk.http.request(method, base + path, json=body)
        assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
    assert desk.http.get(f"{base}/truth/1").status_code == 404


def test_calls_are_counted_by_route(company: Company, desk: Desk) -> None:
    since = time.time()
    for _ in range(3):
        company.query("select count(*) from Bill")
    company.quickbooks("GET", "/bill/999999")
    told = desk.call("GET", "/calls", params={"since": since})
    counted = {(one["route"], one["status"]): one["count"] for one in told["calls"]}
    assert counted == {("/v3/company/{id}/query", 200): 3, ("/v3/company/{id}/bill/{id}", 400): 1}
    assert told["total"] == 4


async def test_a_call_is_counted_before_its_answer_leaves(tmp_path: Path) -> None:
    sandbox = build(tmp_path, DEFAULTS)
    counted: list[str] = []

    async def leaves(message: Message) -> None:
        if message["type"] == "http.response.body":
            (one,) = sandbox.calls.since(0)
            counted.append(f"{one['route']} {one['status']} {one['count']}")

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    path = "/v3/company/1234567890/query"
    scope: Scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    await sandbox.quickbooks(scope, receive, leaves)
    assert counted == ["/v3/company/{id}/query 401 1"]


def test_duplicates_counts_live_surplus(company: Company, desk: Desk) -> None:
    assert desk.call("GET", f"/duplicates/{company.realm}")["surplus"] == 0
    name = f"QBO-{company.realm}-12-r{{}}__x.pdf"
    made = [company.upload((name.format(n), b"%PDF", f"k{n}"))["supplier_invoices"][0]["id"] for n in range(3)]
    company.upload((f"QBO-{company.realm}-123-r1__x.pdf", b"%PDF", "other"))
    told = desk.call("GET", f"/duplicates/{company.realm}")
    assert (told["surplus"], told["bills_with_entry"], told["live_entries"]) == (2, 2, 4)
    assert told["duplicates"][0]["bill"] == "12"
    assert set(told["duplicates"][0]["entries"]) == set(made)
    for ident in made[1:]:
        company.qonto("POST", f"/v2/supplier_invoices/{ident}/reject", json={"supplier_invoice": {}})
    assert desk.call("GET", f"/duplicates/{company.realm}")["surplus"] == 0


def test_people_edit_and_approve_in_the_app(company: Company) -> None:
    ident = company.invoices(**{"filter[status]": "to_review"})[0]["id"]
    path = f"/qonto/supplier_invoices/{ident}"
    assert company.act("POST", f"{path}/approve")["status"] == "to_pay"
    company.act("PATCH", path, json={"invoice_number": "EDITED-1"})
    company.act("PATCH", f"{path}?strange=true", json={"status": "on_the_moon", "new_field": {"x": 1}})
    shown = company.invoice(ident)
    assert (shown["invoice_number"], shown["status"], shown["new_field"]) == ("EDITED-1", "on_the_moon", {"x": 1})


def test_truth_is_told(company: Company) -> None:
    known = company.truth()
    assert len(known) == 40
    assert {one["case"] for one in known} <= {
        "invoice", "matched", "transaction", "absent", "incomplete", "duplicate", "near_tie",
    }  # fmt: skip


def test_qonto_window_closes_after_200_unauthorized(own: Process) -> None:
    desk = Desk(own.urls)
    company = desk.company(bills=5)
    for _ in range(200):
        assert company.qonto("GET", "/v2/organization", headers={"Authorization": "Bearer x"}).status_code == 401
    assert company.qonto("GET", "/v2/organization").status_code == 429


def test_traffic_of_a_company(company: Company, desk: Desk) -> None:
    other = desk.company(seed="quiet")
    path = f"/traffic/{company.realm}"
    desk.call("DELETE", path)
    for _ in range(12):
        company.quickbooks("GET", "/preferences")
    desk.fault("storm429", side="quickbooks", path="/preferences$", times=2)
    desk.fault("drop_before", side="quickbooks", path="/preferences$")
    for status in (429, 429):
        assert company.quickbooks("GET", "/preferences").status_code == status
    with pytest.raises(httpx.TransportError):
        company.quickbooks("GET", "/preferences")
    told = desk.call("GET", path)
    assert 1 < told.pop("peak_second") <= 15
    assert told == {"peak_minute": 15, "throttled": 2, "refreshes": 0, "stale_refreshes": 0, "revocations": 0}
    assert set(desk.call("GET", f"/traffic/{other.realm}").values()) == {0}
    assert set(desk.call("DELETE", path).values()) == {0}
    company.quickbooks("GET", "/preferences")
    assert desk.call("GET", path)["peak_minute"] == 1
