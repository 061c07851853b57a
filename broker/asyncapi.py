"""What the parts say to each other over MQTT, as AsyncAPI 3.1: made from the wire and the table of rights.

``python -m broker.asyncapi > broker/asyncapi.yaml`` writes the file; a test compares them.
"""

import sys
from typing import Any, Final

import msgspec

from broker.rules.access import TABLE, Row
from broker.wire import events
from broker.wire.topics import RETENTION_SHARDS, ROOT

_SAYS: Final[dict[str, tuple[type[events.Said], ...]]] = {
    "cam/{id}/state": (events.CameraState,),
    "cam/{id}/tlm": (events.Telemetry,),
    "cam/{id}/evt/{kind}": (
        events.Activation,
        events.Deactivation,
        events.Docked,
        events.Undocked,
        events.LowStorage,
        events.Tamper,
        events.CommandResult,
    ),
    "cam/{id}/cmd/{kind}": (events.Command,),
    "cam/{id}/desired": (events.CameraSettings,),
    "cam/{id}/rcpt": (events.EventReceipt,),
    "dock/{id}/state": (events.DockState,),
    "dock/{id}/evt/{kind}": (events.Docked, events.Undocked, events.Tamper),
    "dock/{id}/cmd/{kind}": (events.Command,),
    "retention/due/{shard}": (events.RetentionDue,),
    "retention/evt/{kind}": (events.RetentionOutcome,),
    "svc/{id}/state": (events.ServiceState,),
}
"""Which messages cross which topic."""

_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "org": {"description": "a municipality"},
    "id": {"description": "a camera, dock or service: the common name of its certificate"},
    "kind": {"description": "what happened, or what is asked"},
    "shard": {
        "description": "first hexadecimal digit of the SHA-256 of the recording's id",
        "enum": [*RETENTION_SHARDS],
    },
}


def document() -> dict[str, Any]:
    """Return the AsyncAPI document."""
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Vier Ogen over MQTT",
            "version": "1.0.0",
            "description": (
                "Structured CloudEvents 1.0 in JSON (NL GOV profile), at most 64 KiB, at least once: a receiver "
                "remembers (source, id). Written for what MQTT 3.1.1 and 5 share. Rights: broker/README.md."
            ),
            "license": {"name": "EUPL-1.2"},
        },
        "defaultContentType": "application/cloudevents+json",
        "servers": {
            "broker": {
                "host": "localhost:8883",
                "protocol": "mqtts",
                "protocolVersion": "3.1.1",
                "description": "one broker per municipality, mTLS only",
                "security": [{"$ref": "#/components/securitySchemes/certificate"}],
            }
        },
        "channels": {_name(row): _channel(row) for row in TABLE},
        "operations": {_name(row): _operation(row) for row in TABLE},
        "components": {
            "securitySchemes": {
                "certificate": {
                    "type": "X509",
                    "description": "a certificate of the municipality's own authority; its name is the identity",
                }
            },
            "messages": {said.__name__: _message(name, said) for name, said in events.TYPES.items()},
            "schemas": _schemas(),
        },
    }


def yaml(value: Any, *, indent: int = 0) -> str:
    """Return plain data as YAML. Strings are written as JSON, which is YAML, so that none is mistaken for a number."""
    pad = "  " * indent
    match value:
        case dict() if value:
            return "".join(f"{pad}{_key(key)}:{_after(item, indent)}" for key, item in value.items())
        case list() | tuple() if value:
            return "".join(f"{pad}-{_after(item, indent)}" for item in value)
        case _:
            return f"{pad}{_scalar(value)}\n"


def _after(item: Any, indent: int) -> str:
    if isinstance(item, dict | list | tuple) and item:
        return "\n" + yaml(item, indent=indent + 1)
    return f" {_scalar(item)}\n"


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and not key.isdigit() else _scalar(key)


def _scalar(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _name(row: Row) -> str:
    return row.topic.replace("/", "-").replace("{", "").replace("}", "")


def _channel(row: Row) -> dict[str, Any]:
    return {
        "address": f"{ROOT}/{{org}}/{row.topic}",
        "description": row.says,
        "messages": {said.__name__: {"$ref": f"#/components/messages/{said.__name__}"} for said in _SAYS[row.topic]},
        "parameters": {
            name: facts for name, facts in _PARAMETERS.items() if name == "org" or f"{{{name}}}" in row.topic
        },
    }


def _operation(row: Row) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{_name(row)}"},
        "summary": row.says,
        "description": (
            f"Published by {_list(row.publishers)}; subscribed to by {_list(row.subscribers)}. Expiry: {row.expiry}."
        ),
        "bindings": {"mqtt": {"qos": row.qos, "retain": row.retained, "bindingVersion": "0.2.0"}},
    }


def _list(roles: tuple[str, ...]) -> str:
    return ", ".join(str(role) for role in roles)


def _message(name: str, said: type[events.Said]) -> dict[str, Any]:
    return {
        "name": name,
        "summary": (said.__doc__ or "").strip().splitlines()[0],
        "contentType": "application/cloudevents+json",
        "payload": {
            "allOf": [
                {"$ref": "#/components/schemas/CloudEvent"},
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": name},
                        "data": {"$ref": f"#/components/schemas/{said.__name__}"},
                    },
                },
            ]
        },
    }


def _schemas() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(events.TYPES.values(), ref_template="#/components/schemas/{name}")
    return {
        "CloudEvent": {
            "type": "object",
            "description": "CloudEvents 1.0, structured mode, with the extensions sequence and session",
            "required": ["specversion", "id", "source", "type", "time", "sequence", "session", "data"],
            "properties": {
                "specversion": {"const": "1.0"},
                "id": {"type": "string", "format": "uuid", "description": "fixed when made; the same when repeated"},
                "source": {"type": "string", "pattern": "^urn:nld:oin:[0-9]+:systeem:vier-ogen:"},
                "type": {"type": "string", "enum": [*events.TYPES]},
                "time": {"type": "string", "format": "date-time", "description": "the moment of logging"},
                "datacontenttype": {"const": "application/json"},
                "sequence": {"type": "string", "pattern": "^[0-9]+$", "description": "from 1 in each session"},
                "sequencetype": {"const": "Integer"},
                "session": {"type": "string", "description": "one boot of the source"},
                "data": {"type": "object"},
            },
        },
        **{name: _without_titles(schema) for name, schema in sorted(schemas.items())},
    }


def _without_titles(schema: Any) -> Any:
    match schema:
        case dict():
            return {key: _without_titles(value) for key, value in schema.items() if key != "title"}
        case list() | tuple():
            return [_without_titles(value) for value in schema]
        case _:
            return schema


def text() -> str:
    """Return broker/asyncapi.yaml."""
    return "# Made by `python -m broker.asyncapi`. Changes here are lost.\n" + yaml(document())


if __name__ == "__main__":
    sys.stdout.write(text())
