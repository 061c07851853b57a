"""Step 8: which two people asked and approved what, before it was released.

The labels are those of `broker/wire/approvals.py`, which this file does without: it must need no more than
`cryptography`. A test keeps the two equal.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from broker.wire.bundle import (
    APPROVED,
    RELEASED,
    REQUEST,
    REQUESTED,
    ROSTER,
    STATEMENTS,
    read_canonical_json,
    strict_base64,
    text,
)
from broker.wire.statements import Credential, Statement, check_statement
from cloud.verifier.case import Case, moment
from cloud.verifier.verdicts import Said, holds, not_shown, tampered

CLOCKS_DIFFER: Final = timedelta(seconds=60)
"""How far the clocks of desk, ledger and Kluis may differ; all are kept by NTP."""

_REQUEST_LABEL: Final = b"vo/request/v1\0"
_APPROVAL_LABEL: Final = b"vo/approve/v1\0"
_ROSTER_LABEL: Final = b"vier-ogen/kluis-document/v1\0roster\0"


def check_approval(case: Case) -> Said:
    """Which two people asked and approved what, for which purpose, before it was released."""
    with case.reading(REQUEST):
        raw = case.bundle.optional(REQUEST)
    if raw is None:
        return not_shown("who was allowed to see this is not here", "wie dit mocht zien is niet bijgevoegd")
    try:
        request = read_canonical_json(raw)
        people = [text(each) for each in (request["requester"], request["second"]) if each is not None]
        issued_at, not_after = moment(request["issued_at"]), moment(request["not_after"])
        ranges = {each["id"]: (int(each["first"]), int(each["last"])) for each in request["recordings"]}
        purpose, about = text(request["purpose"]), text(request["case"])
        org, version = text(request["org"]), request["v"]
    except (KeyError, TypeError, ValueError, RecursionError) as cause:
        raise case.malformed(REQUEST, cause) from cause
    if not people or (org, version) != (case.bundle.manifest.org, 1):
        raise case.malformed(REQUEST, f"a request of {org}, version {version}")
    _check_signatures(case, raw, people)
    _check_acts(case, hashlib.sha256(raw).hexdigest(), people, issued_at, not_after)
    for recording in case.recordings:
        part = recording.part
        asked = ranges.get(str(part.recording))
        if part.first <= part.last and (asked is None or not asked[0] <= part.first <= part.last <= asked[1]):
            raise tampered(
                f"{part.recording}: more is here than was asked for",
                f"{part.recording}: er is meer bijgevoegd dan gevraagd was",
                where=case.whole(REQUEST),
            )
    case.one_person = len(people) == 1
    if case.one_person:
        return holds(
            f"{people[0]} alone asked, purpose {purpose}, case {about}: the policy asked for one person",
            f"{people[0]} vroeg alleen, doel {purpose}, zaak {about}: het beleid vroeg één persoon",
        )
    return holds(
        f"{people[0]} asked, {people[1]} approved, purpose {purpose}, case {about}; both signed, and in the ledger",
        f"{people[0]} vroeg, {people[1]} keurde goed, doel {purpose}, zaak {about}; beiden tekenden, en in het logboek",
    )


def _check_signatures(case: Case, request: bytes, people: Sequence[str]) -> None:
    keys, humans = _roster(case)
    with case.reading(STATEMENTS):
        statements = case.bundle.statements()
    if len(statements) != len(people) or len({humans.get(each, each) for each in people}) != len(people):
        raise tampered(
            f"{len(people)} different people were to sign, {len(statements)} statements are here",
            f"{len(people)} verschillende mensen moesten tekenen, er zijn {len(statements)} verklaringen",
            where=case.whole(STATEMENTS),
        )
    for person, statement, label in zip(people, statements, (_REQUEST_LABEL, _APPROVAL_LABEL), strict=False):
        case.expect(STATEMENTS, "signer", person, statement.official)
        _check_statement(case, statement, keys.get(person, ()), hashlib.sha256(label + request).digest())
    case.software_keys = any(each.kind == "software" for each in statements)


def _check_statement(case: Case, statement: Statement, keys: Sequence[Credential], challenge: bytes) -> None:
    with case.reading(STATEMENTS):
        try:
            check_statement(statement, credentials=keys, challenge=challenge, place=case.bundle.manifest.place)
        except (ValueError, UnsupportedAlgorithm) as cause:  # a key that is none
            raise case.malformed(ROSTER, cause) from cause


def _roster(case: Case) -> tuple[dict[str, tuple[Credential, ...]], dict[str, str]]:
    """Return the keys and the human being of each official, from the list that the Kluis signed."""
    assert case.kluis_key is not None
    with case.reading(ROSTER):
        raw = case.bundle.small(ROSTER)
    signed = case.json(ROSTER, raw)
    try:
        document = strict_base64(signed["document"])
        case.kluis_key.verify(strict_base64(signed["signature"]), _ROSTER_LABEL + document)
        officials = case.json(ROSTER, document)["officials"]
        keys = {text(each["id"]): tuple(map(_credential, each["credentials"])) for each in officials}
        humans = {each["id"]: text(each["person"]) or each["id"] for each in officials}
    except InvalidSignature as cause:
        raise tampered(
            "the list of officials is not signed by the Kluis",
            "de lijst van ambtenaren is niet door de Kluis ondertekend",
            where=case.whole(ROSTER),
        ) from cause
    except (KeyError, TypeError, ValueError) as cause:
        raise case.malformed(ROSTER, cause) from cause
    return keys, humans


def _credential(said: Mapping[str, Any]) -> Credential:
    return Credential(id=text(said["id"]), kind=said["kind"], public_key=strict_base64(said["public_key"]))


def _check_acts(
    case: Case, request_sha256: str, people: Sequence[str], issued_at: datetime, not_after: datetime
) -> None:
    """The entries name this very request, in order, while it counted."""
    named = ((REQUESTED, "viewing.requested", people[0]), (APPROVED, "viewing.approved", people[-1]))
    expected = [*named[: len(people)]]
    for name, kind, actor in expected:
        entry = case.entries.get(name)
        if entry is None:
            raise tampered(
                f"{name} is not in the ledger", f"{name} staat niet in het logboek", where=case.whole(REQUEST)
            )
        case.expect(f"{name}.json", "kind", kind, entry.kind)
        case.expect(f"{name}.json", "actor", actor, entry.actor)
        case.expect(f"{name}.json", "request_sha256", request_sha256, entry.facts.get("request_sha256"))
        if not issued_at - CLOCKS_DIFFER <= entry.at <= not_after + CLOCKS_DIFFER:
            raise tampered(
                f"{name} was written at {entry.at.isoformat()}, outside the life of the request",
                f"{name} is geschreven op {entry.at.isoformat()}, buiten de looptijd van het verzoek",
                where=case.whole(f"{name}.json"),
            )
    released = case.entries.get(RELEASED)
    if released is not None:
        case.expect(f"{RELEASED}.json", "kind", "viewing.released", released.kind)
        case.expect(f"{RELEASED}.json", "request_sha256", request_sha256, released.facts.get("request_sha256"))
    order = [case.entries[name].index for name, _, _ in expected] + ([released.index] if released else [])
    if any(later <= earlier for earlier, later in pairwise(order)):
        raise tampered(
            "the ledger has request, approval and release in another order",
            "het logboek heeft verzoek, goedkeuring en vrijgave in een andere volgorde",
            where=case.whole(f"{expected[-1][0]}.json"),
        )
