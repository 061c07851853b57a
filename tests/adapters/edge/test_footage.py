"""Footage: encoded once, made each camera's own by patching, and it plays as if it never had a joint."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from edge.filming import LONGEST_FILM_S, encode, encode_live, film_loop, loop_seconds, street_loop, webcam_pictures
from edge.footage import (
    HEIGHT,
    SEI_MARK,
    WIDTH,
    FootageProblem,
    LiveFilms,
    Loop,
    Template,
    library,
    read_loop,
    write_loops,
)
from edge.pulse import Pulse
from tests.adapters.edge.conftest import Time

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def film_of(loop: Loop, *, first: int, seconds: int, folder: Path) -> Path:
    path = folder / "film.mp4"
    rendered = (
        (loop.second(first + at) or pytest.fail("no picture")).render(
            second=at, camera="cam-07", starts_at=NOON, counter=first + at
        )
        for at in range(seconds)
    )
    path.write_bytes(loop.init + b"".join(rendered))
    return path


def times_of(path: Path, kind: str) -> list[float]:
    with av.open(str(path)) as film:
        frames = film.decode(video=0) if kind == "video" else film.decode(audio=0)
        return [frame.time or 0.0 for frame in frames]


@pytest.fixture(scope="module")
def sounding() -> Loop:
    """Eight seconds with a tone: the shortest loop that holds whole sound frames."""
    pictures = (np.full((HEIGHT, WIDTH, 3), number, np.uint8) for number in range(8 * 15))
    tone = np.sin(np.arange(8 * 48_000) * 0.05).astype(np.float32) / 4
    return read_loop(*encode(pictures, tone))


@pytest.mark.parametrize("first", [0, 3, 7])
def test_picture_and_sound_play_without_a_gap_across_the_joint_of_the_loop(
    sounding: Loop, first: int, tmp_path: Path
) -> None:
    film = film_of(sounding, first=first, seconds=20, folder=tmp_path)
    pictures, sound = times_of(film, "video"), times_of(film, "audio")
    assert pictures[0] == 0
    assert len(pictures) == 300
    assert {round(later - earlier, 4) for earlier, later in pairwise(pictures)} == {0.0667}
    assert {round(later - earlier, 4) for earlier, later in pairwise(sound)} == {0.0213}
    assert 0 <= sound[0] < 0.0214


def test_each_fragment_begins_with_a_key_frame_and_can_be_played_alone(grey: Loop, tmp_path: Path) -> None:
    for first in range(4):
        assert len(times_of(film_of(grey, first=first, seconds=1, folder=tmp_path), "video")) == 15


def test_patching_changes_the_marked_places_and_no_size(grey: Loop) -> None:
    template = grey.second(2)
    assert isinstance(template, Template)
    one = template.render(second=2, camera="cam-07", starts_at=NOON, counter=2)
    other = template.render(second=100_000, camera="cam-49", starts_at=NOON, counter=9_999_999)
    assert len(one) == len(other) == len(template.raw)
    text = template.raw.find(SEI_MARK)
    changed = [at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    moof = int.from_bytes(one[:4], "big")
    assert all(at < moof or text <= at < text + 16 + 96 for at in changed)
    assert b"cam-07|2026-03-02T12:00:00.000+00:00|2|SIMULATIE" in one


def test_two_cameras_never_write_the_same_bytes(grey: Loop) -> None:
    template = grey.second(0)
    assert isinstance(template, Template)
    made = {template.render(second=0, camera=f"cam-{number:02}", starts_at=NOON, counter=0) for number in range(1, 51)}
    assert len(made) == 50


@pytest.mark.parametrize(
    ("film_s", "sound", "expected"),
    [
        (10.0, False, 10),
        (10.0, True, 8),
        (3.5, True, 8),
        (0.4, False, 1),
        (500.0, True, LONGEST_FILM_S),
        (17.9, True, 16),
    ],
)
def test_a_loop_is_whole_seconds_and_with_sound_whole_sound_frames(film_s: float, sound: bool, expected: int) -> None:
    assert loop_seconds(film_s, sound=sound) == expected


@pytest.mark.slow
def test_the_drawn_street_moves_and_is_the_same_every_time() -> None:
    init, fragments = street_loop(0, sound=False)
    assert len(fragments) == 16
    assert len(set(map(len, fragments))) > 8
    assert street_loop(0, sound=False) == (init, fragments)


@pytest.mark.footage
@pytest.mark.parametrize("sound", [False, True])
def test_real_street_film_becomes_footage(bikes: Path, tmp_path: Path, sound: bool) -> None:
    loop = read_loop(*film_loop(bikes, sound=sound))
    assert len(loop.seconds) == 10  # it is silent, so it stays silent
    pictures = times_of(film_of(loop, first=7, seconds=12, folder=tmp_path), "video")
    assert len(pictures) == 180
    assert {round(later - earlier, 4) for earlier, later in pairwise(pictures)} == {0.0667}


@pytest.mark.footage
async def test_the_library_is_encoded_once_and_then_only_read(
    bikes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await library(str(bikes), sound=False, cache=tmp_path)

    async def never(*_: object, **__: object) -> None:
        pytest.fail("encoded twice")

    monkeypatch.setattr("edge.footage._encode", never)
    assert await library(str(bikes), sound=False, cache=tmp_path) == first
    assert len(first[0].seconds) == 10


async def test_a_missing_film_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FootageProblem, match="there is no such file"):
        await library("/no/such/film.mp4", sound=False, cache=tmp_path)


@pytest.mark.parametrize("content", [b"", b"this is no film at all" * 100])
async def test_a_file_that_is_no_film_is_said_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(content)
    with pytest.raises(FootageProblem, match="cannot be read as video"):
        await library(str(film), sound=False, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("film-*"))


async def test_a_damaged_library_says_which_folder_to_remove(tmp_path: Path, grey: Loop) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(b"any")
    from edge.footage import _key

    folder = tmp_path / "cache" / _key(str(source), sound=False)
    write_loops(folder, [(grey.init, [template.raw for template in grey.seconds])], source="film", sound=False)
    (folder / "00" / "0002.m4s").unlink()
    with pytest.raises(FootageProblem, match="remove that folder"):
        await library(str(source), sound=False, cache=tmp_path / "cache")


async def test_a_missing_webcam_is_said_in_one_sentence(shown: Time) -> None:
    with pytest.raises(ExceptionGroup) as problems:
        async with LiveFilms.open("97", pulse=shown.pulse):
            pytest.fail("there is no webcam 97")
    assert problems.group_contains(FootageProblem, match="there is no such webcam")


@pytest.mark.footage
def test_what_a_webcam_sees_comes_out_second_by_second(bikes: Path) -> None:
    """OpenCV reads a film as it reads a webcam; the clock decides how many pictures there are."""
    ticks = iter(range(100_000))
    pieces = encode_live(webcam_pictures(str(bikes), monotonic=lambda: next(ticks) / 25))
    init, *seconds = list(pieces)
    loop = read_loop(init, seconds)
    assert len(loop.seconds) >= 8


async def test_a_fleet_looks_through_one_webcam_until_it_is_unplugged(grey: Loop, tmp_path: Path) -> None:
    pieces = [grey.init, *(template.raw for template in grey.seconds)]
    (tmp_path / "pieces").write_bytes(b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces))
    program = (sys.executable, "-c", "import sys; sys.stdout.buffer.write(open(sys.argv[2],'rb').read())")
    now = [0.0]
    pulse = Pulse(lambda: now[0], lambda: 1.0)
    async with LiveFilms.open(str(tmp_path / "pieces"), pulse=pulse, program=program) as films:
        film = await films.of(0, sound=True)
        assert film.init == grey.init
        async with asyncio.timeout(60):
            while film.second(0) is None:
                await asyncio.sleep(0.01)
            assert film.second(0) == film.second(17)
            while film.second(0) is not None:  # the last picture is not shown as new for ever
                now[0] += 1
                await asyncio.sleep(0.01)


def test_the_recording_process_needs_neither_opencv_nor_pyav() -> None:
    code = "import sys, edge.__main__; sys.exit(bool({'cv2', 'av', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
