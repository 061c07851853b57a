"""How safe officers say they feel: asked of everybody, answered by nobody in particular (R-23).

That somebody answered is kept apart from what was answered, and answers are kept as counts only: no row is one
person's. Nothing is shown before a round is over, so that no single answer can be seen to arrive.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloud.rules.seats import Person
from cloud.rules.statistics import Figure, suppress
from cloud.rules.verdicts import Verdict

ANSWERS: Final = ("1", "2", "3", "4", "5")
"""From *strongly disagree* to *strongly agree*."""

OPENS_ROUNDS: Final = frozenset({"cluster_manager", "privacy_officer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One time that it is asked; `statements` are what officers agree or disagree with."""

    id: str
    label: str
    statements: tuple[str, ...]
    opens_at: datetime
    closes_at: datetime

    def is_open(self, now: datetime) -> bool:
        """Whether officers can answer now."""
        return self.opens_at <= now < self.closes_at


def judge_round(person: Person, label: str, statements: Iterable[str]) -> Verdict:
    """Say whether this person may ask these statements."""
    if not person.employed or not person.roles & OPENS_ROUNDS:
        return Verdict(
            allowed=False,
            because="only the cluster manager or the privacy officer asks a survey",
            waarom="alleen de clustermanager of de privacyfunctionaris zet een vragenlijst uit",
        )
    given = [each.strip() for each in statements]
    if not label.strip() or not 1 <= len([each for each in given if each]) <= 5:
        return Verdict(
            allowed=False,
            because="a survey needs a name and one to five statements",
            waarom="een vragenlijst heeft een naam en één tot vijf stellingen",
        )
    return Verdict(allowed=True, because="asks a survey", waarom="zet een vragenlijst uit")


def judge_answer(asked: Round, person: Person, *, answered: bool, now: datetime) -> Verdict:
    """Say whether this person may answer now; `answered`: did so in this round already."""
    if not person.employed or "officer" not in person.roles:
        return Verdict(
            allowed=False,
            because="only officers who wear a camera are asked",
            waarom="alleen medewerkers die een camera dragen wordt dit gevraagd",
        )
    if not asked.is_open(now):
        return Verdict(allowed=False, because="this survey is not open", waarom="deze vragenlijst staat nu niet open")
    if answered:
        return Verdict(allowed=False, because="answered already", waarom="u hebt deze vragenlijst al ingevuld")
    return Verdict(allowed=True, because="is asked", waarom="wordt gevraagd")


def outcome(
    asked: Round, counts: Mapping[int, Mapping[str, int]], *, turnout: int, threshold: int, now: datetime
) -> tuple[Figure, ...]:
    """Return a table per statement, or nothing while it is open or when fewer than `threshold` people answered."""
    if now < asked.closes_at or turnout < threshold:
        return ()
    return tuple(
        suppress(
            "feels_safe",
            {answer: counts.get(at, {}).get(answer, 0) for answer in ANSWERS},
            threshold=threshold,
        )
        for at, _ in enumerate(asked.statements)
    )
