"""The dock's decisions: order, fairness, pace, waiting, receipts, estimates, lights."""

from datetime import UTC, datetime, time
from typing import get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.delivery import MAX_IN_BUNDLE_BYTES
from broker.wire.events import BayState
from broker.wire.ids import Org, RecordingId
from broker.wire.receipts import Receipt
from broker.wire.refusals import Code, Retry
from dock_agent.rules.offload import (
    FIRST_BUNDLE_BYTES,
    LEAST_BUNDLE_BYTES,
    LIGHTS,
    LONGEST_WAIT_S,
    MOST_BUNDLE_BYTES,
    Doing,
    Load,
    OnCard,
    Pace,
    Window,
    after_refusal,
    etas_s,
    in_order,
    limit_bytes_per_s,
    may_hand_over,
    may_serve,
    next_load,
    together,
    wait_s,
)

ORG = Org("heusden")


def recording(number: int) -> RecordingId:
    return RecordingId(UUID(int=(number << 80) | 0x7000 << 64 | 0x8 << 60))


def on_card(number: int = 1, *, pressed: bool = True) -> OnCard:
    return OnCard(
        recording=recording(number),
        camera_key="aa",
        pressed=pressed,
        head_sha256="bb",
        segments=3,
        last_hash="cc",
        total_bytes=300,
    )


def receipt_for(card: OnCard) -> Receipt:
    return Receipt(
        org=ORG,
        recording=card.recording,
        camera_key=card.camera_key,
        head_sha256=card.head_sha256,
        segments=card.segments,
        last_hash=card.last_hash,
        total_bytes=card.total_bytes,
        stored_at=datetime(2026, 1, 1, tzinfo=UTC),
        ledger_size=1,
        ledger_root="dd",
    )


def test_presses_go_first_and_the_oldest_of_them() -> None:
    cards = [on_card(3, pressed=False), on_card(2), on_card(1, pressed=False), on_card(4)]
    assert [each.recording for each in in_order(cards)] == [recording(n) for n in (2, 4, 1, 3)]


@given(st.lists(st.tuples(st.integers(1, 99), st.booleans()), unique_by=lambda pair: pair[0]))
def test_the_order_loses_nothing_and_does_not_depend_on_how_it_was_found(found: list[tuple[int, bool]]) -> None:
    cards = [on_card(number, pressed=pressed) for number, pressed in found]
    assert in_order(cards) == in_order(reversed(cards))
    assert set(in_order(cards)) == set(cards)


@given(st.lists(st.integers(1, 5_000_000), min_size=2, max_size=8), st.integers(50, 300))
def test_no_bay_is_ever_more_than_one_segment_ahead(sizes: list[int], turns: int) -> None:
    served = dict.fromkeys(range(len(sizes)), 0)
    for _ in range(turns):
        chosen = next_load([Load(bay=bay, pressed=True, served_bytes=got) for bay, got in served.items()])
        assert chosen is not None
        served[chosen.bay] += sizes[chosen.bay]
    assert max(served.values()) - min(served.values()) <= max(sizes)


@given(st.lists(st.integers(289, 9_000_000), min_size=1, max_size=80), st.one_of(st.none(), st.floats(0, 1e9)))
def test_what_travels_together_is_small_and_takes_the_line_about_a_second(sizes: list[int], rate: float | None) -> None:
    count = together(sizes, rate=rate)
    assert 1 <= count <= len(sizes)
    if count > 1:
        assert max(sizes[:count]) <= MAX_IN_BUNDLE_BYTES
        assert sum(sizes[:count]) <= max(LEAST_BUNDLE_BYTES, min(rate or FIRST_BUNDLE_BYTES, MOST_BUNDLE_BYTES))


def test_a_press_does_not_wait_for_a_bay_that_got_less() -> None:
    loads = [Load(bay=1, pressed=False, served_bytes=0), Load(bay=2, pressed=True, served_bytes=10**9)]
    assert next_load(loads) == loads[1]
    assert next_load([]) is None


@pytest.mark.rule("R-06", "H-35")
@pytest.mark.parametrize(
    "field", ["org", "recording", "camera_key", "head_sha256", "segments", "last_hash", "total_bytes"]
)
def test_a_receipt_that_differs_in_anything_is_not_handed_over(field: str) -> None:
    card = on_card()
    assert may_hand_over(receipt_for(card), card, org=ORG).allowed
    changed: dict[str, object] = {
        "org": "rotterdam", "recording": recording(9), "segments": 2, "total_bytes": 299
    }  # fmt: skip
    import msgspec

    other = msgspec.structs.replace(receipt_for(card), **{field: changed.get(field, "other")})
    assert not may_hand_over(other, card, org=ORG).allowed


@pytest.mark.rule("E-47")
def test_a_camera_of_another_municipality_is_not_read() -> None:
    assert may_serve(ORG, org=ORG).allowed
    assert not may_serve(Org("rotterdam"), org=ORG).allowed


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_waiting_never_ends_and_never_grows_without_bound(attempt: int, chance: float) -> None:
    assert 0 <= wait_s(attempt, chance=chance) <= LONGEST_WAIT_S


@given(st.floats(0, 1), st.floats(0, 3600))
def test_what_the_receiver_asks_for_is_kept_to(chance: float, asked: float) -> None:
    assert asked <= wait_s(3, chance=chance, retry_after_s=asked) <= asked * 1.5


@pytest.mark.parametrize("code", list(Code))
def test_every_refusal_has_an_answer_and_only_what_cannot_be_stored_is_given_up(code: Code) -> None:
    then = after_refusal(code, tries=1)
    if code.retry is Retry.AFTER:
        assert then == "wait"
    if then in {"damaged", "attention"}:
        assert code.retry is Retry.NEVER


def test_a_segment_is_read_three_times_before_it_counts_as_damaged() -> None:
    assert [after_refusal(Code.DIGEST_DIFFERS, tries=tries) for tries in (1, 2, 3)] == ["again", "again", "damaged"]


def test_the_pace_grows_while_it_helps_halves_when_told_and_probes_after_an_outage() -> None:
    pace = Pace()
    for rate in (10e6, 15e6, 20e6):
        pace = pace.measured(rate)
    assert pace.connections == 8
    assert pace.measured(20.1e6) == pace
    assert pace.pushed_back().connections == 4
    assert pace.lost().connections == 1
    assert pace.measured(100_000).connections == 1


@given(st.lists(st.sampled_from(["measured", "pushed_back", "lost"]), max_size=50), st.floats(0, 1e9))
def test_there_is_always_one_connection_and_never_too_many(steps: list[str], rate: float) -> None:
    pace = Pace(most=8)
    for step in steps:
        pace = pace.measured(rate) if step == "measured" else getattr(pace, step)()
        assert 1 <= pace.connections <= 8


def test_a_window_sets_the_limit_by_local_time_also_past_midnight() -> None:
    windows = (
        Window(since=time(8), until=time(18), limit_mbit=2),
        Window(since=time(23), until=time(5), limit_mbit=0),
    )

    def limit(hour: int) -> float | None:
        at = datetime(2026, 7, 1, hour, tzinfo=UTC)  # summer: two hours behind
        return limit_bytes_per_s(at, windows=windows, otherwise_mbit=None)

    assert [limit(hour) for hour in (5, 6, 15, 16, 21, 2, 3)] == [None, 250_000, 250_000, None, 0, 0, None]


@given(st.dictionaries(st.integers(1, 8), st.integers(0, 10**9), min_size=1), st.floats(1e3, 1e9))
def test_the_last_bay_is_done_when_everything_is_sent(left: dict[int, int], rate: float) -> None:
    etas = etas_s(left, rate=rate)
    last = max(eta for eta in etas.values() if eta is not None)
    assert last == pytest.approx(sum(left.values()) / rate, abs=1)
    assert all(etas[bay] is not None for bay in left)


def test_an_estimate_that_cannot_be_known_is_not_given() -> None:
    assert etas_s({1: 5, 2: 0}, rate=None) == {1: None, 2: 0}


def test_every_state_has_its_own_light_and_says_what_it_means_in_two_languages() -> None:
    assert set(LIGHTS) == set(get_args(Doing))
    assert len({(light.colour, light.pattern) for light in LIGHTS.values()}) == len(LIGHTS)
    assert all(light.means and light.betekent for light in LIGHTS.values())
    for doing in LIGHTS:
        BayState(bay=1, doing=doing)
