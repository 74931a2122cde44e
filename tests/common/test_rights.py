"""The table of rights: what nobody may, what each may not, and that regions have nothing in common."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import brokerconf, rights
from common.rights import IDENTITIES, ROLES, Identity, Permissions, matches
from common.topology import PACE, Topology
from tests.conftest import ROOT

EU, US = Topology("eu"), Topology("us")
REVIEWED = ("acme", "other")
MAY: dict[Identity, Permissions] = {one: rights.permissions(one, EU, REVIEWED) for one in IDENTITIES}
SERVICES: tuple[Identity, ...] = ("puller", "scorer", "poster", "console")


def concrete(pattern: str) -> str:
    """A subject that a pattern stands for."""
    return ".".join("x" if word == "*" else "x.y" if word == ">" else word for word in pattern.split("."))


def every(at: Topology) -> list[str]:
    """A subject of each kind that anybody uses in a region, those of the broker's own interface included."""
    told = [concrete(subject) for stream in at.streams for subject in stream.subjects or []]
    for one in IDENTITIES:
        may = rights.permissions(one, at, REVIEWED)
        told += [
            concrete(pattern) for pattern in (*may.publish, *may.denied, *may.subscribe) if "_INBOX" not in pattern
        ]
    for stream in at.streams:
        told += [f"$JS.API.STREAM.{verb}.{stream.name}" for verb in "CREATE UPDATE DELETE PURGE SNAPSHOT".split()]
    own = [subject for subject in told if at.region in re.split(r"[._]", subject)]
    return sorted({*own} | {f"{at.region}.call.qonto.undo", f"{at.region}.retry.poster", f"{at.region}.ready.poster"})


NEVER = [
    ("scorer", f"$JS.API.STREAM.MSG.GET.KV_{bucket}_eu")
    for bucket in "connections vault subscriptions authorizations people sessions tokens invitations".split()
]
NEVER += [
    ("scorer", "$JS.API.CONSUMER.CREATE.KV_connections_eu.x.$KV.connections_eu.acme.qonto"),
    ("scorer", "$JS.API.DIRECT.GET.KV_connections_eu.$KV.connections_eu.acme.qonto"),
    ("scorer", "$JS.API.STREAM.MSG.GET.OBJ_documents_eu"),
    ("scorer", "eu.record.acme.bill.1-1"),
    ("scorer", "eu.review.resolved.acme.1-1"),
    ("console", "eu.decision.acme.1-1"),
    ("console", "eu.posting.acme.1-1"),
    ("console", "$KV.connections_eu.acme.qonto"),
    ("console", "$KV.people_eu.ada"),
    ("console", "$O.documents_eu.C.x"),
    ("console", "$JS.API.STREAM.MSG.GET.KV_vault_eu"),
    ("puller", "eu.decision.acme.1-1"),
    ("puller", "eu.posting.acme.1-1"),
    ("puller", "eu.entry.acme.invoice.1"),
    ("puller", "$KV.connections_eu.acme.qonto"),
    ("puller", "$KV.idempotency_eu.acme.1.bill.1"),
    ("poster", "eu.record.acme.bill.1-1"),
    ("poster", "eu.decision.acme.1-1"),
    ("poster", "eu.review.resolved.acme.1-1"),
    ("poster", "$KV.connections_eu.acme.quickbooks"),
    ("poster", "$KV.policies_eu.acme"),
    ("operator", "eu.decision.acme.1-1"),
    ("operator", "$KV.connections_eu.acme.qonto"),
    ("monitor", "$JS.API.STREAM.MSG.GET.RECORDS_eu"),
    ("monitor", "eu.pull.acme"),
]


@pytest.mark.parametrize("who,subject", NEVER)
def test_what_is_none_of_their_business(who: Identity, subject: str) -> None:
    assert not MAY[who].may_publish(subject)


@pytest.mark.parametrize("who", IDENTITIES)
def test_nobody_deletes_streams_or_listens_to_others(who: Identity) -> None:
    may = MAY[who]
    for stream in EU.streams:
        for verb in ("DELETE", "PURGE"):
            assert not may.may_publish(f"$JS.API.STREAM.{verb}.{stream.name}")
        for verb in ("SNAPSHOT", "RESTORE"):
            assert may.may_publish(f"$JS.API.STREAM.{verb}.{stream.name}") == (who == "backup")
        for verb in ("STREAM.CREATE", "STREAM.UPDATE"):
            assert may.may_publish(f"$JS.API.{verb}.{stream.name}") == (who == "operator")
    for other in IDENTITIES:
        assert may.may_subscribe(f"_INBOX_{other}.x.1") == (other == who)
        assert not may.may_publish(f"_INBOX_{other}.x.1")
    for subject in (">", "*.>", "eu.>", "$JS.>", "$SYS.>", "$KV.>", "_INBOX_*.>"):
        assert not may.may_subscribe(subject)
    assert not may.may_publish("$SYS.REQ.SERVER.PING")
    taken = sum(may.may_publish(f"$JS.API.STREAM.MSG.DELETE.{stream.name}") for stream in EU.streams)
    assert taken == (who == "poster")
    assert not may.may_publish("$JS.API.STREAM.MSG.DELETE.DECISIONS_eu")


@pytest.mark.parametrize("who", SERVICES)
def test_a_durable_belongs_to_who_works_on_it(who: Identity) -> None:
    may = MAY[who]
    for one in (*EU.consumers, *map(EU.reviewer, REVIEWED)):
        at = f"{one.stream}.{one.name}"
        mine = one.name in {getattr(EU, name).name for name in ROLES[who].takes}
        assert may.may_publish(f"$JS.API.CONSUMER.MSG.NEXT.{at}") == mine
        assert may.may_publish(f"$JS.ACK.{at}.1.1.1.1.0") == mine
        assert not may.may_publish(f"$JS.API.CONSUMER.CREATE.{at}.{one.subject}")
        assert not may.may_publish(f"$JS.API.CONSUMER.DURABLE.CREATE.{at}")
        assert not may.may_publish(f"$JS.API.CONSUMER.DELETE.{at}")
        assert not may.may_publish(f"$JS.API.CONSUMER.CREATE.{one.stream}")


def test_every_durable_is_somebodys() -> None:
    takers = [getattr(EU, name).name for who in IDENTITIES for name in ROLES[who].takes]
    assert sorted(takers) == sorted(one.name for one in EU.consumers)


def test_every_stream_is_written_by_somebody() -> None:
    for stream in EU.streams:
        for subject in stream.subjects or []:
            inside = [one for who in IDENTITIES for one in MAY[who].publish if matches(subject, concrete(one))]
            assert inside, f"nobody may write {stream.name}"
    assert len(PACE) == sum(stream.name is not None and stream.name.startswith("PACE_") for stream in EU.streams)


@pytest.mark.parametrize("who", IDENTITIES)
@pytest.mark.parametrize("own,other", [(EU, US), (US, EU)], ids=["eu", "us"])
def test_a_region_is_out_of_reach_of_another(who: Identity, own: Topology, other: Topology) -> None:
    may = rights.permissions(who, own, REVIEWED)
    subjects = every(other)
    assert len(subjects) > 200
    assert [one for one in subjects if may.may_publish(one) or may.may_subscribe(one)] == []


WORDS = st.sampled_from(["a", "b", "$JS", "eu"])
SUBJECTS = st.lists(WORDS, min_size=1, max_size=5).map(".".join)
PATTERNS = st.builds(
    lambda words, rest: ".".join([*words, *rest]),
    st.lists(WORDS | st.just("*"), min_size=1, max_size=4),
    st.sampled_from([[], [">"]]),
)


@given(PATTERNS, SUBJECTS)
def test_matching_is_that_of_the_broker(pattern: str, subject: str) -> None:
    words = [r"[^.]+" if word == "*" else r".+" if word == ">" else re.escape(word) for word in pattern.split(".")]
    assert matches(pattern, subject) == (re.fullmatch(r"\.".join(words), subject) is not None)


@given(PATTERNS, PATTERNS, SUBJECTS)
def test_what_one_pattern_covers_another_does(wide: str, narrow: str, subject: str) -> None:
    if matches(wide, narrow) and matches(narrow, subject):
        assert matches(wide, subject)


def test_the_configuration_in_deploy_is_the_one_that_is_written() -> None:
    assert (ROOT / "deploy/nats.conf").read_text() == brokerconf.server(certificate=brokerconf.Certificate())


def test_the_documentation_names_every_identity_as_it_is() -> None:
    page = (ROOT / "docs/security.md").read_text()
    for who, role in ROLES.items():
        assert f"| {who} | {role.what} |" in page
