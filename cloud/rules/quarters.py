"""Periods of figures: whole quarters of a year, counted once, and nothing that overlaps.

Two periods that overlap can be subtracted from each other, and a count that was suppressed in both comes out. So nobody
chooses a first and a last day; and a quarter that still grows is shown to nobody, because today's figures minus
yesterday's are the figures of one day.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from cloud.rules.retention import HERE

SETTLES: Final = timedelta(days=28)
"""How long after its end a quarter is counted: both towns' term, so what was kept apart was decided on or is gone."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Quarter:
    """Three months of a year; `number` is 1 to 4."""

    year: int
    number: int

    def __post_init__(self) -> None:
        """Raise ValueError for anything that is not a quarter of a year."""
        if not (2000 <= self.year <= 9998 and 1 <= self.number <= 4):
            raise ValueError(f"quarter: expected 1 to 4 of a year from 2000, got {self.number} of {self.year}")

    @property
    def name(self) -> str:
        """What it is called in an address and a file: ``2026-4``."""
        return f"{self.year}-{self.number}"

    @property
    def first_day(self) -> date:
        """The day on which it begins."""
        return date(self.year, 3 * self.number - 2, 1)

    @property
    def begins_at(self) -> datetime:
        """The moment at which it begins in the Netherlands, as aware UTC."""
        return datetime.combine(self.first_day, time(), tzinfo=HERE).astimezone(UTC)

    @property
    def ends_at(self) -> datetime:
        """The moment at which the next one begins."""
        return self.next().begins_at

    def next(self) -> "Quarter":
        """Return the one after this."""
        return Quarter(year=self.year + self.number // 4, number=self.number % 4 + 1)

    def previous(self) -> "Quarter":
        """Return the one before this."""
        return Quarter(year=self.year - (self.number == 1), number=(self.number - 2) % 4 + 1)

    @property
    def counted_at(self) -> datetime:
        """The moment as of which it is counted: what is heard of it from then on changes nothing any more."""
        return self.ends_at + SETTLES


def quarter_of(moment: datetime) -> Quarter:
    """Return the quarter in which this moment falls in the Netherlands."""
    day = moment.astimezone(HERE).date()
    return Quarter(year=day.year, number=(day.month + 2) // 3)


def read_quarter(text: str) -> Quarter:
    """Return the quarter with this name; raise ValueError for anything else."""
    year, dash, number = text.partition("-")
    if not (
        dash
        and text.isascii()
        and year.isdecimal()
        and len(year) == 4
        and number in ("1", "2", "3", "4")
        and int(year) >= 2000
    ):
        raise ValueError(f"quarter: expected a name such as 2026-4, got {text[:20]!r}")
    return Quarter(year=int(year), number=int(number))


def latest(now: datetime, *, count: int) -> tuple[Quarter, ...]:
    """Return the last `count` quarters that have been counted, newest first."""
    found = [quarter_of(now - SETTLES).previous()]
    while len(found) < count:
        found.append(found[-1].previous())
    return tuple(found)
