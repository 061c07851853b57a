"""What the Kluis refuses to release, one hostile idea after the other; and the two that it grants."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.approvals import (
    Range,
    Statement,
    approval_challenge,
    request_challenge,
    request_sha256,
    sign_in_software,
    software_credential,
)
from broker.wire.refusals import Code, Refused
from cloud.kluis.rules.release import LONGEST_RANGE, MOST_RECORDINGS, Mode, Permit, check_act, permit
from tests.rules.kluis.security_key import PRESENT, VERIFIED
from tests.rules.kluis.world import MemoryLedger, Submission, World, heusden, rotterdam


def judged(world: World, raw: bytes, submission: Submission) -> Permit:
    return permit(raw, **submission.arguments(), trust=world.trust, now=world.now)


def granted(world: World, raw: bytes, submission: Submission) -> bool:
    return judged(world, raw, submission).sha256 == request_sha256(raw)


def refused(world: World, raw: bytes, submission: Submission) -> tuple[Code, str]:
    with pytest.raises(Refused) as caught:
        judged(world, raw, submission)
    return caught.value.refusal.code, caught.value.refusal.what


@pytest.mark.rule("H-47", "T-11", "H-53")
def test_two_eligible_people_with_signatures_and_entries_are_granted() -> None:
    world = heusden()
    raw = world.request()
    allowed = judged(world, raw, world.submit(raw))
    assert [each.id for each in allowed.people] == ["o-cluster", "o-secretary"]
    assert allowed.sha256 == request_sha256(raw)


@pytest.mark.rule("T-11", "H-47")
def test_one_person_alone_is_refused_where_the_policy_asks_for_two() -> None:
    world = heusden()
    raw = world.request(second=None)
    assert refused(world, raw, world.submit(raw, second=None)) == (Code.NOT_ALLOWED, "seats")


def test_where_the_policy_asks_for_one_exactly_one_statement_suffices() -> None:
    world = rotterdam()
    raw = world.request(requester="v-1", second=None)
    assert len(judged(world, raw, world.submit(raw, requester="v-1", second=None)).people) == 1
    both = world.request(requester="v-1", second="v-2")
    assert len(judged(world, both, world.submit(both, requester="v-1", second="v-2")).people) == 2
    named = world.request(requester="v-1", second="v-2")
    assert refused(world, named, world.submit(named, requester="v-1", second=None))[0] is Code.NOT_ALLOWED


@pytest.mark.rule("H-47", "T-12", "E-04c")
def test_the_same_person_twice_is_refused() -> None:
    world = heusden()
    raw = world.request(second="o-cluster")
    assert refused(world, raw, world.submit(raw, second="o-cluster")) == (Code.NOT_ALLOWED, "seats")


@pytest.mark.rule("H-47", "E-31")
def test_two_accounts_of_one_person_are_refused() -> None:
    world = heusden().add("o-second-account", "municipal_secretary", person="o-cluster")
    raw = world.request(second="o-second-account")
    assert refused(world, raw, world.submit(raw, second="o-second-account")) == (Code.NOT_ALLOWED, "seats")


def test_somebody_who_is_not_on_the_roster_is_refused() -> None:
    world, stranger = heusden(), heusden().add("o-stranger", "municipal_secretary")
    world.software["o-stranger"] = stranger.software["o-stranger"]
    raw = world.request(second="o-stranger")
    assert refused(world, raw, world.submit(raw, second="o-stranger")) == (Code.UNKNOWN_IDENTITY, "official")


def test_a_key_that_is_not_enrolled_is_refused() -> None:
    world = heusden()
    raw = world.request()
    submission = world.submit(raw)
    world.software["o-secretary"] = Ed25519PrivateKey.generate()
    submission.statements = (submission.statements[0], world.sign("o-secretary", approval_challenge(raw)))
    assert refused(world, raw, submission) == (Code.UNKNOWN_IDENTITY, "statement")


@pytest.mark.rule("E-48")
def test_somebody_who_left_is_refused() -> None:
    world = World().add("o-cluster", "cluster_manager").add("o-secretary", "municipal_secretary")
    world.officials[1] = msgspec.structs.replace(world.officials[1], employed_until=world.now)
    raw = world.request()
    assert refused(world, raw, world.submit(raw)) == (Code.NOT_ALLOWED, "seats")


@pytest.mark.rule("H-49", "T-13", "H-53")
def test_a_pair_that_does_not_fill_the_purposes_seats_is_refused() -> None:
    world = heusden()
    raw = world.request(requester="o-privacy", second="o-cluster")
    submission = world.submit(raw, requester="o-privacy", second="o-cluster")
    assert refused(world, raw, submission) == (Code.NOT_ALLOWED, "seats")


@pytest.mark.rule("T-14", "H-44")
def test_the_secretary_takes_no_seat_in_a_criminal_case() -> None:
    world = heusden()
    raw = world.request(requester="o-privacy", purpose="criminal_demand", case_kind="om_demand")
    assert refused(world, raw, world.submit(raw, requester="o-privacy")) == (Code.NOT_ALLOWED, "seats")


@pytest.mark.rule("T-15", "H-45")
def test_the_safety_coordinator_sits_after_a_crime_report_and_not_on_demand() -> None:
    world = heusden()
    pair = {"requester": "o-privacy", "second": "o-safety"}
    allowed = world.request(purpose="criminal_aangifte", case_kind="aangifte", **pair)
    assert granted(world, allowed, world.submit(allowed, **pair))
    demand = world.request(purpose="criminal_demand", case_kind="om_demand", **pair)
    assert refused(world, demand, world.submit(demand, **pair)) == (Code.NOT_ALLOWED, "seats")


@pytest.mark.rule("H-09", "R-18", "T-25")
def test_a_purpose_that_the_policy_does_not_know_or_the_case_does_not_carry_is_refused() -> None:
    world = heusden()
    for changes in ({"purpose": "curiosity"}, {"case_kind": "aangifte"}):
        raw = world.request(**changes)
        assert refused(world, raw, world.submit(raw)) == (Code.NOT_ALLOWED, "seats")
    town = rotterdam()
    raw = town.request(requester="v-1", second="v-2", purpose="learning", case_kind="learning")
    assert refused(town, raw, town.submit(raw, requester="v-1", second="v-2")) == (Code.NOT_ALLOWED, "seats")


@pytest.mark.rule("R-20")
def test_a_closed_case_is_refused() -> None:
    world = heusden()
    raw = world.request(case_open=False)
    assert refused(world, raw, world.submit(raw)) == (Code.NOT_ALLOWED, "seats")


@pytest.mark.parametrize("changes", [{"recorder": "o-secretary"}, {"involved": ("h-1", "o-secretary")}])
def test_somebody_who_was_there_is_refused(changes: dict[str, Any]) -> None:
    world = heusden()
    raw = world.request(**changes)
    assert refused(world, raw, world.submit(raw)) == (Code.NOT_ALLOWED, "seats")


def test_another_account_of_somebody_who_was_there_is_refused() -> None:
    world = heusden().add("h-3", "officer", person="o-secretary")
    raw = world.request(recorder="h-3")
    assert refused(world, raw, world.submit(raw)) == (Code.NOT_ALLOWED, "seats")


@pytest.mark.rule("H-61", "H-60", "T-17")
def test_an_officer_learns_from_his_own_footage_beside_the_coordinator_and_from_no_other() -> None:
    world = heusden()
    pair = {"requester": "h-1", "second": "o-coordinator"}
    own = world.request(purpose="learning", case_kind="learning", recorder="h-1", involved=("h-1",), **pair)
    assert granted(world, own, world.submit(own, **pair))
    others = world.request(purpose="learning", case_kind="learning", recorder="h-2", involved=("h-2",), **pair)
    assert refused(world, others, world.submit(others, **pair)) == (Code.NOT_ALLOWED, "seats")


@pytest.mark.rule("H-62", "T-18")
def test_a_coordinator_who_was_there_is_replaced_by_the_cluster_manager() -> None:
    world = heusden()
    facts = {"purpose": "learning", "case_kind": "learning", "recorder": "h-1", "involved": ("h-1", "o-coordinator")}
    involved = world.request(requester="h-1", second="o-coordinator", **facts)
    assert refused(world, involved, world.submit(involved, requester="h-1", second="o-coordinator"))[1] == "seats"
    replaced = world.request(requester="h-1", second="o-cluster", **facts)
    assert granted(world, replaced, world.submit(replaced, requester="h-1", second="o-cluster"))


@pytest.mark.rule("H-48")
def test_a_substitute_sits_while_the_substitution_lasts() -> None:
    world = heusden().add("o-stand-in", substitutes={"municipal_secretary": "o-secretary"})
    raw = world.request(second="o-stand-in")
    assert granted(world, raw, world.submit(raw, second="o-stand-in"))
    world.now += timedelta(days=10)
    late = world.request(second="o-stand-in")
    assert refused(world, late, world.submit(late, second="o-stand-in")) == (Code.NOT_ALLOWED, "seats")


@pytest.mark.parametrize("later", [timedelta(minutes=10, seconds=1), timedelta(minutes=15), timedelta(days=1)])
def test_a_stale_request_is_refused(later: timedelta) -> None:
    world = heusden()
    raw = world.request()
    submission = world.submit(raw)
    world.now += later
    assert refused(world, raw, submission) == (Code.NOT_ALLOWED, "request's time")


def test_a_request_that_gives_itself_more_than_fifteen_minutes_is_refused() -> None:
    world = heusden()
    raw = world.request(not_after=world.now + timedelta(minutes=15, seconds=1))
    assert refused(world, raw, world.submit(raw)) == (Code.NOT_ALLOWED, "request's life")


def test_a_request_from_the_future_is_refused() -> None:
    world = heusden()
    later = world.now + timedelta(minutes=2)
    raw = world.request(issued_at=later, not_after=later + timedelta(minutes=5))
    assert refused(world, raw, world.submit(raw)) == (Code.NOT_ALLOWED, "request's time")


def test_a_signature_under_another_request_is_refused() -> None:
    world = heusden()
    raw, other = world.request(), world.request()
    submission = world.submit(raw)
    submission.statements = world.submit(other).statements
    assert refused(world, raw, submission) == (Code.BAD_SIGNATURE, "statement")


def test_a_request_signature_does_not_serve_as_an_approval() -> None:
    world = heusden()
    raw = world.request()
    submission = world.submit(raw)
    submission.statements = (submission.statements[0], world.sign("o-secretary", request_challenge(raw)))
    assert refused(world, raw, submission) == (Code.BAD_SIGNATURE, "statement")


def test_statements_in_the_wrong_order_are_refused() -> None:
    world = heusden()
    raw = world.request()
    submission = world.submit(raw)
    submission.statements = submission.statements[::-1]
    assert refused(world, raw, submission) == (Code.BAD_SIGNATURE, "statement")


def test_a_statement_of_a_third_person_is_refused() -> None:
    world = heusden()
    raw = world.request()
    submission = world.submit(raw)
    third = sign_in_software("o-secretary", world.software["o-safety"], approval_challenge(raw))
    submission.statements = (submission.statements[0], third)
    assert refused(world, raw, submission) == (Code.UNKNOWN_IDENTITY, "statement")


@pytest.mark.parametrize("missing", ["statements", "entries", "proofs"])
def test_a_missing_part_is_refused(missing: str) -> None:
    world = heusden()
    raw = world.request()
    submission = world.submit(raw)
    setattr(submission, missing, getattr(submission, missing)[:1])
    assert refused(world, raw, submission)[0] is Code.NOT_ALLOWED


@pytest.mark.rule("T-36", "E-35")
def test_without_the_ledgers_word_nothing_is_released() -> None:
    """A release cannot even be asked without proofs, and proofs cannot be made without the ledger's key."""
    world = heusden()
    raw = world.request()
    submission = world.submit(raw)
    for proofs in ((b"", b""), (submission.proofs[1], submission.proofs[0]), (submission.proofs[0],) * 2):
        submission.proofs = proofs
        assert refused(world, raw, submission)[0] in {Code.MALFORMED, Code.BAD_SIGNATURE}


def test_a_proof_from_another_ledger_is_refused() -> None:
    world, elsewhere = heusden(), heusden()
    raw = world.request()
    submission = world.submit(raw)
    for ledger in (MemoryLedger(world.ledger.origin), MemoryLedger("ledger.example/other", world.ledger.key)):
        elsewhere.ledger = ledger
        other = elsewhere.submit(raw)
        submission.entries, submission.proofs = other.entries, other.proofs
        assert refused(world, raw, submission)[0] is Code.BAD_SIGNATURE


Logger = Callable[[World, bytes], tuple[bytes, bytes]]


def logged(kind: str, actor: str, *, other: bool = False, minutes: int = 0) -> Logger:
    def log(world: World, raw: bytes) -> tuple[bytes, bytes]:
        digest = request_sha256(world.request() if other else raw).hex()
        at = world.now + timedelta(minutes=minutes)
        return world.ledger.log(kind, subject="case-7", actor=actor, at=at, facts={"request_sha256": digest})

    return log


@pytest.mark.parametrize(
    "log",
    [
        logged("viewing.requested", "o-secretary"),
        logged("viewing.approved", "o-cluster"),
        logged("viewing.approved", "o-secretary", other=True),
        logged("viewing.approved", "o-secretary", minutes=-30),
        logged("viewing.approved", "o-secretary", minutes=30),
        logged("viewing.refused", "o-secretary"),
    ],
)
def test_an_entry_about_something_else_is_refused(log: Logger) -> None:
    world = heusden()
    raw = world.request()
    submission = world.submit(raw)
    entry, proof = log(world, raw)
    submission.entries = (submission.entries[0], entry)
    submission.proofs = (submission.proofs[0], proof)
    assert refused(world, raw, submission)[0] is Code.NOT_ALLOWED


def test_an_entry_that_was_changed_after_it_was_logged_is_refused() -> None:
    world = heusden()
    raw = world.request()
    submission = world.submit(raw)
    submission.entries = (submission.entries[0], submission.entries[1].replace(b"case-7", b"case-8"))
    assert refused(world, raw, submission)[0] is Code.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"org": "elsewhere"}, Code.WRONG_TENANT),
        ({"policy_version": 2}, Code.CONFLICT),
        ({"v": 2}, Code.MALFORMED),
        ({"recordings": ()}, Code.MALFORMED),
        ({"session_key": "AAAA"}, Code.MALFORMED),
        ({"session_key": "not base64!"}, Code.MALFORMED),
        ({"id": "one"}, Code.MALFORMED),
    ],
)
def test_a_request_of_another_form_is_refused(changes: dict[str, Any], code: Code) -> None:
    world = heusden()
    raw = world.request(**changes)
    assert refused(world, raw, world.submit(raw))[0] is code


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (4, 3), (0, LONGEST_RANGE), (2**32 - 1, 2**32)])
def test_a_range_that_cannot_be_is_refused(first: int, last: int) -> None:
    world = heusden()
    raw = world.request(Range(id=str(world.recording_id()), first=first, last=last))
    assert refused(world, raw, world.submit(raw)) == (Code.MALFORMED, "range of segments")


def test_a_recording_named_twice_or_too_many_are_refused() -> None:
    world = heusden()
    one = Range(id=str(world.recording_id()), first=0, last=1)
    raw = world.request(one, one)
    assert refused(world, raw, world.submit(raw))[0] is Code.MALFORMED
    many = [Range(id=str(world.recording_id()), first=0, last=1) for _ in range(MOST_RECORDINGS + 1)]
    raw = world.request(*many)
    assert refused(world, raw, world.submit(raw))[0] is Code.MALFORMED


def test_a_request_in_another_spelling_is_refused() -> None:
    world = heusden()
    raw = world.request().replace(b'"v":1', b'"v": 1')
    assert refused(world, raw, world.submit(raw)) == (Code.MALFORMED, "viewing request")


# --- standard mode: security keys ---------------------------------------------------------------------------------


def test_in_standard_mode_two_security_keys_are_granted() -> None:
    world = heusden(Mode.STANDARD)
    raw = world.request()
    assert granted(world, raw, world.submit(raw))


def test_in_standard_mode_an_enrolled_software_key_is_refused() -> None:
    world = heusden(Mode.STANDARD)
    raw = world.request()
    submission = world.submit(raw)
    software = sign_in_software("o-secretary", world.software["o-secretary"], approval_challenge(raw))
    submission.statements = (submission.statements[0], software)
    assert refused(world, raw, submission) == (Code.NOT_ALLOWED, "statement")


@pytest.mark.parametrize(
    "trick",
    [
        {"origin": "https://desk.example.evil"},
        {"rp_id": "evil.example"},
        {"flags": PRESENT},
        {"flags": VERIFIED},
        {"flags": 0},
        {"kind": "webauthn.create"},
        {"cross_origin": True},
    ],
)
def test_an_assertion_from_elsewhere_or_without_the_person_is_refused(trick: dict[str, Any]) -> None:
    world = heusden(Mode.STANDARD)
    raw = world.request()
    submission = world.submit(raw)
    forged = world.security["o-secretary"].sign("o-secretary", approval_challenge(raw), **trick)
    submission.statements = (submission.statements[0], forged)
    assert refused(world, raw, submission)[0] is Code.BAD_SIGNATURE


def test_an_assertion_under_another_request_or_as_the_other_act_is_refused() -> None:
    world = heusden(Mode.STANDARD)
    raw, other = world.request(), world.request()
    for challenge in (approval_challenge(other), request_challenge(raw)):
        submission = world.submit(raw)
        submission.statements = (submission.statements[0], world.sign("o-secretary", challenge))
        assert refused(world, raw, submission) == (Code.BAD_SIGNATURE, "assertion's challenge")


@pytest.mark.parametrize("assertion", ["", "{}", "[]", '{"response":{}}', '{"response":{"clientDataJSON":1}}', "{"])
def test_an_assertion_that_is_none_is_refused(assertion: str) -> None:
    world = heusden(Mode.STANDARD)
    raw = world.request()
    submission = world.submit(raw)
    empty = dataclasses.replace(submission.statements[1], assertion=assertion)
    submission.statements = (submission.statements[0], empty)
    assert refused(world, raw, submission)[0] is Code.MALFORMED


# --- orders to destroy ---------------------------------------------------------------------------------------------


def test_only_an_order_in_our_ledger_counts() -> None:
    world = heusden()
    entry, proof = world.order(world.recording_id())
    assert check_act(entry, proof, kinds=("retention.destroying",), trust=world.trust).entry.facts["rule"]
    with pytest.raises(Refused):
        check_act(entry, proof, kinds=("viewing.requested",), trust=world.trust)
    elsewhere = heusden().order(world.recording_id())
    with pytest.raises(Refused):
        check_act(*elsewhere, kinds=("retention.destroying",), trust=world.trust)


def test_a_credential_says_which_key_it_is() -> None:
    key = Ed25519PrivateKey.generate()
    first, again = software_credential(key.public_key()), software_credential(key.public_key())
    assert first == again
    assert isinstance(sign_in_software("o", key, bytes(32)), Statement)
