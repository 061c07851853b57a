"""Usage reports: an officer's own word on each use, and which are still owed."""

from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from broker.wire.policy import ActivationReason, PlaceKind
from broker.wire.refusals import Code
from cloud.api.declaration import Call, Created, Given, Group, Instant, Name, Nothing, Shown, Text, door, operation
from cloud.casework.reports import Report
from cloud.desk.pages.reports import SUPERVISES, WATCHES, reads
from cloud.desk.rules.doors import Door
from cloud.desk.town import deny
from cloud.rules.duties import Owed

REPORTS: Final = Group(
    name="gebruiksmeldingen", purpose="Elk gebruik van een camera wordt verantwoord, door wie haar droeg, op tijd."
)
SEES: Final = door(Door.REPORTS)


class ReportShown(Shown):
    """One report. `flags`: what differs from the policy."""

    id: UUID
    official: str
    recording: UUID | None
    incident: UUID | None
    state: str
    due_at: Instant
    submitted_at: Instant | None
    late: bool
    notified: tuple[str, ...]
    answers: dict[str, Any]
    flags: tuple[str, ...]


class ReportsShown(Shown):
    """Reports, newest first."""

    items: tuple[ReportShown, ...]


class OwedShown(Shown):
    """A report that is owed."""

    official: str
    recording: UUID
    due_at: Instant


class OwedListShown(Shown):
    """Reports that are owed, by when."""

    items: tuple[OwedShown, ...]


class ReportPath(Given):
    """Which report."""

    report: UUID


class ReportsAsked(Given):
    """One's own, or those that were told to one: to the privacy officer also what differs from the policy."""

    to_me: bool = False


class AnswersGiven(Given):
    """What the report says; a draft need not be complete. `used_at`, `camera`: of a use that nobody heard of yet."""

    cause: Text | None = None
    event: Text | None = None
    reason: ActivationReason | None = None
    place_kind: PlaceKind | None = None
    warning_given: bool | Literal["yes", "no", "not_possible"] | None = None
    warning_why_not: Text | None = None
    warned_not_recorded: bool | None = None
    used_at: Instant | None = None
    camera: Name | None = None
    bystanders_informed: bool | None = None
    how: Text | None = None
    when: Text | None = None
    why_not: Text | None = None
    information_given: bool | None = None
    information_why_not: Text | None = None
    at_risk: Literal["officer", "bystanders", "both"] | None = None
    aggression_against: Literal["officer", "person_involved", "third_party"] | None = None
    present_staff: tuple[Name, ...] = ()


class ReportGiven(Given):
    """A draft, of one use or (without a recording) of a warning that sufficed."""

    answers: AnswersGiven
    recording: UUID | None = None
    incident: UUID | None = None


@operation("GET", "/gebruiksmeldingen", "Mijn meldingen", group=REPORTS, roles=SEES)
async def reports(call: Call, query: ReportsAsked) -> ReportsShown:
    """Return one's own reports, or those that were told to one, newest first."""
    if query.to_me:
        watches = WATCHES in call.me.roles
        everything = await call.town.casework.reports(call.org)
        found = tuple(each for each in everything if call.me.id in each.notified or (watches and each.flags))
    else:
        found = await call.town.casework.reports(call.org, of=call.me.id)
    return ReportsShown(items=tuple(_shown(each) for each in found))


@operation("POST", "/gebruiksmeldingen", "Een melding beginnen", group=REPORTS, roles=SEES, created=True,
           gives=ReportShown)  # fmt: skip
async def begin_report(call: Call, body: ReportGiven) -> Created:
    """Keep a draft of one's own use; the footage need not be there yet."""
    made = await _save(call, body, None)
    return Created(made, f"/gebruiksmeldingen/{made.id}")


@operation("GET", "/gebruiksmeldingen/{melding}", "Eén melding", group=REPORTS, roles=SEES, tagged=True)
async def report(call: Call, path: ReportPath) -> ReportShown:
    """Return one report: to its writer, to whom it was told, and to the privacy officer."""
    found = await call.town.casework.report(call.org, str(path.report))
    if not reads(found, call.me):
        await deny(call.request, "melding", "Deze melding is niet aan u gericht.")
    return _shown(found)


@operation("PUT", "/gebruiksmeldingen/{melding}", "Een melding bijwerken of aanvullen", group=REPORTS, roles=SEES,
           guarded_by=report)  # fmt: skip
async def save_report(call: Call, path: ReportPath, body: ReportGiven) -> ReportShown:
    """Keep what is said now; what a submitted report said stays, and is supplemented."""
    return await _save(call, body, str(path.report))


@operation("POST", "/gebruiksmeldingen/{melding}/inzendingen", "Een melding insturen", group=REPORTS, roles=SEES,
           refuses=(Code.CONFLICT,), guarded_by=report)  # fmt: skip
async def submit_report(call: Call, path: ReportPath, body: Nothing) -> ReportShown:  # noqa: ARG001 - says it all
    """Submit it: whoever must be told is told. What is missing is said, and the draft stays."""
    return _shown(await call.town.casework.submit_report(call.org, str(path.report), by=call.me.id))


@operation("GET", "/meldplichten", "Wat ik nog moet melden", group=REPORTS, roles=SEES)
async def owed(call: Call) -> OwedListShown:
    """Return one's own uses that have no submitted report yet."""
    found = await call.town.casework.owed(call.org, of=call.me.id)
    return OwedListShown(items=tuple(_owed(each) for each in found))


@operation("GET", "/achterstallige-meldplichten", "Welke meldingen te laat zijn", group=REPORTS, roles=SUPERVISES)
async def overdue(call: Call) -> OwedListShown:
    """Return every report that is late, the latest first."""
    found = await call.town.casework.overdue_reports(call.org)
    return OwedListShown(items=tuple(_owed(each) for each, _ in found))


async def _save(call: Call, body: ReportGiven, report: str | None) -> ReportShown:
    said = {name: getattr(body.answers, name) for name in body.answers.__struct_fields__}
    return _shown(
        await call.town.casework.save_report(
            call.org,
            by=call.me.id,
            answers={name: msgspec.to_builtins(value) for name, value in said.items() if value is not None},
            recording=str(body.recording) if body.recording else None,
            incident=str(body.incident) if body.incident else None,
            report=report,
        )
    )


def _owed(owed: Owed) -> OwedShown:
    return OwedShown(official=owed.official, recording=UUID(owed.recording), due_at=owed.due_at)


def _shown(report: Report) -> ReportShown:
    return ReportShown(
        id=UUID(report.id),
        official=report.official,
        recording=UUID(report.recording) if report.recording else None,
        incident=UUID(report.incident) if report.incident else None,
        state=report.state,
        due_at=report.due_at,
        submitted_at=report.submitted_at,
        late=report.late,
        notified=report.notified,
        answers=dict(report.answers),
        flags=report.flags,
    )


OPERATIONS: Final = (reports, begin_report, report, save_report, submit_report, owed, overdue)
