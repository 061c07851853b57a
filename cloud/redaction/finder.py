"""Looks through a film for faces, one stretch after the other: a look now and then, and every face followed between.

A face that was found is followed forward to the next look, and from there back to the look before: what came into the
picture between two looks is known from where it came, and what the detector missed for a moment is bridged by where it
went. In memory are the small grey pictures since the last look, a dozen, however long the film is.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from cloud.redaction.faces import Faces
from cloud.redaction.film import Frame
from cloud.redaction.follower import Grey, follow_all
from cloud.redaction.rules.tracks import BRIDGED_S, FOLLOWED_EVERY_S, LOOKED_EVERY_S, Box, Hit

_SOON = 1e-3


@dataclass(kw_only=True)
class _Going:
    """A face on its way. `waiting`: where it was followed to since it was last seen, until it is seen again."""

    box: Box | None
    seen_s: float
    waiting: list[Hit] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Kept:
    at_s: float
    grey: Grey


class Finder:
    """Finds faces in one film, from its begin; a stretch that does not follow the last one begins anew."""

    def __init__(self, faces: Faces) -> None:
        self._faces = faces
        self._film = ""
        self._until_s = -math.inf
        self._due_s = 0.0
        self._since: list[_Kept] = []  # pictures from the last look on
        self._going: list[_Going] = []

    def look(self, film: str, frames: Iterable[Frame], *, from_s: float, ends: bool) -> tuple[list[Hit], int]:
        """Return (faces, how many pictures were looked at) of a stretch that begins at `from_s` of the film.

        Faces of the stretch before may be among them: those that were seen again. `ends`: what comes after it was not
        filmed right after it, so its last picture is looked at too.
        """
        if film != self._film or abs(from_s - self._until_s) > LOOKED_EVERY_S:
            self._begin(film, from_s)
        hits, looked, last = list[Hit](), 0, None
        for frame in frames:
            at_s = round(from_s + frame.at_s, 3)
            self._until_s, last = at_s, frame
            if at_s >= self._due_s - _SOON:
                hits += self._look(frame, at_s)
                looked, last = looked + 1, None
                self._due_s = at_s + LOOKED_EVERY_S
            elif self._since and at_s - self._since[-1].at_s >= FOLLOWED_EVERY_S:
                self._since.append(_Kept(at_s, frame.grey()))
        if ends and last is not None:
            hits += self._look(last, self._until_s)
            looked += 1
        if ends:
            self._begin("", -math.inf)
        return hits, looked

    def _begin(self, film: str, from_s: float) -> None:
        self._film, self._due_s, self._since, self._going = film, from_s, [], []

    def _look(self, frame: Frame, at_s: float) -> list[Hit]:
        seen = self._faces.find(frame.colours(), at_s=at_s)
        now = _Kept(at_s, frame.grey())
        pictures = [*(each for each in self._since if each.at_s < at_s), now]
        hits = [*seen]
        self._go_on(pictures)
        new = self._match(seen, hits)
        hits += _back(pictures, new)
        self._since = [now]
        return hits

    def _go_on(self, pictures: Sequence[_Kept]) -> None:
        """Follow every face that is on its way to the last of these pictures."""
        for before, after in pairwise(pictures):
            moving = [each for each in self._going if each.box is not None]
            boxes = follow_all(before.grey, after.grey, [each.box for each in moving if each.box is not None])
            for each, box in zip(moving, boxes, strict=True):
                each.box = box
                if box is not None:
                    each.waiting.append(_followed(after.at_s, box))

    def _match(self, seen: Sequence[Hit], hits: list[Hit]) -> list[Hit]:
        """Say which faces were seen again, nearest first, and return those that were not known."""
        pairs = sorted(
            (_apart(each.box, hit), number, place)
            for number, each in enumerate(self._going)
            for place, hit in enumerate(seen)
            if each.box is not None and _apart(each.box, hit) <= 1
        )
        again, taken = set[int](), set[int]()
        for _, number, place in pairs:
            if number in again or place in taken:
                continue
            again.add(number)
            taken.add(place)
            each, hit = self._going[number], seen[place]
            hits += [waiting for waiting in each.waiting if waiting.at_s < hit.at_s - _SOON]
            each.box, each.seen_s, each.waiting = _box(hit), hit.at_s, []
        new = [hit for place, hit in enumerate(seen) if place not in taken]
        gone = [each for number, each in enumerate(self._going) if number not in again]
        for each in gone:  # missed once by the detector: it is hidden that long, and for longer once it is seen again
            soon = each.seen_s + LOOKED_EVERY_S + _SOON
            hits += [waiting for waiting in each.waiting if waiting.at_s <= soon]
            each.waiting = [waiting for waiting in each.waiting if waiting.at_s > soon]
        now_s = seen[0].at_s if seen else self._until_s
        self._going = [each for each in self._going if each.box is not None and now_s - each.seen_s < BRIDGED_S]
        self._going += [_Going(box=_box(hit), seen_s=hit.at_s) for hit in new]
        return new


def _back(pictures: Sequence[_Kept], new: Sequence[Hit]) -> list[Hit]:
    """Return where faces that were not known came from, back to the look before."""
    hits, boxes = list[Hit](), [_box(hit) for hit in new]
    for after, before in pairwise(pictures[::-1]):
        found = follow_all(after.grey, before.grey, boxes)
        boxes = [box for box in found if box is not None]
        hits += [_followed(before.at_s, box) for box in boxes]
    return hits


def _followed(at_s: float, box: Box) -> Hit:
    left, top = max(0.0, box.x), max(0.0, box.y)
    right, foot = min(1.0, box.x + box.width), min(1.0, box.y + box.height)
    return Hit(at_s, left, top, max(0.0, right - left), max(0.0, foot - top), 0.0)


def _box(hit: Hit) -> Box:
    return Box(hit.x, hit.y, hit.width, hit.height)


def _apart(box: Box | None, hit: Hit) -> float:
    """How far the middles are apart, in sizes of the larger; widths and heights are parts of different lengths."""
    if box is None:
        return math.inf
    across = abs(box.x + box.width / 2 - hit.x - hit.width / 2) / max(box.width, hit.width, 1e-9)
    down = abs(box.y + box.height / 2 - hit.y - hit.height / 2) / max(box.height, hit.height, 1e-9)
    return math.hypot(across, down)
