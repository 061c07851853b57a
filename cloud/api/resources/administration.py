"""Who works here and as what, who stands in for whom, and whether the installation is well."""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Created, Given, Group, Instant, Name, Shown, Text, door, operation
from cloud.desk.administration import ADMINISTRATION as OFFICE
from cloud.desk.administration import Administration
from cloud.desk.pages.administration import SEES_PEOPLE, leaving_on, stand_ins_of
from cloud.desk.pages.selfcheck import SELF_CHECK
from cloud.desk.rules.doors import Door
from cloud.rules.programs import Scope
from cloud.rules.self_check import Check, Light, worst

ADMINISTRATION: Final = Group(
    name="beheer",
    purpose="Wie wat mag is besloten, tijdelijk en na te gaan; en het systeem zegt zelf hoe het ermee staat.",
)
SEES: Final = door(Door.ADMINISTRATION)
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=120, pattern=r"^[^\x00]*$")]
RoleName = Annotated[str, msgspec.Meta(pattern=r"^[a-z_]{1,40}$")]


class SubstitutionShown(Shown):
    """Somebody stands in."""

    id: UUID


class StandInShown(Shown):
    """One substitution that runs or is to come."""

    id: UUID
    role: str
    replaced: str
    substitute: str
    from_at: Instant
    until_at: Instant
    appointed_by: str


class StandInsShown(Shown):
    """Every substitution that runs or is to come, by its first day."""

    items: tuple[StandInShown, ...]


class RoleHeldShown(Shown):
    """A role that somebody holds, from when until when (null: without an end), and by whom it was given."""

    role: str
    from_at: Instant
    until_at: Instant | None
    given_by: str


class PersonShown(Shown):
    """Somebody who works here: what they hold, whether they are away, and when they leave."""

    id: str
    name: str
    function: str | None
    department: str | None
    team: str | None
    absent: bool
    leaves_at: Instant | None
    roles: tuple[RoleHeldShown, ...]


class FindingShown(Shown):
    """One check, and what to do about it."""

    check: Check
    light: Light
    because: str
    to_do: str
    facts: dict[str, Any]


class WellShown(Shown):
    """How the installation is: the worst of what was found, and all of it."""

    at: Instant
    light: Light
    items: tuple[FindingShown, ...]


class OfficialPath(Given):
    """Who."""

    official: Name


class RolePath(Given):
    """Which role of whom."""

    official: Name
    role: RoleName


class SubstitutionPath(Given):
    """Which substitution."""

    substitution: UUID


class HiredGiven(Given):
    """Somebody new: the pseudonym under which they stand in the ledger, name, and what they are. Null: not."""

    official: Name
    name: Words
    function: Words | None = None
    department: Words | None = None
    team: Words | None = None


class AbsentGiven(Given):
    """Until when somebody is away; null: back again."""

    until_at: Instant | None


class LeavesGiven(Given):
    """From when somebody works here no more; what is past means now."""

    at: Instant


class RoleGiven(Given):
    """Which role, until when (not said: without an end)."""

    role: RoleName
    until_at: Instant | None = None


class SubstitutionGiven(Given):
    """Who stands in for whom, in which role, from when until when, and why."""

    role: RoleName
    replaced: Name
    substitute: Name
    from_at: Instant
    until_at: Instant
    ground: Text


@operation("POST", "/medewerkers", "Iemand inschrijven", group=ADMINISTRATION, roles=SEES, created=True,
           gives=PersonShown)  # fmt: skip
async def hire(call: Call, body: HiredGiven) -> Created:
    """Enter somebody new from now on, without any role on the office; a function makes somebody an officer."""
    await office_of(call).personnel.hire(
        call.org,
        by=call.me.id,
        official=body.official,
        name=body.name,
        function=body.function,
        department=body.department,
        team=body.team,
    )
    return Created(await _person(call, body.official), f"/medewerkers/{body.official}")


@operation("GET", "/medewerkers/{medewerker}", "Eén medewerker", group=ADMINISTRATION, roles=SEES_PEOPLE)
async def official(call: Call, path: OfficialPath) -> PersonShown:
    """Return somebody who works here, with every role and by whom it was given."""
    return await _person(call, path.official)


@operation("PUT", "/medewerkers/{medewerker}/afwezigheid", "Zeggen dat iemand er niet is", group=ADMINISTRATION)
async def mark_absent(call: Call, path: OfficialPath, body: AbsentGiven) -> None:
    """Say until when somebody is away: oneself, or whoever the policy lets appoint substitutes."""
    await call.town.casework.mark_absent(call.org, by=call.me.id, official=path.official, until_at=body.until_at)


@operation("PUT", "/medewerkers/{medewerker}/vertrek", "Iemand uitschrijven", group=ADMINISTRATION, roles=SEES)
async def let_go(call: Call, path: OfficialPath, body: LeavesGiven) -> None:
    """Say when somebody leaves: from then on no right is left, and the name stays readable in what was written."""
    await office_of(call).personnel.leave_at(call.org, by=call.me.id, official=path.official, at=body.at)


@operation(
    "POST", "/medewerkers/{medewerker}/rollen", "Een rol geven", group=ADMINISTRATION, roles=SEES,
    refuses=(Code.NOT_FOUND, Code.CONFLICT),
)  # fmt: skip
async def appoint(call: Call, path: OfficialPath, body: RoleGiven) -> None:
    """Give somebody a role from now on: by whom the policy says, never to oneself."""
    await call.town.casework.appoint(
        call.org, by=call.me.id, official=path.official, role=body.role, until_at=body.until_at
    )


@operation(
    "DELETE", "/medewerkers/{medewerker}/rollen/{rol}", "Een rol nemen", group=ADMINISTRATION, roles=SEES,
    refuses=(Code.CONFLICT,),
)  # fmt: skip
async def dismiss(call: Call, path: RolePath) -> None:
    """Take a role away from now on."""
    await call.town.casework.withdraw(call.org, by=call.me.id, official=path.official, role=path.role)


@operation("GET", "/vervangingen", "Wie vervangt wie, nu of straks", group=ADMINISTRATION, roles=SEES_PEOPLE)
async def stand_ins(call: Call) -> StandInsShown:
    """Return the substitutions that run or are to come, by their first day."""
    return StandInsShown(
        items=tuple(
            StandInShown(
                id=UUID(each.id),
                role=each.role,
                replaced=each.replaced,
                substitute=each.substitute,
                from_at=each.from_at,
                until_at=each.until_at,
                appointed_by=each.appointed_by,
            )
            for each in await stand_ins_of(call.town)
        )
    )


@operation("POST", "/vervangingen", "Iemand laten vervangen", group=ADMINISTRATION, roles=SEES, created=True,
           gives=SubstitutionShown)  # fmt: skip
async def stand_in(call: Call, body: SubstitutionGiven) -> Created:
    """Appoint somebody to stand in for somebody, for a period: by whom the policy says."""
    made = await call.town.casework.appoint_substitute(
        call.org,
        by=call.me.id,
        role=body.role,
        replaced=body.replaced,
        substitute=body.substitute,
        from_at=body.from_at,
        until_at=body.until_at,
        ground=body.ground,
    )
    return Created(SubstitutionShown(id=UUID(made)), f"/vervangingen/{made}")


@operation("DELETE", "/vervangingen/{vervanging}", "Een vervanging beëindigen", group=ADMINISTRATION,
           refuses=(Code.CONFLICT,))  # fmt: skip
async def end_stand_in(call: Call, path: SubstitutionPath) -> None:
    """End a substitution before its time: an appointer, whoever is back, or the substitute."""
    await call.town.casework.end_substitution(call.org, str(path.substitution), by=call.me.id)


@operation("GET", "/zelfcontrole", "Hoe staat het ermee", group=ADMINISTRATION, program=Scope.SELF_CHECK,
           roles=door(Door.SELF_CHECK), refuses=(Code.NOT_FOUND,))  # fmt: skip
async def self_check(call: Call) -> WellShown:
    """Return what the installation finds of itself: names of devices and services, never of people."""
    checking = call.request.config_dict.get(SELF_CHECK)
    if checking is None:
        raise refuse(Code.NOT_FOUND, "self-check", expected="a desk that checks itself", got="another")
    found = await checking.findings(screens=call.town.screens())
    return WellShown(
        at=call.town.now(),
        light=worst(found),
        items=tuple(
            FindingShown(
                check=each.check, light=each.light, because=each.waarom, to_do=each.doe, facts=dict(each.facts)
            )
            for each in found
        ),
    )


def office_of(call: Call) -> Administration:
    """Return who lets devices and people come and go; raise Refused (NOT_FOUND) at a desk that has no such office."""
    office = call.request.config_dict.get(OFFICE)
    if office is None:
        raise refuse(Code.NOT_FOUND, "administration", expected="a desk with devices of its own", got="another")
    return office


async def _person(call: Call, name: str) -> PersonShown:
    card = next((each for each in await call.town.casework.officials(call.org) if each.id == name), None)
    if card is None:
        raise refuse(Code.NOT_FOUND, "official", expected="somebody who works here", got=name)
    held = [each for each in await office_of(call).reviews.rights(call.org) if each.official == name]
    return PersonShown(
        id=card.id,
        name=card.name,
        function=card.function,
        department=card.department,
        team=card.team,
        absent=card.absent,
        leaves_at=(await leaving_on(call.town)).get(name),
        roles=tuple(
            RoleHeldShown(role=each.role, from_at=each.from_at, until_at=each.until_at, given_by=each.given_by)
            for each in held
        ),
    )


OPERATIONS: Final = (
    hire,
    official,
    mark_absent,
    let_go,
    appoint,
    dismiss,
    stand_ins,
    stand_in,
    end_stand_in,
    self_check,
)
