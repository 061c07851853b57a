"""Figures for evaluation: how often, never who. A count that could point at a person is not shown.

A cell below the threshold is suppressed. Where a suppressed cell could be worked out from the total, the next smallest
is suppressed with it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

DIMENSIONS: Final = frozenset(
    {
        "activations",
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
        "month",
        "feels_safe",
    }
)
"""Everything that may be counted. There is no dimension that names a person, and there cannot be one."""


class NotAFigure(ValueError):  # noqa: N818 - reads as a sentence where it is raised
    """Somebody asked to count by something that is not on the list."""

    def __init__(self, dimension: str) -> None:
        super().__init__(f"statistics: expected one of {', '.join(sorted(DIMENSIONS))}, got {dimension!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One table: per category a count, or None where it is suppressed; the total likewise."""

    dimension: str
    cells: Mapping[str, int | None]
    total: int | None
    threshold: int


def figure(dimension: str, observations: Iterable[str], *, threshold: int) -> Figure:
    """Count categories (never people) and suppress what is too small; raise NotAFigure for another dimension."""
    if dimension not in DIMENSIONS:
        raise NotAFigure(dimension)
    return suppress(dimension, Counter(observations), threshold=threshold)


def suppress(dimension: str, counts: Mapping[str, int], *, threshold: int) -> Figure:
    """Return the table with every count of 1 to threshold - 1 suppressed, so that none can be worked out."""
    if dimension not in DIMENSIONS:
        raise NotAFigure(dimension)
    total = sum(counts.values())
    hidden = {name for name, count in counts.items() if 0 < count < threshold}
    if len(hidden) == 1 or 0 < sum(counts[name] for name in hidden) < threshold:
        rest = sorted((counts[name], name) for name in counts if name not in hidden and counts[name] > 0)
        hidden |= {name for _, name in rest[:1]}
    total_tells = 0 < total < threshold or (len(hidden) == 1)
    return Figure(
        dimension=dimension,
        cells={name: None if name in hidden else count for name, count in sorted(counts.items())},
        total=None if total_tells else total,
        threshold=threshold,
    )
