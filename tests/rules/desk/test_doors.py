"""Which page opens for which role."""

import pytest

from cloud.desk.rules.doors import OPENS_FOR, Door, doors_of, opens


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
