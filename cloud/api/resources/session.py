"""Who is signed in, and who works here."""

from typing import Final, Literal

from cloud.api.declaration import Call, Group, Listed, Shown, door, operation
from cloud.api.paging import Paged, cut_by_name
from cloud.desk.pages.door import end_session
from cloud.desk.rules.doors import Door, doors_of
from cloud.desk.town import session_of

SESSION: Final = Group(
    name="sessie", purpose="Weten wie er werkt, met welke functie, zodat elke handeling op naam en naar recht gaat."
)


class SessionShown(Shown):
    """The session in which this is asked. `csrf` goes along with every change, as X-CSRF-Token."""

    official: str
    name: str
    roles: tuple[str, ...]
    substitutes: dict[str, str]
    function: str | None
    department: str | None
    team: str | None
    doors: tuple[str, ...]
    csrf: str
    org: str
    mode: Literal["demonstration", "standard"]


class OfficialShown(Shown):
    """Somebody who works here now."""

    id: str
    name: str
    roles: tuple[str, ...]
    function: str | None
    department: str | None
    team: str | None


class OfficialsShown(Shown):
    """A page of people."""

    items: tuple[OfficialShown, ...]


@operation("GET", "/sessie", "Wie ben ik", group=SESSION, gives=SessionShown)
async def session(call: Call) -> SessionShown:
    """Return who is signed in, with the roles of this moment, and the token that every change must carry."""
    me, town, mine = call.me, call.town, session_of(call.request)
    return SessionShown(
        official=me.id,
        name=me.name,
        roles=tuple(sorted(me.roles)),
        substitutes=dict(me.substitutes),
        function=me.function,
        department=me.department,
        team=me.team,
        doors=tuple(each.value for each in doors_of(me.roles)),
        csrf=mine.csrf if mine else "",
        org=town.org,
        mode=town.mode,
    )


@operation("DELETE", "/sessie", "Afmelden", group=SESSION)
async def sign_out(call: Call) -> None:
    """End the session; whoever leaves also leaves every viewing room."""
    mine = session_of(call.request)
    if mine is not None:
        await end_session(call.town, mine)


@operation("GET", "/medewerkers", "Wie werken hier", group=SESSION, roles=door(*Door), paged=True, gives=OfficialsShown)
async def officials(call: Call, query: Paged) -> Listed:
    """Return everybody who works here now, with the roles of this moment, in order of pseudonym."""
    people = await call.town.people.all(call.town.now())
    found, following = cut_by_name(tuple(people.values()), query, lambda each: each.id)
    shown = tuple(
        OfficialShown(
            id=each.id,
            name=each.name,
            roles=tuple(sorted(each.roles)),
            function=each.function,
            department=each.department,
            team=each.team,
        )
        for each in found
    )
    return Listed(OfficialsShown(items=shown), following)


OPERATIONS: Final = (session, sign_out, officials)
