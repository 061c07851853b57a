"""Figures for evaluation: how often, never who. A count that could point at a person is not shown.

Everybody may know this rule, the total, and every other figure of the quarter. So what is hidden is never only what is
small: with the small counts goes the smallest that is not, and nobody can say which of them is which. Where nothing
would be left, no division is shown at all.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cloud.rules.quarters import quarter_of

DIMENSIONS: Final = frozenset(
    {
        "activations",
        "press_known_by",
        "activation_reason",
        "warning_given",
        "warned_not_recorded",
        "reports_on_time",
        "place_kind",
        "holds_by_kind",
        "views_by_purpose",
        "disclosures_by_recipient",
        "destroyed_on_time",
        "destroyed_before_registration",
        "area",
        "feels_safe",
    }
)
"""Everything that may be counted. There is no dimension that names a person, and there cannot be one."""

ANSWERS_COUNTED: Final = ("reason", "warning_given", "warned_not_recorded", "place_kind")
"""The answers of a report that figures are made of; each is from a list."""


class NotAFigure(ValueError):  # noqa: N818 - reads as a sentence where it is raised
    """Somebody asked to count by something that is not on the list."""

    def __init__(self, dimension: str) -> None:
        super().__init__(f"statistics: expected one of {', '.join(sorted(DIMENSIONS))}, got {dimension!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One table: per category a count, or None where it is suppressed; no cells where only the total can be shown.

    `total` is None where it is itself too small.
    """

    dimension: str
    cells: Mapping[str, int | None]
    total: int | None
    threshold: int


def figure(dimension: str, observations: Iterable[str], *, threshold: int) -> Figure:
    """Count categories (never people) and suppress what is too small; raise NotAFigure for another dimension."""
    return suppress(dimension, Counter(observations), threshold=threshold)


def suppress(dimension: str, counts: Mapping[str, int], *, threshold: int) -> Figure:
    """Return the table in which no count of 1 to threshold - 1 can be read or worked out; raise NotAFigure.

    Counts are treated by their size alone, so a small one that is hidden and the companion that is hidden with it
    could always be the other way round.
    """
    if dimension not in DIMENSIONS:
        raise NotAFigure(dimension)
    total = sum(counts.values())
    small = {count for count in counts.values() if 0 < count < threshold}
    enough = {count for count in counts.values() if count >= threshold}
    hidden = small | ({min(enough)} if small and enough else set())
    nothing_left = bool(hidden) and not enough - hidden
    return Figure(
        dimension=dimension,
        cells={}
        if nothing_left
        else {name: None if count in hidden else count for name, count in sorted(counts.items())},
        total=None if 0 < total < threshold else total,
        threshold=threshold,
    )


def without_person(answers: Mapping[str, Any], *, submitted_at: datetime, due_at: datetime) -> dict[str, Any]:
    """Return what may be kept of a report whose people are forgotten: what is counted, and in which quarter.

    Without it the figures of a finished quarter would melt away, and each reading would tell of one report.
    """
    counted_in = quarter_of(submitted_at).begins_at
    return {
        "submitted_at": counted_in,
        "due_at": counted_in if submitted_at <= due_at else counted_in - timedelta(seconds=1),
        "answers": {name: answers[name] for name in ANSWERS_COUNTED if name in answers},
    }
