"""Who is on the Kluis's list, and how the list may change."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.approvals import change_challenge
from broker.wire.refusals import Code, Refused
from cloud.kluis.rules.release import check_two_signed
from cloud.kluis.rules.roster import (
    Appointment,
    Roster,
    amended,
    check_change,
    check_roster,
    plain_roster,
    read_document,
    read_roster,
    sign_document,
    write_roster,
)
from tests.rules.kluis.world import LONG_AGO, NOW, World, heusden


def refused_code(call: Any, *arguments: Any, **options: Any) -> Code:
    with pytest.raises(Refused) as caught:
        call(*arguments, **options)
    return caught.value.refusal.code


def next_roster(world: World, **changes: Any) -> Roster:
    return msgspec.structs.replace(world.roster, version=2, **changes)


def with_role(world: World, official: str, role: str) -> Roster:
    return next_roster(
        world,
        officials=tuple(
            msgspec.structs.replace(each, appointments=(*each.appointments, Appointment(role=role, from_at=NOW)))
            if each.id == official
            else each
            for each in world.officials
        ),
    )


def test_a_roster_reads_back_as_it_was_written_and_in_one_spelling_only() -> None:
    roster = heusden().roster
    assert read_roster(write_roster(roster)) == roster
    assert refused_code(read_roster, write_roster(roster).replace(b'"version":1', b'"version": 1')) is Code.MALFORMED


def test_a_roster_is_made_from_plain_records() -> None:
    roster = plain_roster(
        "heusden",
        [{"id": "o-1", "employed_from": "2026-01-01T00:00:00Z", "appointments": [
            {"role": "coordinator", "from_at": "2026-01-01T00:00:00Z"}],
          "credentials": [{"id": "k", "kind": "software", "public_key": "AAAA"}]}],
    )  # fmt: skip
    person = roster.find("o-1").at(NOW)
    assert (person.employed, person.roles, roster.officials[0].human) == (True, frozenset({"coordinator"}), "o-1")
    assert refused_code(plain_roster, "heusden", [{"id": "o-1", "name": "Jan"}]) is Code.MALFORMED
    assert refused_code(roster.find, "o-2") is Code.UNKNOWN_IDENTITY


def test_roles_and_employment_count_within_their_period_only() -> None:
    world = World().add("o-1", "coordinator", until=NOW, substitutes={"privacy_officer": "o-2"})
    official = world.officials[0]
    assert official.at(NOW - timedelta(seconds=1)).employed
    assert not official.at(NOW).employed
    assert not official.at(LONG_AGO - timedelta(seconds=1)).roles
    assert official.at(NOW).substitutes == {"privacy_officer": "o-2"}
    assert not official.at(NOW + timedelta(days=9)).substitutes


@pytest.mark.rule("E-31", "H-47")
def test_one_key_is_never_two_peoples() -> None:
    world = heusden()
    shared = msgspec.structs.replace(world.officials[1], credentials=world.officials[0].credentials)
    assert refused_code(check_roster, next_roster(world, officials=(world.officials[0], shared))) is Code.MALFORMED
    same = msgspec.structs.replace(shared, person=world.officials[0].id)
    check_roster(next_roster(world, officials=(world.officials[0], same)))


def test_an_official_stands_once_on_the_roster_and_replaces_somebody_else() -> None:
    world = heusden()
    assert refused_code(check_roster, next_roster(world, officials=(world.officials[0],) * 2)) is Code.MALFORMED
    selfish = World().add("o-1", substitutes={"coordinator": "o-1"})
    assert refused_code(check_roster, selfish.roster) is Code.MALFORMED


@pytest.mark.rule("E-02")
def test_nobody_appoints_himself() -> None:
    world = heusden()
    cluster, secretary, privacy = world.officials[:3]
    wanted = with_role(world, "o-cluster", "municipal_secretary")
    assert refused_code(check_change, world.roster, wanted, (cluster, secretary)) is Code.NOT_ALLOWED
    check_change(world.roster, wanted, (secretary, privacy))


def test_an_amended_roster_is_the_next_version_with_one_account_changed() -> None:
    world = heusden()
    away = msgspec.structs.replace(world.officials[1], employed_until=NOW)
    after = amended(world.roster, away)
    check_change(world.roster, after, (world.officials[0], world.officials[2]))
    assert not after.find("o-secretary").at(NOW).employed
    assert len(after.officials) == len(world.officials)


def test_versions_follow_each_other() -> None:
    world = heusden()
    for wrong in (world.roster, msgspec.structs.replace(world.roster, version=3), next_roster(world, org="elsewhere")):
        assert refused_code(check_change, world.roster, wrong, ()) is Code.CONFLICT


def test_two_different_people_in_office_sign_a_change() -> None:
    world = heusden().add("o-nobody").add("o-twin", "coordinator", person="o-cluster")
    document = write_roster(next_roster(world))
    challenge = change_challenge(document)

    def signed(*officials: str) -> Any:
        statements = [world.sign(each, challenge) for each in officials]
        return check_two_signed(document, statements, trust=world.trust, now=NOW)

    assert [each.id for each in signed("o-cluster", "o-privacy")] == ["o-cluster", "o-privacy"]
    for pair in (("o-cluster",), ("o-cluster", "o-cluster"), ("o-cluster", "o-twin"), ("o-cluster", "o-nobody")):
        assert refused_code(signed, *pair) is Code.NOT_ALLOWED
    other = [world.sign(each, change_challenge(b"another")) for each in ("o-cluster", "o-privacy")]
    assert refused_code(check_two_signed, document, other, trust=world.trust, now=NOW) is Code.BAD_SIGNATURE


def test_a_document_under_another_signature_or_of_another_kind_is_refused() -> None:
    key = Ed25519PrivateKey.generate()
    signed = sign_document(b"text", key, kind="roster")
    assert read_document(signed, key.public_key(), kind="roster") == b"text"
    assert refused_code(read_document, signed, key.public_key(), kind="policy") is Code.BAD_SIGNATURE
    stranger = Ed25519PrivateKey.generate().public_key()
    assert refused_code(read_document, signed, stranger, kind="roster") is Code.BAD_SIGNATURE
    assert refused_code(read_document, b"{}", key.public_key(), kind="roster") is Code.MALFORMED
