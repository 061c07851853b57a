"""What there is to see of a recording: which pieces of it a room may show, and how they lie. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from broker.wire.policy import Policy, Via
from broker.wire.recording import Flag, Kind
from broker.wire.refusals import Code, refuse
from cloud.rules.admission import TOLERANCE_S
from cloud.rules.apart import DECLARED
from cloud.viewing.clips import CLIP_STEP, File, FilmFile, Part, Span, films_of, films_within, pieces_of, within
from cloud.viewing.messages import SLICE_S, Playable

VIEWABLE: Final = frozenset({"retained", "held"})
"""States of a recording in which it may be seen at all."""

BLOCK: Final = 10
"""Segments per entry *watched*: one entry for ten seconds of one person, written before the first of them is served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One segment of footage within the range, as the register knows it; or a slice of a film from outside.

    A slice has no digest. Its `sequence` is CLIP_STEP times the place of its `film`, plus its number from one.
    """

    sequence: int
    digest: bytes
    starts_at: datetime
    ends_at: datetime
    pre_record: bool
    gap_before: bool
    film: int = 0

    @property
    def length_s(self) -> float:
        """How long it plays."""
        return (self.ends_at - self.starts_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reel:
    """One recording of the room: what a player needs to know of it, and the segment that holds no footage."""

    recording: str
    camera: str
    camera_public_key: bytes
    activated_at: datetime | None
    first_digest: bytes
    pieces: tuple[Piece, ...]
    first: int
    last: int
    declared: bool = False
    """Its origin is what two people declared: said in every picture."""
    films: tuple[FilmFile, ...] = ()
    """Of a recording from outside: its films, whole; which pieces they have is known once they were opened."""
    digests: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    """Of a recording from outside: where its segments lie."""
    span: Span | None = None
    """Of a recording from outside: the part of it that may be seen, where it is not the whole."""


def reel_of(
    recording: str,
    row: Any,
    lines: Sequence[Any],
    files: Sequence[File],
    *,
    part: Part | None,
    with_files: bool,
    covers: Policy | None,
) -> Reel:
    """Return what may be seen of a recording; raise Refused (NOT_FOUND, CONFLICT).

    `row`, `lines` (its segments, in order) and `files`: as the register knows them. `with_files`: the untouched file
    behind a rendition belongs to the range too. `covers`: the policy of its day, where more came in than it allows.
    """
    has_files = any(line.kind == Kind.FILE for line in lines)
    pieces = _with_gaps([_piece(row, line) for line in lines if line.kind == Kind.VIDEO and line.sequence > 0])
    if covers is not None:
        if has_files:  # a file cannot be opened in part
            raise refuse(Code.CONFLICT, f"recording {recording}", expected="a decision on its excess", got="none")
        pieces = _without_excess(pieces, covers)
    about = {
        "recording": recording,
        "camera": row.camera,
        "camera_public_key": bytes(row.public_key),
        "activated_at": row.activated_at,
        "declared": DECLARED in row.deviations,
    }
    if has_files and not pieces:
        return _reel_of_films(lines, files, part, about)
    if pieces and (span := _span(pieces[0].starts_at, part)):
        pieces = [each for each in pieces if within(each.starts_at, each.ends_at, span)]
    if not pieces or lines[0].sequence != 0:
        raise refuse(Code.NOT_FOUND, f"recording {recording}", expected="footage in this range", got="none")
    return Reel(
        **about,
        first_digest=bytes.fromhex(lines[0].digest),
        pieces=tuple(pieces),
        first=pieces[0].sequence,
        last=lines[-1].sequence if with_files and has_files else pieces[-1].sequence,
    )


def slices_of(reel: Reel, found: Sequence[Playable]) -> tuple[Piece, ...]:
    """Return the pieces of a recording from outside that may be seen, now that it is known how long its films are."""
    pieces: list[Piece] = []
    for place, (film, shown) in enumerate(zip(reel.films, found, strict=True)):
        ends_at = film.starts_at + timedelta(microseconds=shown.length_us)
        for number in range(0 if shown.because else shown.slices):
            starts_at = film.starts_at + timedelta(seconds=number * SLICE_S)
            until = max(min(starts_at + timedelta(seconds=SLICE_S), ends_at), starts_at + timedelta(milliseconds=1))
            if not within(starts_at, until, reel.span):
                continue
            pieces.append(
                Piece(
                    sequence=place * CLIP_STEP + number + 1,
                    digest=b"",
                    starts_at=starts_at,
                    ends_at=until,
                    pre_record=reel.activated_at is not None and until <= reel.activated_at,
                    gap_before=bool(pieces) and pieces[-1].film != place,
                    film=place,
                )
            )
    return tuple(pieces)


def block_of(reel: Reel, piece: Piece) -> tuple[int, dict[str, Any]]:
    """Return (number of the ten seconds that this piece is of, what the ledger says of them)."""
    if not reel.films:
        block = piece.sequence // BLOCK
        return block, {
            "first": max(block * BLOCK, reel.first),
            "last": min(block * BLOCK + BLOCK - 1, reel.last),
        }
    film, in_block = reel.films[piece.film], BLOCK // SLICE_S
    number = piece.sequence % CLIP_STEP - 1
    tens = number // in_block
    seconds = {"from_s": tens * BLOCK, "until_s": (tens + 1) * BLOCK}  # of the film, from its beginning
    return piece.film * CLIP_STEP + tens, {"first": film.clip.first, "last": film.last, **seconds}


def _piece(row: Any, line: Any) -> Piece:
    return Piece(
        sequence=line.sequence,
        digest=bytes.fromhex(line.digest),
        starts_at=line.starts_at,
        ends_at=line.ends_at,
        pre_record=bool(Flag(line.flags) & Flag.PRE_RECORD) or _before_the_press(row, line),
        gap_before=bool(Flag(line.flags) & Flag.GAP_BEFORE),
    )


def _without_excess(pieces: Sequence[Piece], policy: Policy) -> list[Piece]:
    """Return what the policy of its day covers: more from before the press stays shut until somebody decides."""
    pressed_at = min((each.starts_at for each in pieces if not each.pre_record), default=None)
    if pressed_at is None:
        return []
    covered = pressed_at - timedelta(seconds=policy.pre_record.seconds + TOLERANCE_S)
    return [each for each in pieces if each.starts_at >= covered]


def _reel_of_films(lines: Sequence[Any], files: Sequence[File], part: Part | None, about: Mapping[str, Any]) -> Reel:
    """Return a reel of whole films: what a file holds is known to nobody before two people have opened it.

    Of a part the whole files are opened in which it lies, because a film cannot be read by halves; shown is only the
    part.
    """
    every = films_of(lines, files)
    span = _span(every[0].starts_at, part) if every else None
    films = films_within(every, span)
    if not films:
        what = f"recording {about['recording']}"
        raise refuse(Code.NOT_FOUND, what, expected="a film in this range", got="none")
    first, last = pieces_of(films) if span else (1, lines[-1].sequence)
    return Reel(
        **about,
        first_digest=bytes.fromhex(lines[0].digest),
        pieces=tuple(_unopened(place, film, span) for place, film in enumerate(films)),
        first=first,
        last=last,
        films=films,
        digests={each.sequence: bytes.fromhex(each.digest) for each in lines if first <= each.sequence <= last},
        span=span,
    )


def _before_the_press(row: Any, segment: Any) -> bool:
    """Whether this was filmed before a press that people declared: who cut it from a file knew of none."""
    return row.via == Via.IMPORT and row.activated_at is not None and segment.ends_at <= row.activated_at


def _with_gaps(pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces, with a break before each that does not follow on the one before: between is damage."""
    before = [None, *pieces]  # of a recording that is files there are none
    return [
        replace(piece, gap_before=piece.gap_before or (last is not None and piece.sequence != last.sequence + 1))
        for last, piece in zip(before, pieces, strict=False)
    ]


def _span(begin: datetime, part: Part | None) -> Span | None:
    return (begin + part[0], begin + part[1]) if part else None


def _unopened(place: int, film: FilmFile, span: Span | None) -> Piece:
    """Return what stands for a film until it is known how long it is."""
    begin, end = film.starts_at, max(film.ends_at, film.starts_at + timedelta(seconds=SLICE_S))
    if span is not None:
        begin, end = max(begin, span[0]), min(end, span[1]) if film.has_end else span[1]
    return Piece(
        sequence=place * CLIP_STEP + 1,
        digest=b"",
        starts_at=begin,
        ends_at=end,
        pre_record=False,
        gap_before=place > 0,
        film=place,
    )
