"""From faces found in single pictures to tracks that hide: every doubt is decided towards hiding.

Times are seconds of the film that a player shows (its first picture is 0), places are parts of the picture's width and
height (0 to 1, from the top left). Pure: the same faces give the same tracks.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Final, NamedTuple

import msgspec

LOOKED_EVERY_S: Final = 0.5
"""How often the detector looks at a picture; what it found is followed through the pictures between two looks."""

FOLLOWED_EVERY_S: Final = 0.06
"""Pictures closer together than this are not followed one by one: at thirty a second every other one is."""

SLID_S: Final = 0.25
"""Nearer together than this, a face went from one place to the next in a straight line; further apart, who knows."""

BRIDGED_S: Final = 1.6
"""How long a face may stay unseen and still be the same track: somebody turned away, or a hand was before it."""

HELD_S: Final = 0.5
"""How long a track goes on hiding before its first and after its last sight."""

UNSURE_GAP_S: Final = 0.7
"""Longer neither seen nor followed than this, and a person must look at it."""

UNSEEN_S: Final = 1.2
"""Longer only followed, and not seen by the detector, than this, and a person must look at it."""

GROWN: Final = 1.4
"""How much wider and higher than what was found is hidden: hair, ears and chin are outside the detector's box."""

SURE: Final = 0.5
"""Detector's score from which a face counts as surely found."""

DIGITS: Final = 4
"""Places are kept to a ten-thousandth of the picture: less than a pixel."""


STRAYED: Final = 0.05
"""A place is left out of a track where sliding past it strays no further than this part of its size."""


class Hit(NamedTuple):
    """One face in one picture. `score` 0: not seen there by the detector, but followed to there."""

    at_s: float
    x: float
    y: float
    width: float
    height: float
    score: float


class Key(NamedTuple):
    """Where something is at one moment. Made of plain numbers: a plan has thousands."""

    at_s: float
    x: float
    y: float
    width: float
    height: float


class Box(NamedTuple):
    """A part of the picture."""

    x: float
    y: float
    width: float
    height: float


class Track(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One face, or one thing that somebody drew: where it is from its first key to its last, and what becomes of it."""

    id: str
    keys: tuple[Key, ...]
    drawn: bool = False
    hidden: bool = True
    doubtful: bool = False
    unseen: tuple[tuple[float, float], ...] = ()
    """Stretches (seconds) in which it was followed only, for longer than UNSEEN_S."""
    settled: bool = False
    """A person looked at what is uncertain of it, and said that it is right."""

    @property
    def from_s(self) -> float:
        """Its first moment, the hold included."""
        return self.keys[0].at_s - HELD_S

    @property
    def until_s(self) -> float:
        """Its last moment, the hold included."""
        return self.keys[-1].at_s + HELD_S


def link(hits: Sequence[Hit]) -> tuple[Track, ...]:
    """Return the tracks of these faces: nearest first, by the distance of their middles.

    Not by how much boxes overlap: a small quick face overlaps with itself in no two looks. Each hit is in one track.
    """
    going: list[list[Hit]] = []
    done: list[list[Hit]] = []
    for moment, found in groupby(sorted(hits, key=_when), key=_when):
        still = [track for track in going if moment - track[-1].at_s <= BRIDGED_S]
        done += [track for track in going if moment - track[-1].at_s > BRIDGED_S]
        going = still
        new = list(found)
        pairs = sorted(
            (_distance(track[-1], hit), number, place)
            for number, track in enumerate(going)
            for place, hit in enumerate(new)
            if _distance(track[-1], hit) <= _reach(track[-1], hit)
        )
        taken, grown = set[int](), set[int]()
        for _, number, place in pairs:
            if number not in grown and place not in taken:
                going[number].append(new[place])
                grown.add(number)
                taken.add(place)
        going += [[hit] for place, hit in enumerate(new) if place not in taken]
    ordered = sorted([*done, *going], key=lambda track: (track[0].at_s, track[0].x, track[0].y))
    return tuple(_track(f"g{number}", track) for number, track in enumerate(ordered, start=1))


def _when(hit: Hit) -> float:
    return hit.at_s


def _track(name: str, hits: Sequence[Hit]) -> Track:
    keys = tuple(key_of(hit.at_s, Box(hit.x, hit.y, hit.width, hit.height)) for hit in hits)
    seen = [hit for hit in hits if hit.score > 0]
    unseen = tuple(
        (round(before.at_s, 3), round(after.at_s, 3))
        for before, after in pairwise(seen)
        if after.at_s - before.at_s > UNSEEN_S
    )
    unsure = len(seen) < 3 or max(hit.score for hit in seen) < SURE
    return Track(id=name, keys=thinned(keys), doubtful=unsure, unseen=unseen)


def thinned(keys: Sequence[Key]) -> tuple[Key, ...]:
    """Return fewer keys, between which sliding strays from none that was left out by more than STRAYED of its size."""
    if len(keys) < 3:
        return tuple(keys)
    kept, begin = [keys[0]], 0
    for end in range(2, len(keys)):
        if not _may_skip(keys, begin, end):
            begin = end - 1
            kept.append(keys[begin])
    return (*kept, keys[-1])


def _may_skip(keys: Sequence[Key], begin: int, end: int) -> bool:
    first, last = keys[begin], keys[end]
    still = all(_strays(_box(first), _box(keys[n])) <= STRAYED for n in range(begin + 1, end + 1))
    if last.at_s - first.at_s > (UNSURE_GAP_S if still else SLID_S):
        return False
    return all(_strays(_between(first, last, keys[n].at_s), _box(keys[n])) <= STRAYED for n in range(begin + 1, end))


def _strays(shown: Box, found: Box) -> float:
    """How far one box is from covering another, in parts of the other's size."""
    across = max(shown.x - found.x, found.x + found.width - shown.x - shown.width) / max(found.width, 1e-9)
    down = max(shown.y - found.y, found.y + found.height - shown.y - shown.height) / max(found.height, 1e-9)
    return max(across, down)


def key_of(at_s: float, box: Box) -> Key:
    """Return a key of whole ten-thousandths, rounded outwards: never smaller than what was found."""
    unit = 10**DIGITS
    left, top = math.floor(box.x * unit), math.floor(box.y * unit)
    right, foot = math.ceil((box.x + box.width) * unit), math.ceil((box.y + box.height) * unit)
    return Key(round(at_s, 3), left / unit, top / unit, (right - left) / unit, (foot - top) / unit)


def box_at(track: Track, at_s: float) -> Box | None:
    """Return what this track covers at a moment, or None outside it. From one place to the next it slides along.

    Where the next is not soon it covers both and all between them; not what somebody drew, which goes as was drawn.
    Before its first and after its last sight it holds still.
    """
    if not track.from_s <= at_s <= track.until_s:
        return None
    if at_s <= track.keys[0].at_s:
        return _box(track.keys[0])
    if at_s >= track.keys[-1].at_s:
        return _box(track.keys[-1])
    after = bisect_left(track.keys, at_s, key=_moment)
    before, then = track.keys[after - 1], track.keys[after]
    if then.at_s - before.at_s > SLID_S and not track.drawn:
        return _hull(_box(before), _box(then))
    return _between(before, then, at_s)


def within(track: Track, from_s: float, until_s: float) -> Track:
    """Return the track with only what says where it is between two moments, and nothing of what people think of it."""
    first = max(0, bisect_left(track.keys, from_s, key=_moment) - 1)
    last = bisect_left(track.keys, until_s, key=_moment)
    return Track(id="", keys=track.keys[first : last + 1], drawn=track.drawn, hidden=track.hidden)


def _moment(key: Key) -> float:
    return key.at_s


def hidden_box(track: Track, at_s: float) -> Box | None:
    """Return what is hidden for this track at a moment: more than was found. What somebody drew is exactly that."""
    box = box_at(track, at_s)
    return box if box is None or track.drawn else grown(box, GROWN)


def grown(box: Box, factor: float) -> Box:
    """Return the box made larger around its middle, within the picture."""
    wide, high = box.width * factor, box.height * factor
    left, top = box.x - (wide - box.width) / 2, box.y - (high - box.height) / 2
    right, foot = min(1.0, left + wide), min(1.0, top + high)
    left, top = max(0.0, left), max(0.0, top)
    return Box(left, top, max(0.0, right - left), max(0.0, foot - top))


def unsure_of(track: Track) -> tuple[tuple[float, float], ...]:
    """Return the stretches (seconds) of this track that a person must judge."""
    if track.settled:
        return ()
    if track.doubtful:
        return ((max(0.0, track.from_s), track.until_s),)
    gaps = tuple(
        (before.at_s, after.at_s)
        for before, after in pairwise(track.keys)
        if not track.drawn and after.at_s - before.at_s > UNSURE_GAP_S
    )
    return tuple(dict.fromkeys((*gaps, *track.unseen)))


def _box(key: Key) -> Box:
    return Box(key.x, key.y, key.width, key.height)


def _hull(one: Box, other: Box) -> Box:
    left, top = min(one.x, other.x), min(one.y, other.y)
    right = max(one.x + one.width, other.x + other.width)
    foot = max(one.y + one.height, other.y + other.height)
    return Box(left, top, right - left, foot - top)


def _between(before: Key, after: Key, at_s: float) -> Box:
    """Slide the middle; keep the larger of the two sizes, so that it never shrinks below what was found."""
    part = (at_s - before.at_s) / (after.at_s - before.at_s) if after.at_s > before.at_s else 0.0
    wide, high = max(before.width, after.width), max(before.height, after.height)
    one, other = (
        (before.x + before.width / 2, before.y + before.height / 2),
        (
            after.x + after.width / 2,
            after.y + after.height / 2,
        ),
    )
    middle = (one[0] + (other[0] - one[0]) * part, one[1] + (other[1] - one[1]) * part)
    return Box(middle[0] - wide / 2, middle[1] - high / 2, wide, high)


def _distance(one: Hit, other: Hit) -> float:
    return math.hypot(
        one.x + one.width / 2 - other.x - other.width / 2, one.y + one.height / 2 - other.y - other.height / 2
    )


def _reach(last: Hit, hit: Hit) -> float:
    """How far this face may have gone since it was last seen: one and a half of its sizes, and more with time."""
    size = max(last.width, last.height, hit.width, hit.height)
    return size * (1.5 + min(2.0, (hit.at_s - last.at_s) / LOOKED_EVERY_S - 1) * 0.5)
