"""Many workspaces and several pullers, one of which dies; and a company in which somebody writes meanwhile."""

import re
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from intuitlib.client import AuthClient
from nats.aio.msg import Msg
from quickbooks import QuickBooks
from quickbooks.objects import Attachable, Bill, Vendor
from quickbooks.objects.base import AttachableRef, Ref
from quickbooks.objects.detailline import AccountBasedExpenseLine, AccountBasedExpenseLineDetail

from common import codec
from common.buckets import Bucket
from common.messages import Connected, PullState, Record, now
from tests.puller.stand import CALLBACK, SECRET, World, differences, puller, until
from tests.puller.test_faults import ready, start

WORKSPACES = 50
BILLS = 3
PDF = b"%PDF-1.4 fictional"


@asynccontextmanager
async def versions(world: World) -> AsyncIterator[Callable[[], list[tuple[str, str]]]]:
    """Subject and content hash of every version of a record that is stored during the block, in order."""
    seen: dict[int, tuple[str, str]] = {}

    async def note(message: Msg) -> None:
        record = codec.decode(message.data, Record)
        seen[message.metadata.sequence.stream] = (message.subject, record.content_hash)

    subscription = await world.bus.js.subscribe(
        f"{world.bus.region}.record.>", stream=world.bus.topology.records, ordered_consumer=True, cb=note
    )
    yield lambda: [seen[sequence] for sequence in sorted(seen)]
    await subscription.unsubscribe()


def repeated(seen: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Versions that say what the version before said."""
    last: dict[str, str] = {}
    return [(subject, said) for subject, said in seen if last.get(subject) == said or last.update({subject: said})]


async def connect(world: World, workspace: str, realm: str) -> None:
    assert isinstance(await world.connect(workspace, realm), Connected)


async def instance(log: Path) -> str:
    """The name under which a puller process holds its leases."""
    (name,) = set(re.findall(r"puller-[0-9a-f]{8}", await anyio.Path(log).read_text()))
    return str(name)


async def frozen_at_work(
    world: World, process: subprocess.Popen[bytes], log: Path, workspaces: Iterable[str]
) -> list[str]:
    """Stop the process in the middle of pulls, but not of the renewal of a token; what it was pulling.

    A token whose renewal nobody hears of is lost, whoever dies: that is another test's matter.
    """
    name = await instance(log)
    leases = Bucket(world.bus, "leases", str)
    with anyio.fail_after(30):
        while True:
            process.send_signal(signal.SIGSTOP)
            held = [kept.key async for kept in leases.items() if kept.value == name]
            if held and all(key.startswith("pull.") for key in held):
                return [key.removeprefix("pull.") for key in held]
            process.send_signal(signal.SIGCONT)
            for workspace in () if held else workspaces:
                await world.tick(workspace)
            await anyio.sleep(0.02)


def small_companies(world: World) -> dict[str, str]:
    """The company of each workspace: a few bills, one of them with a file."""
    realms = {f"lock-{number:02}": world.sandbox.company(bills=0) for number in range(WORKSPACES)}
    for realm in realms.values():
        for entity, count in (("Bill", BILLS), ("Attachable", 1)):
            world.sandbox.crowd(realm, entity, count, at=(now() - timedelta(hours=1)).isoformat())
    return realms


async def test_four_pullers_share_fifty_workspaces_while_one_dies_and_one_sleeps(world: World, tmp_path: Path) -> None:
    sandbox = world.sandbox
    sandbox.switch(limits=True, rotate_after=0, access_lifetime=302)  # renewed after two seconds
    realms = small_companies(world)
    logs = [tmp_path / "one.log", tmp_path / "two.log"]
    processes = [start(world, log) for log in logs]
    states = Bucket(world.bus, "pulls", PullState)
    try:
        async with AsyncExitStack() as stack:
            seen = await stack.enter_async_context(versions(world))
            for log in logs:
                await ready(log)
            for _ in range(2):
                await stack.enter_async_context(puller(world.settings))
            async with anyio.create_task_group() as group:
                for workspace, realm in realms.items():
                    group.start_soon(connect, world, workspace, realm)
            await world.pulled(60)
            state = (await world.bus.js.stream_info(world.bus.topology.records)).state
            assert state.last_seq == state.messages

            for realm in realms.values():
                edited, gone, filed = sorted(sandbox.bills(realm), key=int)
                sandbox.patch(f"{realm}/quickbooks/bill/{edited}", {"PrivateNote": "edited"})
                sandbox.delete(f"{realm}/quickbooks/bill/{gone}")
                sandbox.attach(realm, filed, PDF)
            sandbox.fault("/cdc", "delay", seconds=0.3, times=WORKSPACES)
            for _ in range(2):
                for workspace in realms:
                    await world.tick(workspace)
            held: list[str] = []
            for one, log in zip(processes, logs, strict=True):
                held += await frozen_at_work(world, one, log, realms)
            processes[0].kill()
            since = now()
            await world.pulled(60)

            for workspace in held:  # the others took them over
                kept = await states.get(workspace)
                assert kept is not None
                assert kept.value.finished_at is not None
                assert kept.value.finished_at > since
            asleep = len(await anyio.Path(logs[1]).read_text())
            processes[1].send_signal(signal.SIGCONT)

            async def awake() -> bool:
                """Whether the sleeper has ended a pull that went to another: by its lease or by a lost comparison."""
                told = (await anyio.Path(logs[1]).read_text())[asleep:]
                return re.search(r"lease\.lost|message\.retried|puller\.pull_ended", told) is not None

            await until(awake)
            for workspace in held:
                await world.tick(workspace)
            await world.pulled()
            for realm in realms.values():
                traffic = sandbox.traffic(realm)
                assert (traffic["throttled"], traffic["stale_refreshes"], traffic["revocations"]) == (0, 0, 0)
                assert traffic["refreshes"] >= 1
                assert traffic["peak_second"] <= 10
            after = (await world.bus.js.stream_info(world.bus.topology.records)).state

            async def all_seen() -> bool:
                return len(seen()) == after.last_seq

            await until(all_seen)
            assert repeated(seen()) == []
            changed = Counter(subject for subject, _ in seen()[state.last_seq :])
            assert set(changed.values()) == {1}
            assert len(changed) == 3 * WORKSPACES  # one edited, one deleted, one with a file
        sandbox.switch(limits=False)
        for workspace, realm in realms.items():
            assert await differences(world, workspace, realm) == []
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture
def books(world: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A real client of the company."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(QuickBooks, "api_url_v3", f"{world.sandbox.url}/v3")
    tokens = world.sandbox.post(f"{world.realm}/tokens", json={"side": "quickbooks"})
    auth = AuthClient(
        world.settings.quickbooks_client_id,
        SECRET.get_secret_value(),
        CALLBACK,
        f"{world.sandbox.url}/.well-known/openid_configuration",
        access_token=tokens["access_token"],
        refresh_token=tokens["refresh_token"],
        realm_id=world.realm,
    )
    return QuickBooks(auth_client=auth, refresh_token=tokens["refresh_token"], company_id=world.realm, minorversion=75)


def drafted(vendor: Any, memo: str) -> Any:
    line: Any = AccountBasedExpenseLine()
    line.Amount, line.DetailType = 12.5, "AccountBasedExpenseLineDetail"
    line.AccountBasedExpenseLineDetail = AccountBasedExpenseLineDetail()
    account: Any = Ref()
    account.value = "60"
    line.AccountBasedExpenseLineDetail.AccountRef = account
    bill: Any = Bill()
    bill.VendorRef, bill.PrivateNote = vendor.to_ref(), memo
    bill.TxnDate = bill.DueDate = now().date().isoformat()
    bill.Line.append(line)
    return bill


def write(books: Any, number: int, file: Path) -> None:
    """A vendor and three bills are made; one is edited, one deleted and one gets a file; the vendor ends."""
    vendor: Any = Vendor()
    vendor.DisplayName = f"Fictional Writers {number}"
    vendor = vendor.save(qb=books)
    edited, gone, filed = (drafted(vendor, f"{number}-{which}").save(qb=books) for which in "abc")
    edited.PrivateNote = "edited"
    edited.save(qb=books)
    gone.delete(qb=books)
    file.write_bytes(PDF + b"%d" % number)
    attachment: Any = Attachable()
    reference: Any = AttachableRef()
    reference.EntityRef = filed.to_ref()
    attachment.AttachableRef.append(reference)
    attachment.FileName, attachment.ContentType, attachment._FilePath = file.name, "application/pdf", str(file)
    attachment.save(qb=books)
    if number % 2:
        vendor.Active = False
        vendor.save(qb=books)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_real_client_writes_while_pulls_go_on(world: World, books: Any, tmp_path: Path) -> None:
    rounds, pulls = 0, 0
    async with puller(world.settings), versions(world) as seen:
        await world.first_pull()

        async def write_on() -> None:
            nonlocal rounds
            while pulls < 4:
                await anyio.to_thread.run_sync(write, books, rounds, tmp_path / f"invoice-{rounds}.pdf")
                rounds += 1

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(write_on)
                while pulls < 4:
                    await world.pull()
                    pulls += 1
        assert rounds >= 4
        await world.pull()
        assert await differences(world) == []
        assert repeated(seen()) == []
        assert "failed" not in {notice.kind for notice in await world.notices()}
    books.session.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_what_a_real_client_leaves_empty_is_not_there(world: World, books: Any) -> None:
    vendor, *_ = Vendor.filter(Active=True, qb=books)
    bill = drafted(vendor, "no dates")
    bill.TxnDate = bill.DueDate = ""  # as the client itself begins
    made = bill.save(qb=books)
    assert made.TxnDate
    assert made.DueDate
    async with puller(world.settings):
        await world.first_pull()
        assert await differences(world) == []
    books.session.close()
