"""The contracts that are written down say what the code says, and messages keep to them."""

import inspect
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import settings as laws
from hypothesis import strategies as st

from common import codec, subjects
from common import messages as m
from common.topology import Topology
from services.cli.contracts.catalogue import CHANNELS
from services.cli.contracts.channels import PARAMETERS, TOPOLOGY, meets
from services.cli.contracts.command import MENDED_BY, drift
from services.cli.contracts.pages import files, schema_of
from services.cli.contracts.values import VALUES, buckets
from tests.conftest import ROOT
from tests.contracts.types import made_of, with_more

WRITTEN = ROOT / "docs/contracts"
SAID = list({one: None for channel in CHANNELS for one in (*channel.says, *channel.answers)})


def validator(path: Path) -> jsonschema.Draft202012Validator:
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


MESSAGES = {one: validator(WRITTEN / f"schemas/{schema_of(one)}.json") for one in SAID}
KEPT = {one.name: (one.type, validator(WRITTEN / f"schemas/values/{one.name}.json")) for one in VALUES}


def test_what_is_written_down_is_what_the_code_says() -> None:
    different = drift(WRITTEN, files())
    assert different == [], f"run `{MENDED_BY}` and commit what it writes"


def test_drift_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "gone.json").write_text("{}")
    (tmp_path / "old.md").write_text("before")
    assert drift(tmp_path, {"old.md": "now", "new.json": "{}"}) == ["gone.json", "new.json", "old.md"]


def test_every_subject_of_the_topology_is_told() -> None:
    for stream in TOPOLOGY.streams:
        for pattern in stream.subjects or ():
            if pattern.startswith("{region}."):
                assert any(meets(pattern, channel.pattern) for channel in CHANNELS), pattern
    for consumer in TOPOLOGY.consumers:
        told = [one for channel in CHANNELS for one in channel.durables.values()]
        assert consumer in told, consumer
    functions = dict(inspect.getmembers(subjects, inspect.isfunction))
    makes = {name for name, one in functions.items() if one.__annotations__.get("return") is str and name[0] != "_"}
    others = {"region", "workspace", "token"}
    told_by = {channel.name.split(".")[0].replace("-", "_") for channel in CHANNELS} | {"ask_scorer"}
    assert makes - others == told_by
    assert set(buckets()) == {one.bucket for one in VALUES} | {"leases"}


def test_every_message_is_told() -> None:
    tagged = {one for name in m.__all__ if isinstance(one := getattr(m, name), type) and issubclass(one, m.Message)}
    assert {one for one in tagged if one is not m.Message} <= {*SAID, m.Policy}


@pytest.mark.parametrize("channel", [one for one in CHANNELS if one.streams], ids=lambda one: one.name)
def test_a_subject_of_this_form_is_kept_where_it_says(channel: Any) -> None:
    samples = {name: samples[0] for name, (_, _, samples) in PARAMETERS.items()}
    subject = channel.address.format(**samples)
    kept = [one for one in Topology("eu").streams if any(meets(p, subject) for p in one.subjects or ())]
    assert len(kept) == 1
    assert str(kept[0].name).replace("_eu", "_{region}") in {one.name for one in channel.streams}


@pytest.mark.parametrize(
    "type_, schema",
    [
        *(pytest.param(one, schema, id=schema_of(one)) for one, schema in MESSAGES.items()),
        *(pytest.param(*kept, id=name) for name, kept in KEPT.items()),
    ],
)
@laws(max_examples=5)
@given(data=st.data())
def test_whatever_can_be_said_fits_its_schema_and_so_does_what_a_newer_release_adds(
    type_: Any, schema: jsonschema.Draft202012Validator, data: st.DataObject
) -> None:
    message = data.draw(made_of(type_))
    said = json.loads(codec.encode(message))
    schema.validate(said)
    more = codec.encode(with_more(message))
    schema.validate(json.loads(more))
    assert codec.decode(more, type_) == codec.decode(codec.encode(message), type_)


@pytest.mark.parametrize(
    "type_, wrong",
    [
        (m.ReviewResolved, {"review": "r", "action": "link", "by": "A. Tester"}),
        (m.ReviewResolved, {"review": "r", "action": "create", "by": " "}),
        (m.ReviewResolved, {"review": "r", "action": "buy", "by": "A. Tester"}),
        (m.Retry, {"type": "retry.2", "workspace": "w", "id": "i", "by": "A. Tester"}),
        (m.Tick, {"type": "tick.1", "workspace": "w", "reason": "asked"}),
        (m.Search, {"type": "search.1", "workspace": "w", "limit": 51}),
        (m.Search, {"type": "search.1", "workspace": "w", "amount": "twelve"}),
    ],
)
def test_what_the_code_refuses_the_schema_refuses(type_: Any, wrong: dict[str, Any]) -> None:
    assert not MESSAGES[type_].is_valid(wrong)
    with pytest.raises(ValueError, match=r"\w"):
        codec.decode(json.dumps(wrong).encode(), type_)


@pytest.mark.parametrize("type_", SAID, ids=schema_of)
def test_an_example_is_given_and_fits(type_: Any) -> None:
    examples = json.loads((WRITTEN / f"schemas/{schema_of(type_)}.json").read_text()).get("examples")
    assert examples, "run `python -m tests.contracts.record`, or write one into services/cli/contracts/examples.json"
    for example in examples:
        MESSAGES[type_].validate(example)
        assert isinstance(codec.decode(json.dumps(example).encode(), type_), type_)
