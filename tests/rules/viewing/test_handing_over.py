"""What goes out in a package, and what stays behind."""

import pytest

from broker.wire.bundle import Part
from broker.wire.ids import parse_recording
from broker.wire.recording import Kind
from cloud.viewing.rules.handing_over import judge_going, judge_packing, what_goes

ONE, OTHER = "0196f8a0-0000-7000-8000-000000000001", "0196f8a0-0000-7000-8000-000000000002"
KINDS = {0: Kind.VIDEO, 1: Kind.VIDEO, 2: Kind.FILE, 3: Kind.LETTER, 4: Kind.VIDEO}


def part(first: int, last: int) -> Part:
    return Part(recording=parse_recording(ONE), first=first, last=last)


@pytest.mark.parametrize(("state", "allowed"), [("approved", True), ("proposed", False), ("delivered", False)])
def test_a_hand_over_goes_out_once_it_is_approved_and_once(state: str, allowed: bool) -> None:
    assert bool(judge_going(state)) == allowed


@pytest.mark.parametrize(("in_room", "allowed"), [([ONE], True), ([ONE, OTHER], False), ([], False)])
def test_the_room_must_hold_what_was_approved_and_nothing_else(in_room: list[str], allowed: bool) -> None:
    assert bool(judge_packing([ONE], in_room=in_room)) == allowed


def test_only_the_part_that_was_asked_for_goes_and_its_pictures_are_joined_to_a_film() -> None:
    goes = what_goes(KINDS, part=part(1, 3), declared=False, plan=None)
    assert goes.whole == (0, 1, 2, 3), "the first says how to read the others"
    assert goes.filmed == (0, 1)
    assert not goes.told
    assert not goes.admitted


def test_a_plan_that_was_erased_is_not_told_and_a_declared_origin_is() -> None:
    assert not what_goes(KINDS, part=part(1, 4), declared=True, plan={}).told
    goes = what_goes(KINDS, part=part(1, 4), declared=True, plan={"tracks": []})
    assert goes.told
    assert goes.admitted
