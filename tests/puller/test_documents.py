"""The files of bills: which hang where, what becomes of them, and their bytes."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import given
from hypothesis import strategies as st

from common.buckets import Documents
from common.errors import RetryLater
from common.messages import Bill, Connected, Document, Done, Notice, Rewind, now
from services.puller import download as downloading
from services.puller import files, publisher
from services.puller.content import HTML, UNKNOWN, XML, is_page, true_type
from services.puller.download import LARGEST_FILE, TooLarge, Unobtainable, download
from tests.puller.stand import WS, Sandbox, World, puller, until

pytestmark = pytest.mark.usefixtures("swift")

PDF = b"%PDF-1.4 fictional"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
PAGE = "<!DOCTYPE html><html><body>Sorry, something went wrong</body></html>"
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date()
FILES = "/attachments/"


@pytest.fixture
def switches(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The stand-in, whose switches about files go back to where they were."""
    before = sandbox.control.get("/sandbox/switches").json()
    yield sandbox
    sandbox.switch(**{name: before[name] for name in ("capture_attachables", "expired_link", "download_link")})


def attach(world: World, bill: str, data: bytes = PDF, name: str = "invoice.pdf", kind: str = "application/pdf") -> str:
    """Hang a file on a bill; the attachable's id."""
    path = f"{world.realm}/quickbooks/bill/{bill}/attach?name={name}"
    made = world.sandbox.post(path, content=data, headers={"Content-Type": kind})
    return str(made["Attachable"]["Id"])


def hang(world: World, attachable: str, *on: tuple[str, str]) -> None:
    """Let an attachable name just these (type, id)."""
    references = [{"EntityRef": {"type": kind, "value": ident}} for kind, ident in on]
    world.sandbox.patch(f"{world.realm}/quickbooks/attachable/{attachable}", {"AttachableRef": references})


def remove(world: World, attachable: str) -> None:
    world.sandbox.delete(f"{world.realm}/quickbooks/attachable/{attachable}")


def bare(world: World) -> list[str]:
    """Bills on which nothing hangs."""
    files = world.sandbox.objects(world.realm, "Attachable").values()
    taken = {reference["EntityRef"]["value"] for file in files for reference in file.get("AttachableRef", [])}
    return sorted(world.sandbox.bills(world.realm).keys() - taken)


async def documents(world: World, bill: str) -> dict[str, Document]:
    """The documents of a bill by attachable."""
    return {document.attachable: document for document in (await world.bill(bill)).message.documents}


async def omissions(world: World) -> list[Notice]:
    return [notice for notice in await world.notices() if notice.kind == "failed"]


async def test_files_come_with_their_bill_or_later_to_it(world: World) -> None:
    early, late, *_ = bare(world)
    attach(world, early, PDF + b" early")
    async with puller(world.settings):
        await world.first_pull()
        first = await world.bill(early)
        assert hashlib.sha256(PDF + b" early").hexdigest() in {item.sha256 for item in first.message.documents}
        attach(world, late, PDF + b" one", "one.pdf")
        await world.pull()
        attach(world, late, PDF + b" two", "two.pdf")
        await world.pull()
        found = (await world.bill(late)).message.documents
        assert [document.name for document in found] == ["one.pdf", "two.pdf"]
        assert await Documents(world.bus).get(found[-1].sha256) == PDF + b" two"
        assert (await world.bill(early)).sequence == first.sequence


async def test_a_file_on_several_bills_is_fetched_once_and_kept_once(world: World) -> None:
    one, two, three, *_ = bare(world)
    file = attach(world, one)
    hang(world, file, ("Bill", one), ("bill", two))
    async with puller(world.settings):
        world.sandbox.count()
        await world.first_pull()
        had = sum(len(item.message.documents) for item in (await world.records("bill")).values())
        fetched = sum(times for call, times in world.sandbox.calls().items() if FILES in call)
        assert fetched == had - 1
        assert (await documents(world, one)) == (await documents(world, two)) != {}
        # Linked later: an attachable that is there gets another bill.
        hang(world, file, ("Bill", one), ("Bill", two), ("Bill", three))
        before = {bill: (await world.bill(bill)).sequence for bill in (one, two)}
        await world.pull()
        assert file in await documents(world, three)
        assert {bill: (await world.bill(bill)).sequence for bill in (one, two)} == before


async def test_notes_and_files_of_other_things_are_no_documents_and_no_errors(world: World) -> None:
    bill, *_ = bare(world)
    vendor = sorted(world.sandbox.objects(world.realm, "Vendor"))[0]
    note = {"Note": "called them", "AttachableRef": [{"EntityRef": {"type": "Bill", "value": bill}}]}
    async with puller(world.settings):
        await world.first_pull()
        before = await world.last_sequence()
        world.sandbox.post(f"{world.realm}/quickbooks/attachable", json=note)
        hang(world, attach(world, bill), ("Vendor", vendor))
        await world.pull()
        assert await documents(world, bill) == {}
        assert await world.last_sequence() == before
        assert await omissions(world) == []


async def test_a_file_of_a_bill_never_pulled_brings_the_bill(world: World) -> None:
    bill, *others = sorted(world.sandbox.bills(world.realm))
    async with puller(world.settings.model_copy(update={"backfill_from": TOMORROW})):
        await world.first_pull()
        assert await world.records("bill") == {}
        file = attach(world, bill)
        await world.pull()
        assert file in await documents(world, bill)
        assert not set(others) <= (await world.records("bill")).keys()


async def test_a_bill_that_comes_to_light_late_has_its_old_files(world: World) -> None:
    bill, older = "", now() - timedelta(days=5)
    for ident, item in world.sandbox.bills(world.realm).items():
        if datetime.fromisoformat(item["MetaData"]["LastUpdatedTime"]) < older:
            bill = ident
    world.sandbox.switch(clock_offset=-2 * 86_400)
    file = attach(world, bill)
    world.sandbox.switch(clock_offset=0)
    async with puller(world.settings.model_copy(update={"backfill_from": TOMORROW})):
        await world.first_pull()
        assert bill not in await world.records("bill")
        world.sandbox.patch(f"{world.realm}/quickbooks/bill/{bill}", {"PrivateNote": "edited"})
        await world.pull()
        assert file in await documents(world, bill)


async def test_a_file_deleted_or_taken_off_leaves_its_bill(world: World) -> None:
    one, two, three, *_ = bare(world)
    deleted, taken, renamed = (attach(world, bill) for bill in (one, two, three))
    shared = attach(world, one, PDF + b" shared")
    hang(world, shared, ("Bill", one), ("Bill", two))
    async with puller(world.settings):
        await world.first_pull()
        assert (await documents(world, one)).keys() == {deleted, shared}
        remove(world, deleted)
        hang(world, taken)
        world.sandbox.patch(f"{world.realm}/quickbooks/attachable/{renamed}", {"FileName": "Rechnung.pdf"})
        await world.pull()
        assert (await documents(world, one)).keys() == {shared}
        assert (await documents(world, two)).keys() == {shared}
        assert (await documents(world, three))[renamed].name == "Rechnung.pdf"
        before = await world.last_sequence()
        world.sandbox.count()
        await world.pull()
        # Change data capture tells the same again, and nothing follows from it.
        assert world.sandbox.calls() == {"/v3/company/{id}/cdc 200": 1}
        assert await world.last_sequence() == before
        hang(world, shared, ("Bill", three))
        await world.pull()
        assert await documents(world, one) == await documents(world, two) == {}
        assert (await documents(world, three)).keys() == {renamed, shared}


async def test_a_file_attached_and_taken_off_within_one_second_leaves_its_bill(world: World) -> None:
    bill, *_ = bare(world)
    async with puller(world.settings):
        await world.first_pull()
        for clock in range(60, 600, 60):
            world.sandbox.switch(clock_offset=clock)
            file = attach(world, bill)
            await world.pull()
            assert file in await documents(world, bill)
            # The clock goes back to the second of the attaching.
            made = world.sandbox.objects(world.realm, "Attachable")[file]["MetaData"]["LastUpdatedTime"]
            passed = (now() + timedelta(seconds=clock) - datetime.fromisoformat(made)).total_seconds()
            world.sandbox.switch(clock_offset=clock - int(passed))
            hang(world, file)
            times = world.sandbox.objects(world.realm, "Attachable")[file]["MetaData"]
            if times["CreateTime"] == times["LastUpdatedTime"]:
                break
        else:
            raise AssertionError("never within one second")
        await world.pull()
        assert await documents(world, bill) == {}


async def test_a_deletion_that_is_none_takes_nothing(world: World) -> None:
    async with puller(world.settings):
        await world.first_pull()
        before = await world.last_sequence()
        # The first attachment there is, reported as deleted: nothing else of the company is.
        first = min(await _held(world), key=lambda ident: (len(ident), ident))
        stub = {"status": "Deleted", "domain": "QBO", "Id": first, "MetaData": {"LastUpdatedTime": now().isoformat()}}
        told = {"CDCResponse": [{"QueryResponse": [{"Attachable": [stub]}]}], "time": now().isoformat()}
        world.sandbox.fault("/cdc", "status", status=200, body=json.dumps(told))
        world.sandbox.count()
        await world.pull()
        assert sum(world.sandbox.calls().values()) == 2  # capture, and the object it names
        assert await world.last_sequence() == before
        assert first in await _held(world)


async def test_what_capture_no_longer_tells_is_found_by_comparing_ids(world: World) -> None:
    world.sandbox.switch(clock_offset=-40 * 86_400)
    one, two, *_ = bare(world)
    deleted, taken = attach(world, one), attach(world, two)
    async with puller(world.settings):
        await world.first_pull()
        world.sandbox.switch(clock_offset=0)
        remove(world, deleted)
        hang(world, taken)
        await world.pull()
        assert await documents(world, one) == await documents(world, two) == {}


async def test_without_capture_of_attachments_windows_and_ids_tell(world: World, switches: Sandbox) -> None:
    one, two, *_ = bare(world)
    deleted = attach(world, one)
    switches.switch(capture_attachables=False)
    async with puller(world.settings):
        await world.first_pull()
        remove(world, deleted)
        added = attach(world, two)
        switches.count()
        await world.pull()
        assert await documents(world, one) == {}
        assert (await documents(world, two)).keys() == {added}
        assert switches.calls()["/v3/company/{id}/cdc 200"] == 1
        assert await omissions(world) == []


async def test_whoever_stops_in_between_finds_it_again(world: World) -> None:
    one, two, *_ = bare(world)
    deleted, taken = attach(world, one), attach(world, two)
    exact = world.settings.model_copy(update={"pull_overlap": 0})  # nothing is found again by chance
    async with puller(exact):
        await world.first_pull()
        remove(world, deleted)
        hang(world, taken)
        reached = (await world.marker("Attachable")).until
        world.sandbox.switch(clock_offset=5)
        world.qonto_connected = False  # bills cannot be published: the pull ends here
        await world.pull()
        assert (await world.marker("Attachable")).until == reached
        assert (await world.marker("deletions")).until != reached
        assert deleted in await documents(world, one)
    world.qonto_connected = True
    async with puller(exact):
        await world.pull()
        assert await documents(world, one) == await documents(world, two) == {}


async def test_a_deleted_bill_keeps_its_files_and_is_not_published_for_them(world: World) -> None:
    bill, *_ = [
        ident
        for ident, body in sorted(world.sandbox.bills(world.realm).items())
        if not body.get("LinkedTxn") and ident in bare(world)
    ]
    file = attach(world, bill)
    async with puller(world.settings):
        await world.first_pull()
        before = await world.last_sequence()
        world.sandbox.delete(f"{world.realm}/quickbooks/bill/{bill}")
        remove(world, file)
        await world.pull()
        after = await world.bill(bill)
        assert (after.message.deleted, [item.attachable for item in after.message.documents]) == (True, [file])
        published = [item.sequence for item in (await world.records("bill")).values() if item.sequence > before]
        assert published == [after.sequence]


@pytest.mark.parametrize("link", ["bare", "quoted"])
@pytest.mark.parametrize("status", [403, 404])
async def test_an_expired_link_is_asked_for_again(world: World, switches: Sandbox, link: str, status: int) -> None:
    bill, *_ = bare(world)
    file = attach(world, bill)
    switches.switch(download_link=link, expired_link=status)
    switches.fault(FILES, "status", status=status, times=1)
    switches.count()
    async with puller(world.settings):
        await world.first_pull()
    assert file in await documents(world, bill)
    assert sum(times for call, times in switches.calls().items() if "/download/" in call) == 1
    assert await omissions(world) == []


async def test_the_bytes_decide_what_a_file_is(world: World) -> None:
    bill, *_ = bare(world)
    declared = {
        attach(world, bill, PDF, "a.bin", "application/octet-stream"): "application/pdf",
        attach(world, bill, PNG, "b.pdf", "application/pdf"): "image/png",
        attach(world, bill, b"PK no archive", "c.pdf", "application/pdf"): UNKNOWN,
        attach(world, bill, b'<?xml version="1.0"?><Fattura/>', "d.xml", "text/xml"): XML,
    }
    async with puller(world.settings):
        await world.first_pull()
    assert {ident: item.content_type for ident, item in (await documents(world, bill)).items()} == declared


@pytest.mark.parametrize("data", [b"", PAGE.encode(), bytes(LARGEST_FILE + 1)], ids=["empty", "page", "large"])
async def test_a_file_that_cannot_be_had_is_left_out_and_told_once(world: World, data: bytes) -> None:
    bill, *_ = bare(world)
    attach(world, bill, data, "bad.pdf")
    good = attach(world, bill)
    async with puller(world.settings):
        await world.first_pull()
        assert (await documents(world, bill)).keys() == {good}
        assert ["bad.pdf" in notice.why for notice in await omissions(world)] == [True]
        world.sandbox.count()
        await world.pull()
        assert world.sandbox.calls() == {"/v3/company/{id}/cdc 200": 1}
        assert len(await omissions(world)) == 1


@pytest.mark.parametrize("way", ["file", "file within its second", "bill", "rewind"])
async def test_what_was_left_out_is_tried_again_when_something_changes(world: World, way: str) -> None:
    bill, *_ = bare(world)
    file = attach(world, bill, name="late.pdf")
    world.sandbox.fault(FILES, "status", status=200, body=PAGE, times=200)
    async with puller(world.settings):
        await world.first_pull()
        assert await documents(world, bill) == {}
        told = len(await omissions(world))
        world.sandbox.control.delete("/sandbox/faults")
        await world.pull()
        assert await documents(world, bill) == {}
        match way:
            case "file" | "file within its second":
                if way != "file":
                    seen = world.sandbox.objects(world.realm, "Attachable", f"WHERE Id = '{file}'")[file]
                    changed = datetime.fromisoformat(seen["MetaData"]["LastUpdatedTime"])
                    world.sandbox.switch(clock_offset=(changed - now()).total_seconds())
                world.sandbox.patch(f"{world.realm}/quickbooks/attachable/{file}", {"Note": "the right one"})
                await world.pull()
            case "bill":
                world.sandbox.patch(f"{world.realm}/quickbooks/bill/{bill}", {"PrivateNote": "edited"})
                await world.pull()
            case "rewind":
                back = Rewind(workspace=WS, to=now() - timedelta(hours=1))
                assert isinstance(await world.bus.call(world.subject("rewind"), back), Done)
                await world.pulled()
        assert (await documents(world, bill)).keys() == {file}
        assert len(await omissions(world)) == told
        attach(world, bill, b"", "empty.pdf")
        await world.pull()
        assert (await documents(world, bill)).keys() == {file}
        assert len(await omissions(world)) == told + 1


@pytest.mark.parametrize("status", [503, 429])
async def test_a_host_that_cannot_now_is_asked_again_and_nothing_is_told(world: World, status: int) -> None:
    bill, *_ = bare(world)
    async with puller(world.settings):
        await world.first_pull()
        file = attach(world, bill)
        reached = (await world.marker("Attachable")).until
        world.sandbox.fault(FILES, "status", status=status, times=1)
        await world.tick()
        await until(lambda: _asked(world, status))
        assert (await world.marker("Attachable")).until == reached
        await world.pulled()
        assert file in await documents(world, bill)
        assert await omissions(world) == []


async def test_a_file_whose_host_fails_holds_up_its_own_bill_for_a_day_and_no_other(world: World) -> None:
    one, two, *_ = bare(world)
    async with puller(world.settings):
        await world.first_pull()
        file = attach(world, one, name="bad.pdf")
        for bill in (one, two):
            world.sandbox.patch(f"{world.realm}/quickbooks/bill/{bill}", {"PrivateNote": "edited"})
        reached = (await world.marker("Bill")).until
        path = urlsplit(world.sandbox.objects(world.realm, "Attachable")[file]["TempDownloadUri"]).path
        world.sandbox.fault(re.escape(path), "status", status=500, times=10_000)
        await world.tick()
        await until(lambda: _says(world, two, "edited"))
        await until(lambda: _failing(world))
        assert not await _says(world, one, "edited")
        assert (await world.marker("Bill")).until == reached
        assert "'bad.pdf' of bill" in ((await world.state()).failing or "")
        assert await omissions(world) == []
        world.sandbox.switch(clock_offset=86_400)
        await world.pull()
        assert (await world.state()).failing is None
        assert await _says(world, one, "edited")
        assert await documents(world, one) == {}
        assert (await world.marker("Bill")).until != reached
        (told,) = await omissions(world)
        assert "tried again every day" in (told.fix or "")
        assert "bad.pdf" in (await world.state()).left_out[0]
        # Nothing changes at the bill or its file: the day alone brings it.
        world.sandbox.control.delete("/sandbox/faults").raise_for_status()
        await world.pull()
        assert await documents(world, one) == {}
        world.sandbox.switch(clock_offset=2 * 86_400 + 60)
        await world.pull()
        assert (await documents(world, one)).keys() == {file}
        assert (await world.state()).left_out == ()
        assert len(await omissions(world)) == 1


async def test_what_takes_long_does_not_keep_what_is_ready(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, *_ = bare(world)
    async with puller(world.settings):
        await world.first_pull()
        slow, quick = attach(world, one), attach(world, two, PDF + b" quick")
        monkeypatch.setattr(publisher, "DRESSED_WITHIN", 1.0)
        path = urlsplit(world.sandbox.objects(world.realm, "Attachable")[slow]["TempDownloadUri"]).path
        world.sandbox.fault(re.escape(path), "delay", seconds=2.0, times=1)
        await world.pull()
        assert (await documents(world, one)).keys() == {slow}
        first, last = await world.bill(two), await world.bill(one)
        assert (first.message.documents[0].attachable, first.sequence < last.sequence) == (quick, True)


async def test_a_torn_connection_is_taken_up_again(world: World) -> None:
    bill, *_ = bare(world)
    file = attach(world, bill)
    world.sandbox.fault(FILES, "truncate", times=2)
    async with puller(world.settings):
        await world.first_pull()
    assert (await documents(world, bill))[file].sha256 == hashlib.sha256(PDF).hexdigest()


@pytest.mark.parametrize(
    "link",
    [
        "http://files.example/a.pdf",
        "ftp://files.example/a.pdf",
        "https://10.0.0.8/a.pdf",
        "https://169.254.169.254/latest",
        "https://[fd00::1]/a.pdf",
        "https://intranet/a.pdf",
        "http://127.0.0.1:9/a.pdf",
        "file:///etc/hostname",
        '{"Fault":{}}',
        "",
    ],
)
async def test_a_link_to_anywhere_else_is_not_followed(link: str) -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"asked {request.url}")

    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as client:
        with pytest.raises(Unobtainable):
            await download(client, link)


async def test_answers_of_a_file_host(sandbox: Sandbox) -> None:
    link = f"{sandbox.url}/1{FILES}x?Expires=1&Signature=x"
    async with httpx.AsyncClient() as client:
        with pytest.raises(Unobtainable):
            await download(client, link, local=True)
        for status, error in ((302, Unobtainable), (204, Unobtainable), (500, RetryLater), (408, RetryLater)):
            sandbox.fault(FILES, "status", status=status)
            with pytest.raises(error):
                await download(client, link, local=True)
        sandbox.fault(FILES, "status", status=200, body="x" * (LARGEST_FILE + 1))
        with pytest.raises(TooLarge):
            await download(client, link, local=True)


async def test_a_host_that_drips_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "LONGEST", 0.5)

    async def drip(stream: SocketStream) -> None:
        with suppress(anyio.BrokenResourceError):
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while True:
                await stream.send(b"x")
                await anyio.sleep(0.02)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, drip)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610
        async with httpx.AsyncClient() as client:
            with pytest.raises(RetryLater, match="longer than"):
                await download(client, f"http://127.0.0.1:{port}/a.pdf", local=True)
        group.cancel_scope.cancel()


async def test_a_process_holds_few_files_at_a_time_for_all_companies_together(world: World) -> None:
    realms = [world.realm, world.sandbox.company()]
    most = 0
    # Two pullers, so that both companies are pulled at once whoever takes which tick; the process is one.
    async with puller(world.settings), puller(world.settings):
        world.sandbox.fault(FILES, "delay", seconds=0.2, times=200)
        for workspace, realm in zip(("one-of-two", "two-of-two"), realms, strict=True):
            world.realm = realm
            assert isinstance(await world.connect(workspace), Connected)

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, files._room().borrowed_tokens)
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await world.pulled()
            group.cancel_scope.cancel()
    assert most == files.AT_ONCE


@given(st.binary(max_size=300), st.text(max_size=30), st.text(max_size=30))
def test_any_bytes_have_a_type(data: bytes, name: str, declared: str) -> None:
    assert "/" in true_type(data)
    assert not is_page(PDF + data, name, declared)


@pytest.mark.parametrize(
    "data,name,declared,kind,page",
    [
        (PAGE.encode(), "a.pdf", "application/pdf", HTML, True),
        (b"\xef\xbb\xbf \r\n<HTML>", "a.docx", "application/vnd.openxmlformats-officedocument", HTML, True),
        (b"<Error><Code>AccessDenied</Code></Error>", "a.xml", "application/xml", XML, True),
        (b'<?xml version="1.0"?>\n<Error/>', "a.png", "image/png", XML, True),
        (b'<?xml version="1.0"?><FatturaElettronica/>', "IT01.xml", "", XML, False),
        (b"<html>", "mail", "text/html; charset=utf-8", HTML, False),
        (b"\xef\xbb\xbf%PDF-1.7", "a.pdf", "", "application/pdf", False),
        (b"\xff\xd8\xff\xe0" + bytes(20), "a.pdf", "application/pdf", "image/jpeg", False),
        (b"plain words", "a.txt", "text/plain", UNKNOWN, False),
    ],
)
def test_what_bytes_are(data: bytes, name: str, declared: str, kind: str, page: bool) -> None:
    assert (true_type(data), is_page(data, name, declared)) == (kind, page)


async def _held(world: World) -> set[str]:
    return {
        document.attachable for item in (await world.records("bill")).values() for document in item.message.documents
    }


async def _says(world: World, bill: str, memo: str) -> bool:
    body = (await world.bill(bill)).message.body
    return isinstance(body, Bill) and body.memo == memo


async def _failing(world: World) -> bool:
    return (await world.state()).failing is not None


async def _asked(world: World, status: int) -> bool:
    return any(FILES in call and call.endswith(str(status)) for call in world.sandbox.calls())
