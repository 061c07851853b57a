"""Which films lie in a recording that came from outside: read from the register, before anything is opened. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from broker.wire.layout import CHUNK_BYTES, SALT_BYTES
from broker.wire.recording import Kind
from broker.wire.refusals import Code, refuse
from cloud.viewing.messages import Clip

FILMS: Final = (".mp4", ".mkv", ".mov", ".m4v", ".avi", ".ts", ".mts", ".webm")
"""Endings under which a film is looked for; whether it is one, only the room's own process finds out."""

Span = tuple[datetime, datetime]
"""From when, until when."""

Part = tuple[timedelta, timedelta]
"""The same, since the begin of a recording."""

LONGEST_S: Final = 14 * 86_400
"""No recording lasts longer than its players can count."""

CLIP_STEP: Final = 1_000_000
"""Numbers of a clip's slices begin at this times its place, plus one; the number itself is what its player reads first.

Two weeks of slices fit in between.
"""

_TAG_BYTES: Final = 16  # of each chunk of ciphertext


class File(Protocol):
    """A file as the register knows it: its segments, its letter being the last."""

    @property
    def name(self) -> str:
        """What its sender called it."""

    @property
    def first(self) -> int:
        """Its first segment."""

    @property
    def last(self) -> int:
        """Its letter."""


class Line(Protocol):
    """A segment as the register knows it."""

    sequence: int
    kind: int
    ciphertext_bytes: int
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmFile:
    """One film of a recording: where it lies, and when it was made as its sender says."""

    name: str
    clip: Clip
    starts_at: datetime
    ends_at: datetime

    @property
    def last(self) -> int:
        """The last of its segments."""
        return self.clip.first + len(self.clip.sizes) - 1

    @property
    def has_end(self) -> bool:
        """Whether its sender said when it ended."""
        return self.ends_at > self.starts_at


def films_of(lines: Sequence[Line], files: Sequence[File]) -> tuple[FilmFile, ...]:
    """Return the films in the order in which they were made. `lines` are the segments that may be opened."""
    pieces = {line.sequence: line for line in lines if line.kind == Kind.FILE}
    keys = {_stem(file.name): file for file in files if file.name.lower().endswith(".key")}
    films = []
    for file in files:
        sizes = _sizes(file, pieces)
        if not file.name.lower().endswith(FILMS) or not sizes:
            continue
        key = keys.get(_stem(file.name))
        key_sizes = _sizes(key, pieces) if key is not None else ()
        begin = pieces[file.first]
        films.append(
            FilmFile(
                name=file.name,
                clip=Clip(
                    first=file.first,
                    sizes=sizes,
                    key_first=key.first if key is not None and key_sizes else 0,
                    key_sizes=key_sizes,
                ),
                starts_at=begin.starts_at,
                ends_at=begin.ends_at,
            )
        )
    return tuple(sorted(films, key=lambda film: (film.starts_at, film.clip.first)))


def part_of(from_s: float, until_s: float | None) -> Part | None:
    """Return which part of a recording this asks for, None for the whole; raise Refused (MALFORMED)."""
    if not from_s and until_s is None:
        return None
    end_s = LONGEST_S if until_s is None else until_s
    if not 0 <= from_s < end_s <= LONGEST_S:
        got = f"{from_s:g} to {end_s:g} seconds"
        raise refuse(Code.MALFORMED, "part of a recording", expected="a begin before its end", got=got)
    return timedelta(seconds=from_s), timedelta(seconds=end_s)


def within(starts_at: datetime, ends_at: datetime, span: Span | None) -> bool:
    """Whether something of this lies in the span; in none everything does."""
    return span is None or (starts_at < span[1] and ends_at > span[0])


def films_within(films: Sequence[FilmFile], span: Span | None) -> tuple[FilmFile, ...]:
    """Return the films that may show something of the span. One whose sender said no end may go on for any time."""
    endless = datetime.max.replace(tzinfo=UTC)
    return tuple(film for film in films if within(film.starts_at, film.ends_at if film.has_end else endless, span))


def pieces_of(films: Sequence[FilmFile]) -> tuple[int, int]:
    """Return the first and last segment in which these films, and the keys of those that are encrypted, lie."""
    clips = [film.clip for film in films]
    firsts = [clip.first for clip in clips] + [clip.key_first for clip in clips if clip.key_sizes]
    lasts = [film.last for film in films] + [
        clip.key_first + len(clip.key_sizes) - 1 for clip in clips if clip.key_sizes
    ]
    return min(firsts), max(lasts)


def _sizes(file: File, pieces: Mapping[int, Line]) -> tuple[int, ...]:
    """Return the size of each of a file's pieces in bytes; none when one of them may not be opened."""
    mine = range(file.first, file.last)
    if any(sequence not in pieces for sequence in mine):
        return ()
    return tuple(opened_size(pieces[sequence].ciphertext_bytes) for sequence in mine)


def opened_size(ciphertext_bytes: int) -> int:
    """Return how many bytes a segment with so much ciphertext holds."""
    chunks = ciphertext_bytes - SALT_BYTES
    return chunks - _TAG_BYTES * -(-chunks // CHUNK_BYTES)


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
