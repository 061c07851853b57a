"""The document says what the interface does, and keeps to the design rules of the Dutch government."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from broker.wire.refusals import Code
from cloud.api.document import document, encoded
from cloud.api.dutch import WORDS
from cloud.api.operations import OPERATIONS
from cloud.api.problems import Problem
from cloud.api.publisher import Contact, Publisher
from cloud.api.resources.cases import CaseFacts, StepFacts
from cloud.casework.cases import STEPS
from cloud.config import ConfigError, read_config
from cloud.rules.rights import DEMAND_FIELDS

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENT = msgspec.json.decode(encoded())


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, made) for path, each in DOCUMENT["paths"].items() for method, made in each.items()]


def properties() -> list[tuple[str, str, dict[str, Any]]]:
    schemas = DOCUMENT["components"]["schemas"].items()
    return [(name, field, form) for name, made in schemas for field, form in made.get("properties", {}).items()]


def test_the_document_in_docs_is_the_one_that_is_published() -> None:
    assert (DOCS / "openapi.json").read_bytes() == encoded(), "run: python -m cloud.api.document > docs/openapi.json"


def test_it_is_openapi_three_one() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_addresses_are_kebab_case_without_a_slash_at_the_end() -> None:
    segment = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*|{[a-zA-Z]+}")
    for path in DOCUMENT["paths"]:
        assert path == "/openapi.json" or all(segment.fullmatch(each) for each in path[1:].split("/")), path


def test_names_of_parameters_and_fields_are_camel_case() -> None:
    camel = re.compile(r"[a-z][a-z0-9]*([A-Z][a-z0-9]*)*")
    asked = [each["name"] for _, _, made in operations() for each in made.get("parameters", ()) if "name" in each]
    given = [field for name, field, _ in properties() if name != "Problem"]  # as between all machines of ours
    assert [name for name in {*asked, *given} if not camel.fullmatch(name)] == []


def test_a_day_is_a_date_and_an_instant_has_its_zone() -> None:
    for name, field, form in properties():
        if field.lower().endswith("datum"):
            assert form["format"] == "date", (name, field)
        if field.endswith("Tijdstip"):
            assert form["format"] == "date-time", (name, field)


def test_every_answer_carries_the_version_and_every_refusal_is_a_problem() -> None:
    refusals = DOCUMENT["components"]["responses"]
    for path, method, made in operations():
        for status, answer in made["responses"].items():
            whole = refusals[answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer
            assert "API-Version" in whole["headers"], (path, method, status)
            if status >= "400":
                assert list(whole["content"]) == ["application/problem+json"]
    assert {"status", "title", "detail"} <= set(DOCUMENT["components"]["schemas"]["Problem"]["required"])


def test_every_refusal_shows_what_it_looks_like_and_what_to_do() -> None:
    shown = {
        (int(status), example["value"]["type"])
        for status, answer in DOCUMENT["components"]["responses"].items()
        for example in answer["content"]["application/problem+json"]["examples"].values()
        if msgspec.convert(example["value"], Problem).status == int(status)
    }
    answered = {400 if code.status == 422 else code.status for each in OPERATIONS for code in each.refuses} | {400, 503}
    for code in Code:
        status = 400 if code.status == 422 else code.status
        named = (status, f"urn:vier-ogen:refusal:{code.name.lower().replace('_', '-')}")
        assert named in shown or status not in answered, code


def test_what_takes_something_can_refuse_it_with_400_and_nothing_with_422() -> None:
    for path, method, made in operations():
        if method != "get" or made.get("parameters"):
            assert "400" in made["responses"], (path, method)
        assert "422" not in made["responses"]


def test_the_document_names_version_contact_and_a_versioned_address() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", DOCUMENT["info"]["version"])
    assert [each["url"] for each in DOCUMENT["servers"]] == ["/v1"]  # of no town: where the document is


def test_a_town_names_itself_in_its_own_document() -> None:
    contact = Contact(name="Beheer bodycams", email="bodycams@heusden.example", url="https://heusden.example/bodycams")
    desk = "https://bodycams.heusden.example"
    told = msgspec.json.decode(encoded(Publisher(name="Gemeente Heusden", address=desk, contact=contact)))
    assert told["info"]["contact"] == msgspec.to_builtins(contact)
    assert [each["url"] for each in told["servers"]] == [f"{desk}/v1"]
    quiet = document(Publisher(name="Gemeente Heusden", address=desk))
    assert quiet["info"]["contact"] == {"name": "Gemeente Heusden", "url": f"{desk}/openbaar"}
    assert b"gemeente.example" not in encoded()


def test_whom_the_document_names_stands_in_the_settings_of_the_town(tmp_path: Path) -> None:
    contact = {"name": "Beheer", "email": "bodycams@heusden.example", "url": "https://heusden.example/bodycams"}
    settings: dict[str, object] = {
        "org": "heusden",
        "name": "Gemeente Heusden",
        "oin": "0" * 20,
        "mode": "demonstration",
        "ledger_origin": "heusden.example/log",
        "database_url": "sqlite+aiosqlite:///x",
        **{each: {"port": 1} for each in ("desk", "receiver", "broker")},
    }
    file = tmp_path / "cloud" / "cloud.json"
    file.parent.mkdir()
    file.write_bytes(msgspec.json.encode(settings | {"contact": contact}))
    read = read_config(file)
    assert (msgspec.to_builtins(read.contact), read.desk_address) == (contact, "http://127.0.0.1:1")
    file.write_bytes(msgspec.json.encode(settings | {"contact": contact | {"email": "nobody"}}))
    with pytest.raises(ConfigError, match="contact"):
        read_config(file)


def test_what_a_program_may_is_said_at_each_operation_and_footage_is_never_among_it() -> None:
    for path, _, made in operations():
        scopes = [each["programma"] for each in made.get("security", ()) if "programma" in each]
        if scopes:
            assert "429" in made["responses"], path
        assert not scopes or (made["tags"] != ["kijkkamers"] and "video" not in str(made["responses"])), path


def test_each_operation_has_a_name_of_its_own_and_says_what_it_is_for() -> None:
    names = [made["operationId"] for _, _, made in operations()]
    assert len(names) == len(set(names))
    assert all(made["summary"] and made["description"] and made["tags"] for _, _, made in operations())
    assert all(each["description"] for each in DOCUMENT["tags"])


def test_each_word_is_used_and_no_field_of_one_struct_has_anothers_name() -> None:
    structs = {part for each in OPERATIONS for part in (each.path_type, each.query_type, each.body_type) if part}
    shown = {field for _, field, _ in properties()}
    asked = {field.encode_name for each in structs for field in msgspec.structs.fields(each)}
    assert sorted(set(WORDS.values()) - shown - asked) == []
    for each in structs:
        names = [field.encode_name for field in msgspec.structs.fields(each)]
        assert len(names) == len(set(names)), each


def test_no_address_holds_anything_but_identifiers() -> None:
    sensitive = re.compile(r"naam|motivering|samenvatting|csrf|zetel|token", re.IGNORECASE)
    for path, _, made in operations():
        for each in made.get("parameters", ()):
            assert each.get("in") not in ("path", "query") or not sensitive.search(each["name"]), path


@pytest.mark.parametrize("page", ["api.md"])
def test_the_page_about_the_interface_names_every_group(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [each["name"] for each in DOCUMENT["tags"] if f"`{each['name']}`" not in text] == []


def test_a_step_can_say_everything_that_casework_asks_of_it() -> None:
    sayable = set(StepFacts.__struct_fields__)
    assert {fact for rule in STEPS.values() for fact in (*rule.facts, *rule.may_say)} - sayable == set()
    assert set(DEMAND_FIELDS) - set(CaseFacts.__struct_fields__) == set()
