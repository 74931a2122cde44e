"""Webhooks the sandbox posts: who hears of what, the two shapes, the signature, repeats and refusals."""

import base64
import hashlib
import hmac
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from tests.sandbox.desk import Company, Desk, Process, until
from tests.sandbox.test_books import new_bill, some_bill

VERIFIER = "a-verifier-of-the-sandbox"


@dataclass
class Received:
    headers: dict[str, str]
    body: bytes


class Receiver:
    """A real HTTP server; `statuses` are answered first, then 200, each after `pause` seconds."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.statuses: list[int] = []
        self.pause = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.received.append(Received({key.lower(): value for key, value in self.headers.items()}, body))
                status = outer.statuses.pop(0) if outer.statuses else 200
                if outer.pause:
                    time.sleep(outer.pause)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                del args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/webhooks/quickbooks"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def events(self, count: int) -> list[dict[str, Any]]:
        """All events received, once there are so many; each delivery is a CloudEvents array."""

        def look() -> list[dict[str, Any]] | None:
            found = [event for one in self.received for event in msgspec.json.decode(one.body)]
            return found if len(found) >= count else None

        return until(look)


@pytest.fixture
def receiver(desk: Desk) -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    desk.call("DELETE", "/webhooks")
    receiver.stop()


def register(desk: Desk, receiver: Receiver, **more: Any) -> None:
    desk.call("PUT", "/webhooks", json={"url": receiver.url, "verifier": VERIFIER, **more})


def deliveries(desk: Desk) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = desk.call("GET", "/webhooks")["deliveries"]
    return found


def settled(desk: Desk, count: int = 1) -> list[dict[str, Any]]:
    """The deliveries once so many have come to an end."""

    def look() -> list[dict[str, Any]] | None:
        found = deliveries(desk)
        return found if sum(one["state"] != "under_way" for one in found) >= count else None

    return until(look)


def test_signed_legacy_payload(company: Company, desk: Desk, receiver: Receiver) -> None:
    register(desk, receiver, format="legacy")
    bill = some_bill(company)
    company.act("PATCH", f"/quickbooks/bill/{bill['Id']}", json={"PrivateNote": "seen"})
    assert settled(desk)[0] | {"id": ""} == {"id": "", "events": 1, "state": "delivered", "attempts": 1, "status": 200}
    (post,) = receiver.received
    expected = base64.b64encode(hmac.new(VERIFIER.encode(), post.body, hashlib.sha256).digest()).decode()
    assert post.headers["intuit-signature"] == expected
    assert post.headers["content-type"] == "application/json"
    told = msgspec.json.decode(post.body)
    (notification,) = told["eventNotifications"]
    (entity,) = notification["dataChangeEvent"]["entities"]
    assert (set(told), notification["realmId"]) == ({"eventNotifications"}, company.realm)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-0[78]00", entity.pop("lastUpdated"))
    assert entity == {"name": "Bill", "id": bill["Id"], "operation": "Update"}
    assert VERIFIER not in str(desk.call("GET", "/webhooks"))


def test_cloud_events(company: Company, desk: Desk, receiver: Receiver) -> None:
    register(desk, receiver)
    made = company.quickbooks("POST", "/bill", json=new_bill(company)).json()["Bill"]
    (event,) = receiver.events(1)
    assert receiver.received[0].headers["content-type"] == "application/cloudevents+json"
    assert re.fullmatch(r"[0-9a-f-]{36}", event.pop("id"))
    assert re.fullmatch(r"intuit\.[A-Za-z0-9+/]{43}=", event.pop("source"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", event.pop("time"))
    assert event == {
        "specversion": "1.0", "type": "qbo.bill.created.v1", "datacontenttype": "application/json",
        "intuitentityid": made["Id"], "intuitaccountid": company.realm, "data": {},
    }  # fmt: skip


def test_every_kind_of_change_is_told_and_no_other(company: Company, desk: Desk, receiver: Receiver) -> None:
    bills = company.query("select * from Bill where Balance > '0' maxresults 2")["Bill"]
    vendors = [
        company.act("POST", "/quickbooks/vendor", json={"DisplayName": name})["Vendor"]["Id"] for name in ("A1", "B1")
    ]
    register(desk, receiver, delay=2.0)
    company.act("POST", f"/quickbooks/bill/{bills[0]['Id']}/attach", content=b"%PDF-")
    payment = company.act("POST", f"/quickbooks/bill/{bills[0]['Id']}/pay", json={})["BillPayment"]
    void = {"Id": payment["Id"], "SyncToken": payment["SyncToken"], "sparse": True}
    company.quickbooks("POST", "/billpayment?include=void", json=void)
    company.act("DELETE", f"/quickbooks/bill/{bills[1]['Id']}")
    company.act("POST", f"/quickbooks/vendor/{vendors[0]}/merge", json={"into": vendors[1]})
    company.quickbooks("POST", "/bill", json={"Line": []})
    too_much = {
        "VendorRef": bills[0]["VendorRef"], "PayType": "Check", "TotalAmt": 1,
        "Line": [{"Amount": 10**9, "LinkedTxn": [{"TxnId": bills[0]["Id"], "TxnType": "Bill"}]}],
    }  # fmt: skip
    assert company.quickbooks("POST", "/billpayment", json=too_much).status_code == 400
    told = [(event["type"], event["intuitentityid"], event["data"]) for event in receiver.events(6)]
    assert told == [
        ("qbo.bill.updated.v1", bills[0]["Id"], {}),
        ("qbo.billpayment.created.v1", payment["Id"], {}),
        ("qbo.bill.updated.v1", bills[0]["Id"], {}),
        ("qbo.billpayment.voided.v1", payment["Id"], {}),
        ("qbo.bill.deleted.v1", bills[1]["Id"], {}),
        ("qbo.vendor.merged.v1", vendors[1], {"deletedid": vendors[0]}),
    ]
    assert len(receiver.received) == 1


def test_repeated_until_taken_then_given_up(company: Company, desk: Desk, receiver: Receiver) -> None:
    register(desk, receiver, retry_scale=0)
    receiver.statuses = [500, 404, 201]
    bill = some_bill(company)["Id"]
    company.act("PATCH", f"/quickbooks/bill/{bill}", json={"PrivateNote": "1"})
    assert [(one["state"], one["attempts"]) for one in settled(desk)] == [("delivered", 4)]
    assert len({one.body for one in receiver.received}) == 1
    receiver.statuses = [503] * 11
    company.act("PATCH", f"/quickbooks/bill/{bill}", json={"PrivateNote": "2"})
    last = settled(desk, 2)[-1]
    assert (last["state"], last["attempts"], last["status"]) == ("given_up", 11, 503)


def test_waits_between_attempts_and_can_be_called_off(company: Company, desk: Desk, receiver: Receiver) -> None:
    register(desk, receiver, retry_scale=0.02)
    receiver.statuses = [500, 500]
    bill = some_bill(company)["Id"]
    began = time.monotonic()
    company.act("PATCH", f"/quickbooks/bill/{bill}", json={"PrivateNote": "1"})
    settled(desk)
    assert time.monotonic() - began >= (10 + 20) * 0.02
    register(desk, receiver, retry_scale=100)
    receiver.statuses = [500]
    company.act("PATCH", f"/quickbooks/bill/{bill}", json={"PrivateNote": "2"})
    until(lambda: deliveries(desk)[-1]["status"] == 500)
    assert deliveries(desk)[-1]["state"] == "under_way"
    assert desk.call("DELETE", "/webhooks") == {"settings": None, "waiting": 0, "dropped": 0, "deliveries": []}
    company.act("PATCH", f"/quickbooks/bill/{bill}", json={"PrivateNote": "3"})
    assert desk.call("GET", "/webhooks")["waiting"] == 0


def test_three_seconds_to_answer(company: Company, desk: Desk, receiver: Receiver) -> None:
    receiver.pause = 3.3
    register(desk, receiver, retry_scale=1000)
    company.act("PATCH", f"/quickbooks/bill/{some_bill(company)['Id']}", json={"PrivateNote": "1"})
    (one,) = until(lambda: deliveries(desk) if deliveries(desk) and deliveries(desk)[0]["attempts"] else None)
    assert (one["state"], one["status"]) == ("under_way", 0)
    time_over = time.monotonic() + 3.1
    until(lambda: time.monotonic() > time_over)
    assert deliveries(desk)[0] | {"id": ""} == {"id": "", "events": 1, "state": "under_way", "attempts": 1, "status": 0}


def test_a_crowd_comes_in_hundreds_twice_and_in_no_order(company: Company, desk: Desk, receiver: Receiver) -> None:
    register(desk, receiver, delay=0.05, duplicate=True, shuffle=True)
    made = company.act("POST", "/quickbooks/bulk", json={"entity": "Bill", "count": 250})
    events = receiver.events(500)
    ids = [event["intuitentityid"] for event in events]
    expected = [str(number) for number in range(int(made["first"]), int(made["last"]) + 1)]
    assert sorted(ids, key=int) == sorted(expected * 2, key=int)
    assert ids[:250] != expected
    assert len({event["id"] for event in events}) == 250
    assert sorted(one["events"] for one in settled(desk, 6)) == [50, 50, 100, 100, 100, 100]


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/", "http://hooks.company.example/", "http://192.0.2.7/", "ftp://127.0.0.1/", "nonsense", ""],
)
def test_only_loopback(desk: Desk, url: str) -> None:
    answer = desk.http.put(f"{desk.urls.quickbooks}/sandbox/webhooks", json={"url": url, "verifier": "x"})
    assert answer.status_code == 400
    assert desk.call("GET", "/webhooks")["settings"] is None


def test_nobody_listens(company: Company, desk: Desk, receiver: Receiver) -> None:
    dead = Receiver()
    dead.stop()
    desk.call("PUT", "/webhooks", json={"url": dead.url, "verifier": VERIFIER, "retry_scale": 0})
    company.act("PATCH", f"/quickbooks/bill/{some_bill(company)['Id']}", json={"PrivateNote": "1"})
    (one,) = settled(desk)
    assert (one["state"], one["status"], one["attempts"]) == ("given_up", 0, 11)
    assert receiver.received == []


def test_settings_survive_a_restart(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> None:
    own = Process(tmp_path_factory.mktemp("hooks"))
    try:
        desk = Desk(own.urls)
        company = desk.company(bills=5)
        register(desk, receiver, delay=0.0)
        own.kill()
        own.start()
        company.act("POST", "/quickbooks/vendor", json={"DisplayName": "After the restart"})
        assert receiver.events(1)[0]["type"] == "qbo.vendor.created.v1"
    finally:
        own.kill()
