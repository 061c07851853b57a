"""What every page of the desk can reach, and what every page is drawn with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import jinja2
from aiohttp import hdrs, web

from broker.clock import Clock
from broker.wire.policy import Policy
from broker.wire.refusals import Code, Refused, refuse
from cloud.casework.adoption import PolicyOffice
from cloud.casework.casework import Casework
from cloud.casework.office import Denied
from cloud.casework.policies import Policies
from cloud.casework.programs import Programs
from cloud.database.engine import Database
from cloud.desk.addresses import client_address
from cloud.desk.attempts import Attempts, place_of_address
from cloud.desk.break_glass import BreakGlass
from cloud.desk.demo import Demo
from cloud.desk.invitations import Invitations
from cloud.desk.keys import SecurityKeys
from cloud.desk.names import case_kinds
from cloud.desk.oidc import OpenIdProvider
from cloud.desk.pace import Pace
from cloud.desk.people import People, Someone
from cloud.desk.roster import RosterOffice
from cloud.desk.rules.doors import Door, doors_of, opens
from cloud.desk.sessions import Session, Sessions
from cloud.desk.words import HERE, Language, Words, machine
from cloud.fleet.live import LiveHub, Subscription
from cloud.fleet.register import Fleet
from cloud.ledger.log import Ledger
from cloud.redaction.studio import Redactions
from cloud.rules.verdicts import Verdict
from cloud.viewing.handover import HandOvers
from cloud.viewing.rooms import Rooms

STATIC: Final = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """One municipality's desk: what it reads and whom it asks."""

    org: str
    name: str
    mode: Literal["demonstration", "standard"]
    database: Database
    ledger: Ledger
    fleet: Fleet
    casework: Casework
    hub: LiveHub
    policies: Policies
    clock: Clock
    demo: Demo | None
    people: People
    sessions: Sessions
    templates: jinja2.Environment
    catalogue: Mapping[str, str]
    policy_office: PolicyOffice
    programs: Programs
    theme: str = ""
    keys: SecurityKeys | None = None
    invitations: Invitations | None = None
    roster: RosterOffice | None = None
    open_id: OpenIdProvider | None = None
    break_glass: BreakGlass | None = None
    attempts: Attempts = field(default_factory=Attempts)
    pace: Pace = field(default_factory=Pace)
    streams: dict[Subscription, str] = field(default_factory=dict)
    on_sign_out: list[Callable[[Session], Awaitable[None]]] = field(default_factory=list)

    def now(self) -> datetime:
        """Return the town's time."""
        return self.clock()

    def screens(self) -> int:
        """Return how many pages are open that hear the news: `streams` names the program, or nobody for a page."""
        return list(self.streams.values()).count("")

    async def policy(self) -> Policy:
        """Return the policy in force."""
        return await self.policies.current(self.org)


TOWN: Final = web.AppKey("town", Town)
ROOMS: Final = web.AppKey("rooms", Rooms)
REDACTIONS: Final = web.AppKey("redactions", Redactions)
HANDOVERS: Final = web.AppKey("handovers", HandOvers)  # absent where nothing is handed over
SESSION: Final = web.RequestKey("session", Session)
SOMEONE: Final = web.RequestKey("someone", Someone)
NOTED: Final = web.RequestKey("noted", bool)
LANGUAGE_COOKIE: Final = "taal"


def templates() -> jinja2.Environment:
    """Return the pages, escaping everything; an unknown name in a page is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def town_of(request: web.Request) -> Town:
    """Return the town that this request is for."""
    return request.config_dict[TOWN]


def session_of(request: web.Request) -> Session | None:
    """Return the session of this browser, or None."""
    return request.get(SESSION)


def someone_of(request: web.Request) -> Someone:
    """Return who is signed in; only behind the guard."""
    return request[SOMEONE]


def words_of(request: web.Request) -> Words:
    """Return the sentences in the language this browser chose; Dutch unless it chose otherwise."""
    language: Language = "en" if request.cookies.get(LANGUAGE_COOKIE) == "en" else "nl"
    return Words(language, town_of(request).catalogue)


async def page(request: web.Request, template: str, *, status: int = 200, **facts: Any) -> web.Response:
    """Draw a page. Nothing of it may be kept by a cache: it holds personal data."""
    return await part(request, template, status=status, **facts)


async def part(request: web.Request, template: str, *, status: int = 200, **facts: Any) -> web.Response:
    """Draw a page, or the part of one that a browser asked for again."""
    town, session = town_of(request), session_of(request)
    someone = request.get(SOMEONE)
    words, policy = words_of(request), await town.policy()
    named = policy.role_nl if words.language == "nl" else policy.role_en
    html = town.templates.get_template(template).render(
        _=words,
        town=town,
        now=town.now(),
        machine=machine,
        here=HERE,
        session=session,
        someone=someone,
        doors=doors_of(someone.roles) if someone else (),
        path=request.path,
        again=request.path_qs if request.method == hdrs.METH_GET else "/",
        status=status,
        policy=policy,
        case_kinds=case_kinds(words),
        role_name=named,
        role_names=lambda person: role_names(person, named, words),
        **facts,
    )
    return web.Response(text=html, content_type="text/html", status=status, headers={"Cache-Control": "no-store"})


def role_names(person: Someone, named: Callable[[str], str], words: Words) -> str:
    """Return what people call the roles of this person; a plain officer is called an officer."""
    roles = sorted(person.roles - {"officer"}) or ["officer"]
    return ", ".join(words("handhaver") if role == "officer" else named(role) for role in roles)


async def form(request: web.Request) -> dict[str, str]:
    """Return the text fields of a form; raise Refused (MALFORMED) for a NUL, which no person types and no database of
    ours takes.
    """
    data = await request.post()
    if any("\0" in value for value in data.values() if isinstance(value, str)):
        raise refuse(Code.MALFORMED, "form", expected="text", got="a NUL character")
    return {name: value.strip() for name, value in data.items() if isinstance(value, str)}


def back(fields: Mapping[str, str], otherwise: str) -> str:
    """Return the page to go back to: one of ours, never another site's."""
    wanted = fields.get("terug", "")
    return wanted if wanted.startswith("/") and not wanted.startswith(("//", "/\\")) else otherwise


def for_machines(request: web.Request) -> bool:
    """Whether a program asks, by the interface of `cloud.api`: it gets no pages, also not with a refusal on them."""
    return request.path.startswith("/v1/")


def asks_for_page(request: web.Request) -> bool:
    """Whether a browser asks for a whole page: not a program, and not a page of ours that asks for a part of itself."""
    wants = request.headers.get("Accept", "")
    return not for_machines(request) and "X-Part" not in request.headers and "text/html" in wants


async def deny(request: web.Request, what: str, why: str) -> web.Response:
    """Record a denial, in the register and in the ledger, and say so (E: who, what, why)."""
    town = town_of(request)
    someone = request.get(SOMEONE)
    if someone is None:
        count_failure(request)
    await record_denial(town, who=someone.id if someone else "nobody", what=what, why=why)
    if for_machines(request):
        raise Denied(what, Verdict(allowed=False, because=why, waarom=why))
    return await page(request, "denied.html", status=403, why=why)


async def record_denial(town: Town, *, who: str, what: str, why: str) -> None:
    """Write a denial down: the ledger has the pseudonym and a commitment, the register has the words."""
    await town.casework.record_denial(town.org, who=who, what=what, why=why)


async def note_denial(request: web.Request, refused: Refused, what: str) -> None:
    """Write down what somebody who is signed in may not: once a request, and not what was written down already."""
    someone = request.get(SOMEONE)
    if someone is None or isinstance(refused, Denied) or NOTED in request:
        return
    if refused.refusal.code in (Code.NOT_ALLOWED, Code.UNKNOWN_IDENTITY):
        request[NOTED] = True
        await record_denial(town_of(request), who=someone.id, what=what, why=str(refused))


@asynccontextmanager
async def noting_denials(request: web.Request, what: str) -> AsyncIterator[None]:
    """Write down what is not allowed in here under a name of its own."""
    try:
        yield
    except Refused as refused:
        await note_denial(request, refused, what)
        raise


def count_failure(request: web.Request, account: str | None = None) -> None:
    """Remember that somebody failed to come in from here, and as whom if that is known."""
    place = place_of_address(client_address(request))
    town_of(request).attempts.failed(place=place, account=account, now_s=loop_s())


def must_wait_s(request: web.Request, account: str | None = None) -> float:
    """Return how long this place, and this account, must wait before trying again; 0.0: not."""
    place = place_of_address(client_address(request))
    return town_of(request).attempts.wait_s(place=place, account=account, now_s=loop_s())


def loop_s() -> float:
    """Return the seconds that sessions and ceremonies are timed with."""
    return asyncio.get_running_loop().time()


def may_open(request: web.Request, door: Door) -> bool:
    """Say whether who is signed in may open this part."""
    return opens(door, someone_of(request).roles)
