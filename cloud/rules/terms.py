"""Legal terms: until when something must be answered, and from when a decision cannot be fought any more.

The numbers are in the policy's [terms], each with its article. A term in weeks after a decision runs from the day
after the decision was *sent* (Awb 6:8) and ends with its last day; one that would end on a Saturday, a Sunday or a
public holiday ends on the next day that is none of these (Algemene termijnenwet art. 1 and 3).
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from broker.wire.policy import EndsWhen, Policy
from cloud.rules.retention import HERE


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTerm:
    """When an access request is urgent, and by when it must be answered (the end of that day)."""

    warn_on: date
    answer_by: date
    extended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The path of a decision that somebody may fight. Dates are days in the Netherlands; `granted` fully so."""

    granted: bool
    sent_on: date | None
    objected_on: date | None = None
    objection_sent_on: date | None = None
    appealed_on: date | None = None
    judged_final_on: date | None = None
    withdrawn: bool = False


def day_of(moment: datetime) -> date:
    """Return the day in the Netherlands on which this moment falls."""
    return moment.astimezone(HERE).date()


def end_of(day: date) -> datetime:
    """Return the moment at which this day is over in the Netherlands, as aware UTC."""
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=HERE).astimezone(UTC)


def access_answer(policy: Policy, received_at: datetime, *, extended: bool = False) -> AnswerTerm:
    """Return the term of an access request, counted from receipt (AVG 12(3)), also when it was registered later."""
    received = day_of(received_at)
    months = policy.terms.access_answer_months + (policy.terms.access_extension_months if extended else 0)
    return AnswerTerm(
        warn_on=received + timedelta(days=policy.terms.access_warn_days),
        answer_by=next_working_day(add_months(received, months)),
        extended=extended,
    )


def may_extend(policy: Policy, received_at: datetime, now: datetime, *, extended: bool) -> bool:
    """Whether the answer may still be put off: once, and before the first term ends."""
    return not extended and day_of(now) <= access_answer(policy, received_at).answer_by


def complaint_answer(policy: Policy, received_at: datetime, *, extended: bool = False) -> date:
    """Return the last day to handle a complaint (Awb 9:11)."""
    terms = policy.terms
    weeks = terms.complaint_committee_weeks if policy.complaint.by_committee else terms.complaint_weeks
    weeks += terms.complaint_extension_weeks if extended else 0
    return next_working_day(day_of(received_at) + timedelta(weeks=weeks))


def last_day_to_object(policy: Policy, sent_on: date) -> date:
    """Return the last day on which an objection is in time."""
    return next_working_day(sent_on + timedelta(weeks=policy.terms.objection_weeks))


def last_day_to_appeal(policy: Policy, sent_on: date) -> date:
    """Return the last day on which an appeal is in time."""
    return next_working_day(sent_on + timedelta(weeks=policy.terms.appeal_weeks))


def is_final(policy: Policy, decided: Decided, today: date) -> bool:
    """Whether nobody can fight the decision any more. A decision that was never sent is never final."""
    if decided.withdrawn:
        return True
    if decided.sent_on is None:
        return False
    if decided.judged_final_on is not None:
        return today >= decided.judged_final_on
    if decided.appealed_on is not None:
        return False
    if decided.objection_sent_on is not None:
        return today > last_day_to_appeal(policy, decided.objection_sent_on)
    if decided.objected_on is not None:
        return False
    if decided.granted:
        return True  # nothing was refused, so there is nothing to object to (Awb 6:13)
    return today > last_day_to_object(policy, decided.sent_on)


def final_from(policy: Policy, decided: Decided) -> date | None:
    """Return the first day on which the decision is final if nothing more happens; None while somebody must act."""
    if decided.sent_on is None and not decided.withdrawn:
        return None
    if decided.judged_final_on is not None:
        return decided.judged_final_on
    if decided.appealed_on is not None or (decided.objected_on is not None and decided.objection_sent_on is None):
        return None
    if decided.objection_sent_on is not None:
        return last_day_to_appeal(policy, decided.objection_sent_on) + timedelta(days=1)
    if decided.granted or decided.sent_on is None:
        return decided.sent_on
    return last_day_to_object(policy, decided.sent_on) + timedelta(days=1)


def add_months(day: date, months: int) -> date:
    """Return the same day so many months later, or the last day of that month when it is shorter."""
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def next_working_day(day: date) -> date:
    """Return this day, or the first after it that is no Saturday, Sunday or public holiday."""
    while day.weekday() >= 5 or day in public_holidays(day.year):
        day += timedelta(days=1)
    return day


def public_holidays(year: int) -> frozenset[date]:
    """Return the days that count as a Sunday (Algemene termijnenwet art. 3; Liberation Day every year)."""
    easter = easter_sunday(year)
    kings_day = date(year, 4, 27)
    if kings_day.weekday() == 6:
        kings_day = date(year, 4, 26)
    return frozenset(
        {date(year, 1, 1), kings_day, date(year, 5, 5), date(year, 12, 25), date(year, 12, 26)}
        | {easter + timedelta(days=days) for days in (-2, 1, 39, 50)}  # Good Friday, Easter, Ascension, Whit Monday
    )


def easter_sunday(year: int) -> date:
    """Return Easter Sunday of the Gregorian calendar (the anonymous algorithm, Meeus, Jones and Butcher)."""
    a, (b, c) = year % 19, divmod(year, 100)
    (d, e), f = divmod(b, 4), (b + 8) // 25
    h = (19 * a + b - d - (b - f + 1) // 3 + 15) % 30
    (i, k) = divmod(c, 4)
    weekday = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * weekday) // 451
    month, day = divmod(h + weekday - 7 * m + 114, 31)
    return date(year, month, day + 1)


def unmet(ends_when: tuple[EndsWhen, ...], met: frozenset[EndsWhen]) -> tuple[EndsWhen, ...]:
    """Return what must still happen before a hold may end."""
    return tuple(each for each in ends_when if each not in met)
