"""What one release put on the wire, kept as files, and put back into a region of another.

`{release}/streams.jsonl` and `{release}/values.jsonl` hold the messages of the streams and buckets in their order,
`{release}/calls.jsonl` requests and their answers. The region's name stands as REGION everywhere.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nats.js.errors

from common.bus import Bus

HERE = Path(__file__).parent
REGION = "zzsample"
RELEASES = sorted(path.name for path in HERE.iterdir() if (path / "streams.jsonl").exists())

_LEFT_OUT = ("PACE_", "METERS_", "KV_leases_")
"""What ends with the processes that made it, or only counts."""
_HEADERS = ("Nats-Msg-Id", "KV-Operation", "Nats-Schedule", "Nats-Schedule-Target", "Nats-Rollup")


class Recorded(NamedTuple):
    """One message as a stream held it."""

    stream: str
    sequence: int
    subject: str
    headers: dict[str, str]
    data: bytes


async def taken(bus: Bus) -> list[Recorded]:
    """Everything the region holds, stream by stream."""
    found: list[Recorded] = []
    for stream in bus.topology.streams:
        name, sequence = str(stream.name), 0
        while not name.startswith(_LEFT_OUT):
            try:
                one = await bus.js.get_msg(name, sequence + 1, subject=">", next=True)
            except nats.js.errors.NotFoundError:
                break
            sequence = int(one.seq or 0)
            headers = {key: value for key, value in (one.headers or {}).items() if key in _HEADERS}
            found.append(Recorded(name, sequence, one.subject or "", headers, one.data or b""))
    return found


def write(path: Path, lines: Iterable[Recorded]) -> None:
    """One JSON object a line; a body that is no text is base64."""
    path.write_text("".join(json.dumps(_line(one), ensure_ascii=False) + "\n" for one in lines))


def _line(one: Recorded) -> dict[str, Any]:
    line: dict[str, Any] = {"stream": one.stream, "sequence": one.sequence, "subject": one.subject}
    if one.headers:
        line["headers"] = one.headers
    try:
        line["data"] = one.data.decode()
    except UnicodeDecodeError:
        line["base64"] = base64.b64encode(one.data).decode()
    return line


def read(release: str, region: str = REGION) -> Iterator[Recorded]:
    """What a release's streams and buckets held, as if recorded in `region`."""
    for name in ("streams.jsonl", "values.jsonl"):
        for line in (HERE / release / name).read_text().replace(REGION, region).splitlines():
            told = json.loads(line)
            data = base64.b64decode(told["base64"]) if "base64" in told else told["data"].encode()
            yield Recorded(told["stream"], told["sequence"], told["subject"], told.get("headers", {}), data)


async def put_back(bus: Bus, release: str) -> list[Recorded]:
    """Fill an empty region with what was recorded, every message at its sequence; what it was filled with.

    Where a message is missing because a newer one took its place, one that the next takes the place of stands in.
    """
    recorded = [one for one in read(release, bus.region) if "Nats-Schedule" not in one.headers]
    reached: dict[str, int] = {}
    for one in recorded:
        if not one.stream.startswith(("PULLS_", "CHECKS_")):
            for _ in range(reached.get(one.stream, 0) + 1, one.sequence):
                await bus.js.publish(one.subject, b"{}", stream=one.stream)
        ack = await bus.js.publish(one.subject, one.data, stream=one.stream, headers=one.headers or None)
        reached[one.stream] = ack.seq
        assert ack.seq == one.sequence or one.stream.startswith(("PULLS_", "CHECKS_")), one
    return recorded
