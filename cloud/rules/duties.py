"""What an officer owes after each use: a report, when, to whom, saying what. And whose reports are overdue."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from broker.wire.policy import ActivationReason, PlaceKind, Policy, ReportField
from cloud.rules.verdicts import Verdict, allow, deny


@dataclass(frozen=True, slots=True, kw_only=True)
class Official:
    """Somebody a report may go to: who holds the role now, and whether he is there."""

    id: str
    roles: frozenset[str]
    absent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """To whom a report goes and why; `role` is the role they get it in."""

    to: tuple[str, ...]
    role: str
    because: str
    waarom: str


def report_due_at(policy: Policy, *, activated_at: datetime, shift_ends_at: datetime | None) -> datetime | None:
    """Return when the report of this use is due: the end of the shift, or at once when no shift is known."""
    if not policy.usage_report.required:
        return None
    return shift_ends_at if shift_ends_at is not None else activated_at


DECLARED_WITHIN: Final = timedelta(days=1)
"""How long whoever is named in a declaration has for his report, where no shift of his runs."""


def declared_report_due_at(policy: Policy, *, declared_at: datetime, shift_ends_at: datetime | None) -> datetime | None:
    """Return when the report is due of a press that two people declared later: it counts from their declaration.

    The end of the shift that he works then; a day where he works none. Before it, he could not know of it.
    """
    if not policy.usage_report.required:
        return None
    return shift_ends_at if shift_ends_at is not None else declared_at + DECLARED_WITHIN


def notice_of_report(policy: Policy, *, reporter: str, officials: tuple[Official, ...]) -> Notice | None:
    """Return to whom the report goes: the first role, or the next when it is absent, empty, or reports himself."""
    told = policy.usage_report
    for role in (told.notify, told.if_absent):
        if role is None:
            continue
        there = tuple(each.id for each in officials if role in each.roles and not each.absent and each.id != reporter)
        if there:
            first = role == told.notify
            return Notice(
                to=there,
                role=role,
                because="the first role to be told" if first else "the first role is absent or reports himself",
                waarom="de eerste functie die het hoort" if first else "de eerste is afwezig of meldt zelf",
            )
    return None


FIELDS: Final[Mapping[ReportField, tuple[str, str]]] = {
    ReportField.CAUSE: ("the cause", "de aanleiding"),
    ReportField.EVENT: ("what happened", "de gebeurtenis"),
    ReportField.BYSTANDERS_INFORMED: ("whether bystanders were informed", "of omstanders zijn geïnformeerd"),
    ReportField.HOW: ("how they were informed", "hoe zij zijn geïnformeerd"),
    ReportField.WHEN: ("when", "wanneer"),
    ReportField.WARNING_GIVEN: ("whether a warning was given", "of er gewaarschuwd is"),
    ReportField.PLACE_KIND: ("the kind of place", "het soort plaats"),
    ReportField.PRESENT_STAFF: ("which colleagues were there", "welke collega's erbij waren"),
}
"""The fields of a report, in English and Dutch."""


def judge_report(policy: Policy, answers: Mapping[str, Any]) -> Verdict:
    """Decide whether a report may be submitted: every field the policy asks for has an answer.

    "No" (False) and an empty list of colleagues are answers. Not informed means there is no *how* or *when* to give.
    """
    for name, words in CLOSED_ANSWERS.items():
        if answers.get(name) is not None and answers[name] not in words:
            said = ", ".join(words)
            return deny(f"{name}: expected one of {said}", f"{name}: kies uit {said}")
    not_informed = answers.get(ReportField.BYSTANDERS_INFORMED) is False
    informed_only = {ReportField.HOW, ReportField.WHEN}
    asks_about_bystanders = ReportField.BYSTANDERS_INFORMED in policy.usage_report.fields
    missing = [
        asked
        for asked in policy.usage_report.fields
        if not _answered(answers.get(asked)) and not (asks_about_bystanders and not_informed and asked in informed_only)
    ]
    if missing:
        return deny(
            "the report does not say: " + ", ".join(FIELDS[each][0] for each in missing),
            "in de melding ontbreekt: " + ", ".join(FIELDS[each][1] for each in missing),
        )
    return allow("the report says what it must", "de melding zegt wat zij moet zeggen")


def _answered(answer: Any) -> bool:
    if isinstance(answer, str):
        return bool(answer.strip())
    return answer is not None


def compliance_flags(policy: Policy, answers: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a submitted report tells that differs from the policy, as codes of FLAGS. Never blocks anything."""
    found: list[str] = []
    match answers.get("warning_given", answers.get(ReportField.BYSTANDERS_INFORMED)):
        case False | "no":
            found.append("no_warning")
        case "not_possible" if not policy.announcement.exception_allowed:
            found.append("no_warning")
        case _:
            pass
    reason = answers.get("reason")
    if reason is not None and reason not in policy.activation.reasons:
        found.append("reason_not_listed")
    place = answers.get("place_kind")
    if place is not None and place not in policy.locations.allowed:
        found.append("forbidden_place" if place in policy.locations.forbidden else "place_not_listed")
    informed_after = answers.get("information_given")
    if policy.information_after.required and informed_after is False:
        excused = policy.information_after.exception_allowed and _answered(answers.get("information_why_not"))
        if not excused:
            found.append("not_informed_after")
    return tuple(found)


FLAGS: Final[Mapping[str, tuple[str, str]]] = {
    "no_warning": ("no warning before activation", "geen waarschuwing vooraf"),
    "reason_not_listed": (
        "switched on for a reason the policy does not list",
        "aangezet om een reden buiten het beleid",
    ),
    "forbidden_place": ("made in a place the policy forbids", "gemaakt op een verboden plaats"),
    "place_not_listed": ("made in a place the policy does not name", "gemaakt op een plaats die het beleid niet noemt"),
    "not_informed_after": ("people were not informed afterwards", "betrokkenen zijn achteraf niet geïnformeerd"),
}
"""Each flag in English and Dutch."""

CLOSED_ANSWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "at_risk": ("officer", "bystanders", "both"),  # who was at risk
    "aggression_against": ("officer", "person_involved", "third_party"),  # whom it was aimed at
    "place_kind": tuple(PlaceKind),
    "reason": tuple(ActivationReason),
}
"""Answers that come from a list, where they are given: so that they can be counted and never name anybody."""

REASONS: Final[Mapping[ActivationReason, tuple[str, str]]] = {
    ActivationReason.THREATENING_ESCALATION: ("it threatened to escalate", "de situatie dreigde te escaleren"),
    ActivationReason.ESCALATION: ("it escalated", "de situatie escaleerde"),
    ActivationReason.OWN_SAFETY: ("the officer's own safety", "de eigen veiligheid"),
    ActivationReason.SAFETY_OF_OTHERS: ("the safety of others", "de veiligheid van anderen"),
}
"""Each reason to press the button, in English and Dutch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """One report that is owed."""

    official: str
    recording: str
    due_at: datetime


def overdue(owed: tuple[Owed, ...], now: datetime) -> tuple[Owed, ...]:
    """Return the reports that are late, the latest first."""
    return tuple(sorted((each for each in owed if now > each.due_at), key=lambda each: each.due_at))


def reminder_to(policy: Policy, late: Owed, officials: tuple[Official, ...]) -> tuple[str, ...]:
    """Return who is reminded of a late report: the wearer himself and whoever would get it."""
    notice = notice_of_report(policy, reporter=late.official, officials=officials)
    return (late.official, *(notice.to if notice else ()))
