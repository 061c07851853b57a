"""Whom to call when something must be looked at and they may not be at the desk; and how little to say.

A message goes over networks of others and lights up on a telephone on a table: it says that there is something to look
at and since when, never which camera, who, or where.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloud.rules.duties import Official
from cloud.rules.retention import HERE

FRESH: Final = timedelta(hours=12)
"""A matter that was left for longer is for the desk: a call about it would come out of the blue."""

WAITS_S: Final = (5, 15, 60, 300)
"""Between one attempt and the next; after the last the call is given up, which the desk shows."""

ACTIVATION: Final = "activation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """Something that is open now. `kind`: activation, or an alert's; `role`: whom it is for."""

    kind: str
    about: str
    role: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One way to reach one person, which he has confirmed works."""

    id: str
    official: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How a call went so far."""

    count: int
    next_at: datetime
    delivered: bool


Made = Mapping[tuple[str, str, str], Attempts]
"""By channel, kind and subject."""


def calls_due(
    matters: Iterable[Matter],
    *,
    officials: Iterable[Official],
    channels: Iterable[Channel],
    made: Made,
    now: datetime,
) -> Mapping[Channel, tuple[Matter, ...]]:
    """Return what to tell over which channel now: one message per channel, whatever the number of matters.

    Who is absent is not called, unless nobody of that role is present: then all of them are.
    """
    people = tuple(officials)
    due: dict[Channel, list[Matter]] = {}
    fresh = [matter for matter in matters if now - matter.since < FRESH]
    for channel in channels:
        for matter in fresh:
            if channel.official not in _whom(people, matter.role):
                continue
            before = made.get((channel.id, matter.kind, matter.about))
            if before is None or (not before.delivered and before.count <= len(WAITS_S) and before.next_at <= now):
                due.setdefault(channel, []).append(matter)
    return {channel: tuple(each) for channel, each in due.items()}


def next_attempt(count: int, now: datetime) -> datetime:
    """Return when to try again after `count` attempts that failed."""
    return now + timedelta(seconds=WAITS_S[min(count, len(WAITS_S)) - 1])


def given_up(attempts: Attempts) -> bool:
    """Whether nobody will be called about this over this channel any more, though it never arrived."""
    return not attempts.delivered and attempts.count > len(WAITS_S)


def message(matters: Iterable[Matter], *, town: str, address: str) -> tuple[str, str]:
    """Return title and text, Dutch and English: how much there is to look at and since when, and nothing else."""
    each = sorted(matters, key=lambda matter: matter.since)
    presses = sum(matter.kind == ACTIVATION for matter in each)
    since = each[0].since.astimezone(HERE)
    if presses:
        title = f"{town}: {presses} activering{'en' if presses > 1 else ''}"
        text = f"Bodycam geactiveerd, sinds {since:%H:%M}. / Body camera activated, since {since:%H:%M}."
    else:
        title = f"{town}: {len(each)} melding{'en' if len(each) > 1 else ''}"
        text = f"Er is iets om naar te kijken, sinds {since:%H:%M}. / Something to look at, since {since:%H:%M}."
    return title, f"{text}\n{address}"


def _whom(people: Iterable[Official], role: str) -> AbstractSet[str]:
    holders = [person for person in people if role in person.roles]
    present = {person.id for person in holders if not person.absent}
    return present or {person.id for person in holders}
