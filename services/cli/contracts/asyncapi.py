"""The AsyncAPI document of a region.

AsyncAPI 3.0, with the NATS bindings 0.1.0, which know queue groups of calls and nothing of streams: where a message is
kept, and which durable brings it, stands in extensions (`x-stream`, `x-kept`, `x-durable`).
"""

from collections.abc import Iterable
from typing import Any

from common import messages as m
from common.topology import ACK_WAIT
from services.cli.contracts import schemas
from services.cli.contracts.catalogue import CHANNELS, OUTSIDE
from services.cli.contracts.channels import PARAMETERS, Channel, kept

BINDING = "0.1.0"
DRAFT = "application/schema+json;version=draft-07"

_ABOUT = f"""\
Weir keeps QuickBooks Online and Qonto in step; its services share nothing but the subjects of this document.

The review subjects are public and stable: any NATS client with a reviewer's credentials may read questions and answer
them. The other ones are how services of one release work together; they may be read, and change with a notice in the
change log.

Messages are JSON. Money is a string of decimal digits beside its currency, ids are strings, instants are RFC 3339 in
UTC. Readers ignore fields that they do not know; a field may be added at any time. A breaking change gets a new
`type`, such as `review.requested.2`. Everything is delivered at least once; messages of one subject keep their order.
A durable's message that is not acknowledged within {ACK_WAIT:g} s is delivered again.
"""

_SERVICES = {
    OUTSIDE: "A person's program, with credentials for one workspace.",
    "puller": "Reads QuickBooks.",
    "scorer": "Decides on bills.",
    "poster": "Posts to Qonto, and carries answers out.",
    "console": "What people see in a browser.",
    "cli": "What people do in a terminal.",
}


def document(version: str, examples: dict[str, Any]) -> dict[str, Any]:
    """The whole document; `examples` are messages by their name."""
    said = _messages(CHANNELS)
    _, parts = schemas.components(said.values(), "#/components/schemas/")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Weir",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
            "tags": [{"name": name, "description": what} for name, what in _SERVICES.items()],
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{host}",
                "protocol": "nats",
                "description": "A NATS server with JetStream, 2.15 or later.",
                "variables": {
                    "host": {"default": "localhost:4222", "description": "Where the installation's broker is."}
                },
            }
        },
        "channels": {**{one.name: _channel(one) for one in CHANNELS}, **_replies()},
        "operations": {name: what for one in CHANNELS for name, what in _operations(one)},
        "components": {
            "messages": {name: _message(name, type_, examples) for name, type_ in said.items()},
            "schemas": {name: _draft7(part) for name, part in sorted(parts.items())},
            "parameters": {name: _parameter(name) for name in PARAMETERS},
        },
    }


def named(type_: Any) -> str:
    """What a message is called: its struct's name."""
    return str(type_.__name__)


def _messages(channels: Iterable[Channel]) -> dict[str, Any]:
    return {named(one): one for channel in channels for one in (*channel.says, *channel.answers)}


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in path)}


def _channel(channel: Channel) -> dict[str, Any]:
    described: dict[str, Any] = {
        "address": channel.address,
        "title": channel.name,
        "description": channel.about,
        "messages": {named(one): _ref("components", "messages", named(one)) for one in channel.says},
        "parameters": {name: _ref("components", "parameters", name) for name in channel.parameters},
        "x-stability": "stable" if channel.stable else "internal",
    }
    if channel.streams:
        described["x-stream"] = [str(one.name) for one in channel.streams]
        described["x-kept"] = [kept(one) for one in channel.streams]
    return described


def _replies() -> dict[str, Any]:
    """A channel for the answers to each call: their address is the inbox that the caller names."""
    return {
        f"{one.name}.answer": {
            "address": None,
            "title": f"{one.name}.answer",
            "description": f"Answers to `{one.name}`, on the reply subject of the request.",
            "messages": {named(answer): _ref("components", "messages", named(answer)) for answer in one.answers},
        }
        for one in CHANNELS
        if one.answers
    }


def _operations(channel: Channel) -> Iterable[tuple[str, dict[str, Any]]]:
    for action, services in (("send", channel.sends), ("receive", channel.receives)):
        for service in services:
            yield f"{service}.{action}.{channel.name}", _operation(channel, action, service)


def _operation(channel: Channel, action: str, service: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": action,
        "channel": _ref("channels", channel.name),
        "title": f"{service}: {channel.name}",
        "messages": [_ref("channels", channel.name, "messages", named(one)) for one in channel.says],
        "tags": [{"name": service}],
    }
    durable = channel.durables.get(service) if action == "receive" else None
    if durable is not None:
        operation["x-durable"] = durable.name
    if channel.answers:
        answer = f"{channel.name}.answer"
        operation["reply"] = {
            "channel": _ref("channels", answer),
            "messages": [_ref("channels", answer, "messages", named(one)) for one in channel.answers],
        }
        if action == "receive" and channel.name != "ready":  # every instance says whether it is ready
            operation["bindings"] = {"nats": {"queue": service, "bindingVersion": BINDING}}
    return operation


def _message(name: str, type_: Any, examples: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": schemas.tag(type_) or name,
        "title": name,
        "contentType": "application/json",
        "payload": {"schemaFormat": DRAFT, "schema": _ref("components", "schemas", name)},
    }
    if name in examples:
        described["examples"] = [{"name": name, "payload": examples[name]}]
    if type_ is m.ReviewClosed:
        described["headers"] = {
            "type": "object",
            "properties": {
                "Nats-Msg-Id": {
                    "type": "string",
                    "description": "`rejected-{sequence}` where it rejects an answer: where that stands in the stream.",
                }
            },
        }
    return described


def _parameter(name: str) -> dict[str, Any]:
    about, pattern, samples = PARAMETERS[name]
    return {"description": about, "examples": list(samples), "x-pattern": f"^{pattern}$"}


def _draft7(schema: Any) -> Any:
    """As JSON Schema draft 7 has it, which AsyncAPI reads: a reference stands alone, unions name no discriminator."""
    match schema:
        case dict() if "$ref" in schema and len(schema) > 1:
            return {
                **{name: _draft7(part) for name, part in schema.items() if name != "$ref"},
                "allOf": [{"$ref": schema["$ref"]}],
            }
        case dict():
            return {
                name: _draft7(part)
                for name, part in schema.items()
                if not (name == "discriminator" and "anyOf" in schema)
            }
        case list():
            return [_draft7(part) for part in schema]
        case _:
            return schema
