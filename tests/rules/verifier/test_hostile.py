"""A bundle by somebody who holds every key, and wants the verifier itself to fall over: it always answers."""

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from broker.wire.bundle import ProvenEntry, canonical_json
from broker.wire.tlog import leaf_hash
from cloud.kluis.rules.roster import sign_document
from cloud.verifier.verdicts import Verdict
from tests.rules.verifier.bundles import Town, destroyed, judged, key, members_of, packed, repacked, town
from tests.rules.verifier.forgeries import FOLDER

_VALUES: tuple[Any, ...] = (None, 0, -1, 2**70, "", "x", "2026-11-20", [], [[]], {}, {"a": []}, True)


def _changed(value: Any) -> Iterator[Any]:
    """Every way to put one other value at one place, or to leave one out."""
    yield from (other for other in _VALUES if other != value)
    if isinstance(value, dict):
        for name, inner in value.items():
            yield {k: v for k, v in value.items() if k != name}
            yield from ({**value, name: other} for other in _changed(inner))
    if isinstance(value, list):
        for place, inner in enumerate(value):
            yield value[:place] + value[place + 1 :]
            yield from ([*value[:place], other, *value[place + 1 :]] for other in _changed(inner))


@pytest.mark.parametrize("name", ["release/request.json", "release/statements.json", "ledger/growth.json"])
def test_any_other_value_in_a_signed_document_is_found(name: str) -> None:
    made = town()
    members = members_of(made.pack(disclose=False))
    for value in _changed(json.loads(members[name])):
        report = judged(repacked({**members, name: canonical_json(value)}), made.trust)
        assert report.verdict is Verdict.TAMPERED, value


def test_any_other_value_in_the_manifest_is_found() -> None:
    made = town()
    members = members_of(made.pack())
    manifest = json.loads(members["manifest.json"])
    some = dict(list(manifest["files"].items())[:2])
    shorter = {**manifest, "files": some}
    for value in _changed(shorter):
        whole = {**value, "files": {**manifest["files"], **value["files"]}} if _still_lists(value, some) else value
        if whole != manifest:
            report = judged(packed({**members, "manifest.json": canonical_json(whole)}), made.trust)
            assert report.verdict not in {Verdict.INTACT, Verdict.INTACT_WITH_GAPS}, value


def _still_lists(value: Any, some: dict[str, Any]) -> bool:
    return isinstance(value, dict) and isinstance(value.get("files"), dict) and value["files"].keys() >= some.keys()


def test_whatever_a_faithless_kluis_signs_as_its_roster_gets_an_answer() -> None:
    made = town()
    members = members_of(made.pack(disclose=False))
    signed = json.loads(members["release/roster.json"])
    document = json.loads(b64decode(signed["document"]))
    document["officials"] = document["officials"][:2]
    for value in _changed(document):
        raw = sign_document(canonical_json(value), key("kluis"), kind="roster")
        report = judged(repacked({**members, "release/roster.json": raw}), made.trust)
        assert report.verdict in {Verdict.INTACT, Verdict.TAMPERED}, value


@pytest.mark.parametrize("name", ["enrolled", "received", "destroying", "requested", "approved"])
def test_whatever_a_faithless_ledger_says_gets_an_answer(name: str) -> None:
    made = destroyed(town()) if name == "destroying" else town()
    proven: ProvenEntry = _entry(made, name)
    size = made.log.tree.size
    for value in _changed(json.loads(proven.entry)):
        report = judged(_with_entry(made, name, canonical_json(value)).pack(disclose=False), made.trust)
        assert isinstance(report.verdict, Verdict)
        made.log.tree.forget_after(size)
        del made.log.entries[size:]


def _entry(made: Town, name: str) -> ProvenEntry:
    found = getattr(made, name) if hasattr(made, name) else getattr(made.release, name)
    assert isinstance(found, ProvenEntry)
    return found


def _with_entry(made: Town, name: str, raw: bytes) -> Town:
    made.log.entries.append(raw)
    made.log.tree.append(leaf_hash(raw))
    proven = made.log.proven(len(made.log.entries) - 1)
    if hasattr(made, name):
        changed: dict[str, Any] = {name: proven}
        return replace(made, **changed)
    assert made.release is not None
    changed = {name: proven}
    return replace(made, release=replace(made.release, **changed))


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"a":1,"a":2}', b"1.5", b"NaN"])
def test_a_document_that_is_none_gets_an_answer(raw: bytes) -> None:
    made = town()
    members = members_of(made.pack(disclose=False))
    for name in members:
        report = judged(packed({**members, name: raw}) if name == "manifest.json" else repacked({**members, name: raw}))
        assert report.verdict in {Verdict.TAMPERED, Verdict.UNKNOWN_KEY}, name


def test_a_key_of_another_kind_on_the_roster_gets_an_answer() -> None:
    made = town()
    members = members_of(made.pack(disclose=False))
    document = json.loads(b64decode(json.loads(members["release/roster.json"])["document"]))
    for key_text in ("", "AAAA", "MCowBQYDK2VuAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="):
        document["officials"][0]["credentials"][0]["public_key"] = key_text
        raw = sign_document(canonical_json(document), key("kluis"), kind="roster")
        assert judged(repacked({**members, "release/roster.json": raw}), made.trust).verdict is Verdict.TAMPERED
    assert f"{FOLDER}/head.voh" in members
