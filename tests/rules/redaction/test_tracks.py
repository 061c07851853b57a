"""Tracks: every doubt is decided towards hiding."""

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.redaction.rules.tracks import (
    BRIDGED_S,
    GROWN,
    HELD_S,
    SLID_S,
    Box,
    Hit,
    box_at,
    grown,
    hidden_box,
    link,
    unsure_of,
)

TINY = 1e-6
PLACES = st.floats(0, 0.8).map(lambda value: round(value, 4))
SIZES = st.floats(0.02, 0.2).map(lambda value: round(value, 4))
HITS = st.builds(
    Hit,
    st.integers(0, 60).map(lambda number: number * 0.2),
    PLACES,
    PLACES,
    SIZES,
    SIZES,
    st.floats(0.25, 1),
)


def holds(outer: Box, inner: Box) -> bool:
    return (
        outer.x <= inner.x + TINY
        and outer.y <= inner.y + TINY
        and outer.x + outer.width >= inner.x + inner.width - TINY
        and outer.y + outer.height >= inner.y + inner.height - TINY
    )


@settings(deadline=None, max_examples=50)
@given(st.lists(HITS, max_size=40))
def test_every_face_that_was_found_is_hidden_at_its_moment(hits: list[Hit]) -> None:
    tracks = link(hits)
    for hit in hits:
        boxes = [box for track in tracks if (box := hidden_box(track, round(hit.at_s, 3))) is not None]
        assert any(holds(box, Box(hit.x, hit.y, hit.width, hit.height)) for box in boxes)


@settings(deadline=None, max_examples=50)
@given(st.lists(HITS, min_size=1, max_size=40), st.floats(0.05, 0.95))
def test_between_two_looks_something_is_hidden_and_never_less_than_was_found(hits: list[Hit], part: float) -> None:
    for track in link(hits):
        for before, after in zip(track.keys, track.keys[1:], strict=False):
            box = box_at(track, before.at_s + (after.at_s - before.at_s) * part)
            assert box is not None
            assert box.width >= max(before.width, after.width) - TINY
            assert box.height >= max(before.height, after.height) - TINY
            if after.at_s - before.at_s > SLID_S:
                assert holds(box, Box(*before[1:]))
                assert holds(box, Box(*after[1:]))


@settings(deadline=None, max_examples=50)
@given(st.lists(HITS, min_size=1, max_size=40))
def test_a_track_hides_before_its_first_and_after_its_last_sight(hits: list[Hit]) -> None:
    for track in link(hits):
        for at_s in (track.keys[0].at_s - HELD_S, track.keys[-1].at_s + HELD_S):
            assert hidden_box(track, at_s) is not None


@settings(deadline=None, max_examples=50)
@given(st.lists(HITS, min_size=1, max_size=40))
def test_no_track_bridges_longer_than_it_may(hits: list[Hit]) -> None:
    for track in link(hits):
        moments = [key.at_s for key in track.keys]
        assert moments == sorted(set(moments)), "one place at a time"
        assert all(b - a <= BRIDGED_S + TINY for a, b in itertools.pairwise(moments))


@settings(deadline=None, max_examples=50)
@given(PLACES, PLACES, SIZES, SIZES, st.floats(1, 3))
def test_what_is_hidden_is_more_than_what_was_found(x: float, y: float, w: float, h: float, factor: float) -> None:
    assert holds(grown(Box(x, y, w, h), factor), Box(x, y, min(w, 1 - x), min(h, 1 - y)))


@st.composite
def walks(draw: st.DrawFn, *, sway: float) -> Callable[[float], Box]:
    """A head that walks through the picture, swaying by a part of its size, at most twice a second."""
    size = draw(st.floats(0.03, 0.15))
    begin, speed = (draw(st.floats(0.35, 0.5)) for _ in "xy"), [draw(st.floats(-1, 1)) * size for _ in "xy"]
    swing, rate, phase = draw(st.floats(0, sway)) * size, draw(st.floats(0.2, 2)), draw(st.floats(0, 6.3))
    x, y = begin

    def at(moment: float) -> Box:
        swung = swing * math.sin(2 * math.pi * rate * moment + phase)
        return Box(x + speed[0] * moment + swung / 2, y + speed[1] * moment + swung, size, size)

    return at


def seen(walk: Callable[[float], Box], moments: Sequence[float], *, jitter: float) -> list[Hit]:
    """Return where the head was seen (at LOOKS) and followed, each time a little beside where it was."""
    found = []
    for number, moment in enumerate(moments):
        box, beside = walk(moment), jitter * (-1) ** number
        score = 0.8 if moment in LOOKS else 0.0
        found.append(Hit(moment, box.x + beside * box.width, box.y - beside * box.height, box.width, box.height, score))
    return found


def uncovered(walk: Callable[[float], Box], hits: list[Hit]) -> list[float]:
    """Return the moments, sixty a second, at which the head is not hidden."""
    tracks, first, last = link(hits), hits[0].at_s, hits[-1].at_s
    moments = [first + number / 60 for number in range(int((last - first) * 60) + 1)]
    return [
        moment
        for moment in moments
        if not any((box := hidden_box(track, moment)) is not None and holds(box, walk(moment)) for track in tracks)
    ]


FRAMES = [round(number / 15, 3) for number in range(31)]
LOOKS = frozenset(FRAMES[::8])


@pytest.mark.rule("H-55")
@settings(deadline=None, max_examples=60)
@given(walks(sway=0.25), st.floats(0, 0.05))
def test_a_head_is_hidden_in_every_picture_between_two_looks(walk: Callable[[float], Box], jitter: float) -> None:
    assert uncovered(walk, seen(walk, FRAMES, jitter=jitter)) == []


@pytest.mark.rule("H-55")
@settings(deadline=None, max_examples=60)
@given(walks(sway=0.08), st.floats(0, 0.03), st.sets(st.integers(0, 3)))
def test_a_head_that_could_not_be_followed_is_hidden_between_looks(
    walk: Callable[[float], Box], jitter: float, lost: set[int]
) -> None:
    """Not followed at all from one look to the next, for some of the looks."""
    there = [moment for number, moment in enumerate(FRAMES) if moment in LOOKS or number // 8 not in lost]
    assert uncovered(walk, seen(walk, there, jitter=jitter)) == []


def face(*moments: float, score: float = 0.9) -> list[Hit]:
    return [Hit(at_s, 0.4 + at_s / 50, 0.3, 0.1, 0.1, score) for at_s in moments]


def test_a_face_that_walks_is_one_track_and_sure() -> None:
    (track,) = link(face(0.0, 0.2, 0.4, 0.6, 0.8))
    assert not track.doubtful
    assert unsure_of(track) == ()
    assert hidden_box(track, 0.5) is not None
    assert GROWN > 1


def test_two_faces_that_pass_are_two_tracks() -> None:
    hits = [Hit(n / 5, 0.1 + n * 0.02, 0.3, 0.1, 0.1, 0.9) for n in range(6)]
    hits += [Hit(n / 5, 0.1 + n * 0.02, 0.7, 0.1, 0.1, 0.9) for n in range(6)]
    assert [len(track.keys) for track in link(hits)] == [6, 6]


def test_what_was_seen_once_or_hardly_or_not_for_a_while_must_be_looked_at() -> None:
    (once,) = link(face(3.0))
    assert unsure_of(once) == ((2.5, 3.5),)
    (hardly,) = link(face(0.0, 0.2, 0.4, score=0.3))
    assert hardly.doubtful
    (away,) = link(face(0.0, 0.2, 0.4, 1.8, 2.0))
    assert unsure_of(away) == ((0.4, 1.8),)


def test_seen_and_unseen_in_turn_is_hidden_all_along() -> None:
    (track,) = link(face(0.0, 0.2, 1.0, 1.2, 2.4))
    assert all(hidden_box(track, at / 20) is not None for at in range(-10, 58))


def test_a_face_that_was_only_followed_for_long_must_be_looked_at() -> None:
    hits = [
        hit._replace(score=0.9 if hit.at_s in (0.0, 0.5, 1.0, 2.4) else 0.0)
        for hit in face(*(n / 10 for n in range(25)))
    ]
    (track,) = link(hits)
    assert unsure_of(track) == ((1.0, 2.4),)
    assert len(track.keys) < len(hits), "and it is told in fewer places"
