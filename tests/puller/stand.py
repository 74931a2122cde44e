"""A running QuickBooks stand-in, a company of its own for each test, and a puller beside it."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import msgspec
import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from common import codec, http, subjects, topology
from common.buckets import Bucket
from common.bus import Bus
from common.errors import NotConnected
from common.messages import (
    Authorize,
    Bill,
    BillPayment,
    Company,
    Connected,
    Customer,
    Exchange,
    Mirror,
    Mirrored,
    Notice,
    PullState,
    Record,
    RecordKind,
    Redirect,
    TaxCode,
    Tick,
    Vendor,
    VendorCredit,
    now,
)
from common.reading import Stored
from common.settings import Settings
from services.puller import app
from services.puller.marker import Marker

WS = "fictional-lock"
CALLBACK = "http://127.0.0.1:8460/oauth/quickbooks/callback"
SECRET = SecretStr("sandbox-quickbooks-secret")
KEY = SecretStr("d2VpciB0ZXN0IG1hc3RlciBrZXksIDMyIGJ5dGVzISE=")
ENTRIES_SEQ = 4711
"""What the stand-in for the poster answers."""


@dataclass
class Sandbox:
    """The stand-in's process, driven over its control API."""

    url: str
    control: httpx.Client
    calls_from: float = field(default_factory=time.time)
    at_first: dict[str, Any] = field(default_factory=dict)
    """The switches as the stand-in started with them."""

    def __post_init__(self) -> None:
        self.at_first = self.control.get("/sandbox/switches").json()

    def company(self, bills: int = 40) -> str:
        answer = self.control.post("/sandbox/companies", json={"seed": secrets.token_hex(4), "bills": bills})
        answer.raise_for_status()
        return str(answer.json()["realm"])

    def companies(self) -> list[dict[str, Any]]:
        """Every company of the stand-in."""
        return list(self.control.get("/sandbox/companies").json()["companies"])

    def switch(self, **switches: Any) -> None:
        self.control.put("/sandbox/switches", json=switches).raise_for_status()

    def fault(self, path: str, kind: str, **more: Any) -> None:
        match = {"side": "quickbooks", "path_regex": path}
        self.control.post("/sandbox/faults", json={"match": match, "kind": kind, **more}).raise_for_status()

    def post(self, path: str, **options: Any) -> Any:
        answer = self.control.post(f"/sandbox/companies/{path}", **options)
        answer.raise_for_status()
        return answer.json()

    def put(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.control.put(f"/sandbox/companies/{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    def access(self, realm: str, state: str) -> None:
        """What QuickBooks thinks of the company's connection."""
        self.put(f"{realm}/quickbooks/access", {"state": state})

    def damage(self, realm: str, entity: str, ident: str, **how: Any) -> None:
        """Make pages that hold this object fail."""
        self.put(f"{realm}/quickbooks/{entity}/{ident}/poison", how)

    def crowd(self, realm: str, entity: str, count: int, **more: Any) -> dict[str, Any]:
        """Many objects at once; their number, first and last id."""
        made = self.post(f"{realm}/quickbooks/bulk", json={"entity": entity, "count": count, **more})
        return dict(made)

    def patch(self, path: str, body: dict[str, Any]) -> None:
        self.control.patch(f"/sandbox/companies/{path}", json=body).raise_for_status()

    def delete(self, path: str) -> None:
        self.control.delete(f"/sandbox/companies/{path}").raise_for_status()

    def attach(self, realm: str, bill: str, data: bytes, name: str = "invoice.pdf") -> None:
        headers = {"Content-Type": "application/pdf"}
        self.post(f"{realm}/quickbooks/bill/{bill}/attach?name={name}", content=data, headers=headers)

    def bills(self, realm: str) -> dict[str, Any]:
        """Every bill QuickBooks shows, by id."""
        return self.objects(realm, "Bill")

    def objects(self, realm: str, entity: str, where: str = "") -> dict[str, Any]:
        token = self.post(f"{realm}/tokens", json={"side": "quickbooks"})["access_token"]
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        found: dict[str, Any] = {}
        while True:
            text = f"SELECT * FROM {entity} {where} ORDERBY Id STARTPOSITION {len(found) + 1} MAXRESULTS 1000"  # noqa: S608
            answer = self.control.get(f"/v3/company/{realm}/query", params={"query": text}, headers=headers)
            answer.raise_for_status()
            page = json.loads(answer.text, parse_float=str)["QueryResponse"].get(entity, [])
            found |= {item["Id"]: item for item in page}
            if len(page) < 1000:
                return found

    def raw(self, realm: str, entity: str, where: str = "") -> list[msgspec.Raw]:
        """Every object of an entity as it is on the wire."""
        return [msgspec.Raw(json.dumps(item).encode()) for item in self.objects(realm, entity, where).values()]

    def traffic(self, realm: str) -> dict[str, int]:
        """How hard the company was called since the stand-in started, and what became of its tokens."""
        return dict(self.control.get(f"/sandbox/traffic/{realm}").json())

    def count(self) -> None:
        """Begin to count calls here."""
        self.calls_from = time.time()

    def calls(self) -> dict[str, int]:
        """Calls since `count`, by route and status."""
        answer = self.control.get("/sandbox/calls", params={"since": self.calls_from}).json()
        return {f"{call['route']} {call['status']}": call["count"] for call in answer["calls"]}

    def spent(self) -> int:
        """Calls to the data API since `count`, without the one that proves whose a new grant is."""
        counted = self.calls().items()
        return sum(count for call, count in counted if call.startswith("/v3/company/") and "/companyinfo/" not in call)


@pytest.fixture(scope="session")
def running_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder: Path = tmp_path_factory.mktemp("sandbox")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WEIR_")},
        "WEIR_SANDBOX_DIR": str(folder),
        "WEIR_SANDBOX_QUICKBOOKS_PORT": "0",
        "WEIR_SANDBOX_QONTO_PORT": "0",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "services.sandbox"], env=environment, stderr=log)
        ready = time.monotonic() + 30
        while b"sandbox.ready" not in (folder / "log").read_bytes():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < ready, "the sandbox did not start"
            time.sleep(0.05)
        url = json.loads((folder / "urls.json").read_text())["quickbooks"]
        with httpx.Client(base_url=url, timeout=60) as control:
            yield Sandbox(url, control)
        process.terminate()
        process.wait(15)


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    """The stand-in with every switch as at first and no fault scripted."""
    running_sandbox.control.delete("/sandbox/faults").raise_for_status()
    running_sandbox.switch(**{**running_sandbox.at_first, "limits": False, "old_token": "reuse_revokes_family"})
    return running_sandbox


@pytest.fixture
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pullers of this process keep to no limit of QuickBooks, which the stand-in has not got either."""
    monkeypatch.setattr(topology, "PACE", {**topology.PACE, "second": 1000, "minute": 60_000})


@pytest.fixture
def wired(settings: Settings, sandbox: Sandbox) -> Settings:
    """Settings that point at the stand-in."""
    return settings.model_copy(
        update={
            "quickbooks_api_url": sandbox.url,
            "quickbooks_authorize_url": f"{sandbox.url}/connect/oauth2",
            "quickbooks_token_url": f"{sandbox.url}/oauth2/v1/tokens/bearer",
            "quickbooks_revoke_url": f"{sandbox.url}/v2/oauth2/tokens/revoke",
            "quickbooks_client_id": "sandbox-quickbooks",
            "quickbooks_client_secret": SECRET,
            "master_key": KEY,
        }
    )


@dataclass
class World:
    """One test's puller and what it talks to."""

    bus: Bus
    sandbox: Sandbox
    settings: Settings
    realm: str
    mirrored: list[str] = field(default_factory=list)
    qonto_connected: bool = True

    async def mirror(self, request: Mirror) -> Mirrored:
        """Answers for the poster."""
        if not self.qonto_connected:
            raise NotConnected("qonto", request.workspace, "never connected")
        self.mirrored.append(request.workspace)
        return Mirrored(workspace=request.workspace, entries_seq=ENTRIES_SEQ, changed=0)

    async def connect(
        self, workspace: str = WS, realm: str | None = None, *, keep: list[Exchange] | None = None
    ) -> Any:
        """Connect the workspace to its company, or to another one; the answer to the exchange."""
        authorize = partial(self.bus.call, self.subject("authorize"))
        exchange = await approved(authorize, realm or self.realm, workspace)
        if keep is not None:
            keep.append(exchange)
        return await self.bus.call(self.subject("exchange"), exchange)

    def subject(self, verb: str) -> str:
        return subjects.call(self.bus.region, "quickbooks", verb)

    async def first_pull(self) -> None:
        assert isinstance(await self.connect(), Connected)
        await self.pulled()

    async def tick(self, workspace: str = WS) -> None:
        await self.bus.publish(
            subjects.pull(self.bus.region, workspace),
            Tick(workspace=workspace, reason="asked", asked_at=now()),
            stream=self.bus.topology.pulls,
        )

    async def pull(self) -> None:
        """Ask for a pull and wait until it is over."""
        await self.tick()
        await self.pulled()

    async def pulled(self, within: float = 60) -> None:
        """Wait until no tick is left."""
        await until(self._idle, within)

    async def _idle(self) -> bool:
        return not await self.bus.subjects(self.bus.topology.pulls, f"{self.bus.region}.pull.*")

    async def records(self, kind: RecordKind, workspace: str = WS) -> dict[str, Stored[Record]]:
        pattern = f"{self.bus.region}.record.{workspace}.{kind}.*"
        names = await self.bus.subjects(self.bus.topology.records, pattern)
        found: dict[str, Stored[Record]] = {}
        for start in range(0, len(names), 1000):
            part = await self.bus.latest(self.bus.topology.records, names[start : start + 1000], Record)
            found |= {item.message.id: item for item in part.values()}
        return found

    async def bill(self, ident: str) -> Stored[Record]:
        return (await self.records("bill"))[ident]

    async def last_sequence(self) -> int:
        return await self.bus.newest_sequence(self.bus.topology.records, f"{self.bus.region}.record.>")

    async def notices(self, workspace: str = WS) -> list[Notice]:
        """Every notice to the workspace so far, oldest first."""
        stream, subject = self.bus.topology.notices, subjects.notice(self.bus.region, workspace)
        found: list[Notice] = []
        for sequence in range(1, (await self.bus.js.stream_info(stream)).state.last_seq + 1):
            message = await self.bus.js.get_msg(stream, sequence)
            if message.subject == subject:
                found.append(codec.decode(message.data or b"", Notice))
        return found

    async def state(self) -> PullState:
        """How pulling the workspace stands."""
        kept = await Bucket(self.bus, "pulls", PullState).get(WS)
        assert kept is not None
        return kept.value

    async def set_marker(self, name: str, **changes: Any) -> None:
        """Change what is kept of an entity, as time would."""
        bucket, key = Bucket(self.bus, "markers", Marker), f"{WS}.{self.realm}.{name}"
        kept = await bucket.get(key)
        assert kept is not None
        await bucket.replace(key, replace(kept.value, **changes), kept.revision)

    async def marker(self, name: str) -> Marker:
        kept = await Bucket(self.bus, "markers", Marker).get(f"{WS}.{self.realm}.{name}")
        assert kept is not None
        return kept.value


async def approved(authorize: Callable[[Authorize], Awaitable[Any]], realm: str, workspace: str = WS) -> Exchange:
    """Walk through consent as a browser would, choosing the company there; the callback."""
    redirect = await authorize(Authorize(workspace=workspace, redirect_uri=CALLBACK))
    assert isinstance(redirect, Redirect)
    async with httpx.AsyncClient() as browser:
        back = await browser.get(f"{redirect.url}&company={realm}")
    given = dict(parse_qsl(urlsplit(back.headers["Location"]).query))
    return Exchange(state=given["state"], code=given.get("code"), realm=given.get("realmId"))


async def differences(world: World, workspace: str = WS, realm: str | None = None) -> list[str]:
    """What RECORDS says otherwise than QuickBooks, object by object; empty if they agree."""
    realm = realm or world.realm
    books, found = world.sandbox, []
    on: dict[str, set[tuple[str, int]]] = {}
    for ident, file in books.objects(realm, "Attachable").items():
        for reference in file.get("AttachableRef", []) if file.get("FileName") else []:
            if reference["EntityRef"]["type"].lower() == "bill":
                on.setdefault(reference["EntityRef"]["value"], set()).add((ident, int(file["Size"])))
    for kind, entity, where in ALL_KINDS:
        held = {ident: stored.message for ident, stored in (await world.records(kind, workspace)).items()}
        told = {ident: _told(record) for ident, record in held.items() if not record.deleted}
        shown = {ident: _shown(kind, item, on) for ident, item in books.objects(realm, entity, where).items()}
        found += [
            f"{kind} {ident}: {told.get(ident)} for {shown.get(ident)}"
            for ident in sorted(told.keys() | shown.keys())
            if told.get(ident) != shown.get(ident)
        ]
    return found


_ACTIVE = "WHERE Active IN (true, false)"
ALL_KINDS: tuple[tuple[RecordKind, str, str], ...] = (
    ("bill", "Bill", ""),
    ("vendor", "Vendor", _ACTIVE),
    ("customer", "Customer", _ACTIVE),
    ("billpayment", "BillPayment", ""),
    ("vendorcredit", "VendorCredit", ""),
    ("taxcode", "TaxCode", _ACTIVE),
    ("company", "CompanyInfo", ""),
)


def _told(record: Record) -> Any:
    match record.body:
        case Bill(vendor=vendor, total=total, balance=balance, number=number, memo=memo):
            files = {(document.attachable, document.size) for document in record.documents}
            return vendor.id, total, balance, number, memo, files
        case VendorCredit(vendor=vendor, total=total, memo=memo) | BillPayment(vendor=vendor, total=total, memo=memo):
            return vendor.id, total, memo
        case Vendor(name=name, active=active) | Customer(name=name, active=active) | TaxCode(name=name, active=active):
            return name, active
        case Company(name=name):
            return name
        case other:
            return other


def _shown(kind: RecordKind, item: dict[str, Any], on: dict[str, set[tuple[str, int]]]) -> Any:
    match kind:
        case "bill":
            total, balance = Decimal(item["TotalAmt"]), Decimal(item["Balance"])
            number, memo = item.get("DocNumber") or None, item.get("PrivateNote") or None
            return item["VendorRef"]["value"], total, balance, number, memo, on.get(item["Id"], set())
        case "vendorcredit" | "billpayment":
            return item["VendorRef"]["value"], Decimal(item["TotalAmt"]), item.get("PrivateNote")
        case "company":
            return item["CompanyName"]
        case _:
            return item.get("DisplayName", item.get("Name")), item["Active"]


async def until(condition: Callable[[], Any], within: float = 30) -> None:
    """Wait for `condition` (an async function) to become true."""
    with anyio.fail_after(within):
        while not await condition():
            await anyio.sleep(0.05)


@asynccontextmanager
async def puller(settings: Settings, *, seconds: float = 60.0) -> AsyncIterator[Bus]:
    """A puller in this process."""
    async with http.client() as client:
        bus = Bus(settings, "puller")
        app.build(bus, client, seconds=seconds)
        async with running(bus):
            yield bus


@asynccontextmanager
async def running(bus: Bus) -> AsyncIterator[None]:
    """The bus at work during the block."""
    # A task, not a task group: pytest ends a fixture in another task than it began in.
    task = asyncio.create_task(bus.run())
    started = asyncio.create_task(bus.started.wait())
    done, _ = await asyncio.wait({task, started}, timeout=15, return_when=asyncio.FIRST_COMPLETED)
    assert started in done, "the service did not start"
    yield
    bus.stop()
    await task


@pytest.fixture
async def world(wired: Settings, sandbox: Sandbox, bus: Bus) -> AsyncIterator[World]:
    """A company in the stand-in and something that answers for the poster; no puller yet."""
    world = World(bus, sandbox, wired, sandbox.company())
    poster = Bus(wired, "poster")
    poster.answers(subjects.call(bus.region, "qonto", "mirror"), Mirror, world.mirror)
    async with running(poster):
        yield world
