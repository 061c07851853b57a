"""The OpenAPI 3.1 document, made from the declarations: ``python -m cloud.api.document > docs/openapi.json``."""

import sys
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from broker.wire.refusals import Code, Refusal
from cloud.api.answering import JSON, VERSION
from cloud.api.declaration import BASE, Operation
from cloud.api.operations import OPERATIONS
from cloud.api.problems import MEDIA, Problem, told_of
from cloud.api.publisher import ANYBODY, Publisher
from cloud.desk.sessions import COOKIE

SCHEMAS: Final = "#/components/schemas/{name}"
TEXT: Final[dict[str, Any]] = {"type": "string"}

_ABOUT: Final = (
    "Alles wat de schermen doen, voor programma's. Wie zich op het bureau aanmeldt, werkt hier met dezelfde sessie en "
    "dezelfde rechten; een wijziging draagt bovendien X-CSRF-Token uit GET /sessie en Sec-Fetch-Site: same-origin. "
    "Een programma zonder browser komt met een eigen account en een token (Authorization: Bearer); bij elke operatie "
    "staat met welk bereik, en zonder bereik doet alleen een mens het. Wat niet mag wordt geweigerd en vastgelegd. "
    "Tijdstippen zijn RFC 3339 in UTC. Lijsten gaan per pagina, met de volgende in Link. Waarden zijn de codes uit "
    "logboek, beleid en bewijspakket."
)


def document(publisher: Publisher = ANYBODY) -> dict[str, Any]:
    """Return the document, as this town publishes it."""
    types: list[Any] = [Problem]
    for each in OPERATIONS:
        types += [one for one in (each.path_type, each.query_type, each.body_type) if one is not None]
        if _is_json(each) and each.status != 204:
            types.append(each.answer_type)
    _, schemas = msgspec.json.schema_components(types, ref_template=SCHEMAS)
    paths: dict[str, Any] = {"/openapi.json": {"get": _of_the_document()}}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas)
    asked = {one.__name__ for each in OPERATIONS for one in (each.path_type, each.query_type) if one is not None}
    refused = {status for each in OPERATIONS for status in _refusals(each)}
    groups = {each.group.name: each.group for each in OPERATIONS}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Vier Ogen",
            "version": VERSION,
            "description": _ABOUT,
            "license": {"name": "EUPL-1.2", "identifier": "EUPL-1.2"},
            "contact": publisher.told(),
        },
        "servers": [{"url": f"{publisher.address}{BASE}", "description": "het bureau van één gemeente"}],
        "tags": [{"name": group.name, "description": group.purpose} for group in groups.values()],
        "security": [{"sessie": []}],
        "paths": paths,
        "components": {
            "schemas": {name: _flat(schema) for name, schema in sorted(schemas.items()) if name not in asked},
            "responses": {status: _refusal(status) for status in sorted(refused)},
            "headers": {
                "API-Version": {"description": "De volledige versie van deze API.", "schema": TEXT, "required": True},
                "Link": {"description": 'De volgende pagina: `<…>; rel="next"`.', "schema": TEXT},
                "Location": {"description": "Waar het nieuwe staat.", "schema": TEXT, "required": True},
                "ETag": {"description": "De stand van dit ding, voor If-Match.", "schema": TEXT, "required": True},
                "Retry-After": {"description": "Over hoeveel seconden u het weer mag vragen.", "schema": TEXT},
                "WWW-Authenticate": {"description": "Hoe een programma zich bekendmaakt (RFC 6750).", "schema": TEXT},
            },
            "parameters": {
                "Idempotency-Key": _header(
                    "Idempotency-Key", "Nog eens gevraagd met dezelfde sleutel gebeurt het niet nog eens.", most=255
                ),
                "If-Match": _header("If-Match", "Alleen als het nog is zoals u het zag (ETag)."),
                "X-Seat": _header("X-Seat", "Het bewijs van de zetel, waar met sleutels wordt plaatsgenomen."),
            },
            "securitySchemes": {
                "sessie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "De sessie van het bureau.",
                },
                "token": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token", "description": "Uit GET /sessie."},
                "programma": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Het account van een programma; het bereik staat bij elke operatie.",
                },
            },
        },
    }


def encoded(publisher: Publisher = ANYBODY) -> bytes:
    """Return the document's bytes, as they are published; of no town in particular as they are kept in docs/."""
    return msgspec.json.format(msgspec.json.encode(document(publisher)), indent=1) + b"\n"


def _operation(each: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.summary,
        "description": each.detail,
        "tags": [each.group.name],
        "parameters": [
            *_parameters(each.path_type, "path", schemas),
            *_parameters(each.query_type, "query", schemas),
            *_named_headers(each),
        ],
        "responses": {str(each.status): _success(each), **_refusals(each)},
    }
    if each.public:
        made["security"] = []
    elif each.method != "GET" or each.program:
        session: dict[str, list[str]] = {"sessie": []} if each.method == "GET" else {"sessie": [], "token": []}
        made["security"] = [session, *({"programma": [scope.value]} for scope in sorted(each.program))]
    if each.roles is not None:
        made["x-rollen"] = sorted(each.roles)
    if each.body_type is not None:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": _reference(each.body_type)}}}
    return made


def _success(each: Operation) -> dict[str, Any]:
    headers = {"API-Version": {"$ref": "#/components/headers/API-Version"}}
    for name, present in (("Link", each.paged), ("Location", each.created), ("ETag", each.tagged)):
        if present:
            headers[name] = {"$ref": f"#/components/headers/{name}"}
    made: dict[str, Any] = {"description": HTTPStatus(each.status).phrase, "headers": headers}
    if each.status != 204:
        made["content"] = {each.media: {"schema": _reference(each.answer_type)} if _is_json(each) else {}}
    return made


def _refusals(each: Operation) -> dict[str, Any]:
    statuses = {400, 401, 403, 406, Code.LEDGER_UNWRITABLE.status, *(code.status for code in each.refuses)}
    if each.path_type is not None:
        statuses.add(404)
    if each.body_type is not None:
        statuses |= {404, 409, 413, 415}  # what a body names may not be there, or not be so any more
    if each.guarded_by is not None:
        statuses |= {409, 412}  # it may not be so any more, or not as it was seen
    if each.program:
        statuses.add(Code.TOO_MANY.status)
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)}


def _refusal(status: str) -> dict[str, Any]:
    extra = {"401": ("WWW-Authenticate",), "429": ("Retry-After",), "503": ("Retry-After",)}.get(status, ())
    return {
        "description": HTTPStatus(int(status)).phrase,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in ("API-Version", *extra)},
        "content": {MEDIA: {"schema": _reference(Problem), "examples": _examples(int(status))}},
    }


def _examples(status: int) -> dict[str, Any]:
    """Return what a refusal with this status looks like: one of each type of the table, or HTTP's own."""
    known = (Refusal(code=code, what="…", expected="…", got="…") for code in Code)
    told = [each for refusal in known if (each := told_of(refusal)).status == status]
    phrase = HTTPStatus(status).phrase
    plain = Problem(type="about:blank", title=phrase, status=status, detail="…")
    return {
        each.type.rpartition(":")[2]: {"summary": each.wat_te_doen or phrase, "value": msgspec.to_builtins(each)}
        for each in (*told, plain)
    }


def _parameters(form: type[msgspec.Struct] | None, where: str, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    if form is None:
        return []
    made = schemas[form.__name__]
    return [
        {
            "name": name,
            "in": where,
            "required": name in made.get("required", ()),
            "schema": _without_null(schema),
        }
        for name, schema in made["properties"].items()
    ]


def _named_headers(each: Operation) -> list[dict[str, Any]]:
    present = {"Idempotency-Key": each.created, "If-Match": each.guarded_by is not None, "X-Seat": each.seat}
    return [{"$ref": f"#/components/parameters/{name}"} for name, wanted in present.items() if wanted]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is absent is absent: there is no null in an address."""
    kept = {name: value for name, value in schema.items() if value is not None or name != "default"}
    if "anyOf" not in kept:
        return kept
    choices = [each for each in kept.pop("anyOf") if each != {"type": "null"}]
    return {**kept, **choices[0]} if len(choices) == 1 else {**kept, "anyOf": choices}


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """Say "this or null" of a field in one type: then a date has its format where the design rules look for it."""
    if "properties" not in schema:
        return schema
    fields = {name: _either(form, form.get("anyOf", ())) for name, form in schema["properties"].items()}
    return {**schema, "properties": fields}


def _either(form: dict[str, Any], choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
    match choices:
        case [{"type": str(kind)} as this, {"type": "null"}] if "enum" not in this:
            kept = {name: value for name, value in form.items() if name != "anyOf"}
            return {**kept, **this, "type": [kind, "null"]}
        case _:
            return form


def _header(name: str, says: str, *, most: int | None = None) -> dict[str, Any]:
    form = TEXT if most is None else {**TEXT, "maxLength": most}
    return {"name": name, "in": "header", "required": False, "description": says, "schema": form}


def _of_the_document() -> dict[str, Any]:
    return {
        "operationId": "openapi",
        "summary": "Dit document",
        "description": "Open to everybody, from every site.",
        "tags": ["sessie"],
        "security": [],
        "responses": {
            "200": {
                "description": "OK",
                "headers": {"API-Version": {"$ref": "#/components/headers/API-Version"}},
                "content": {JSON: {"schema": {"type": "object"}}},
            }
        },
    }


def _is_json(each: Operation) -> bool:
    return isinstance(each.answer_type, type) and issubclass(each.answer_type, msgspec.Struct)


def _reference(form: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": SCHEMAS.format(name=form.__name__)}


if __name__ == "__main__":
    sys.stdout.buffer.write(encoded())
