"""Keys in, keys out to two people, keys gone for ever."""

import contextlib
import errno
import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.approvals import Range, change_challenge, request_sha256, split_keys
from broker.wire.certificates import read_certificate
from broker.wire.entries import read_entry
from broker.wire.ids import RecordingId
from broker.wire.recording import open_sealed, open_segment
from broker.wire.refusals import Code, Refused
from cloud.kluis.about import Settings
from cloud.kluis.custody import Kluis
from cloud.kluis.founding import found
from cloud.kluis.keys import KluisDamaged, Root
from cloud.kluis.messages import Released
from cloud.kluis.rules.release import Mode
from cloud.kluis.rules.roster import Appointment, Roster, read_document, read_roster, write_roster
from cloud.kluis.store import Store
from cloud.ledger import tiles
from cloud.ledger.verify import verify
from tests.adapters.kluis.conftest import Town, build
from tests.adapters.ledger.test_crash import Failing
from tests.rules.kluis.world import Footage, MemoryLedger, heusden, rotterdam

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


def code(call: Callable[..., object], *arguments: Any, **options: Any) -> Code:
    with pytest.raises(Refused) as caught:
        call(*arguments, **options)
    return caught.value.refusal.code


# --- intake -------------------------------------------------------------------------------------------------------


@pytest.mark.rule("H-37", "E-34")
def test_no_key_lies_in_the_open(town: Town) -> None:
    footage = town.film()
    (released,) = town.ask(footage)[1].recordings
    assert released.head == footage.head
    on_disk = b"".join(path.read_bytes() for path in town.folder.rglob("*") if path.is_file())
    assert footage.head[100:200] not in on_disk
    assert all(share.encode() not in on_disk for share in town.founded.shares)


def test_the_same_recording_twice_is_taken_once(town: Town) -> None:
    footage = town.film()
    town.take(footage)
    assert [(item.recording, item.state) for item in town.kluis.inventory()] == [(str(footage.id), "held")]


def test_another_head_under_the_same_id_is_refused(town: Town) -> None:
    footage = town.film()
    other = town.world.film(town.keylist())
    town.close()
    with contextlib.closing(Store.open(town.folder / "store.sqlite")) as store:
        store.do("UPDATE held SET head_sha256 = ? WHERE recording = ?", bytes(32), str(footage.id))
    assert code(town.take, footage) is Code.CONFLICT
    town.take(other)


@pytest.mark.rule("E-47")
def test_a_recording_of_another_municipality_is_refused(town: Town) -> None:
    assert code(town.take, town.world.film(town.keylist(), org="elsewhere")) is Code.WRONG_TENANT


def test_a_head_that_another_camera_signed_is_refused(town: Town) -> None:
    footage = town.world.film(town.keylist())
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert code(town.kluis.intake, footage.head, camera_public_key=stranger, end=None, now=town.world.now) in {
        Code.BAD_SIGNATURE,
        Code.UNKNOWN_IDENTITY,
    }
    assert code(town.kluis.intake, footage.head, camera_public_key=b"x", end=None, now=town.world.now) is Code.MALFORMED


def test_a_head_with_shares_for_others_is_refused(town: Town) -> None:
    assert code(town.take, town.world.film(town.keylist(), shares=2)) is Code.NOT_ALLOWED


def test_the_end_record_of_another_recording_is_refused(town: Town) -> None:
    one, other = town.world.film(town.keylist()), town.world.film(town.keylist())
    order = {"camera_public_key": one.camera, "end": other.end, "now": town.world.now}
    assert code(town.kluis.intake, one.head, **order) is not Code.DESTROYED


def test_the_key_list_holds_the_coming_weeks_and_stays_the_same_within_one(town: Town) -> None:
    first, again = town.keylist(), town.keylist()
    assert first.recipients == again.recipients
    assert len(first.upcoming) == 8
    footage = town.world.film(first)
    town.world.now += 21 * DAY
    town.take(footage)
    assert town.keylist().recipients == first.upcoming[2].recipients


def test_what_docks_after_its_weeks_window_is_unreadable_and_said_to_be(town: Town) -> None:
    footage = town.world.film(town.keylist())
    town.world.now += 36 * DAY
    assert town.kluis.keep_house(town.world.now).epochs_destroyed
    assert code(town.take, footage) is Code.NOT_FOUND
    assert "epoch.destroying" in town.journal()


# --- release ------------------------------------------------------------------------------------------------------


@pytest.mark.rule("H-47")
def test_two_people_get_the_range_and_nothing_beside_it(town: Town) -> None:
    footage = town.film(seconds=8)
    raw, released = town.ask(footage, first=2, last=4)
    sealed = open_sealed(town.world.session, released.recordings[0].sealed, info=request_sha256(raw))
    keys = split_keys(sealed, first=2, last=4)
    assert sorted(keys) == [0, 2, 3, 4]
    assert [open_segment(footage.segments[n], keys[n]) for n in (0, 2, 3, 4)] == [
        b"second 0",
        b"second 2",
        b"second 3",
        b"second 4",
    ]
    for other in (1, 5, 6, 7):
        for key in keys.values():
            with pytest.raises(Refused):
                open_segment(footage.segments[other], key)


def test_keys_are_sealed_to_the_session_of_this_request_only(town: Town) -> None:
    footage = town.film()
    raw, released = town.ask(footage)
    other = town.world.request(Range(id=str(footage.id), first=1, last=3))
    with pytest.raises(Refused):
        open_sealed(town.world.session, released.recordings[0].sealed, info=request_sha256(other))
    with pytest.raises(Refused):
        open_sealed(heusden().session, released.recordings[0].sealed, info=request_sha256(raw))


def test_several_recordings_of_one_incident_come_together(town: Town) -> None:
    one, two = town.film(), town.film()
    raw = town.world.request(Range(id=str(one.id), first=0, last=1), Range(id=str(two.id), first=1, last=4))
    released = town.kluis.release(raw, **town.world.submit(raw).arguments(), now=town.world.now)
    assert [each.recording for each in released.recordings] == [str(one.id), str(two.id)]


def test_a_request_is_used_once_even_after_a_restart(town: Town) -> None:
    footage = town.film()
    raw = town.world.request(Range(id=str(footage.id), first=1, last=3))
    submission = town.world.submit(raw)
    town.kluis.release(raw, **submission.arguments(), now=town.world.now)
    for _ in range(2):
        assert code(town.kluis.release, raw, **submission.arguments(), now=town.world.now) is Code.CONFLICT
        town.close()


@pytest.mark.parametrize(("first", "last"), [(1, 5), (5, 5), (4, 4000)])
def test_a_range_beyond_the_recording_is_refused(town: Town, first: int, last: int) -> None:
    footage = town.film(seconds=5)
    assert code(town.ask, footage, first=first, last=last) is Code.NOT_ALLOWED


def test_a_recording_that_is_not_here_is_refused(town: Town) -> None:
    assert code(town.ask, town.world.film(town.keylist())) is Code.NOT_FOUND


@pytest.mark.rule("H-09", "T-39")
def test_every_refusal_is_in_the_journal_and_the_journal_holds(town: Town) -> None:
    footage = town.film()
    assert code(town.ask, footage, case_open=False) is Code.NOT_ALLOWED
    entry, proof = town.world.order(footage.id)
    other = town.world.recording_id()
    assert code(town.kluis.destroy, other, entry=entry, proof=proof, now=town.world.now) is Code.NOT_ALLOWED
    journal = town.journal()
    assert '"kind":"release.refused"' in journal
    assert '"kind":"destroy.refused"' in journal
    key = Root((town.folder / "root.key").read_bytes()).journal_key.public_key()
    town.close()
    assert verify(town.folder / "journal", origin=town.founded.journal_origin, key=key).intact


@pytest.mark.rule("E-35", "T-36")
def test_without_a_journal_nothing_is_released_or_destroyed_but_intake_goes_on(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    footage, later = town.film(), town.world.film(town.keylist())
    with monkeypatch.context() as broken:
        broken.setattr(tiles, "os", Failing("write", 1, OSError(errno.ENOSPC, "full")))
        assert code(town.ask, footage) is Code.LEDGER_UNWRITABLE
    with monkeypatch.context() as broken:
        broken.setattr(tiles, "os", Failing("fsync", 1, OSError(errno.EIO, "broken")))
        assert code(town.destroy, footage.id) is Code.LEDGER_UNWRITABLE
        broken.setattr(tiles, "os", Failing("fsync", 1, OSError(errno.EIO, "broken")))
        town.take(later)
    assert [item.state for item in town.kluis.inventory()] == ["held", "held"]
    assert town.watch(footage) == [b"second 1", b"second 2", b"second 3"]


@pytest.mark.rule("R-20")
def test_a_case_once_closed_stays_closed(town: Town) -> None:
    footage = town.film()
    assert town.watch(footage)
    entry, proof = town.world.ledger.log("case.closed", subject="case-7", actor="o-1", at=town.world.now, facts={})
    town.kluis.close_case(entry=entry, proof=proof, now=town.world.now)
    assert code(town.ask, footage) is Code.NOT_ALLOWED
    town.close()
    assert code(town.ask, footage) is Code.NOT_ALLOWED


def test_no_other_entry_closes_a_case_and_that_somebody_tried_stands_in_the_journal(town: Town) -> None:
    entry, proof = town.world.ledger.log("case.moved", subject="case-7", actor="o-1", at=town.world.now, facts={})
    with pytest.raises(Refused) as refused:
        town.kluis.close_case(entry=entry, proof=proof, now=town.world.now)
    assert refused.value.refusal.code is Code.NOT_ALLOWED
    size = town.kluis.checkpoint().size
    assert read_entry(town.kluis.journal(size - 1, size)[0]).kind == "case.refused"


def test_a_ledger_with_two_faces_is_refused(town: Town) -> None:
    """Same key, same size, another root: somebody rewrote the ledger between two requests."""
    footage = town.film()
    assert town.watch(footage)
    town.world.ledger = MemoryLedger(town.world.ledger.origin, town.world.ledger.key)
    assert code(town.ask, footage) is Code.BAD_SIGNATURE


def test_a_town_with_a_quorum_of_one_releases_to_one(tmp_path: Path) -> None:
    town = build(tmp_path / "kluis", rotterdam())
    footage = town.film()
    raw = town.world.request(Range(id=str(footage.id), first=1, last=3), requester="v-1", second=None)
    submission = town.world.submit(raw, requester="v-1", second=None)
    assert town.kluis.release(raw, **submission.arguments(), now=town.world.now).recordings
    town.close()


def test_a_cloned_security_key_is_refused_and_its_count_survives_a_restart(standard: Town) -> None:
    footage = standard.film()
    assert standard.watch(footage)
    standard.close()
    assert standard.watch(footage)
    standard.world.security["o-secretary"].count -= 2
    assert code(standard.ask, footage) is Code.BAD_SIGNATURE


# --- destruction --------------------------------------------------------------------------------------------------


@pytest.mark.rule("T-01", "R-10")
def test_a_destroyed_recording_is_gone_certified_and_refused_for_ever(town: Town) -> None:
    footage = town.film()
    certificate = read_certificate(town.destroy(footage.id), town.key)
    assert (certificate.state, certificate.held, certificate.rule) == ("executed", True, "retention.days")
    assert code(town.ask, footage) is Code.DESTROYED
    assert code(town.take, footage) is Code.DESTROYED
    town.close()
    assert code(town.take, footage) is Code.DESTROYED
    assert [item.state for item in town.kluis.inventory()] == ["destroyed"]


def test_destroying_twice_gives_the_same_certificate(town: Town) -> None:
    footage = town.film()
    first = town.destroy(footage.id)
    town.world.now += DAY
    assert town.destroy(footage.id) == first
    assert town.journal().count('"kind":"key.destroying"') == 1


@pytest.mark.rule("T-34")
def test_a_recording_destroyed_before_it_arrived_never_comes_in(town: Town) -> None:
    footage = town.world.film(town.keylist())
    assert not read_certificate(town.destroy(footage.id), town.key).held
    assert code(town.take, footage) is Code.DESTROYED


@pytest.mark.rule("E-35", "T-36")
def test_no_key_is_destroyed_without_the_ledgers_order(town: Town) -> None:
    footage, other = town.film(), town.film()
    entry, proof = town.world.order(other.id)
    forged, forged_proof = heusden().order(footage.id)
    viewing, viewing_proof = town.world.ledger.log(
        "viewing.requested", subject=str(footage.id), actor="o-1", at=town.world.now, facts={}
    )
    for order in ((entry, proof), (forged, forged_proof), (viewing, viewing_proof), (entry, b""), (b"", proof)):
        refused = code(town.kluis.destroy, footage.id, entry=order[0], proof=order[1], now=town.world.now)
        assert refused in {Code.NOT_ALLOWED, Code.BAD_SIGNATURE, Code.MALFORMED}
    assert town.watch(footage)


def test_certificates_become_final_when_the_last_backup_has_expired(town: Town) -> None:
    footage = town.film()
    executed = read_certificate(town.destroy(footage.id), town.key)
    assert town.kluis.certificates(footage.id).final is None
    town.world.now += DAY
    assert town.kluis.keep_house(town.world.now).rotated_to == 2
    town.world.now += 6 * DAY
    assert town.kluis.keep_house(town.world.now).made_final == ()
    town.world.now += DAY
    done = town.kluis.keep_house(town.world.now)
    assert (done.generations_destroyed, done.made_final) == ((1,), (str(footage.id),))
    final = town.kluis.certificates(footage.id).final
    assert final is not None
    read = read_certificate(final, town.key)
    assert (read.state, read.final_at) == ("final", town.world.now)
    assert read.final_after == executed.final_after <= town.world.now
    assert town.kluis.inventory()[0].state == "final"
    assert not (town.folder / "generations" / "0001.key").exists()


def test_rotating_keeps_everything_readable(town: Town) -> None:
    footage = town.film()
    for _ in range(3):
        town.kluis.rotate(town.world.now)
    town.close()
    assert town.watch(footage) == [b"second 1", b"second 2", b"second 3"]
    town.world.now += 40 * DAY
    town.kluis.keep_house(town.world.now)
    assert town.watch(footage)


# --- backups ------------------------------------------------------------------------------------------------------


def put_back(town: Town, backup: bytes) -> None:
    town.close()
    (town.folder / "store.sqlite").write_bytes(backup)


@pytest.mark.rule("T-10", "E-34")
def test_an_old_store_put_back_destroys_again_before_it_answers(town: Town) -> None:
    gone, kept = town.film(), town.film()
    town.close()
    backup = (town.folder / "store.sqlite").read_bytes()
    certificate = town.destroy(gone.id)
    put_back(town, backup)
    assert code(town.ask, gone) is Code.DESTROYED
    assert code(town.take, gone) is Code.DESTROYED
    assert town.kluis.certificates(gone.id).executed == certificate
    assert town.watch(kept)


@pytest.mark.rule("T-10", "E-34")
def test_an_old_store_put_back_after_its_generation_died_opens_nothing(town: Town) -> None:
    gone = town.film()
    town.close()
    backup = (town.folder / "store.sqlite").read_bytes()
    town.destroy(gone.id)
    town.kluis.rotate(town.world.now)
    town.world.now += 8 * DAY
    town.kluis.keep_house(town.world.now)
    put_back(town, backup)
    sealed = sqlite3.connect(town.folder / "store.sqlite")
    ((generation,),) = sealed.execute("SELECT generation FROM held").fetchall()
    sealed.close()
    assert generation == 1
    assert not (town.folder / "generations" / "0001.key").exists(), "nothing on this machine opens the row"
    assert code(town.ask, gone) is Code.DESTROYED
    assert town.kluis.inventory()[0].state == "final"
    assert town.watch(town.film()), "new intake keys are made where the old ones cannot be opened"


def test_a_key_whose_generation_died_with_the_backup_is_said_to_be_unreadable(town: Town) -> None:
    kept = town.film()
    town.close()
    backup = (town.folder / "store.sqlite").read_bytes()
    town.kluis.rotate(town.world.now)
    town.world.now += 8 * DAY
    town.kluis.keep_house(town.world.now)
    put_back(town, backup)
    assert town.kluis.inventory()[0].state == "unreadable"
    assert code(town.ask, kept) is Code.NOT_FOUND


def test_used_requests_and_closed_cases_survive_an_old_store(town: Town) -> None:
    footage = town.film()
    town.close()
    backup = (town.folder / "store.sqlite").read_bytes()
    raw = town.world.request(Range(id=str(footage.id), first=1, last=3))
    submission = town.world.submit(raw)
    town.kluis.release(raw, **submission.arguments(), now=town.world.now)
    put_back(town, backup)
    assert code(town.kluis.release, raw, **submission.arguments(), now=town.world.now) is Code.CONFLICT


def test_an_old_journal_put_back_is_noticed(town: Town) -> None:
    town.close()
    shutil.copytree(town.folder / "journal", town.folder.parent / "old")
    town.film()
    town.destroy(town.film().id)
    town.close()
    shutil.rmtree(town.folder / "journal")
    shutil.copytree(town.folder.parent / "old", town.folder / "journal")
    with pytest.raises(KluisDamaged, match="put back from a backup"):
        town.reopen()


def test_a_whole_kluis_put_back_takes_its_destructions_again_from_the_ledger(town: Town) -> None:
    gone = town.film()
    town.close()
    shutil.copytree(town.folder, town.folder.parent / "backup")
    entry, proof = town.world.order(gone.id)
    town.kluis.destroy(gone.id, entry=entry, proof=proof, now=town.world.now)
    town.close()
    shutil.rmtree(town.folder)
    shutil.copytree(town.folder.parent / "backup", town.folder)
    town.kluis.destroy(gone.id, entry=entry, proof=proof, now=town.world.now)
    assert code(town.ask, gone) is Code.DESTROYED


# --- crashes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["DELETE FROM held", "INSERT OR IGNORE INTO destroyed", "INSERT INTO memory"])
def test_a_destruction_that_broke_off_is_finished_at_the_next_start(
    town: Town, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    footage = town.film()
    real = Store.do

    def breaks(store: Store, sql: str, *values: object) -> int:
        if sql.startswith(statement) and b"key.destroying" in town.journal().encode():
            raise sqlite3.OperationalError("disk I/O error")
        return real(store, sql, *values)

    with monkeypatch.context() as broken:
        broken.setattr(Store, "do", breaks)
        with pytest.raises(sqlite3.OperationalError):
            town.destroy(footage.id)
    town.close()
    assert code(town.ask, footage) is Code.DESTROYED
    assert town.kluis.certificates(footage.id).executed


def test_a_rotation_that_broke_off_loses_no_key(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    footage = town.film()
    real = Store.do

    def breaks(store: Store, sql: str, *values: object) -> int:
        if sql.startswith("UPDATE held"):
            raise sqlite3.OperationalError("disk I/O error")
        return real(store, sql, *values)

    with monkeypatch.context() as broken:
        broken.setattr(Store, "do", breaks)
        with pytest.raises(sqlite3.OperationalError):
            town.kluis.rotate(town.world.now)
    town.world.now += 9 * DAY
    town.kluis.keep_house(town.world.now)
    town.close()
    town.world.now += 9 * DAY
    town.kluis.keep_house(town.world.now)
    assert town.watch(footage) == [b"second 1", b"second 2", b"second 3"]


# --- roster and policy --------------------------------------------------------------------------------------------


def change(town: Town, kind: Any, document: bytes, *signers: str, told: bytes | None = None) -> None:
    entry, proof = town.world.ledger.log(
        {"roster": "roster.changed", "policy": "policy.adopted"}[kind],
        subject=town.world.org,
        actor=signers[0],
        at=town.world.now,
        facts={"sha256": hashlib.sha256(told or document).hexdigest()},
    )
    statements = [town.world.sign(each, change_challenge(document)) for each in signers]
    town.kluis.change(kind, document, statements=statements, entry=entry, proof=proof, now=town.world.now)


def promoted(town: Town) -> Roster:
    """A roster in which the privacy officer is the municipal secretary too."""
    officials = tuple(
        msgspec.structs.replace(each, appointments=(Appointment(role="municipal_secretary", from_at=town.world.now),))
        if each.id == "o-privacy"
        else each
        for each in town.world.officials
    )
    return Roster(org=town.world.org, version=2, officials=officials)


@pytest.mark.rule("E-02")
def test_the_roster_changes_by_two_others_and_the_change_survives_an_old_store(town: Town) -> None:
    footage = town.film()
    assert code(town.ask, footage, second="o-privacy") is Code.BAD_SIGNATURE
    document = write_roster(promoted(town))
    town.close()
    backup = (town.folder / "store.sqlite").read_bytes()
    assert code(change, town, "roster", document, "o-cluster", "o-cluster") is Code.NOT_ALLOWED
    assert code(change, town, "roster", document, "o-privacy", "o-cluster") is Code.NOT_ALLOWED
    assert code(change, town, "roster", document, "o-cluster", "o-secretary", told=b"else") is Code.NOT_ALLOWED
    assert town.kluis.public().roster_version == 1
    change(town, "roster", document, "o-cluster", "o-secretary")
    put_back(town, backup)
    assert town.kluis.public().roster_version == 2
    raw = town.world.request(Range(id=str(footage.id), first=1, last=3), second="o-privacy")
    submission = town.world.submit(raw, second="o-privacy")
    assert town.kluis.release(raw, **submission.arguments(), now=town.world.now).recordings
    signed = town.kluis.documents(town.world.now).roster
    assert read_roster(read_document(signed, town.key, kind="roster")) == promoted(town)


def test_a_roster_changed_behind_the_kluiss_back_is_noticed(town: Town) -> None:
    change(town, "roster", write_roster(promoted(town)), "o-cluster", "o-secretary")
    town.close()
    documents = town.folder / "documents"
    (documents / "roster-0002.signed").write_bytes((documents / "roster-0001.signed").read_bytes())
    with pytest.raises(KluisDamaged):
        town.reopen()


def test_a_new_policy_is_in_force_for_the_next_request(town: Town) -> None:
    footage = town.film()
    newer = town.world.policy_toml.replace("version = 1", "version = 2", 1).encode()
    assert code(change, town, "policy", town.world.policy_toml.encode(), "o-cluster", "o-secretary") is Code.CONFLICT
    assert code(change, town, "policy", b"not = 'a policy'", "o-cluster", "o-secretary") is Code.MALFORMED
    change(town, "policy", newer, "o-cluster", "o-secretary")
    assert code(town.ask, footage) is Code.CONFLICT
    assert town.ask(footage, policy_version=2)[1].recordings


WIDER: Final = ('["municipal_secretary"]]', '["municipal_secretary", "privacy_officer"]]')
"""One seat of a complaint, as it is and as a wider policy has it."""


def adopt(town: Town, version: int, *changes: tuple[str, str]) -> None:
    """Put a next version into force, a minute after what was before and a minute before what follows."""
    text = town.world.policy_toml.replace("version = 1", f"version = {version}", 1)
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    town.world.now += MINUTE
    change(town, "policy", text.encode(), "o-cluster", "o-secretary")
    town.world.now += MINUTE


def view(town: Town, footage: Footage, second: str, *, version: int, **changes: Any) -> Released:
    """Ask for a complaint's footage, by the cluster manager and this one."""
    told = {"from_at": town.world.now, "until_at": town.world.now, "policy_version": version, "second": second}
    raw = town.world.request(Range(id=str(footage.id), first=1, last=3), **(told | changes))
    return town.kluis.release(raw, **town.world.submit(raw, second=second).arguments(), now=town.world.now)


@pytest.mark.rule("E-18", "T-40")
def test_a_wider_policy_opens_new_footage_and_no_old_footage(town: Town) -> None:
    old, docked_late = town.film(), town.world.film(town.keylist())
    adopt(town, 2, WIDER)
    town.take(docked_late)
    new = town.film()
    assert view(town, new, "o-privacy", version=2).recordings
    for footage in (old, docked_late):
        with pytest.raises(Refused) as refused:
            view(town, footage, "o-privacy", version=2)
        assert "version 1 of the policy" in refused.value.refusal.expected
        assert view(town, footage, "o-secretary", version=2).recordings, "who might before, may still"
    town.reopen()
    assert code(view, town, old, "o-privacy", version=2) is Code.NOT_ALLOWED


@pytest.mark.rule("E-18")
def test_a_stricter_policy_closes_old_footage_at_once(town: Town) -> None:
    adopt(town, 2, WIDER)
    footage = town.film()
    assert view(town, footage, "o-privacy", version=2).recordings
    adopt(town, 3)
    with pytest.raises(Refused) as refused:
        view(town, footage, "o-privacy", version=3)
    assert "version 3 of the policy" in refused.value.refusal.expected
    adopt(town, 4, WIDER)
    assert view(town, footage, "o-privacy", version=4).recordings, "its own version and the one in force allow it"


@pytest.mark.rule("E-18")
def test_neither_a_camera_ahead_nor_the_requests_own_times_choose_a_wider_version(town: Town) -> None:
    town.world.now += DAY
    ahead = town.world.film(town.keylist())  # by a clock that runs a day ahead
    town.world.now -= DAY
    town.take(ahead)
    adopt(town, 2, WIDER)
    assert code(view, town, ahead, "o-privacy", version=2) is Code.NOT_ALLOWED
    new = town.film()
    assert code(view, town, new, "o-privacy", version=2, from_at=town.world.now - DAY) is Code.NOT_ALLOWED


def test_a_policy_that_still_binds_footage_and_was_changed_is_noticed(town: Town) -> None:
    town.film()
    adopt(town, 2, WIDER)
    adopt(town, 3)
    town.close()
    documents = town.folder / "documents"
    (documents / "policy-0002.signed").write_bytes((documents / "policy-0003.signed").read_bytes())
    with pytest.raises(KluisDamaged):
        town.reopen()


# --- founding -----------------------------------------------------------------------------------------------------


def test_a_kluis_is_founded_once(town: Town) -> None:
    with pytest.raises(FileExistsError):
        build(town.folder, heusden())


def test_a_standard_kluis_needs_the_desks_address(tmp_path: Path) -> None:
    world = heusden()
    world.mode = Mode.STANDARD
    with pytest.raises(ValueError, match="relying party"):
        found(
            tmp_path / "kluis",
            org="heusden",
            policy_toml=world.policy_toml,
            roster=world.officials,
            ledger_origin="x",
            ledger_key=world.ledger.key.public_key(),
            mode="standard",
            now=world.now,
        )
    assert not (tmp_path / "kluis").exists()


def test_only_its_owner_enters_the_folder(town: Town) -> None:
    assert town.folder.stat().st_mode & 0o777 == 0o700
    for path in (town.folder / "root.key", town.folder / "store.sqlite", *(town.folder / "generations").iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path


def test_one_process_opens_a_kluis(town: Town) -> None:
    town.reopen()
    with pytest.raises((Refused, sqlite3.OperationalError)):
        Kluis.open(town.folder)


def test_settings_decide_the_terms(tmp_path: Path) -> None:
    settings = Settings(upcoming_weeks=1, late_docking_days=0, rotate_hours=1, backup_days=0)
    town = build(tmp_path / "kluis", heusden(), settings=settings)
    footage: Footage = town.film()
    town.destroy(footage.id)
    town.world.now += timedelta(hours=1)
    assert town.kluis.keep_house(town.world.now).made_final == (str(footage.id),)
    town.close()


def test_an_unknown_recording_has_no_certificate(town: Town) -> None:
    assert code(town.kluis.certificates, RecordingId(town.world.recording_id())) is Code.NOT_FOUND
