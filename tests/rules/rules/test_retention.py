"""Day 28 is day 28: calendar days in Amsterdam, holds that win, policies that only shorten."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from broker.wire.policy import CaseKind, Policy, TermUnit
from cloud.rules.holds import after_release_of_one, is_open, place
from cloud.rules.lifecycles import RECORDING
from cloud.rules.retention import (
    HERE,
    Destroy,
    Keep,
    Stored,
    add_days,
    after_release,
    after_release_by_all,
    expires_at,
    judge,
    state_without_holds,
    under_new_policy,
)
from tests.rules.rules.towns import changed, heusden, noordwijk, rotterdam

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def local(text: str, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=AMSTERDAM, fold=fold)


@pytest.mark.rule("T-41", "E-15", "R-09", "H-38")
@pytest.mark.parametrize(
    ("ended", "gone", "hours"),
    [
        ("2026-03-01T14:30", "2026-03-29T14:30", 28 * 24 - 1),  # the day the clock goes forward
        ("2026-03-15T23:59", "2026-04-12T23:59", 28 * 24 - 1),  # over it
        ("2026-10-01T14:30", "2026-10-29T14:30", 28 * 24 + 1),  # over the day it goes back
        ("2026-09-27T14:30", "2026-10-25T14:30", 28 * 24 + 1),  # on it
        ("2026-05-01T00:00", "2026-05-29T00:00", 28 * 24),  # midnight
        ("2026-02-28T12:00", "2026-03-28T12:00", 28 * 24),
    ],
)
def test_the_term_ends_at_the_same_time_on_the_clock(ended: str, gone: str, hours: int) -> None:
    """Achtentwintig kalenderdagen later, op hetzelfde tijdstip, ook als de klok verzet is."""
    expires = expires_at(heusden(), local(ended))
    assert expires == local(gone)
    assert expires - local(ended).astimezone(UTC) == timedelta(hours=hours)


@pytest.mark.rule("T-41", "E-15")
def test_a_time_that_does_not_exist_or_exists_twice_is_neither_early_nor_over_the_maximum() -> None:
    """Half drie bestaat soms niet en soms tweemaal: dan precies zoveel keer 24 uur."""
    for ended in ("2026-03-01T02:30", "2026-09-27T02:30"):
        assert expires_at(heusden(), local(ended)) - local(ended).astimezone(UTC) == timedelta(days=28)


@pytest.mark.rule("E-15")
def test_a_town_may_count_in_hours() -> None:
    """Een gemeente mag ook 28 keer 24 uur kiezen."""
    assert add_days(local("2026-03-15T12:00"), 28, TermUnit.HOURS) == local("2026-04-12T13:00")


@settings(max_examples=200, deadline=None)
@given(ended=MOMENTS)
@pytest.mark.rule("R-09", "E-15")
def test_the_clock_shows_the_same_time_and_never_more_than_an_hour_apart(ended: datetime) -> None:
    """Nooit meer dan het ene uur van de klok verschil met 28 keer 24 uur."""
    expires = expires_at(rotterdam(), ended)
    assert abs(expires - ended - timedelta(days=28)) <= timedelta(hours=1)
    shown, was = expires.astimezone(HERE), ended.astimezone(HERE)
    assert shown.date() - was.date() == timedelta(days=28)
    assert shown.time() == was.time() or abs(expires - ended - timedelta(days=28)) == timedelta(0)


@pytest.mark.rule("E-06")
def test_a_term_counts_from_the_recording_unless_the_policy_says_arrival() -> None:
    """De termijn telt vanaf de opname, tenzij het beleid de aankomst kiest."""
    from_arrival = changed("heusden", ('starts_at = "recording_end"', 'starts_at = "ingest"'))
    ended, came = local("2026-05-01T12:00"), local("2026-05-20T09:00")
    assert expires_at(heusden(), ended, received_at=came) == local("2026-05-29T12:00")
    assert expires_at(from_arrival, ended, received_at=came) == local("2026-06-17T09:00")


@pytest.mark.rule("T-40", "E-18")
def test_a_new_policy_shortens_what_is_there_and_never_lengthens_it() -> None:
    """Versie 2 met veertien dagen vervroegt; een langere versie 3 verandert niets."""
    ended = local("2026-05-01T12:00")
    first = expires_at(heusden(), ended)
    second = under_new_policy(noordwijk(), expires=first, ended_at=ended)
    assert second == local("2026-05-15T12:00")
    longer = changed("heusden", ("days = 28", "days = 90"))
    assert under_new_policy(longer, expires=second, ended_at=ended) == second
    never = changed("heusden", ("days = 28", "days = 14"), ('"stricter_only"', '"never"'))
    assert under_new_policy(never, expires=first, ended_at=ended) == first


@settings(max_examples=200, deadline=None)
@given(ended=MOMENTS, terms=st.lists(st.sampled_from((7, 10, 14, 21, 28, 60)), min_size=1, max_size=5))
@pytest.mark.rule("E-18")
def test_no_sequence_of_policies_ever_moves_a_day_back(ended: datetime, terms: list[int]) -> None:
    """Geen reeks van nieuwe versies stelt een dag uit."""
    day = expires_at(heusden(), ended)
    for days in terms:
        new = under_new_policy(changed("heusden", ("days = 28", f"days = {days}")), expires=day, ended_at=ended)
        assert new <= day
        day = new


NOW = local("2026-06-01T12:00")


@pytest.mark.rule("R-10", "H-39")
def test_over_and_without_a_hold_it_goes() -> None:
    """Termijn voorbij en geen bewaarplicht: weg."""
    assert isinstance(judge(Stored(state="retained", expires_at=NOW, open_holds=0), NOW), Destroy)
    early = judge(Stored(state="retained", expires_at=NOW + timedelta(microseconds=1), open_holds=0), NOW)
    assert isinstance(early, Keep)
    assert not early.held


@pytest.mark.rule("R-11", "C-18", "E-42")
@pytest.mark.parametrize("state", ["retained", "held", "due", "restricted", "quarantined"])
def test_a_hold_keeps_whatever_state_it_is_in(state: str) -> None:
    """Een bewaarplicht houdt elke opname vast, ook een twijfelachtige."""
    long_ago = NOW - timedelta(days=300)
    kept = judge(Stored(state=state, expires_at=long_ago, open_holds=1), NOW)
    assert isinstance(kept, Keep)
    assert kept.held
    assert isinstance(judge(Stored(state=state, expires_at=long_ago, open_holds=0), NOW), Destroy)


@pytest.mark.rule("R-10")
@pytest.mark.parametrize("state", ["announced", "receiving", "verifying", "lost", "destroyed"])
def test_what_is_not_here_is_not_destroyed_and_held_by_nothing(state: str) -> None:
    """Wat nog moet komen of al weg is, wordt niet vernietigd; bewaarplicht is daarvoor niet nodig."""
    kept = judge(Stored(state=state, expires_at=NOW - timedelta(days=300), open_holds=0), NOW)
    assert isinstance(kept, Keep)
    assert not kept.held


@pytest.mark.rule("E-08", "E-42")
@pytest.mark.parametrize(
    ("state", "left_s", "becomes"),
    [("held", 1, "retained"), ("held", 0, "due"), ("quarantined", 0, "quarantined"), ("restricted", 0, "restricted")],
)
def test_after_its_last_hold_footage_is_what_it_was(state: str, left_s: float, becomes: str) -> None:
    """Na de bewaarplicht loopt de termijn door of is hij om; wat apart of beperkt was, blijft dat."""
    stored = Stored(state=state, expires_at=NOW + timedelta(seconds=left_s), open_holds=0)
    assert state_without_holds(stored, NOW) == becomes


@pytest.mark.rule("E-11")
def test_what_was_begun_is_finished() -> None:
    """Van 'destroying' gaat het alleen naar 'destroyed', wat er ook bij komt."""
    assert isinstance(judge(Stored(state="destroying", expires_at=NOW, open_holds=3), NOW), Destroy)
    assert RECORDING.events_from("destroying") == ("finish",)
    assert "destroyed" in RECORDING.last


@pytest.mark.rule("E-08", "E-09", "P-21")
def test_releasing_returns_to_the_term_and_lengthens_it_only_where_the_policy_says_so() -> None:
    """Opheffen verlengt nooit, behalve met de uitloop die het beleid zelf noemt."""
    expires = local("2026-05-29T12:00")
    assert after_release(heusden(), expires=expires, released_at=NOW) == expires
    grace = changed(
        "heusden", ('on_release = "next_run"', 'on_release = "grace_days"'), ('grace_days = "none"', "grace_days = 5")
    )
    assert after_release(grace, expires=expires, released_at=NOW) == local("2026-06-06T12:00")
    archive = changed(
        "heusden",
        ('on_release = "next_run"', 'on_release = "retain_for"'),
        ('retain_for_days = "none"', "retain_for_days = 365"),
    )
    assert after_release(archive, expires=expires, released_at=NOW) == local("2027-06-01T12:00")


@pytest.mark.rule("E-18")
def test_a_new_policys_longer_grace_is_not_for_footage_that_is_already_there() -> None:
    """Krijgt een nieuw beleid uitloop na een bewaarplicht, dan niet voor oude beelden; kortere uitloop geldt meteen."""
    expires = local("2026-05-29T12:00")
    five, nine = (
        changed(
            "heusden",
            ('on_release = "next_run"', 'on_release = "grace_days"'),
            ('grace_days = "none"', f"grace_days = {days}"),
        )
        for days in (5, 9)
    )
    for bound, in_force, until in (
        (heusden(), five, expires),
        (five, heusden(), expires),
        (five, nine, local("2026-06-06T12:00")),
        (nine, five, local("2026-06-06T12:00")),
    ):
        assert after_release_by_all((in_force, bound), expires=expires, released_at=NOW) == until
        stored = Stored(state="held", expires_at=expires, open_holds=1)
        assert after_release_of_one((in_force, bound), stored, now=NOW).expires_at == until


@pytest.mark.rule("E-10", "E-08", "E-09")
def test_what_follows_a_release_is_known_before() -> None:
    """Voor het bevestigen staat vast wat volgt, en hoeveel mensen het vraagt."""
    past, running = NOW - timedelta(days=1), NOW + timedelta(days=1)
    two = after_release_of_one((heusden(),), Stored(state="held", expires_at=past, open_holds=2), now=NOW)
    assert (two.state, two.holds_left, two.people_needed) == ("held", 1, 1)
    last = after_release_of_one((heusden(),), Stored(state="held", expires_at=past, open_holds=1), now=NOW)
    assert (last.state, last.destroyed_at_once, last.people_needed, last.holds_left) == ("due", True, 2, 0)
    back = after_release_of_one((heusden(),), Stored(state="held", expires_at=running, open_holds=1), now=NOW)
    assert (back.state, back.expires_at, back.people_needed) == ("retained", running, 1)


class Lives(RuleBasedStateMachine):
    """One recording under any sequence of holds, releases, policies and days."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.policy: Policy = heusden()
        self.ended = NOW - timedelta(hours=1)
        self.first = self.expires = expires_at(self.policy, self.ended)
        self.state = "retained"
        self.holds: list[tuple[datetime, datetime | None]] = []
        self.released_past_term = False

    def standing(self) -> int:
        return sum(is_open("provisional" if lapses else "active", lapses, self.now) for _, lapses in self.holds)

    @rule(days=st.integers(0, 20))
    def time_passes(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule(provisional=st.booleans())
    def somebody_asks(self, provisional: bool) -> None:
        placing = place(
            self.policy,
            kind=CaseKind.ACCESS_REQUEST,
            recording_state=self.state,
            provisional=provisional,
            received_at=self.now,
            now=self.now,
        )
        if self.state in ("destroying", "destroyed"):
            assert placing.outcome == "already_destroyed"
            return
        assert placing.outcome is None
        self.holds.append((self.now, placing.lapses_at))
        self.state = "held" if self.state in ("retained", "due") else self.state

    @rule()
    def the_oldest_hold_ends(self) -> None:
        if self.holds and self.state == "held":
            before = self.expires
            self.holds.pop(0)
            if not self.standing():
                self.expires = after_release(self.policy, expires=self.expires, released_at=self.now)
                assert self.expires == before, "releasing never extends"
                self.state = state_without_holds(Stored(state="held", expires_at=self.expires, open_holds=0), self.now)

    @rule(days=st.sampled_from((7, 14, 28, 90)))
    def a_new_policy(self, days: int) -> None:
        new = changed("heusden", ("days = 28", f"days = {days}"))
        self.expires = under_new_policy(new, expires=self.expires, ended_at=self.ended)

    @rule()
    def the_worker_looks(self) -> None:
        verdict = judge(Stored(state=self.state, expires_at=self.expires, open_holds=self.standing()), self.now)
        if isinstance(verdict, Destroy):
            assert not self.standing() or self.state == "destroying", "a hold that came first wins"
            assert self.now >= self.expires or self.state == "destroying", "never before its day"
            self.state = "destroying"
        elif self.state != "destroyed":
            assert self.standing() or self.now < self.expires, "nothing survives its day without a hold"

    @rule()
    def the_bytes_are_gone(self) -> None:
        if self.state == "destroying":
            self.state = RECORDING.after("destroying", "finish")

    @invariant()
    def nothing_is_both_kept_and_destroyed(self) -> None:
        assert self.state in RECORDING.states
        assert self.expires <= self.first


@pytest.mark.rule("E-09", "E-11", "R-10", "R-11", "C-18")
def test_a_hold_that_came_first_always_wins_and_nothing_survives_its_day_without_one() -> None:
    """Wat er ook gebeurt: een eerdere bewaarplicht wint, en zonder bewaarplicht overleeft niets zijn dag."""
    run_state_machine_as_test(Lives, settings=settings(max_examples=60, stateful_step_count=25, deadline=None))
