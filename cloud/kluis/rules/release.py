"""Whether the Kluis may give out keys: everything that can be decided from the request and the Kluis's own lists.

The steps run in the order in which a stranger would check them. Each refusal names its step. What needs memory (was
this request used before, is the recording here, is the case known to be closed) is asked by the caller afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.wire.approvals import (
    LONGEST_LIFE,
    REQUEST_SHA256,
    Place,
    Statement,
    ViewingRequest,
    approval_challenge,
    change_challenge,
    check_statement,
    read_request,
    request_challenge,
    request_sha256,
)
from broker.wire.entries import LedgerEntry, read_entry
from broker.wire.policy import Initiator, Policy
from broker.wire.refusals import Code, refuse
from broker.wire.tlog import Checkpoint, check_proof
from cloud.kluis.rules.roster import Official, Roster
from cloud.rules.seats import involvement_of, judge_pair

CLOCKS_DIFFER: Final = timedelta(seconds=60)
"""How far the desk's clock may run ahead of the Kluis's; both are kept by NTP."""

LONGEST_RANGE: Final = 86_400
"""Segments of one recording in one request: a day at one a second. Bounds the work that one request can ask."""

MOST_RECORDINGS: Final = 64
"""Recordings in one request: an incident with a whole team's cameras. Bounds the work that one request can ask."""


class Mode(StrEnum):
    """How people sign. In demonstration mode no hardware enforces who did, and every page says so."""

    DEMONSTRATION = "demonstration"
    STANDARD = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Everything the Kluis believes without being told in a request."""

    org: str
    mode: Mode
    policy: Policy
    roster: Roster
    ledger_origin: str
    ledger_key: Ed25519PublicKey
    place: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An entry that stands in the ledger, and the checkpoint that proves it."""

    entry: LedgerEntry
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """A request that passed every step, who signed it, and the entries that say so."""

    request: ViewingRequest
    sha256: bytes
    people: tuple[Official, ...]
    acts: tuple[Act, ...]


def permit(
    raw: bytes,
    *,
    statements: Sequence[Statement],
    entries: Sequence[bytes],
    proofs: Sequence[bytes],
    trust: Trust,
    now: datetime,
) -> Permit:
    """Return the permit, or raise Refused with the first step that fails."""
    request = read_request(raw)  # 1. it is one request, spelt in the one way
    _check_form(request, trust)  # 2. of this municipality, under the policy in force, of a size that can be
    check_time(request.issued_at, request.not_after, now)  # 3. meant now
    people = _people(request, trust)  # 4. by officials on our own roster, two humans
    _check_count(people, statements, entries, proofs)  # 5. each with a statement and an entry
    challenges = (request_challenge(raw), approval_challenge(raw))
    for official, statement, challenge in zip(people, statements, challenges, strict=False):
        check_signed(official, statement, challenge, trust=trust)  # 6. who signed exactly these bytes
    judge_seats(request, people, trust.policy, trust=trust, now=now)  # 7. and may sit together for this purpose
    acts = _acts(raw, request, entries, proofs, trust=trust, now=now)  # 8. as the ledger already says
    return Permit(request=request, sha256=request_sha256(raw), people=people, acts=acts)


def _check_form(request: ViewingRequest, trust: Trust) -> None:
    if request.org != trust.org:
        raise refuse(Code.WRONG_TENANT, "viewing request", expected=trust.org, got=request.org)
    if request.policy_version != trust.policy.version:
        raise refuse(
            Code.CONFLICT,
            "viewing request",
            expected=f"version {trust.policy.version} of the policy",
            got=f"version {request.policy_version}",
        )
    if not 1 <= len(request.recordings) <= MOST_RECORDINGS:
        raise refuse(
            Code.MALFORMED,
            "viewing request",
            expected=f"1 to {MOST_RECORDINGS} recordings",
            got=len(request.recordings),
        )
    if len({each.id for each in request.recordings}) < len(request.recordings):
        raise refuse(Code.MALFORMED, "viewing request", expected="each recording once", got="one twice")
    if request.until_at < request.from_at:
        raise refuse(Code.MALFORMED, "time range", expected="an end after its start", got=request.until_at)
    for each in request.recordings:
        if not 0 <= each.first <= each.last or each.last - each.first >= LONGEST_RANGE or each.last >= 2**32:
            raise refuse(
                Code.MALFORMED,
                "range of segments",
                expected=f"first to last, at most {LONGEST_RANGE}",
                got=f"{each.first} to {each.last}",
            )


def check_time(issued_at: datetime, not_after: datetime, now: datetime) -> None:
    """Raise Refused (NOT_ALLOWED) unless this was issued at most fifteen minutes ago and still counts."""
    if issued_at > now + CLOCKS_DIFFER:
        raise refuse(
            Code.NOT_ALLOWED, "request's time", expected=f"at most {now.isoformat()}", got=issued_at.isoformat()
        )
    if not issued_at <= not_after <= issued_at + LONGEST_LIFE:
        raise refuse(Code.NOT_ALLOWED, "request's life", expected=f"at most {LONGEST_LIFE}", got=not_after - issued_at)
    if now > not_after:
        raise refuse(
            Code.NOT_ALLOWED,
            "request's time",
            expected="a request that still counts",
            got=f"until {not_after.isoformat()}",
        )


def _people(request: ViewingRequest, trust: Trust) -> tuple[Official, ...]:
    named = (request.requester,) if request.second is None else (request.requester, request.second)
    people = tuple(trust.roster.find(each) for each in named)
    if len({each.human for each in people}) < len(people):
        raise refuse(Code.NOT_ALLOWED, "seats", expected="two different people", got="one person in both")
    return people


def _check_count(
    people: Sequence[Official], statements: Sequence[Statement], entries: Sequence[bytes], proofs: Sequence[bytes]
) -> None:
    counts = {len(statements), len(entries), len(proofs)}
    if counts != {len(people)}:
        raise refuse(
            Code.NOT_ALLOWED,
            "statements and ledger entries",
            expected=f"{len(people)} of each, one for each person of the request",
            got=f"{len(statements)}, {len(entries)} and {len(proofs)}",
        )


def check_signed(official: Official, statement: Statement, challenge: bytes, *, trust: Trust) -> None:
    """Raise Refused unless this official signed this challenge in a way that the mode accepts."""
    if statement.official != official.id:
        raise refuse(
            Code.BAD_SIGNATURE, "statement", expected=f"one of {official.id}", got=f"one of {statement.official}"
        )
    if trust.mode is Mode.STANDARD and statement.kind != "webauthn":
        raise refuse(
            Code.NOT_ALLOWED, "statement", expected="a security key, in standard mode", got=f"a {statement.kind} key"
        )
    check_statement(statement, credentials=official.keys(), challenge=challenge, place=trust.place)


def judge_seats(
    request: ViewingRequest, people: Sequence[Official], policy: Policy, *, trust: Trust, now: datetime
) -> None:
    """Raise Refused (NOT_ALLOWED), naming the version, unless these people may sit together under this policy.

    To be asked of the version in force and of those of the recordings' own days: cloud/rules/versions.py says why.
    """
    purpose = policy.purposes.get(request.purpose)
    learns = purpose is not None and purpose.initiator is Initiator.OFFICER_SELF
    everyone = [each.at(now) for each in trust.roster.officials]
    present = set(request.involved) - {request.recorder} if request.recorder else set(request.involved)
    accounts = {each.id: each.human for each in trust.roster.officials}
    involved_humans = {accounts.get(each, each) for each in (*present, request.recorder) if each}
    for each in people:
        if each.human in involved_humans and each.id not in (*present, request.recorder):
            present.add(each.id)  # another account of somebody who was there
    seats = [each.at(now) for each in people]
    verdict = judge_pair(
        policy=policy,
        purpose=request.purpose,
        case_kind=request.case_kind,
        case_open=request.case_open,
        requester=seats[0],
        second=seats[1] if len(seats) > 1 else None,
        involvement=involvement_of(recorder=request.recorder, present=present, people=everyone),
        learner=request.requester if learns else None,
    )
    if not verdict:
        raise refuse(
            Code.NOT_ALLOWED,
            "seats",
            expected=f"a pair that version {policy.version} of the policy allows",
            got=verdict.because,
        )


def _acts(
    raw: bytes,
    request: ViewingRequest,
    entries: Sequence[bytes],
    proofs: Sequence[bytes],
    *,
    trust: Trust,
    now: datetime,
) -> tuple[Act, ...]:
    acts = []
    named = (("viewing.requested", request.requester), ("viewing.approved", request.second))
    for entry, proof, (kind, actor) in zip(entries, proofs, named, strict=False):
        act = check_act(entry, proof, kinds=(kind,), trust=trust)
        if act.entry.actor != actor:
            raise refuse(Code.NOT_ALLOWED, f"ledger entry {kind}", expected=f"an act of {actor}", got=act.entry.actor)
        if act.entry.facts.get(REQUEST_SHA256) != request_sha256(raw).hex():
            raise refuse(
                Code.NOT_ALLOWED,
                f"ledger entry {kind}",
                expected=f"{REQUEST_SHA256} {request_sha256(raw).hex()}",
                got=act.entry.facts.get(REQUEST_SHA256),
            )
        if not request.issued_at - CLOCKS_DIFFER <= act.entry.at <= now + CLOCKS_DIFFER:
            raise refuse(
                Code.NOT_ALLOWED,
                f"ledger entry {kind}",
                expected="made after the request",
                got=act.entry.at.isoformat(),
            )
        acts.append(act)
    return tuple(acts)


def check_act(entry: bytes, proof: bytes, *, kinds: Sequence[str], trust: Trust) -> Act:
    """Return the act if its entry is of one of these kinds and stands in our ledger; raise Refused otherwise."""
    checkpoint = check_proof(proof, leaf=entry, origin=trust.ledger_origin, key=trust.ledger_key)
    read = read_entry(entry)
    if read.kind not in kinds:
        raise refuse(Code.NOT_ALLOWED, "ledger entry", expected=" or ".join(kinds), got=read.kind)
    return Act(entry=read, checkpoint=checkpoint)


def check_two_signed(
    document: bytes, statements: Sequence[Statement], *, trust: Trust, now: datetime
) -> tuple[Official, Official]:
    """Return the two officials who signed a change of roster or policy: both employed and appointed, two humans."""
    if len(statements) != 2:
        raise refuse(Code.NOT_ALLOWED, "change", expected="two statements", got=len(statements))
    first, second = (trust.roster.find(each.official) for each in statements)
    if first.human == second.human:
        raise refuse(Code.NOT_ALLOWED, "change", expected="two different people", got="one person twice")
    for official, statement in zip((first, second), statements, strict=True):
        person = official.at(now)
        if not person.employed or not (person.roles or person.substitutes):
            raise refuse(Code.NOT_ALLOWED, "change", expected="somebody in office", got=official.id)
        check_signed(official, statement, change_challenge(document), trust=trust)
    return first, second
