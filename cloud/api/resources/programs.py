"""Accounts of programs: who asked and confirmed them, what they may and did, and their end."""

from typing import Annotated, Final

import msgspec

from broker.wire.refusals import Code
from cloud.api.declaration import Call, Created, Given, Group, Instant, Shown, Text, operation
from cloud.casework.programs import Program
from cloud.desk.pages.administration import SEES_PEOPLE
from cloud.rules.programs import Scope

PROGRAMS: Final = Group(
    name="programmas", purpose="Een programma mag niet meer dan nodig is, op eigen naam, tot een dag, en is te stoppen."
)
Account = Annotated[str, msgspec.Meta(pattern=r"^prog-[a-z0-9-]{2,35}$")]


class UseShown(Shown):
    """How often a program asked one operation, and how often it was refused."""

    operation: str
    times: int
    refused: int
    last_used_at: Instant


class ProgramShown(Shown):
    """One account. It counts from when its token was shown until its day, unless it was ended."""

    id: str
    purpose: str
    scopes: tuple[Scope, ...]
    networks: tuple[str, ...]
    asked_by: str
    asked_at: Instant
    until_at: Instant
    confirmed_by: str | None
    confirmed_at: Instant | None
    issued_at: Instant | None
    ended_by: str | None
    ended_at: Instant | None
    uses: tuple[UseShown, ...]


class ProgramsShown(Shown):
    """Every account, also those that ended, by name."""

    items: tuple[ProgramShown, ...]


class TokenShown(Shown):
    """The token. It is shown here and never again."""

    token: str


class ProgramPath(Given):
    """Which account."""

    program: Account


class ProgramGiven(Given):
    """A new account: its name in the ledger, what it is for, what it may, from where it comes, until when."""

    id: Account
    purpose: Text
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1, max_length=len(Scope))]
    until_at: Instant
    networks: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=60)], ...], msgspec.Meta(max_length=20)] = ()


@operation("GET", "/programmas", "Alle programma's", group=PROGRAMS, roles=SEES_PEOPLE)
async def programs(call: Call) -> ProgramsShown:
    """Return every account with what was done with it, by name."""
    return ProgramsShown(items=tuple(_shown(each) for each in await call.town.programs.programs(call.org)))


@operation("POST", "/programmas", "Een account voor een programma vragen", group=PROGRAMS, roles=SEES_PEOPLE,
           created=True, gives=ProgramShown)  # fmt: skip
async def ask_program(call: Call, body: ProgramGiven) -> Created:
    """Ask for an account; it counts for nothing until somebody else confirms it and its token was fetched."""
    made = await call.town.programs.ask(
        call.org,
        by=call.me.id,
        account=body.id,
        purpose=body.purpose,
        scopes=body.scopes,
        networks=body.networks,
        until_at=body.until_at,
    )
    return Created(_shown(made), f"/programmas/{made.id}")


@operation("GET", "/programmas/{programma}", "Eén programma", group=PROGRAMS, roles=SEES_PEOPLE)
async def program(call: Call, path: ProgramPath) -> ProgramShown:
    """Return one account."""
    return _shown(await call.town.programs.program(call.org, path.program))


@operation("POST", "/programmas/{programma}/bevestigingen", "Een programma toelaten", group=PROGRAMS,
           roles=SEES_PEOPLE, refuses=(Code.CONFLICT,))  # fmt: skip
async def confirm_program(call: Call, path: ProgramPath) -> None:
    """Let a program in that somebody else asked for; by who moves cases along."""
    await call.town.programs.confirm(call.org, path.program, by=call.me.id)


@operation("POST", "/programmas/{programma}/tokens", "Het token tonen, eenmalig", group=PROGRAMS, roles=SEES_PEOPLE,
           refuses=(Code.CONFLICT,))  # fmt: skip
async def show_token(call: Call, path: ProgramPath) -> TokenShown:
    """Make the token and show it, once, to who asked for the account. Only its hash is kept."""
    return TokenShown(token=await call.town.programs.issue(call.org, path.program, by=call.me.id))


@operation("DELETE", "/programmas/{programma}", "Een programma stoppen", group=PROGRAMS, roles=SEES_PEOPLE,
           refuses=(Code.CONFLICT,))  # fmt: skip
async def end_program(call: Call, path: ProgramPath) -> None:
    """End an account for ever: its next request is refused. Its name is never used again."""
    await call.town.programs.end(call.org, path.program, by=call.me.id)


def _shown(each: Program) -> ProgramShown:
    return ProgramShown(
        id=each.id,
        purpose=each.purpose,
        scopes=tuple(sorted(each.scopes)),
        networks=each.networks,
        asked_by=each.asked_by,
        asked_at=each.asked_at,
        until_at=each.until_at,
        confirmed_by=each.confirmed_by,
        confirmed_at=each.confirmed_at,
        issued_at=each.issued_at,
        ended_by=each.ended_by,
        ended_at=each.ended_at,
        uses=tuple(
            UseShown(operation=use.operation, times=use.times, refused=use.refused, last_used_at=use.last_at)
            for use in each.uses
        ),
    )


OPERATIONS: Final = (programs, ask_program, program, confirm_program, show_token, end_program)
