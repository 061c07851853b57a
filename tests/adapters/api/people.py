"""Somebody at a program: signed in at the desk, asking the interface."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from sqlalchemy import select

from cloud.database.tables import denials
from tests.browser.town import TownHall

SAME: dict[str, str] = {"Sec-Fetch-Site": "same-origin"}
UNTIL = "2027-03-01T00:00:00Z"
"""When the account of a program ends."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Any
    body: bytes
    said: Any


@dataclass(frozen=True, kw_only=True)
class Caller:
    """One person's program."""

    http: aiohttp.ClientSession
    headers: dict[str, str]

    async def ask(self, method: str, path: str, said: object = None, **headers: str) -> Answer:
        """Ask, and read whatever comes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, f"/v1{path}", headers=self.headers | named, json=said) as answer:
            raw = await answer.read()
            told = await answer.json(content_type=None) if raw and "json" in answer.content_type else None
            return Answer(status=answer.status, headers=answer.headers, body=raw, said=told)

    async def get(self, path: str, **headers: str) -> Answer:
        """Read."""
        return await self.ask("GET", path, **headers)

    async def post(self, path: str, said: object, **headers: str) -> Answer:
        """Act."""
        return await self.ask("POST", path, said, **headers)


@asynccontextmanager
async def calling(town: TownHall, who: str) -> AsyncIterator[Caller]:
    """Sign in as this person."""
    jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=[town.address])
    async with aiohttp.ClientSession(town.address, cookie_jar=jar) as http:
        async with http.post("/aanmelden", data={"wie": who}, headers=SAME) as answer:
            assert answer.status == 200, who
        async with http.get("/v1/sessie") as answer:
            token = (await answer.json())["csrf"]
        yield Caller(http=http, headers=SAME | {"X-CSRF-Token": token})


async def let_in(town: TownHall, name: str, *scopes: str, networks: tuple[str, ...] = ()) -> str:
    """Go the whole way of an account; return its token."""
    asked = {"id": name, "doel": "koppeling", "bereik": list(scopes), "totTijdstip": UNTIL, "netwerken": list(networks)}
    async with calling(town, "o-106") as administrator, calling(town, "o-103") as privacy_officer:
        made = await administrator.post("/programmas", asked)
        assert made.status == 201, made.said
        assert (await privacy_officer.post(f"/programmas/{name}/bevestigingen", None)).status == 204
        shown = await administrator.post(f"/programmas/{name}/tokens", None)
        token: str = shown.said["token"]
        return token


async def denied(town: TownHall) -> list[tuple[str, str]]:
    """Return (who, what) of every denial that was written down, oldest first."""
    async with town.database.transaction() as t:
        return [(row.who, row.what) for row in (await t.execute(select(denials).order_by(denials.c.id))).all()]
