"""When the rights of people must be looked at again: each quarter who holds what, each year everything."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from cloud.rules.terms import add_months, day_of


class Review(StrEnum):
    """The two reviews. A yearly one is a quarterly one too."""

    QUARTERLY = "quarterly"
    YEARLY = "yearly"


MONTHS: Final = {Review.QUARTERLY: 3, Review.YEARLY: 12}
"""What the words mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """When a review must be done at the latest, and the one before it (None: never yet)."""

    review: Review
    last: datetime | None
    by: date
    overdue: bool


def next_reviews(done: Iterable[tuple[Review, datetime]], *, began: datetime, now: datetime) -> tuple[Due, ...]:
    """Return when each review is due. `done`: what was reviewed when; `began`: when the first policy was adopted."""
    told = tuple(done)
    return tuple(_next(review, told, began=began, now=now) for review in Review)


def _next(review: Review, done: tuple[tuple[Review, datetime], ...], *, began: datetime, now: datetime) -> Due:
    counts = {Review.QUARTERLY: set(Review), Review.YEARLY: {Review.YEARLY}}[review]
    last = max((at for kind, at in done if kind in counts), default=None)
    by = add_months(day_of(last or began), MONTHS[review])
    return Due(review=review, last=last, by=by, overdue=day_of(now) > by)
