"""Who holds which role, who stands in for whom, and whether the installation is well.

Certificates, cards and keys are handed over at the page: an enrolment is a ceremony between people and devices.
"""

from typing import Annotated, Final
from uuid import UUID

import msgspec

from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Created, Given, Group, Instant, Name, Shown, Text, door, operation
from cloud.desk.pages.selfcheck import SELF_CHECK
from cloud.desk.rules.doors import Door
from cloud.rules.self_check import Check, Light, worst

ADMINISTRATION: Final = Group(
    name="beheer",
    purpose="Wie wat mag is besloten, tijdelijk en na te gaan; en het systeem zegt zelf hoe het ermee staat.",
)
SEES: Final = door(Door.ADMINISTRATION)
RoleName = Annotated[str, msgspec.Meta(pattern=r"^[a-z_]{1,40}$")]


class SubstitutionShown(Shown):
    """Somebody stands in."""

    id: UUID


class FindingShown(Shown):
    """One check, and what to do about it."""

    check: Check
    light: Light
    because: str
    to_do: str


class WellShown(Shown):
    """How the installation is: the worst of what was found, and all of it."""

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


@operation(
    "POST", "/medewerkers/{medewerker}/rollen", "Een rol geven", group=ADMINISTRATION, roles=SEES,
    refuses=(Code.NOT_FOUND, Code.CONFLICT),
)  # fmt: skip
async def appoint(call: Call, path: OfficialPath, body: RoleGiven) -> None:
    """Give somebody a role from now on: by whom the policy says, never to oneself."""
    await call.town.casework.appoint(
        call.org, by=call.me.id, official=path.official, role=body.role, until_at=body.until_at
    )


@operation("DELETE", "/medewerkers/{medewerker}/rollen/{rol}", "Een rol nemen", group=ADMINISTRATION, roles=SEES)
async def dismiss(call: Call, path: RolePath) -> None:
    """Take a role away from now on."""
    await call.town.casework.withdraw(call.org, by=call.me.id, official=path.official, role=path.role)


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


@operation("GET", "/zelfcontrole", "Hoe staat het ermee", group=ADMINISTRATION, roles=door(Door.SELF_CHECK),
           refuses=(Code.NOT_FOUND,))  # fmt: skip
async def self_check(call: Call) -> WellShown:
    """Return what the installation finds of itself: names of devices and services, never of people."""
    checking = call.request.config_dict.get(SELF_CHECK)
    if checking is None:
        raise refuse(Code.NOT_FOUND, "self-check", expected="a desk that checks itself", got="another")
    found = await checking.findings(screens=len(call.town.streams))
    return WellShown(
        light=worst(found),
        items=tuple(
            FindingShown(check=each.check, light=each.light, because=each.waarom, to_do=each.doe) for each in found
        ),
    )


OPERATIONS: Final = (appoint, dismiss, stand_in, end_stand_in, self_check)
