"""Nobody looks alone: what counts as being there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.viewing.rules.lifecycle import ENDED, STEPS, Happening, RoomState, step
from cloud.viewing.rules.presence import LEAVES_AFTER_S, Seat, all_present, hear, is_present, leave, sit, watch

NOW = 1000.0


@pytest.mark.rule("H-47", "E-30")
def test_a_seat_is_empty_until_its_person_sits_down() -> None:
    seat = Seat(official="o-103")
    assert not is_present(hear(seat, now_s=NOW), now_s=NOW), "an open page is not a person who sat down"
    assert is_present(sit(seat, now_s=NOW), now_s=NOW)


@pytest.mark.rule("E-30")
def test_who_fell_silent_must_sit_down_again_and_a_sign_of_life_is_not_enough() -> None:
    seat = sit(Seat(official="o-103"), now_s=NOW)
    later = NOW + LEAVES_AFTER_S + 0.1
    assert not is_present(watch(seat, now_s=later), now_s=later)
    assert not is_present(hear(seat, now_s=later), now_s=later)
    assert is_present(sit(seat, now_s=later), now_s=later)


@pytest.mark.rule("E-30")
def test_silence_is_noticed_well_within_five_seconds() -> None:
    assert LEAVES_AFTER_S + 0.5 + 1.0 < 5, "the limit, one look at the room and one beat of the other browser"


@given(
    heard=st.lists(st.floats(0, 100), min_size=1, max_size=4),
    seated=st.lists(st.booleans(), min_size=4, max_size=4),
    now=st.floats(0, 200),
)
def test_the_room_is_complete_only_when_every_single_seat_is(
    heard: list[float], seated: list[bool], now: float
) -> None:
    seats = [Seat(official=str(n), heard_s=at, seated=seated[n]) for n, at in enumerate(heard)]
    assert all_present(seats, now_s=now) == all(is_present(seat, now_s=now) for seat in seats)
    for at in range(len(seats)):
        missing = [leave(seat) if n == at else seat for n, seat in enumerate(seats)]
        assert not all_present(missing, now_s=now)


def test_an_empty_room_is_never_complete() -> None:
    assert not all_present([], now_s=NOW)


@pytest.mark.parametrize("state", sorted(ENDED))
@pytest.mark.parametrize("happening", list(Happening))
def test_nothing_leads_out_of_a_room_that_is_over(state: RoomState, happening: Happening) -> None:
    assert step(state, happening) is None


@pytest.mark.rule("H-47")
def test_only_an_approved_or_interrupted_room_opens_and_only_when_complete() -> None:
    ways = {(state, happening) for (state, happening), following in STEPS.items() if following is RoomState.OPEN}
    assert ways == {(RoomState.APPROVED, Happening.COMPLETE), (RoomState.PAUSED, Happening.COMPLETE)}


def test_every_room_that_is_not_over_can_be_ended() -> None:
    for state in set(RoomState) - ENDED:
        assert step(state, Happening.ENDED) is RoomState.CLOSED
