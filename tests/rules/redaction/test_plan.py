"""A plan: one edit at a time, what it hides, and when it may be made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.wire.captions import captions
from broker.wire.policy import Copy, Redaction, read_policy
from broker.wire.refusals import Refused
from cloud.redaction.hiding import hide, hide_all_but
from cloud.redaction.rules.plan import (
    MOST_TRACKS,
    Draw,
    Drop,
    Edit,
    Extend,
    Move,
    Mute,
    Only,
    Plan,
    Rest,
    Settle,
    Show,
    Span,
    Unmute,
    canonical,
    cut_of,
    cut_sha256,
    edited,
    hidden_at,
    judge_finish,
    judge_settle,
    muted_at,
    plan_sha256,
    review,
    visible_at,
    with_followed,
    with_found,
)
from cloud.redaction.rules.tracks import Box, Hit, Key, Track, link
from cloud.rules.redaction import judge_use

LENGTH_S = 20.0
BOX = Box(0.4, 0.3, 0.1, 0.2)
EMPTY = Plan(recording="r", first=1, last=20, length_s=LENGTH_S, detector="-")
SURE = [Hit(n / 5, 0.2, 0.2, 0.1, 0.1, 0.9) for n in range(20)]
DOUBT = [Hit(10.0, 0.7, 0.7, 0.1, 0.1, 0.3)]


def found() -> Plan:
    return with_found(EMPTY, link([*SURE, *DOUBT]), detector="x")


def after(plan: Plan, *edits: Edit) -> Plan:
    for edit in edits:
        plan = edited(plan, edit)
    return plan


MOMENTS = st.floats(0, LENGTH_S)


@settings(deadline=None, max_examples=50)
@given(MOMENTS, MOMENTS, st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_what_somebody_draws_is_hidden_as_long_as_asked(
    one: float, other: float, x: float, y: float, w: float, h: float
) -> None:
    from_s, until_s = sorted((one, other))
    if until_s - from_s < 0.01:
        return
    plan = edited(EMPTY, Draw(box=Box(x, y, w, h), from_s=from_s, until_s=until_s))
    for part in (0.0, 0.3, 1.0):
        (box,) = hidden_at(plan, from_s + (until_s - from_s) * part)
        assert box.x <= x + 1e-6
        assert box.x + box.width >= min(1, x + w) - 1e-6


@settings(deadline=None, max_examples=50)
@given(MOMENTS, MOMENTS, MOMENTS)
def test_a_cut_hides_and_silences_exactly_what_its_plan_does(one: float, other: float, at_s: float) -> None:
    plan = after(found(), Draw(box=BOX, from_s=4.0, until_s=9.0), Mute(from_s=3.0, until_s=5.0))
    from_s, until_s = sorted((one, other))
    cut, at_s = cut_of(plan, from_s, until_s), min(max(at_s, from_s), until_s)
    assert set(hidden_at(cut, at_s)) == set(hidden_at(plan, at_s))
    assert muted_at(cut, at_s, at_s + 0.02) == muted_at(plan, at_s, at_s + 0.02)


def test_one_stays_visible_and_everybody_else_does_not() -> None:
    plan = after(found(), Draw(box=BOX, from_s=0, until_s=20), Only(track="g1"), Rest(hidden=True))
    assert [track.hidden for track in plan.tracks] == [False, True, True]
    assert len(visible_at(plan, 1.0)) == 1
    assert visible_at(plan, 4.2) == (), "nobody saw it there: then it is hidden with the rest"
    assert [track.hidden for track in edited(plan, Show(track="g1", hidden=True)).tracks] == [True, True, True]


def test_edits_that_make_no_sense_are_refused() -> None:
    for edit in (
        Show(track="nobody", hidden=True),
        Draw(box=Box(0.5, 0.5, 0, 0), from_s=0, until_s=1),
        Draw(box=BOX, from_s=2, until_s=1),
        Draw(box=BOX, from_s=0, until_s=999),
        Draw(box=Box(float("nan"), 0, 1, 1), from_s=0, until_s=1),
        Mute(from_s=float("nan"), until_s=3),
        Unmute(number=0),
        Drop(track="t1"),
    ):
        with pytest.raises(Refused):
            edited(found(), edit)


def test_moving_extending_and_dropping_change_one_track() -> None:
    plan = after(
        found(), Move(track="g1", at_s=1.0, box=BOX), Extend(track="g1", from_s=0, until_s=12), Drop(track="g2")
    )
    (track,) = plan.tracks
    assert Box(*next(key for key in track.keys if key.at_s == 1.0)[1:]) == pytest.approx(BOX, abs=1e-3)
    assert track.keys[-1].at_s == 12
    assert hidden_at(plan, 11.0)


def test_silences_join_and_go() -> None:
    plan = after(EMPTY, Mute(from_s=1, until_s=3), Mute(from_s=2, until_s=4), Mute(from_s=8, until_s=9))
    assert [(span.from_s, span.until_s) for span in plan.mutes] == [(1, 4), (8, 9)]
    assert muted_at(plan, 0.96, 0.98), "a little earlier"
    assert not muted_at(plan, 5.0, 5.02)
    assert not muted_at(edited(plan, Unmute(number=0)), 2.0, 2.02)


def test_what_was_followed_must_be_looked_at_and_holds_where_it_was_lost() -> None:
    drawn = Draw(box=BOX, from_s=1.0, until_s=6.0)
    plan = with_followed(EMPTY, drawn, [Key(1.2, 0.45, 0.3, 0.1, 0.2), Key(1.4, 0.5, 0.3, 0.1, 0.2)])
    (track,) = plan.tracks
    assert track.doubtful
    assert hidden_at(plan, 5.9)[0].x == pytest.approx(0.5, abs=1e-3)


@pytest.mark.rule("H-55", "H-47")
def test_nothing_is_made_that_not_each_watched_or_while_a_doubt_is_left() -> None:
    plan, all_of_it = found(), (Span(from_s=0, until_s=12), Span(from_s=12, until_s=LENGTH_S))
    assert not judge_finish(plan, {"a": (), "b": ()})
    assert "each of the two" in judge_finish(plan, {"a": all_of_it, "b": all_of_it[:1]}).because
    assert [(each.from_s, each.until_s) for each in review(plan, {"b": all_of_it[:1]}).unwatched["b"]] == [(12, 20)]
    both = {"a": all_of_it, "b": all_of_it}
    assert "uncertain" in judge_finish(plan, both).because
    assert [(span.from_s, span.until_s) for span in review(plan, both).unsettled["g2"]] == [(9.5, 10.5)]
    settled = edited(plan, Settle(tracks=("g2",)))
    assert judge_finish(settled, both)
    assert judge_finish(settled, {"a": all_of_it}), "where one suffices"
    assert not judge_finish(after(plan, Drop(track="g1"), Drop(track="g2")), both), "and not when nothing is hidden"


def test_only_who_watched_a_doubt_settles_it() -> None:
    settle = Settle(tracks=("g2",))
    assert not judge_settle(found(), settle, ())
    assert not judge_settle(found(), settle, (Span(from_s=9.5, until_s=10.2),)), "half of it is not it"
    assert judge_settle(found(), settle, (Span(from_s=9.0, until_s=10.0), Span(from_s=10.0, until_s=11.0)))


def test_of_too_many_faces_the_whole_picture_is_hidden() -> None:
    crowd = [Track(id=f"g{n}", keys=(Key(1.0, 0.1, 0.1, 0.1, 0.1),)) for n in range(MOST_TRACKS + 1)]
    plan = with_found(EMPTY, crowd, detector="x")
    assert plan.rest_hidden
    assert len(plan.tracks) == MOST_TRACKS


def test_a_changed_plan_is_another_plan() -> None:
    plan = found()
    changed = edited(plan, Show(track="g2", hidden=False))
    assert plan_sha256(plan) != plan_sha256(changed)
    assert cut_sha256(cut_of(plan, 9, 10)) != cut_sha256(cut_of(changed, 9, 10)), "where it is, it was not looked at"
    assert cut_sha256(cut_of(plan, 15, 16)) == cut_sha256(cut_of(changed, 15, 16)), "elsewhere it was"
    moved = edited(plan, Move(track="g1", at_s=1.0, box=BOX))
    assert cut_sha256(cut_of(plan, 3, 4)) == cut_sha256(cut_of(moved, 3, 4)), "nor where the same track is as it was"
    assert cut_sha256(cut_of(plan, 9, 10)) == cut_sha256(cut_of(edited(plan, Settle(tracks=("g2",))), 9, 10))
    assert msgspec.convert(msgspec.to_builtins(plan), Plan) == plan


@pytest.mark.rule("P-17", "H-55")
def test_the_policy_says_which_rendition_may_be_used() -> None:
    policy = read_policy((Path(__file__).parents[3] / "deploy" / "policy" / "heusden.toml").read_text())
    purpose = policy.purposes["access_request"]
    given = replace(purpose, copy=Copy.REDACTED_COPY)
    assert not judge_use(purpose, redacting=False, derivatives=[True], leaves=True), "this town gives no copy"
    assert judge_use(given, redacting=False, derivatives=[True], leaves=True)
    assert not judge_use(given, redacting=False, derivatives=[True, False], leaves=True), "and never of an original"
    required = replace(purpose, redaction=Redaction.REQUIRED)
    none = replace(purpose, redaction=Redaction.NOT_USED)

    def use(of: Any, *derivatives: bool, redacting: bool = False, leaves: bool = False) -> bool:
        return bool(judge_use(of, redacting=redacting, derivatives=derivatives, leaves=leaves))

    assert use(purpose, False)
    assert use(purpose, False, redacting=True)
    assert not use(none, False, redacting=True)
    assert not use(required, False), "an original is shown to nobody"
    assert not use(required, True, False, leaves=True), "and is not handed over beside a derivative"
    assert use(required, False, redacting=True), "but is opened to redact it"
    assert use(required, True)
    assert not use(required, True, redacting=True), "once is enough"


# --- what hiding leaves -------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(8, 200), st.integers(8, 200))
def test_of_a_hidden_face_at_most_sixteen_colours_are_left(seed: int, wide: int, high: int) -> None:
    """Whatever it was: sixteen blocks in eight steps of three colours, and nothing else depends on it."""
    pixels = np.random.default_rng(seed).integers(0, 255, (240, 320, 3), np.uint8)
    before = pixels.copy()
    hide(pixels, [Box(60 / 320, 30 / 240, wide / 320, high / 240)])
    part = pixels[31 : 29 + high, 61 : 59 + wide]
    assert len(np.unique(part.reshape(-1, 3), axis=0)) <= 16
    assert set(np.unique(part)) <= set(range(16, 256, 32))
    assert (pixels[:5] == before[:5]).all(), "and the rest of the picture is as it was"


def test_a_small_face_is_hidden_larger_than_it_is() -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)
    hide(pixels, [Box(0.5, 0.5, 12 / 320, 12 / 240)])
    around = pixels[112:140, 152:180].reshape(-1, 3)
    assert len(np.unique(around, axis=0)) <= 16, "blocks of twelve pixels on a face of twelve would be that face"


def test_where_all_is_hidden_only_what_stays_visible_is_as_it_was() -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)
    before = pixels.copy()
    hide_all_but(pixels, [Box(0.25, 0.25, 0.25, 0.25)])
    assert (pixels[60:120, 80:160] == before[60:120, 80:160]).all()
    pixels[60:120, 80:160] = before[60:120, 80:160] = 0
    fine = [each.astype(float) - cv2.GaussianBlur(each.astype(float), (0, 0), 5) for each in (pixels, before)]
    assert abs(np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1]) < 0.2


def test_captions_tell_what_is_hidden_when() -> None:
    plan = after(found(), Mute(from_s=3, until_s=5), Draw(box=BOX, from_s=9, until_s=10))
    told = captions(canonical(plan)).decode()
    assert "00:00:00.000 --> 00:00:03.000\n[1 gezicht onherkenbaar gemaakt]" in told
    assert "00:00:03.000 --> 00:00:05.000\n[1 gezicht onherkenbaar gemaakt; geluid weggehaald]" in told
    assert "[1 gezicht en 1 deel van het beeld onherkenbaar gemaakt]" in told
    assert "[hele beeld onherkenbaar gemaakt, behalve 1 deel van het beeld]" in (
        captions(canonical(after(found(), Rest(hidden=True), Only(track="g1")))).decode()
    )
    for nonsense in (b"{}", b"[]", b"\xff", b'{"length_s": 1e99, "tracks": [], "mutes": []}'):
        with pytest.raises(ValueError, match=r"expected|decode"):
            captions(nonsense)
