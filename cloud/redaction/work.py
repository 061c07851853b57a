"""The work of one case on one recording: its plan, how far it is searched, and who watched what of it."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from cloud.redaction.rules.plan import Plan, Review, Span, cut_of, cut_sha256, review
from cloud.redaction.rules.tracks import Hit
from cloud.viewing.reels import Reel

UNSEARCHED: Final = "-"

PLAYED_EARLY_S: Final = 0.3
"""A player says that it played from a little after a stretch's begin, or until a little before its end."""

TELLS_AFTER: Final = 3
"""How many stretches must be done before it is said how long the rest takes."""

REMEMBERED: Final = 0.9
"""How slowly the estimate forgets how long earlier stretches took."""


class Doing(StrEnum):
    """What the process is busy with."""

    NOTHING = "nothing"
    SEARCHING = "searching"
    MAKING = "making"


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a work while nobody works on it. `hits` and `searched_to`: of a search that did not end.

    `watched`: of each person, the stretches that were watched, each with the hash of what was shown.
    """

    plan: Plan
    searched: bool
    searched_to: int
    hits: tuple[Hit, ...]
    watched: Mapping[str, Mapping[int, bytes]]


class Pace:
    """How long the rest takes, from how long the last stretches took."""

    def __init__(self) -> None:
        self._took_s = self._film_s = 0.0
        self._done = 0

    def took(self, seconds: float, *, film_s: float) -> None:
        """Note how long it took to work on so many seconds of film."""
        self._took_s = self._took_s * REMEMBERED + seconds
        self._film_s = self._film_s * REMEMBERED + film_s
        self._done += 1

    def left_s(self, film_s: float) -> float | None:
        """Return how long so many seconds of film will take, or None when that cannot be said yet."""
        if self._done < TELLS_AFTER or self._film_s <= 0:
            return None
        return film_s * self._took_s / self._film_s


@dataclass(kw_only=True)
class Work:
    """The work of one case on one recording.

    `fetched` and `watched`: of each person, the stretches that were sent to their player as a preview, and those of
    them that it says it played; each with the hash of what was shown, for a plan that changes is not what was watched.
    """

    plan: Plan
    starts: Mapping[int, float]
    lengths: Mapping[int, float]
    people: tuple[str, ...] = ()
    doing: Doing = Doing.NOTHING
    done: int = 0
    of: int = 0
    pace: Pace = field(default_factory=Pace)
    searched: bool = False
    searched_to: int = -1
    hits: list[Hit] = field(default_factory=list, repr=False)
    version: int = 0
    picture: int = 0
    stopping: bool = False
    problem: str = ""
    made: str = ""
    made_in: str = ""
    fetched: dict[str, dict[int, bytes]] = field(default_factory=dict, repr=False)
    watched: dict[str, dict[int, bytes]] = field(default_factory=dict, repr=False)
    unsaved_s: float = 0.0
    task: asyncio.Task[None] | None = None
    _prints: dict[int, bytes] = field(default_factory=dict, repr=False)

    def change(self, plan: Plan, *, looks_the_same: bool = False) -> None:
        """Take a new plan; one that `looks_the_same` differs only in what people think of it."""
        self.plan, self.version = plan, self.version + 1
        if not looks_the_same:
            self.picture, self._prints = self.picture + 1, {}

    def sent(self, official: str, sequence: int, shown: bytes) -> None:
        """Note that this person's player got this stretch, as the cut with this hash shows it."""
        self.fetched.setdefault(official, {})[sequence] = shown

    def played(self, official: str, spans: Sequence[Span]) -> float:
        """Take this person's player at its word, for what it was sent; return how many seconds are new.

        What a player sends of an earlier `picture` says nothing of this one.
        """
        fetched, watched = self.fetched.get(official, {}), self.watched.setdefault(official, {})
        new_s = 0.0
        for sequence in _within(spans, self.starts, self.lengths):
            shown = fetched.get(sequence)
            if shown is not None and shown == self.print_of(sequence) and watched.get(sequence) != shown:
                watched[sequence] = shown
                new_s += self.lengths[sequence]
        return new_s

    def print_of(self, sequence: int) -> bytes:
        """Return what tells this stretch, as it is to be made now, from any other way of making it."""
        found = self._prints.get(sequence)
        if found is None:
            begin = self.starts[sequence]
            found = self._prints[sequence] = cut_sha256(cut_of(self.plan, begin, begin + self.lengths[sequence]))
        return found

    def looked(self, official: str) -> tuple[Span, ...]:
        """Return the stretches that this person watched exactly as the plan is now."""
        watched = self.watched.get(official, {})
        return tuple(
            Span(from_s=self.starts[each], until_s=self.starts[each] + self.lengths[each])
            for each, shown in watched.items()
            if each in self.starts and shown == self.print_of(each)
        )

    def watched_by(self) -> dict[str, tuple[Span, ...]]:
        """Return that of each of the people whom the policy asks."""
        return {official: self.looked(official) for official in self.people}

    def review(self) -> Review:
        """Return what still must be done."""
        return review(self.plan, self.watched_by())

    def left_s(self) -> float | None:
        """Return how long what is under way will take, or None when that cannot be said."""
        if self.doing is Doing.NOTHING:
            return None
        lengths = [self.lengths[each] for each in sorted(self.starts, key=self.starts.__getitem__)]
        return self.pace.left_s(sum(lengths[self.done :]))

    def draft(self) -> Draft:
        """Return what is to be kept."""
        return Draft(
            plan=self.plan,
            searched=self.searched,
            searched_to=self.searched_to,
            hits=tuple(self.hits),
            watched=self.watched,
        )

    def resume(self, draft: Draft) -> None:
        """Go on where it was left; not with a draft of another range of the recording."""
        kept = draft.plan
        if (kept.first, kept.last, kept.length_s) != (self.plan.first, self.plan.last, self.plan.length_s):
            return
        self.change(kept)
        self.searched, self.searched_to, self.hits = draft.searched, draft.searched_to, list(draft.hits)
        self.watched = {official: dict(shown) for official, shown in draft.watched.items()}


def new_work(reel: Reel) -> Work:
    """Return work on a recording on which nobody worked yet."""
    starts, at_s = dict[int, float](), 0.0
    for piece in reel.pieces:
        starts[piece.sequence] = round(at_s, 5)
        at_s += piece.length_s
    plan = Plan(
        recording=reel.recording, first=reel.first, last=reel.last, length_s=round(at_s, 3), detector=UNSEARCHED
    )
    return Work(plan=plan, starts=starts, lengths={piece.sequence: piece.length_s for piece in reel.pieces})


def _within(spans: Sequence[Span], starts: Mapping[int, float], lengths: Mapping[int, float]) -> Iterable[int]:
    for sequence, begin in starts.items():
        end = begin + lengths[sequence]
        slack = min(PLAYED_EARLY_S, lengths[sequence] / 3)
        if any(span.from_s <= begin + slack and end - slack <= span.until_s for span in spans):
            yield sequence
