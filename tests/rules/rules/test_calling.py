"""Whom to call who is not at the desk, how often, and how little to say."""

from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cloud.rules.calling import (
    FRESH,
    WAITS_S,
    Attempts,
    Channel,
    Matter,
    calls_due,
    given_up,
    message,
    next_attempt,
)
from cloud.rules.duties import Official

NOW = datetime(2026, 11, 20, 22, 3, tzinfo=UTC)
PRESS = Matter(kind="activation", about="0190-rec", role="coordinator", since=NOW)
PHONE = Channel(id="phone", official="co")
BOSS = Channel(id="mail", official="cm")


def person(name: str, roles: AbstractSet[str], *, absent: bool = False) -> Official:
    return Official(id=name, roles=frozenset(roles), absent=absent)


COORDINATOR = person("co", {"coordinator"})
MANAGER = person("cm", {"cluster_manager"})


def test_a_press_calls_the_coordinator_and_nobody_else() -> None:
    due = calls_due([PRESS], officials=[COORDINATOR, MANAGER], channels=[PHONE, BOSS], made={}, now=NOW)
    assert due == {PHONE: (PRESS,)}


def test_who_is_absent_is_left_in_peace_unless_nobody_else_is_there() -> None:
    away = person("co", {"coordinator"}, absent=True)
    second, other = Channel(id="x", official="co2"), person("co2", {"coordinator"})
    assert set(calls_due([PRESS], officials=[away, other], channels=[PHONE, second], made={}, now=NOW)) == {second}
    assert set(calls_due([PRESS], officials=[away], channels=[PHONE], made={}, now=NOW)) == {PHONE}


def test_what_arrived_is_not_said_again_and_what_did_not_is_tried_a_few_times() -> None:
    def due(attempts: Attempts, at: datetime) -> bool:
        made = {("phone", PRESS.kind, PRESS.about): attempts}
        return bool(calls_due([PRESS], officials=[COORDINATOR], channels=[PHONE], made=made, now=at))

    assert not due(Attempts(count=1, next_at=NOW, delivered=True), NOW + timedelta(hours=1))
    waiting = Attempts(count=1, next_at=next_attempt(1, NOW), delivered=False)
    assert not due(waiting, NOW + timedelta(seconds=WAITS_S[0] - 1))
    assert due(waiting, NOW + timedelta(seconds=WAITS_S[0]))
    last = Attempts(count=len(WAITS_S) + 1, next_at=NOW, delivered=False)
    assert given_up(last)
    assert not due(last, NOW + timedelta(hours=1))


def test_a_matter_of_half_a_day_ago_calls_nobody_out_of_the_blue() -> None:
    late = NOW + FRESH
    assert not calls_due([PRESS], officials=[COORDINATOR], channels=[PHONE], made={}, now=late)


@given(
    st.lists(
        st.builds(
            Matter,
            kind=st.sampled_from(["activation", "silent", "unacknowledged"]),
            about=st.sampled_from(["cam-07", "0190-rec", "Marktstraat"]),
            role=st.just("coordinator"),
            since=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        ),
        min_size=1,
        max_size=30,
    )
)
def test_a_message_never_says_which_camera_who_or_where(matters: list[Matter]) -> None:
    title, text = message(matters, town="Gemeente Dorpstad", address="https://desk.example/")
    for matter in matters:
        assert matter.about not in title + text
    assert "cam-" not in title + text
    assert len(title) + len(text) < 200  # fits a telephone, whatever the number of matters


def test_a_message_says_how_many_and_since_when_here() -> None:
    title, text = message([PRESS, PRESS], town="Dorpstad", address="https://desk.example/")
    assert title == "Dorpstad: 2 activeringen"
    assert "23:03" in text
