"""What a stranger is told about a bundle: the right word, the right step, the right bytes."""

import io
import json
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from broker.wire import approvals, certificates
from broker.wire.bundle import Bundle, BundleWriter, ProvenEntry, canonical_json
from broker.wire.recording import Flag, close_interrupted, open_segment, salvage_segment
from broker.wire.tlog import verifier_key
from cloud.kluis.rules import roster as rosters
from cloud.verifier import approval, destruction
from cloud.verifier.steps import STEPS
from cloud.verifier.verdicts import Outcome, Report, Step, Verdict
from cloud.verifier.verify import Trust
from tests.rules.verifier.bundles import (
    ASKED_AT,
    ORG,
    ORIGIN,
    Log,
    Town,
    destroyed,
    judged,
    key,
    make_release,
    members_of,
    packed,
    received_facts,
    repacked,
    roster,
    town,
)
from tests.rules.verifier.forgeries import FOLDER, FORGERIES, drop, flip
from tests.rules.wire.recordings import NOON, camera_key, recording_id, seeded


def failing(report: Report) -> Step:
    (step,) = (each for each in report.steps if each.said.outcome is Outcome.FAILS)
    return step


def outcomes(report: Report) -> dict[int, Outcome]:
    return {step.number: step.said.outcome for step in report.steps}


def test_a_whole_bundle_is_intact_in_every_step() -> None:
    made = town()
    report = judged(made.pack(), made.trust)
    assert report.verdict is Verdict.INTACT
    assert {number for number, said in outcomes(report).items() if said is not Outcome.HOLDS} == {11}
    assert [step.number for step in report.steps] == list(range(1, 13))


def test_a_bundle_that_vouches_for_its_own_keys_says_so_first() -> None:
    report = judged(town().pack())
    assert report.verdict is Verdict.INTACT
    assert outcomes(report)[2] is Outcome.NOT_SHOWN
    assert "letter" in report.unproven[0][0]
    assert "brief" in report.unproven[0][1]


def test_software_signatures_are_called_what_they_are() -> None:
    made = town()
    assert any("software keys" in english for english, _ in judged(made.pack(), made.trust).unproven)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_bundle_of_a_part_still_shows_that_the_whole_is_complete(count: int) -> None:
    made = town(first=1, last=count)
    report = judged(made.pack(), made.trust)
    assert report.verdict is Verdict.INTACT
    assert "4 segments in order, complete" in report.english


def test_gaps_that_the_camera_reports_are_said() -> None:
    made = town(flags=(Flag.NONE, Flag.NONE, Flag.GAP_BEFORE, Flag.NONE))
    assert judged(made.pack(), made.trust).verdict is Verdict.INTACT_WITH_GAPS


def test_a_recording_without_its_end_is_open() -> None:
    made = replace(town(), end=None, received=None)
    report = judged(made.pack(), made.trust)
    assert report.verdict is Verdict.OPEN
    assert any("ended where it ends" in english for english, _ in report.unproven)


def test_a_salvaged_recording_is_called_salvaged() -> None:
    made = town((b"init", b"one", seeded("two", 40_000)), first=1, last=2)
    cut = salvage_segment(made.segments[2][:30_000], signing_key=made.camera, ended_at=NOON)
    assert cut is not None
    segments = (*made.segments[:2], cut)
    tails = tuple(raw[:160] + raw[-128:] for raw in segments)
    end = close_interrupted(head=made.head, tails=tails, signing_key=made.camera, ended_at=NOON)
    film = b"initone" + open_segment(cut, made.keys[2])
    salvaged = replace(made, segments=segments, end=end, footage=film, received=None)
    report = judged(salvaged.pack(), salvaged.trust)
    assert report.verdict is Verdict.SALVAGED
    assert outcomes(report)[10] is Outcome.HOLDS


def test_an_unknown_camera_is_not_called_tampered() -> None:
    made = replace(town(), enrolled=None)
    report = judged(made.pack(), made.trust)
    assert (report.verdict, failing(report).number) == (Verdict.UNKNOWN_KEY, 4)
    known = replace(made.trust, cameras=frozenset({made.camera.public_key().public_bytes_raw()}))
    assert judged(made.pack(), known).verdict is Verdict.INTACT


def test_another_ledger_or_kluis_than_the_letter_names_is_an_unknown_key() -> None:
    made = town()
    other_ledger = Trust(ledger=verifier_key(ORIGIN, key("other").public_key()), kluis=made.trust.kluis)
    other_kluis = Trust(ledger=made.trust.ledger, kluis=bytes(32))
    for trust in (other_ledger, other_kluis):
        report = judged(made.pack(), trust)
        assert (report.verdict, failing(report).number) == (Verdict.UNKNOWN_KEY, 2)


def test_a_newer_version_is_not_called_tampered() -> None:
    members = members_of(town().pack())
    manifest = json.loads(members["manifest.json"])
    newer = {**members, "manifest.json": canonical_json({**manifest, "version": 2})}
    assert judged(packed(newer)).verdict is Verdict.NEWER_VERSION
    (head,) = (name for name in members if name.endswith("head.voh"))
    changed = {**members, head: members[head][:8] + b"\x02" + members[head][9:]}
    assert judged(packed(changed)).verdict is Verdict.NEWER_VERSION


@pytest.mark.parametrize("absent", ["received", "release", "keys", "footage"])
def test_what_is_not_in_the_bundle_is_said_to_be_not_shown(absent: str) -> None:
    made = town()
    less: dict[str, Town] = {
        "received": replace(made, received=None),
        "release": replace(made, release=None),
        "keys": replace(made, keys={}, footage=None),
        "footage": replace(made, footage=None),
    }
    report = judged(less[absent].pack(), made.trust)
    step = {"received": 7, "release": 8, "keys": 9, "footage": 10}[absent]
    assert report.verdict is Verdict.INTACT
    assert outcomes(report)[step] is Outcome.NOT_SHOWN


def test_without_ledger_and_hand_over_the_footage_still_speaks_for_itself() -> None:
    made = town()
    report = judged(made.pack(disclose=False, ledger=False), made.trust)
    assert report.verdict is Verdict.INTACT
    assert {number for number, said in outcomes(report).items() if said is Outcome.NOT_SHOWN} == {3, 11, 12}
    assert any("not older" in english for english, _ in report.unproven)


def test_a_destroyed_recording_leaves_a_certificate_that_holds() -> None:
    made = destroyed(town())
    report = judged(made.pack(), made.trust)
    assert report.verdict is Verdict.INTACT
    assert outcomes(report)[11] is Outcome.HOLDS
    assert "rule term" in report.steps[10].said.english


# --- forgeries ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_with_perfect_checksums_is_found_at_its_step(name: str) -> None:
    forge, step = FORGERIES[name]
    made = town()
    report = judged(repacked(forge(members_of(made.pack(disclose=False)))), made.trust)
    assert report.verdict is Verdict.TAMPERED
    assert failing(report).number == step, report.english
    assert report.english
    assert report.dutch


@pytest.mark.rule("H-51")
def test_a_bundle_that_was_changed_after_the_hand_over_is_found_even_where_each_part_is_genuine() -> None:
    made = town()
    less = drop(f"{FOLDER}/received.json", f"{FOLDER}/received.proof")
    report = judged(repacked(less(members_of(made.pack()))), made.trust)
    assert (report.verdict, failing(report).number) == (Verdict.TAMPERED, 12)


def test_a_damaged_byte_is_told_to_within_its_chunk() -> None:
    made = town((b"init", seeded("film", 60_000)), first=1, last=1)
    at = 160 + 56 + 2 * 16_400 + 5
    members = members_of(made.pack())
    with_keys = judged(repacked(flip(f"{FOLDER}/00000001.vos", at)(members)), made.trust)
    where = failing(with_keys).where
    assert where is not None
    assert (where.file, where.first, where.last) == (
        f"{FOLDER}/00000001.vos",
        160 + 56 + 2 * 16_400,
        160 + 56 + 3 * 16_400 - 1,
    )
    without = drop(f"{FOLDER}/keys.bin", f"{FOLDER}/footage.mp4")
    where = failing(judged(repacked(flip(f"{FOLDER}/00000001.vos", at)(without(members))), made.trust)).where
    assert where is not None
    assert (where.first, where.last) == (160, len(members[f"{FOLDER}/00000001.vos"]) - 129)


def test_where_a_film_differs_is_told_by_its_segment() -> None:
    made = town((b"init", b"x" * 100, b"y" * 50), first=1, last=2)
    report = judged(repacked(flip(f"{FOLDER}/footage.mp4", 110)(members_of(made.pack(disclose=False)))), made.trust)
    where = failing(report).where
    assert where is not None
    assert (where.file, where.first, where.last) == (f"{FOLDER}/footage.mp4", 104, 153)


def test_a_rewritten_ledger_is_two_histories() -> None:
    """The camera took a checkpoint along when it left; a ledger begun anew cannot contain it."""
    made, rewritten = town(), Log()
    rewritten.append("policy.adopted", subject="another-town")
    enrolled = rewritten.append(
        "camera.enrolled", subject="cam-01", public_key=made.camera.public_key().public_bytes_raw().hex()
    )
    rewritten.append("policy.adopted", subject="another-town")
    forged = replace(made, log=rewritten, enrolled=rewritten.proven(enrolled), received=None, release=None)
    report = judged(forged.pack(), made.trust)
    assert (report.verdict, failing(report).number) == (Verdict.TAMPERED, 3)


@pytest.mark.parametrize("late", [timedelta(hours=1), -timedelta(hours=1)])
def test_an_approval_outside_the_life_of_its_request_does_not_count(late: timedelta) -> None:
    made = town()
    forged = replace(made, release=make_release(made.log, first=1, last=2, asked_at=ASKED_AT + late))
    report = judged(forged.pack(), made.trust)
    assert (report.verdict, failing(report).number) == (Verdict.TAMPERED, 8)


def test_an_approval_before_the_request_does_not_count() -> None:
    made = town()
    order = ("viewing.approved", "viewing.requested")
    forged = replace(made, release=make_release(made.log, first=1, last=2, order=order))
    assert failing(judged(forged.pack(), made.trust)).number == 8


def test_more_than_was_asked_for_is_found() -> None:
    made = town(first=1, last=2)
    forged = replace(made, release=make_release(made.log, first=1, last=1))
    report = judged(forged.pack(), made.trust)
    assert (report.verdict, failing(report).number) == (Verdict.TAMPERED, 8)
    assert "more is here" in report.english


def test_two_accounts_of_one_human_are_one_person() -> None:
    made = town()
    people = roster("o-asks", "o-agrees", person={"o-asks": "p-1", "o-agrees": "p-1"})
    forged = replace(made, release=make_release(made.log, first=1, last=2, people=people))
    assert failing(judged(forged.pack(), made.trust)).number == 8


def test_a_person_whom_the_kluis_does_not_know_signs_in_vain() -> None:
    made = town()
    forged = replace(made, release=make_release(made.log, first=1, last=2, people=roster("o-asks")))
    assert failing(judged(forged.pack(), made.trust)).number == 8


def test_one_person_suffices_where_the_policy_asked_for_one_and_that_is_said() -> None:
    made = town(two_people=False)
    report = judged(made.pack(), made.trust)
    assert report.verdict is Verdict.INTACT
    assert any("one person sufficed" in english for english, _ in report.unproven)


def test_a_certificate_of_another_key_or_kluis_does_not_hold() -> None:
    made = town()
    for forged in (destroyed(made, commitment="00" * 32), destroyed(replace(made, kluis=key("other kluis")))):
        report = judged(replace(forged, kluis=made.kluis).pack(), made.trust)
        assert (report.verdict, failing(report).number) == (Verdict.TAMPERED, 11)


def test_a_proof_of_another_entry_does_not_hold() -> None:
    made = town()
    assert made.received is not None
    assert made.enrolled is not None
    crossed = ProvenEntry(entry=made.received.entry, proof=made.enrolled.proof)
    assert failing(judged(replace(made, received=crossed).pack(), made.trust)).number == 3


@pytest.mark.parametrize("arrival", [True, False])
def test_an_origin_that_two_people_declared_is_said_and_is_never_proof(arrival: bool) -> None:
    made = town()
    index = made.log.append(
        "recording.admitted", subject=str(recording_id()), actor="o-agrees", proposed_by="o-asks", recorder="o-films"
    )
    made = replace(made, admitted=made.log.proven(index), received=made.received if arrival else None)
    report = judged(made.pack(), made.trust)
    assert report.verdict is Verdict.INTACT
    step = report.steps[6]
    assert "is declared by o-asks and o-agrees, not proven" in step.said.english
    assert "is verklaard door o-asks en o-agrees, niet bewezen" in step.said.dutch
    assert any("two people declared it" in english for english, _ in report.unproven)


@pytest.mark.parametrize(
    ("kind", "facts", "english", "dutch"),
    [
        (
            "recording.quarantined",
            {"reason": "nobody pressed the button", "deviations": ["incomplete"]},
            "was kept apart on arrival: nobody pressed the button",
            "is bij aankomst apart gehouden: niemand heeft de knop ingedrukt",
        ),
        (
            "recording.restricted",
            {"deviations": ["pre_record_too_long"]},
            "was restricted on arrival: pre_record_too_long",
            "is bij aankomst beperkt: pre_record_too_long",
        ),
        (
            "recording.quarantined",
            {},
            "was kept apart on arrival: the entry does not say why",
            "is bij aankomst apart gehouden: de regel zegt niet waarom",
        ),
    ],
)
def test_what_was_not_simply_taken_in_is_said_to_be_kept_apart_and_why(
    kind: str, facts: dict[str, Any], english: str, dutch: str
) -> None:
    made = town()
    about = received_facts(made.head, made.segments)
    index = made.log.append(kind, subject=str(recording_id()), **about, **facts)
    step = judged(replace(made, received=made.log.proven(index)).pack(), made.trust).steps[6]
    assert (step.said.outcome, english in step.said.english, dutch in step.said.dutch) == (Outcome.HOLDS, True, True)
    assert "came in" not in step.said.english
    assert "binnengekomen" not in step.said.dutch


@pytest.mark.parametrize(("kind", "subject"), [("recording.admitted", "another"), ("recording.received", "")])
def test_a_declaration_about_something_else_does_not_hold(kind: str, subject: str) -> None:
    made = town()
    index = made.log.append(kind, subject=subject or str(recording_id()), actor="o-agrees", proposed_by="o-asks")
    report = judged(replace(made, admitted=made.log.proven(index)).pack(), made.trust)
    assert (report.verdict, failing(report).number) == (Verdict.TAMPERED, 7)


def test_another_cameras_enrolment_is_an_unknown_key() -> None:
    made = town()
    index = made.log.append(
        "camera.enrolled", subject="cam-02", public_key=camera_key("other").public_key().public_bytes_raw().hex()
    )
    report = judged(replace(made, enrolled=made.log.proven(index)).pack(), made.trust)
    assert report.verdict is Verdict.UNKNOWN_KEY


# --- every bit ----------------------------------------------------------------------------------------------------


def _flipped(raw: bytes, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_single_flipped_bits_of_a_bundle_are_caught() -> None:
    made = town((b"init", b"x"), first=1, last=1)
    raw = made.pack()
    for bit in range(0, 8 * len(raw), 61):
        report = judged(_flipped(raw, bit), made.trust)
        assert report.verdict not in {Verdict.INTACT, Verdict.INTACT_WITH_GAPS}, bit
        assert failing(report).where is not None, bit


@pytest.mark.slow
def test_every_single_flipped_bit_of_a_bundle_is_caught() -> None:
    made = town((b"init", b"x"), first=1, last=1)
    raw = made.pack()
    for bit in range(8 * len(raw)):
        assert judged(_flipped(raw, bit), made.trust).verdict is Verdict.TAMPERED, bit


def test_flipped_bits_are_caught_even_when_every_checksum_is_made_to_fit() -> None:
    made = town((b"init", b"x"), first=1, last=1)
    members = members_of(made.pack(disclose=False))
    for name in members:
        for bit in range(3, 8 * len(members[name]), 173):
            forged = {**members, name: _flipped(members[name], bit)}
            report = judged(packed(forged) if name == "manifest.json" else repacked(forged), made.trust)
            assert report.verdict in {Verdict.TAMPERED, Verdict.UNKNOWN_KEY, Verdict.NEWER_VERSION}, (name, bit)


@pytest.mark.slow
def test_far_more_flipped_bits_are_caught_even_when_every_checksum_is_made_to_fit() -> None:
    made = town((b"init", b"x"), first=1, last=1)
    members = members_of(made.pack(disclose=False))
    for name in members:
        for bit in range(0, 8 * len(members[name]), 11):
            forged = {**members, name: _flipped(members[name], bit)}
            report = judged(packed(forged) if name == "manifest.json" else repacked(forged), made.trust)
            assert report.verdict in {Verdict.TAMPERED, Verdict.UNKNOWN_KEY, Verdict.NEWER_VERSION}, (name, bit)


@pytest.mark.parametrize("raw", [b"", b"PK", bytes(100), b"PK\x05\x06" + bytes(18)])
def test_what_is_no_bundle_at_all_gets_an_answer_too(raw: bytes) -> None:
    assert judged(raw).verdict is Verdict.TAMPERED


def test_a_bundle_that_was_cut_short_gets_an_answer() -> None:
    raw = town().pack()
    for length in range(0, len(raw), 311):
        assert judged(raw[:length]).verdict is Verdict.TAMPERED


# --- agreements ---------------------------------------------------------------------------------------------------


def test_the_verifier_and_the_kluis_sign_and_check_the_same_labels() -> None:
    request = b"a request"
    assert approvals.request_challenge(request) == sha256(approval._REQUEST_LABEL + request).digest()
    assert approvals.approval_challenge(request) == sha256(approval._APPROVAL_LABEL + request).digest()
    assert rosters._LABEL + b"roster\0" == approval._ROSTER_LABEL
    assert certificates._LABEL == destruction._CERTIFICATE_LABEL


def test_every_verdict_has_an_exit_status_of_its_own() -> None:
    statuses = [each.exit_status for each in Verdict]
    assert len(set(statuses)) == len(statuses)
    assert 2 not in statuses
    assert Verdict.INTACT.exit_status == 0


def test_every_step_asks_in_two_languages() -> None:
    assert len(STEPS) == 12
    assert len({text for asks, vraagt, _ in STEPS for text in (asks, vraagt)}) == 24


def test_a_writer_names_the_sizes_whose_growth_it_needs() -> None:
    made = town()
    assert made.enrolled is not None
    writer = BundleWriter(io.BytesIO(), org=ORG, ledger_key=made.ledger_key, kluis_key=bytes(32))
    writer.add_recording(
        part=made.part, head=made.head, ends=made.ends, end=made.end, segments=(), keys={}, enrolled=made.enrolled
    )
    assert writer.sizes == (1, 5)


def test_a_bundle_reads_back_as_it_was_written() -> None:
    made = town()
    bundle = Bundle(io.BytesIO(made.pack()))
    assert bundle.manifest.parts == (made.part,)
    assert bundle.keys(made.part) == made.keys
    assert bundle.ends(made.part) == made.ends
    assert made.release is not None
    assert bundle.statements() == made.release.statements
    assert bundle.manifest.kluis_key == made.trust.kluis
