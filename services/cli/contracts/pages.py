"""The files that tell the contracts: the AsyncAPI document, a schema for each message and value, and an index."""

import json
from collections.abc import Iterable
from importlib import resources
from importlib.metadata import version
from typing import Any

from common.retrying import SERVICES
from services.cli.contracts import asyncapi, schemas
from services.cli.contracts.catalogue import CHANNELS
from services.cli.contracts.channels import Channel, kept
from services.cli.contracts.values import VALUES, buckets

_HEAD = """\
# Contracts

Written by `weir contracts` from the code; [subscribe.md](../subscribe.md) shows how to use them.

- [asyncapi.json](asyncapi.json): every subject, who publishes on it, who reads it, and what it says (AsyncAPI 3.0).
- [schemas/](schemas): a JSON Schema (2020-12) for each message, named by its type, with an example from a real run;
  each stands alone.
- [schemas/values/](schemas/values): the same for what buckets hold.

Readers ignore fields they do not know: a field may be added at any time, and so may a value of a closed list. A
breaking change gets a new type. The subjects of reviews are stable; all others are internal and may change with a
release.
"""


def files() -> dict[str, str]:
    """Every file by its path, with its text."""
    examples = _examples()
    written = {
        "README.md": _index(),
        "asyncapi.json": _json(asyncapi.document(version("weir"), examples)),
    }
    for type_ in _messages():
        name = asyncapi.named(type_)
        shown = [examples[name]] if name in examples else []
        written[f"schemas/{schema_of(type_)}.json"] = _json(
            schemas.alone(type_, f"urn:weir:message:{schema_of(type_)}", name, shown)
        )
    for value in VALUES:
        written[f"schemas/values/{value.name}.json"] = _json(
            schemas.alone(value.type, f"urn:weir:value:{value.name}", value.name, [])
        )
    return written


def schema_of(type_: Any) -> str:
    """The name of a message's schema: its type on the wire, or where it has none that of its subject."""
    return schemas.tag(type_) or next(one.name for one in CHANNELS if type_ in (*one.says, *one.answers))


def _examples() -> dict[str, Any]:
    text = resources.files("services.cli.contracts").joinpath("examples.json").read_text()
    return dict(json.loads(text))


def _messages() -> list[Any]:
    return list({one: None for channel in CHANNELS for one in (*channel.says, *channel.answers)})


def _index() -> str:
    streamed = [one for one in CHANNELS if one.streams]
    calls = [one for one in CHANNELS if not one.streams]
    public = [one for one in streamed if one.stable]
    internal = [one for one in streamed if not one.stable]
    lines = [
        _HEAD,
        "## Public subjects\n",
        *_table(public),
        "\n## Internal subjects\n",
        *_table(internal),
        "\n## Calls\n",
        "Request and reply, without a stream. One instance of the service answers; all do on `ready`.\n",
        "| subject | asks | answers | asked by | answered by |",
        "|---|---|---|---|---|",
        *(
            f"| `{one.address}` | {_names(one.says)} | {_names(one.answers)} | {', '.join(one.sends)} "
            f"| {', '.join(one.receives)} |"
            for one in calls
        ),
        "\n## Durable consumers\n",
        "| name | service | stream | subjects |",
        "|---|---|---|---|",
        *(f"| {one.name} | {service} | `{one.stream}` | `{one.subject}` |" for service, one in _durables()),
        "\n## Buckets\n",
        "Named `{bucket}_{region}`; every write is a compare-and-set.\n",
        "| bucket | key | value | what for |",
        "|---|---|---|---|",
        *_bucket_rows(),
        "\nDocuments of bills are in the object store `documents_{region}`, by the SHA-256 of their bytes.",
    ]
    return "\n".join(lines) + "\n"


def _durables() -> Iterable[tuple[str, Any]]:
    found = {one.name: (service, one) for channel in CHANNELS for service, one in channel.durables.items()}
    return [found[stage] for stage in SERVICES if stage in found]


def _table(channels: Iterable[Channel]) -> list[str]:
    return [
        "| subject | says | stream | kept | published by | read by | |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| `{one.address}` | {_names(one.says)} | {_streams(one)} | {kept(one.streams[0])} "
            f"| {', '.join(one.sends)} | {', '.join(one.receives) or 'the broker'} | {one.about} |"
            for one in channels
        ),
    ]


def _streams(channel: Channel) -> str:
    return ", ".join(f"`{one.name}`" for one in channel.streams)


def _names(types: Iterable[Any]) -> str:
    return ", ".join(f"[{asyncapi.named(one)}](schemas/{schema_of(one)}.json)" for one in types) or "–"


def _bucket_rows() -> Iterable[str]:
    for bucket, about in buckets().items():
        rows = [one for one in VALUES if one.bucket == bucket]
        for one in rows:
            yield f"| {bucket} | `{one.key}` | [{one.name}](schemas/values/{one.name}.json) | {about} |"
        if not rows:
            yield f"| {bucket} | | | {about} |"


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
