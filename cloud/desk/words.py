"""Two languages: Dutch stands in the pages themselves (B1), English in a catalogue beside them, a file per subject.

The Dutch sentence is the key, as in gettext: a page reads as what it shows. A sentence without a translation is shown
in Dutch, and a test names it.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

Language = Literal["nl", "en"]

HERE: Final = ZoneInfo("Europe/Amsterdam")
_CATALOGUE: Final = Path(__file__).parent / "catalogue" / "en"
_DAYS: Final = {
    "nl": ("ma", "di", "wo", "do", "vr", "za", "zo"),
    "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
}
_MONTHS: Final = {
    "nl": ("jan", "feb", "mrt", "apr", "mei", "jun", "jul", "aug", "sep", "okt", "nov", "dec"),
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
}


def read_catalogue() -> Mapping[str, str]:
    """Return the English sentence of each Dutch one. Raise ValueError where two files say it differently."""
    catalogue: dict[str, str] = {}
    for file in sorted(_CATALOGUE.glob("*.json")):
        for dutch, english in json.loads(file.read_text(encoding="utf-8")).items():
            if catalogue.setdefault(dutch, english) != english:
                raise ValueError(f"catalogue: {file.name} says {dutch!r} unlike another file; say it once")
    return catalogue


class Words:
    """One language's sentences, dates and durations."""

    def __init__(self, language: Language, catalogue: Mapping[str, str]) -> None:
        self.language: Language = language
        self._catalogue = catalogue if language == "en" else {}

    def __call__(self, dutch: str, **facts: object) -> str:
        """Return the sentence in this language, with `facts` filled in between braces."""
        sentence = self._catalogue.get(dutch, dutch)
        return sentence.format(**facts) if facts else sentence

    def moment(self, at: datetime | None) -> str:
        """Return a day and time as people in the Netherlands read it: ``zo 22 nov 2026 14:03``."""
        if at is None:
            return "–"
        local = at.astimezone(HERE)
        return f"{self.day(at)} {local:%H:%M}"

    def exactly(self, at: datetime | None) -> str:
        """Return a day and time with seconds."""
        return "–" if at is None else f"{self.moment(at)}:{at.astimezone(HERE):%S}"

    def day(self, at: datetime | None) -> str:
        """Return a day: ``zo 22 nov 2026``."""
        if at is None:
            return "–"
        local = at.astimezone(HERE)
        weekday, month = _DAYS[self.language][local.weekday()], _MONTHS[self.language][local.month - 1]
        return f"{weekday} {local.day} {month} {local.year}"

    def last_day(self, until: datetime | None) -> str:
        """Return the last day of what ends at this moment: what ends at midnight ended with the day before."""
        return self.day(None if until is None else until - timedelta(microseconds=1))

    def clock(self, at: datetime | None) -> str:
        """Return a time of the day with seconds."""
        return "–" if at is None else f"{at.astimezone(HERE):%H:%M:%S}"

    def megabytes(self, count: int) -> str:
        """Return a number of bytes as people write it here: ``0,2 MB``."""
        text = f"{count / 1_000_000:.1f} MB"
        return text.replace(".", ",") if self.language == "nl" else text

    def month(self, name: str) -> str:
        """Return a month of a year, such as ``2026-11``, as people say it; anything else as it is."""
        year, _, number = name.partition("-")
        if not (len(year) == 4 and year.isdecimal() and number.isdecimal() and 1 <= int(number) <= 12):
            return name
        return f"{_MONTHS[self.language][int(number) - 1]} {year}"

    def ago(self, at: datetime | None, now: datetime) -> str:
        """Return how long ago something was, as short as it can be said."""
        if at is None:
            return self("nooit")
        return self("{duration} geleden", duration=self.duration(now - at))

    def duration(self, span: timedelta) -> str:
        """Return a length of time in its largest unit: ``12 s``, ``3 min``, ``5 uur``, ``2 dagen``."""
        seconds = max(0, int(span.total_seconds()))
        if seconds < 60:
            return self("{n} s", n=seconds)
        if seconds < 3600:
            return self("{n} min", n=seconds // 60)
        if seconds < 48 * 3600:
            return self("{n} uur", n=seconds // 3600)
        return self("{n} dagen", n=seconds // 86_400)


def machine(at: datetime | None) -> str:
    """Return the moment for a ``<time datetime>``."""
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="seconds")
