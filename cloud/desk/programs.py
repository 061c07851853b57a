"""Programs at the door: a token in the Authorization header lets one in, to the interface only, and never as somebody.

What a program was given is judged at each operation (cloud.rules.programs). Whoever comes with a token has no session
here, also when the request carries a cookie: a program is never half a person.
"""

from typing import Final

from aiohttp import hdrs, web

from cloud.casework.programs import Program
from cloud.desk.addresses import client_address
from cloud.desk.pace import MustWait
from cloud.desk.people import Someone
from cloud.desk.town import (
    SOMEONE,
    count_failure,
    deny,
    for_machines,
    loop_s,
    must_wait_s,
    record_denial,
    town_of,
)
from cloud.rules.programs import judge_standing
from cloud.rules.verdicts import Verdict

PROGRAM: Final = web.RequestKey("program", Program)
CHALLENGE: Final = 'Bearer error="invalid_token"'
"""What a refused token is answered with (RFC 6750 3)."""

_UNKNOWN: Final = "Dit token geldt niet."


def brings_token(request: web.Request) -> bool:
    """Whether whoever asks says to be a program."""
    return for_machines(request) and hdrs.AUTHORIZATION in request.headers


async def let_program_in(request: web.Request) -> None:
    """Find the account of the token and let it in as itself; raise HTTPUnauthorized, MustWait. Refusals are recorded,
    until there are too many of them.
    """
    town, now_s = town_of(request), loop_s()
    wait_s = must_wait_s(request)
    if wait_s > 0.0:
        raise MustWait("token", wait_s)
    scheme, _, token = request.headers[hdrs.AUTHORIZATION].partition(" ")
    program = await town.programs.of_token(town.org, token.strip()) if scheme.lower() == "bearer" else None
    if program is None:
        count_failure(request)
        await record_denial(town, who="nobody", what="program", why="a token that nobody has")
        raise web.HTTPUnauthorized(reason=_UNKNOWN, headers={hdrs.WWW_AUTHENTICATE: CHALLENGE})
    wait_s = town.attempts.wait_s(place=program.id, account=program.id, now_s=now_s)
    if wait_s > 0.0:
        raise MustWait(program.id, wait_s)
    town.pace.take(program.id, now_s=now_s)
    verdict = judge_standing(program.standing, address=client_address(request), now=town.now())
    if not verdict:
        town.attempts.failed(place=program.id, account=program.id, now_s=now_s)
        await record_denial(town, who=program.id, what="program", why=verdict.because)
        raise web.HTTPUnauthorized(reason=verdict.waarom, headers={hdrs.WWW_AUTHENTICATE: CHALLENGE})
    request[PROGRAM] = program
    request[SOMEONE] = Someone(
        id=program.id,
        name=program.id,
        roles=frozenset(),
        substitutes={},
        function=None,
        department=None,
        team=None,
    )


async def admit_program(request: web.Request, program: Program, operation: str, verdict: Verdict) -> None:
    """Count what a program asks; where it may not, write it down and raise Denied. Who tries too often must wait."""
    town = town_of(request)
    await town.programs.count(town.org, program.id, operation, refused=not verdict)
    if not verdict:
        town.attempts.failed(place=program.id, account=program.id, now_s=loop_s())
        await deny(request, operation, verdict.waarom)
