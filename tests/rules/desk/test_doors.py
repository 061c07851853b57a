"""Which page opens for which role."""

import pytest

from cloud.desk.rules.doors import OPENS_FOR, Door, asks_about, doors_of, opens


@pytest.mark.rule("H-43", "E-34")
def test_the_administrator_never_gets_near_footage() -> None:
    opened = doors_of(frozenset({"app_admin"}))
    assert opened == (Door.FLEET, Door.POLICY, Door.ADMINISTRATION, Door.SELF_CHECK)


@pytest.mark.rule("H-32")
def test_secretary_and_safety_coordinator_get_the_viewing_part_and_not_the_fleet() -> None:
    for role in ("municipal_secretary", "safety_coordinator"):
        doors = doors_of(frozenset({role}))
        assert Door.ROOM in doors
        assert Door.FLEET not in doors


def test_somebody_without_a_role_opens_nothing() -> None:
    assert doors_of(frozenset()) == ()
    assert doors_of(frozenset({"nobody-knows-this-role"})) == ()


def test_every_door_says_for_whom_it_opens() -> None:
    assert set(OPENS_FOR) == set(Door)
    for door, roles in OPENS_FOR.items():
        for role in roles:
            assert opens(door, frozenset({role}))


def test_a_mere_officer_asks_about_his_own_request_to_learn_only() -> None:
    officer = frozenset({"officer"})
    assert asks_about(officer, who="h-001", learner="h-001")
    assert not asks_about(officer, who="h-001", learner="h-002")
    assert not asks_about(officer, who="h-001", learner=None)
    assert asks_about(officer | {"coordinator"}, who="h-001", learner=None)
    assert not asks_about(frozenset({"app_admin"}), who="o-106", learner=None)
