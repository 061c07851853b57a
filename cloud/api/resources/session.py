"""Who is signed in and where, who works here, and who came in by the emergency entrance."""

from typing import Annotated, Final, Literal

import msgspec

from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Given, Group, Instant, Listed, Shown, door, operation
from cloud.api.paging import Paged, cut_by_name
from cloud.desk.pages.door import end_session
from cloud.desk.pages.sessions import browser_name
from cloud.desk.rules.doors import Door, doors_of
from cloud.desk.sessions import How, Session
from cloud.desk.town import loop_s, session_of
from cloud.rules.programs import Scope

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


class SignInShown(Shown):
    """One place where one is signed in; `here`: the one in which this is asked."""

    id: str
    how: How
    begun_at: Instant
    browser: str
    address: str
    here: bool


class SignInsShown(Shown):
    """Every place where one is signed in, newest first."""

    items: tuple[SignInShown, ...]


class EmergencyShown(Shown):
    """Somebody came in by the emergency entrance and nobody else saw it yet. `number`: its entry in the ledger."""

    number: int
    official: str
    at: Instant


class EmergenciesShown(Shown):
    """What nobody else has seen yet, newest first."""

    items: tuple[EmergencyShown, ...]


class SignInPath(Given):
    """Which of one's own."""

    sign_in: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")]


class EmergencyPath(Given):
    """Which use."""

    number: Annotated[int, msgspec.Meta(ge=0, le=10**15)]


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


@operation("GET", "/medewerkers", "Wie werken hier", group=SESSION, program=Scope.PEOPLE, roles=door(*Door),
           paged=True, gives=OfficialsShown)  # fmt: skip
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


@operation("GET", "/aanmeldingen", "Waar ben ik aangemeld", group=SESSION)
async def sign_ins(call: Call) -> SignInsShown:
    """Return one's own sessions, newest first."""
    mine = session_of(call.request)
    return SignInsShown(
        items=tuple(
            SignInShown(
                id=each.id,
                how=each.how,
                begun_at=each.begun_at,
                browser=browser_name(each.browser),
                address=each.address,
                here=mine is not None and each.id == mine.id,
            )
            for each in _open(call)
        )
    )


@operation("DELETE", "/aanmeldingen/{aanmelding}", "Eén aanmelding beëindigen", group=SESSION)
async def end_sign_in(call: Call, path: SignInPath) -> None:
    """End one of one's own sessions; whoever leaves also leaves every viewing room."""
    found = next((each for each in _open(call) if each.id == path.sign_in), None)
    if found is None:
        raise refuse(Code.NOT_FOUND, "sign-in", expected="one of your own that is open", got="another")
    await end_session(call.town, found)


@operation("DELETE", "/aanmeldingen", "Overal afmelden", group=SESSION)
async def end_sign_ins(call: Call) -> None:
    """End all of one's own sessions, this one too."""
    for each in _open(call):
        await end_session(call.town, each)


@operation("GET", "/noodingangen", "Wie kwam binnen door de noodingang", group=SESSION, roles=door(Door.LEDGER))
async def emergencies(call: Call) -> EmergenciesShown:
    """Return who came in by the emergency entrance and was not seen yet; without such an entrance, nobody."""
    entrance = call.town.break_glass
    found = entrance.waiting() if entrance is not None else ()
    return EmergenciesShown(
        items=tuple(EmergencyShown(number=each.entry, official=each.official, at=each.at) for each in found)
    )


@operation("POST", "/noodingangen/{nummer}/bevestigingen", "Zeggen dat u het zag", group=SESSION,
           roles=door(Door.LEDGER))  # fmt: skip
async def see_emergency(call: Call, path: EmergencyPath) -> None:
    """Write down that one has seen that somebody came in this way; never of oneself."""
    if call.town.break_glass is None:
        raise refuse(Code.NOT_FOUND, "emergency entrance", expected="a desk that has one", got="another")
    await call.town.break_glass.see(path.number, by=call.me.id)


def _open(call: Call) -> tuple[Session, ...]:
    return call.town.sessions.of(call.me.id, now_s=loop_s())


OPERATIONS: Final = (
    session,
    sign_out,
    officials,
    sign_ins,
    end_sign_in,
    end_sign_ins,
    emergencies,
    see_emergency,
)
