"""JSON Schemas of the messages and an AsyncAPI document of the topics, made from the types.

`python -m contracts.schemas --write docs/schemas` writes them; a test keeps them current.
"""

from __future__ import annotations

import argparse
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.alerts import ChurnAlert
from contracts.commands import AlertCommand
from contracts.events import ActivityEvent
from contracts.scores import ChurnScore
from contracts.topics import (
    ACTIVITY,
    ALERTS,
    CLOCK_HEADER,
    COMMANDS,
    ORIGINAL_PREFIX,
    PART_HEADER,
    REASON_HEADER,
    REPLAYED_HEADER,
    SCHEMA_VERSION,
    SCORES,
    SENT_HOME_HEADER,
    SOURCE_HEADER,
    TIME_HEADER,
    TOPIC_CONFIGS,
    cloud_event_headers,
    dead_letter,
)

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class _Topic:
    """A topic with the type of its values."""

    name: str
    kind: type[msgspec.Struct]
    summary: str
    tombstone: str


TOPICS: Final = (
    _Topic(
        ACTIVITY,
        ActivityEvent,
        "What users do. Any producer may write; give an event_id to make retries harmless.",
        "A null value erases the user.",
    ),
    _Topic(
        SCORES,
        ChurnScore,
        "A score per change of a user's risk. Order one user's by (position.log, "
        "position.offset, scored_at) and ignore what is not higher; a repeat has its score_id.",
        "A null value says that the user was erased.",
    ),
    _Topic(
        ALERTS,
        ChurnAlert,
        "Once per transition of an episode; a repeat on the wire has its alert_id.",
        "There are no null values.",
    ),
    _Topic(
        COMMANDS,
        AlertCommand,
        "What people say of alerts, by way of the gateway or of any producer; a repeat has its "
        "command_id.",
        "There are no null values.",
    ),
)


def json_schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of a message, self-contained."""
    schema: dict[str, Any] = {"$schema": DIALECT, **msgspec.json.schema(kind)}
    for name, definition in schema["$defs"].items():
        _complete(definition, _TYPES[name])
    return schema


def async_api() -> dict[str, Any]:
    """The AsyncAPI 3.0 document: topics, keys, headers, values, dead letters."""
    _, schemas = msgspec.json.schema_components(
        [topic.kind for topic in TOPICS], ref_template="#/components/schemas/{name}"
    )
    for name, schema in schemas.items():
        _complete(schema, _TYPES[name])
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for topic in TOPICS:
        name = topic.kind.__name__
        messages[name] = _message(topic)
        channels[topic.name] = _channel(topic.name, topic.summary, name)
        channels[topic.name]["description"] = topic.tombstone
        parked = dead_letter(topic.name)
        messages[f"{name}DeadLetter"] = _dead_letter(topic)
        channels[parked] = _channel(
            parked, f"Records of {topic.name} that could not be read.", f"{name}DeadLetter"
        )
    actions = ((ACTIVITY, "receive"), (SCORES, "send"), (ALERTS, "send"), (COMMANDS, "receive"))
    for address, action in actions:
        operations[f"{action}-{address}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{address}"},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ebbtide",
            "version": str(SCHEMA_VERSION),
            "description": "Activity in, churn scores and alerts out, over Kafka. Records are "
            "keyed by user_id; a user's records lie in partition murmur2(user_id) mod partitions, "
            "Kafka's Java rule. Values are JSON with a schema_version; headers carry "
            "CloudEvents 1.0 attributes in binary mode.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def documents() -> dict[str, str]:
    """File name to content, of everything that is generated."""
    made = {f"{topic.name}.schema.json": json_schema(topic.kind) for topic in TOPICS}
    made["asyncapi.json"] = async_api()
    return {name: json.dumps(value, indent=2) + "\n" for name, value in made.items()}


def _channel(address: str, summary: str, message: str) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": address,
        "summary": summary,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
    }
    if address in TOPIC_CONFIGS:
        channel["bindings"] = {"kafka": {"topicConfiguration": _binding(TOPIC_CONFIGS[address])}}
    return channel


def _binding(configs: dict[str, str]) -> dict[str, Any]:
    """Topic settings as the Kafka binding has them: numbers as numbers, policies in a list."""
    made: dict[str, Any] = {}
    if "retention.ms" in configs:
        made["retention.ms"] = int(configs["retention.ms"])
    if "cleanup.policy" in configs:
        made["cleanup.policy"] = configs["cleanup.policy"].split(",")
    return made


def _message(topic: _Topic) -> dict[str, Any]:
    return {
        "name": topic.kind.__name__,
        "summary": topic.summary,
        "contentType": "application/json",
        "headers": _headers(),
        "payload": {"$ref": f"#/components/schemas/{topic.kind.__name__}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": "The user_id."}}},
    }


def _dead_letter(topic: _Topic) -> dict[str, Any]:
    return {
        "name": f"{topic.kind.__name__}DeadLetter",
        "summary": f"A record of {topic.name} as it came, with the reason in its headers.",
        "headers": {
            "type": "object",
            "properties": {
                REASON_HEADER: {"type": "string", "description": "Why it could not be used."},
                SOURCE_HEADER: {
                    "type": "string",
                    "description": "topic:log:partition:offset of the record.",
                },
                TIME_HEADER: {
                    "type": "string",
                    "description": "The record's own timestamp, milliseconds, also if it is none.",
                },
                PART_HEADER: {
                    "type": "string",
                    "pattern": "^[0-9]+/[0-9]+$",
                    "description": "Which part of a record too large for one letter: of the "
                    "MessagePack array [key, value, headers, timestamp].",
                },
                REPLAYED_HEADER: {
                    "type": "string",
                    "description": "partition:offset of a letter in this topic whose record went "
                    "back. A record with this header is no letter.",
                },
            },
            "patternProperties": {
                f"^{ORIGINAL_PREFIX}": {"description": "A header of the record."}
            },
        },
        "payload": {"description": "The bytes of the record, whatever they are."},
        "bindings": {"kafka": {"key": {"description": "The record's key."}}},
    }


def _headers() -> dict[str, Any]:
    """The headers as a JSON Schema; a record may carry others."""
    made = cloud_event_headers(event_id="", source="", kind="", time="")
    properties: dict[str, Any] = {name: {"type": "string"} for name, _ in made}
    properties["ce_specversion"]["const"] = "1.0"
    properties["ce_time"]["format"] = "date-time"
    properties[CLOCK_HEADER] = {
        "type": "string",
        "description": "A record with this header carries nothing but time.",
    }
    properties[SENT_HOME_HEADER] = {
        "type": "string",
        "description": "Topic id:partition:offset of the record that a scorer sent to its user's "
        "home. Scorers alone set it: of one place only the first record counts.",
    }
    return {"type": "object", "properties": properties}


def _complete(schema: dict[str, Any], kind: type[msgspec.Struct]) -> None:
    """Say, in place, what the generator leaves out: which strings are times; plain descriptions."""
    if "description" in schema:
        schema["description"] = inspect.cleandoc(schema["description"])
    for field in msgspec.structs.fields(kind):
        held = msgspec.inspect.type_info(field.type)
        parts = held.types if isinstance(held, msgspec.inspect.UnionType) else (held,)
        if any(isinstance(part, msgspec.inspect.DateTimeType) for part in parts):
            described = schema["properties"][field.encode_name]
            for part in described.get("anyOf", [described]):
                if part.get("type") == "string":
                    part["format"] = "date-time"


def _structs(kind: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """`kind` and every struct in it, by name."""
    found: dict[str, type[msgspec.Struct]] = {}

    def walk(part: object) -> None:
        if isinstance(part, msgspec.inspect.StructType):
            found[part.cls.__name__] = part.cls
            for field in part.fields:
                walk(field.type)
        elif isinstance(part, msgspec.inspect.UnionType):
            for child in part.types:
                walk(child)
        elif isinstance(part, msgspec.inspect.VarTupleType | msgspec.inspect.ListType):
            walk(part.item_type)

    walk(msgspec.inspect.type_info(kind))
    return found


_TYPES: Final = {name: held for topic in TOPICS for name, held in _structs(topic.kind).items()}


def main() -> None:
    """Write the documents to a folder."""
    parser = argparse.ArgumentParser(prog="python -m contracts.schemas", description=__doc__)
    parser.add_argument("--write", type=Path, required=True, metavar="DIR", help="where they go")
    folder = parser.parse_args().write
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in documents().items():
        (folder / name).write_text(content)


if __name__ == "__main__":
    main()
