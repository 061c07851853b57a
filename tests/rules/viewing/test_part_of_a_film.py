"""Which part of footage that is files two people see who ask for some minutes of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.wire.refusals import Refused
from cloud.viewing.clips import FilmFile, films_within, part_of, pieces_of
from cloud.viewing.messages import SLICE_S, Clip, Playable
from cloud.viewing.reels import Reel, slices_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


def film(first: int, begin: float, end: float, *, key_first: int = 0) -> FilmFile:
    clip = Clip(first=first, sizes=(10, 10), key_first=key_first, key_sizes=(5,) if key_first else ())
    return FilmFile(name=f"{first}.mp4", clip=clip, starts_at=minutes(begin), ends_at=minutes(end))


def reel(*films: FilmFile, **about: Any) -> Reel:
    return Reel(
        recording="r", camera="axis-1", camera_public_key=b"", activated_at=minutes(3.5), first_digest=b"",
        pieces=(), first=1, last=9, films=films, **about,
    )  # fmt: skip


def test_minutes_three_to_five_of_twenty_are_all_that_is_shown() -> None:
    twenty = Playable(slices=600, length_us=20 * 60 * 1_000_000)
    pieces = slices_of(reel(film(1, 0, 20), span=(minutes(3), minutes(5))), [twenty])
    assert (pieces[0].starts_at, pieces[-1].ends_at) == (minutes(3), minutes(5))
    assert [piece.sequence for piece in pieces] == list(range(91, 151)), "at their own place in the film"
    assert [piece.pre_record for piece in pieces].count(True) == 30 / SLICE_S
    assert len(slices_of(reel(film(1, 0, 20)), [twenty])) == 600


def test_films_in_which_the_part_does_not_lie_are_not_opened() -> None:
    before, inside, after = film(1, 0, 2), film(4, 2, 4, key_first=7), film(9, 6, 9)
    chosen = films_within((before, inside, after), (minutes(3), minutes(5)))
    assert chosen == (inside,)
    assert pieces_of(chosen) == (4, 7), "with the key of what is encrypted"
    assert films_within((before, inside, after), None) == (before, inside, after)


def test_a_film_whose_sender_said_no_end_may_hold_the_part() -> None:
    assert films_within((film(1, 0, 0), film(4, 6, 6)), (minutes(3), minutes(5))) == (film(1, 0, 0),)


def test_a_part_that_is_longer_than_the_film_ends_with_it_and_one_behind_it_shows_nothing() -> None:
    short = Playable(slices=2, length_us=3_000_000)
    (last,) = slices_of(reel(film(1, 0, 9), span=(minutes(2.5 / 60), minutes(5))), [short])
    assert last.ends_at == NOON + timedelta(seconds=3)
    assert slices_of(reel(film(1, 0, 9), span=(minutes(3), minutes(5))), [short]) == ()


@pytest.mark.parametrize(("from_s", "until_s"), [(5.0, 5.0), (9.0, 3.0), (-1.0, 3.0), (float("nan"), None), (0.0, 1e9)])
def test_a_part_that_is_none_is_refused(from_s: float, until_s: float | None) -> None:
    with pytest.raises(Refused, match="a begin before its end"):
        part_of(from_s, until_s)


def test_nothing_asked_is_the_whole() -> None:
    assert part_of(0, None) is None
    assert part_of(0, 60) == (timedelta(), timedelta(minutes=1))
