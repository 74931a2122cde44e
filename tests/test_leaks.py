"""What looks for leaks finds them, in whatever form and place; else every other test of leaks would prove nothing."""

import base64
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bus import Bus
from services.sandbox.store import SCHEMA
from tests.leaks import secrets_of

TOKEN = "RT1-a_fictional-refresh_token"
KEY = base64.b64encode(bytes(range(32))).decode()


@given(before=st.binary(max_size=50), behind=st.binary(max_size=50))
def test_a_secret_is_found_plain_and_inside_base64(before: bytes, behind: bytes) -> None:
    known = secrets_of(None, {"WEIR_QONTO_CLIENT_SECRET": TOKEN})
    assert known.found_in(before + TOKEN.encode() + behind)
    assert known.found_in(base64.b64encode(before + TOKEN.encode() + behind))


@pytest.mark.parametrize("form", [KEY.encode(), bytes(range(32)), bytes(range(32)).hex().encode()])
def test_a_master_key_is_found_as_text_bytes_and_hex(form: bytes) -> None:
    known = secrets_of(None, {"WEIR_MASTER_KEY": KEY})
    assert known.found_in(b"some text " + form) == ["output: WEIR_MASTER_KEY, AAEC…"]
    assert known.found_in(b"some text without") == []


def test_files_the_seeds_of_nkeys_and_all_the_stand_in_issued(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "sandbox.sqlite3")) as store:
        store.executescript(SCHEMA)
        store.execute("INSERT INTO grants VALUES ('g', 'quickbooks', 'app', '1', 'all', 0, 1)")
        store.execute("INSERT INTO tokens VALUES (?, 'refresh', 'g', 0, 1, 1, '{}')", (TOKEN,))
        hook = '{"secret": "whsec_fictional-secret"}'
        store.execute(
            "INSERT INTO objects VALUES ('o', 'webhook_subscription', 'w', ?, '{}', 0, 0, 0)", (hook.encode(),)
        )
        store.commit()
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "puller.log").write_text(f"got {TOKEN}")
    (logs / "poster.log").write_text(
        "SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ2KFE4PEJUA44CNHTC4 whsec_fictional-secret"
    )
    assert secrets_of(tmp_path, {}).found_in(logs) == [
        "logs/poster.log: nkey seed SUAI…",
        "logs/poster.log: webhook secret issued by the stand-in, whse…",
        "logs/puller.log: refresh token issued by the stand-in, RT1-…",
    ]


def test_a_secret_found_by_chance_is_none() -> None:
    with pytest.raises(ValueError, match="by chance"):
        secrets_of(None, {}, "abc")


async def test_messages_are_searched_in_subject_header_and_body(bus: Bus) -> None:
    inside = [secrets.token_hex(8) for _ in range(4)]
    stream = bus.topology.notices
    await bus.publish(f"{bus.region}.notice.{inside[0]}", {"why": inside[1]}, stream=stream, key=inside[2])
    known = secrets_of(None, {}, *inside)
    assert len(await known.found_on(bus)) == 3
