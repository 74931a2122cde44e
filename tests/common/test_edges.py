"""Bad input at the edge: ids, settings, and secrets that must not reach a log."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from common import logs, masterkeys, settings, subjects
from common.errors import Fate, Refused, RetryLater, UserError, backoff, verdict
from common.messages import now
from common.oauth import Tokens


@given(st.text(min_size=1, max_size=90))
def test_a_token_never_addresses_another_subject(value: str) -> None:
    try:
        token = subjects.token(value)
    except subjects.BadTokenError:
        return
    assert not set(token) & set(".*> \t\r\n")
    assert subjects.notice("eu", "ws") not in subjects.record("eu", "ws", "bill", token)


@pytest.mark.parametrize("bad", ["", "a.b", "a b", "*", ">", "a\r\nPUB x", "é", "x" * 81, "a\n"])
def test_bad_ids_are_refused_with_the_field(bad: str) -> None:
    with pytest.raises(subjects.BadTokenError, match="record key"):
        subjects.record("eu", "ws", "bill", bad)


@pytest.mark.parametrize("bad", ["", "Upper", "a_b", "ws.other", "x" * 41, "ws\n"])
def test_bad_workspaces_are_refused(bad: str) -> None:
    with pytest.raises(subjects.BadTokenError, match="workspace"):
        subjects.workspace(bad)


@given(st.text("0123456789", min_size=1, max_size=19), st.text("0123456789ABCab", min_size=1, max_size=22))
def test_record_keys_round_trip(realm: str, ident: str) -> None:
    key = subjects.RecordKey(realm, ident)
    assert subjects.RecordKey.parse(str(key)) == key


@pytest.mark.parametrize(
    "subject, workspace",
    [
        ("eu.record.ws-1.bill.9-1", "ws-1"),
        ("eu.review.resolved.ws-1.9-1", "ws-1"),
        ("eu.decision.ws-1.9-1", "ws-1"),
        ("nonsense", None),
        ("eu.record.NOT OK.bill", None),
    ],
)
def test_the_workspace_of_a_subject(subject: str, workspace: str | None) -> None:
    assert subjects.workspace_of(subject) == workspace


@pytest.mark.parametrize(
    "name, value, hint",
    [
        ("NATS_URL", "localhost:4222", "nats://"),
        ("NATS_URL", "nats://h:99999", "broker URL"),
        ("REGION", "Europe", "lower-case"),
        ("QUICKBOOKS_API_URL", "http://quickbooks.example", "https"),
        ("QUICKBOOKS_API_URL", "ftp://x", "http"),
        ("PULL_EVERY", "5", "60"),
        ("BACKFILL_FROM", "0024-01-01", "2000-01-01"),
        ("CONSOLE_PORT", "http", "integer"),
        ("LOG_LEVEL", "loud", "debug"),
    ],
)
def test_a_wrong_setting_names_itself_and_the_fix(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, hint: str
) -> None:
    monkeypatch.setenv(f"WEIR_{name}", value)
    with pytest.raises(UserError) as caught:
        settings.load()
    assert str(caught.value).startswith(f"WEIR_{name}")
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_setting_is_named_with_its_likely_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_REGOIN", "eu")
    with pytest.raises(UserError, match=r"WEIR_REGOIN.*WEIR_REGION"):
        settings.load()


def test_a_password_in_the_brokers_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_NATS_URL", "http://weir:hush-hush@broker:4222")
    with pytest.raises(UserError, match="WEIR_NATS_URL") as caught:
        settings.load()
    assert "hush-hush" not in str(caught.value)
    assert settings.without_userinfo("nats://a:b@h:1,nats://c:d@h:2") == "nats://h:1,nats://h:2"


@pytest.mark.parametrize("value", ["not base64!", "c2hvcnQ="])
def test_a_malformed_master_key_is_named_but_never_shown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("WEIR_MASTER_KEY", value)
    loaded = settings.load()
    with pytest.raises(UserError, match="WEIR_MASTER_KEY") as caught:
        masterkeys.master_keys(loaded)
    assert value not in str(caught.value)
    assert value not in repr(loaded)


def test_required_settings_say_what_is_missing() -> None:
    with pytest.raises(UserError, match="WEIR_QUICKBOOKS_CLIENT_ID is not set"):
        settings.load().required("quickbooks_client_id")


@pytest.fixture
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, configured = list(root.handlers), root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)
    structlog.contextvars.clear_contextvars()


SECRETS = {
    "authorization header": {"why": "sent Authorization: Bearer abcdefghijkl.mnop"},
    "query": {"url": "https://x.example/cb?code=AB11secretcode&state=1"},
    "field name": {"refresh_token": "AB11secretcode"},
    "nested": {"answer": {"access_token": "AB11secretcode", "list": ["token=AB11secretcode"]}},
    "error": {"error": ValueError("bad token=AB11secretcode")},
    "ory": {"why": "got ory_at_AB11secretcode"},
    "userinfo": {"url": "nats://user:AB11secretcode@host:4222"},
}


@pytest.mark.usefixtures("_restored_logging")
@pytest.mark.parametrize("fields", SECRETS.values(), ids=SECRETS.keys())
def test_secrets_do_not_reach_the_log(fields: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("test", style="json")
    structlog.get_logger().warning("something.happened", **fields)
    logging.getLogger("a.library").error("failed with %s", {name: str(value) for name, value in fields.items()})
    shown = capfd.readouterr().err
    assert "something.happened" in shown
    assert "AB11secretcode" not in shown
    assert "abcdefghijkl" not in shown
    assert json.loads(shown.splitlines()[0])["service"] == "test"


@pytest.mark.usefixtures("_restored_logging")
@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_shows_no_local_variables(style: str, capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("test", style=style)

    def fail() -> None:
        held = {"note": "AB11secretcode", "access_token": "AB11secretcode"}
        raise ValueError(f"no luck with {len(held)} things")

    try:
        fail()
    except ValueError:
        structlog.get_logger().warning("something.failed", exc_info=True)
    shown = capfd.readouterr().err
    assert "no luck" in shown
    assert "AB11secretcode" not in shown


def test_what_a_provider_says_of_a_token_is_not_logged() -> None:
    event = logs.redact(
        structlog.get_logger(), "info", {"event": "x", "error": ValueError("Token expired: AB01whole…")}
    )
    assert "AB01" not in str(event)


@pytest.mark.parametrize(
    "secret",
    [
        "RT1-AbCdEf-0123456789",
        "XAB11AbCdEf-0123456789",
        "eyJlbmMiOiJBMTI4Q0JDLUhTMjU2In0..AbCdEf",
        "ory_at_AbCdEf",
        f"weir_{'a' * 43}",
        f"SU{'A2' * 28}",
    ],
)
def test_what_is_a_secret_by_its_looks_is_not_logged_without_a_name(secret: str) -> None:
    event = logs.redact(structlog.get_logger(), "info", {"event": "x", "error": ValueError(f"no {secret} here")})
    assert event == {"event": "x", "error": f"ValueError: no {logs.HIDDEN} here"}


def test_bodies_are_not_logged() -> None:
    event = logs.redact(structlog.get_logger(), "info", {"event": "x", "body": b"anything"})
    assert event == {"event": "x", "body": "<8 bytes>"}


def test_tokens_do_not_show_themselves() -> None:
    assert "AB11" not in repr(Tokens(access="AB11a", refresh="AB11r", expires_at=now()))


def test_the_table_of_fates() -> None:
    assert verdict(RetryLater("x", delay=3), 1).delay == 3
    assert verdict(Refused("x", field="total", fix="y"), 1).fate is Fate.PARK
    assert verdict(ExceptionGroup("tasks", [RetryLater("x", delay=3)]), 50).delay == 3
    waiting = ExceptionGroup("tasks", [RetryLater("x"), TimeoutError()])
    assert verdict(waiting, 50).fate is Fate.RETRY
    assert verdict(ExceptionGroup("tasks", [RetryLater("x"), Refused("y")]), 1).fate is Fate.PARK
    assert verdict(TimeoutError(), 50).fate is Fate.RETRY
    assert verdict(KeyError("bug"), 1).fate is Fate.RETRY
    assert verdict(KeyError("bug"), 8).fate is Fate.PARK


@given(st.integers(1, 10_000))
def test_backoff_grows_to_its_cap(attempt: int) -> None:
    assert backoff(attempt) <= backoff(attempt + 1) <= 300
