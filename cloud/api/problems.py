"""Refusals as problem documents (RFC 9457): those of the one table, and those of HTTP itself."""

from http import HTTPStatus
from math import ceil
from typing import Annotated, Final

import msgspec
from aiohttp import web

from broker.wire.refusals import Refusal, Refused
from cloud.desk.pace import MustWait

MEDIA: Final = "application/problem+json"

UNPROCESSABLE: Final = 422
"""The design rules want 400 for every input that is refused; between machines of ours it stays 422."""


class Problem(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Why not: what was refused, what was expected, what came, and what to do."""

    type: str
    title: str
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    detail: str
    expected: str = ""
    got: str = ""
    retry: str = ""
    what_to_do: str = ""
    wat_te_doen: str = ""


def told_of(refusal: Refusal) -> Problem:
    """Return how a refusal of the table is told here."""
    told = msgspec.json.decode(refusal.problem(), type=Problem)
    return msgspec.structs.replace(told, status=400 if told.status == UNPROCESSABLE else told.status)


def of_refusal(refused: Refused) -> web.Response:
    """Answer with a refusal of the table."""
    told = told_of(refused.refusal)
    answer = _answer(told)
    if told.retry == "after":
        answer.headers["Retry-After"] = str(ceil(refused.wait_s)) if isinstance(refused, MustWait) else "10"
    return answer


def of_http(status: int, detail: str, *, allow: str = "", challenge: str = "") -> web.Response:
    """Answer with a refusal of HTTP itself: the type says nothing beyond the status."""
    answer = _answer(Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail))
    if allow:
        answer.headers["Allow"] = allow
    if challenge:
        answer.headers["WWW-Authenticate"] = challenge
    return answer


def _answer(problem: Problem) -> web.Response:
    return web.Response(status=problem.status, body=msgspec.json.encode(problem), content_type=MEDIA)
