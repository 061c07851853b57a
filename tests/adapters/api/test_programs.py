"""Programs without a browser: let in by two people, kept to what they were given, seen in every list, and stopped."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import select, update

from cloud.api.operations import OPERATIONS
from cloud.database import tables
from cloud.desk.live import MOST_OF_A_PROGRAM
from cloud.desk.pace import AT_ONCE, PER_SECOND, MustWait, Pace
from cloud.rules.programs import Scope, judge_program
from tests.adapters.api.people import UNTIL, Caller, calling, denied, let_in
from tests.adapters.api.test_rights import address_of
from tests.browser.town import OFFICERS, TownHall

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def program(town: TownHall, token: str) -> AsyncIterator[Caller]:
    """A program: a token, and nothing that a browser has."""
    async with aiohttp.ClientSession(town.address) as http:
        yield Caller(http=http, headers={"Authorization": f"Bearer {token}"})


@dataclass(frozen=True, kw_only=True)
class News:
    """What came by the stream: what, under which number, and what it says."""

    kind: str
    number: str
    data: Any


class Stream:
    """News as it comes."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.heard: list[News] = []

    async def until(self, kind: str, **said: str) -> News:
        """Read until this comes; fail when the stream ends before."""
        async with asyncio.timeout(60):
            while True:
                found: dict[str, str] = {}
                while line := (await self.answer.content.readline()).decode():
                    name, _, value = line.rstrip().partition(": ")
                    if not name and "event" in found:
                        break
                    found[name] = value
                assert line, f"the stream ended before {kind} {said}: {self.heard}"
                news = News(kind=found["event"], number=found.get("id", ""), data=json.loads(found["data"]))
                self.heard.append(news)
                if news.kind == kind and news.data.items() >= said.items():
                    return news


@asynccontextmanager
async def following(caller: Caller, after: str = "") -> AsyncIterator[Stream]:
    """Follow the news, from where one was."""
    last = {"Last-Event-ID": after} if after else {}
    async with caller.http.get("/v1/gebeurtenissen", headers=caller.headers | last) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        yield Stream(answer)


async def test_an_account_takes_two_people_and_its_token_is_shown_once(town: TownHall) -> None:
    asked = {"id": "prog-bord", "doel": "bord in de hal", "bereik": ["fleet.read"], "totTijdstip": UNTIL}
    async with (
        calling(town, "o-106") as administrator,
        calling(town, "o-103") as privacy_officer,
        calling(town, "o-107") as dpo,
    ):
        assert (await privacy_officer.post("/programmas", asked)).status == 403
        made = await administrator.post("/programmas", asked)
        address = made.headers["Location"].removeprefix("/v1")
        assert (await administrator.post("/programmas", asked)).status == 409
        assert (await administrator.post(f"{address}/tokens", None)).status == 409  # nobody confirmed it
        assert (await administrator.post(f"{address}/bevestigingen", None)).status == 403
        assert (await dpo.post(f"{address}/bevestigingen", None)).status == 403
        assert (await privacy_officer.post(f"{address}/bevestigingen", None)).status == 204
        assert (await privacy_officer.post(f"{address}/bevestigingen", None)).status == 409
        assert (await privacy_officer.post(f"{address}/tokens", None)).status == 403
        token = (await administrator.post(f"{address}/tokens", None)).said["token"]
        assert (await administrator.post(f"{address}/tokens", None)).status == 409
        account = (await dpo.get(address)).said
        assert (account["gevraagdDoor"], account["bevestigdDoor"]) == ("o-106", "o-103")
        for late in ("2026-11-01T00:00:00Z", "2029-01-01T00:00:00Z"):
            assert (await administrator.post("/programmas", asked | {"totTijdstip": late})).status == 400
    assert ("o-106", "program.confirm") in await denied(town)
    async with town.database.transaction() as t:
        row = (await t.execute(select(tables.programs).where(tables.programs.c.id == "prog-bord"))).one()
    assert row.token_sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert token not in str(row)


async def test_a_program_reads_what_it_was_given_and_stands_in_the_denials_under_its_own_name(town: TownHall) -> None:
    token = await let_in(town, "prog-vloot", "fleet.read")
    async with program(town, token) as caller:
        cameras = await caller.get("/cameras?limiet=50")
        assert cameras.status == 200
        officers = [each for each in cameras.said["resultaten"] if each["handhaver"]]
        assert officers
        assert {each["handhaverNaam"] for each in officers} == {None}
        assert (await caller.get("/cameras?zoek=aydin")).said["resultaten"] == []  # names are no way to search either
        for path in ("/medewerkers", "/dossiers", "/sessie"):
            refused = await caller.get(path)
            assert (refused.status, refused.headers["Content-Type"]) == (403, "application/problem+json"), path
    assert [what for who, what in await denied(town) if who == "prog-vloot"] == ["officials", "cases", "session"]
    async with calling(town, "o-107") as dpo:
        uses = (await dpo.get("/programmas/prog-vloot")).said["gebruik"]
        assert {each["operatie"]: (each["keren"], each["geweigerd"]) for each in uses} == {
            "cameras": (2, 0),
            **dict.fromkeys(("officials", "cases", "session"), (1, 1)),
        }
    async with program(town, await let_in(town, "prog-namen", "fleet.read", "people.read")) as caller:
        named = await caller.get("/cameras?zoek=aydin")
        assert [each["handhaverNaam"] for each in named.said["resultaten"]] == [OFFICERS[0]]


async def test_with_every_scope_there_is_a_program_opens_only_what_names_one(
    town: TownHall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud.desk.attempts.PER_ACCOUNT", 1000)
    monkeypatch.setattr("cloud.desk.attempts.PER_PLACE", 1000)
    people = [each for each in OPERATIONS if not each.program and not each.public]
    assert len(people) > len(OPERATIONS) / 2
    assert [each.path for each in people if judge_program(frozenset(Scope), each.wanted)] == []
    one_of_each = {(each.group.name, each.method): each for each in people}.values()
    async with program(town, await let_in(town, "prog-alles", *Scope)) as caller:
        for each in one_of_each:
            answer = await caller.ask(each.method, address_of(each), None if each.method == "GET" else {})
            assert (answer.status, answer.headers["Content-Type"]) == (403, "application/problem+json"), each.path
    async with program(town, await let_in(town, "prog-weinig", Scope.SELF_CHECK)) as caller:
        for each in {each.program: each for each in OPERATIONS if each.program}.values():
            answer = await caller.ask(each.method, address_of(each), None if each.method == "GET" else {})
            assert answer.status == (200 if Scope.SELF_CHECK in each.program else 403), each.path


async def test_a_case_system_registers_a_case_with_its_hold_under_its_own_name(town: TownHall) -> None:
    recording = str(await town.film("cam-05"))
    token = await let_in(town, "prog-zaken", "cases.register", "cases.read")
    said = {"soort": "complaint", "samenvatting": "Klacht van mevrouw Jansen", "opnamen": [recording]}
    async with program(town, token) as caller:
        made = await caller.post("/dossiers", said, Idempotency_Key="zaak-1")
        assert (made.status, made.said["vastgelegdDoor"]) == (201, "prog-zaken")
        again = await caller.post("/dossiers", said, Idempotency_Key="zaak-1")
        assert again.headers["Location"] == made.headers["Location"]
        there = await caller.get(made.headers["Location"].removeprefix("/v1"))
        assert (there.said["samenvatting"], there.said["stappen"][0]["feiten"]) == ("", {})  # words are a scope apart
        learn = await caller.post("/dossiers", said | {"soort": "learning"})
        assert learn.status == 403
        hold = made.said["bewaarplichten"][0]["id"]
        assert (await caller.post(f"/bewaarplichten/{hold}/opheffingen", {"grond": "klaar"})).status == 403
    async with calling(town, "o-103") as privacy_officer:
        entries = (await privacy_officer.get("/logregels?soort=case.registered")).said["resultaten"]
        assert entries[0]["actor"] == "prog-zaken"
        card = (await privacy_officer.get(f"/opnamen/{recording}")).said
        assert card["stand"] == "held"


async def test_an_ended_account_is_refused_at_its_next_request_for_ever(town: TownHall) -> None:
    token = await let_in(town, "prog-kort", "figures.read")
    async with program(town, token) as caller, calling(town, "o-107") as dpo, calling(town, "o-101") as coordinator:
        assert (await caller.get("/cijfers")).status == 200
        assert (await coordinator.ask("DELETE", "/programmas/prog-kort")).status == 403
        assert (await dpo.ask("DELETE", "/programmas/prog-kort")).status == 204
        refused = await caller.get("/cijfers")
        assert (refused.status, refused.said["detail"]) == (401, "dit account is beëindigd")
        assert refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert ("prog-kort", "program") in await denied(town)
        entries = (await dpo.get("/logregels?limiet=200")).said["resultaten"]
    assert [each["soort"] for each in entries if each["onderwerp"] == "prog-kort"][::-1] == [
        *("program.asked", "program.confirmed", "program.issued", "program.ended")
    ]


async def test_an_account_ends_on_its_day_and_counts_from_its_own_network_only(town: TownHall) -> None:
    token = await let_in(town, "prog-net", "policy.read", networks=("10.9.0.0/16",))
    async with program(town, token) as caller:
        assert (await caller.get("/beleid")).status == 401
        there = await caller.get("/beleid", X_Forwarded_For="10.9.1.1")
        assert there.status == 200
        async with town.database.transaction() as t:
            over = {"until_at": town.clock() - timedelta(seconds=1)}
            await t.execute(update(tables.programs).where(tables.programs.c.id == "prog-net").values(**over))
        assert (await caller.get("/beleid", X_Forwarded_For="10.9.1.1")).status == 401


async def test_a_token_opens_no_page_and_takes_nothing_over_from_a_cookie(town: TownHall) -> None:
    token = await let_in(town, "prog-pagina", "fleet.read")
    bearer = {"Authorization": f"Bearer {token}"}
    async with program(town, token) as caller:
        for path in ("/vloot", "/beheer", "/live", "/opnamen"):
            async with caller.http.get(path, headers=bearer, allow_redirects=False) as answer:
                assert answer.status in (303, 401), path
        async with caller.http.post("/beheer/mensen", headers=bearer, data={}) as answer:
            assert answer.status == 401
    async with calling(town, "o-103") as person:
        assert (await person.get("/dossiers")).status == 200
        assert (await person.get("/dossiers", **bearer)).status == 403
        assert (await person.get("/dossiers", Authorization="Basic bzoxMDM=")).status == 401


async def test_whoever_guesses_tokens_waits_and_fills_no_ledger(town: TownHall) -> None:
    async with program(town, "vierogen_guess") as guesser:
        before = len(await denied(town))
        elsewhere = {"X_Forwarded_For": "198.51.100.9"}
        answers = [await guesser.get("/beleid", **elsewhere) for _ in range(62)]
        assert [each.status for each in answers[:60]] == [401] * 60
        assert [each.status for each in answers[60:]] == [429] * 2
        assert int(answers[-1].headers["Retry-After"]) > 200
        assert len(await denied(town)) == before + 60


async def test_a_program_that_asks_too_fast_hears_how_long_to_wait(
    town: TownHall, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await let_in(town, "prog-snel", "policy.read")
    monkeypatch.setattr("cloud.desk.pace.AT_ONCE", 3)
    monkeypatch.setattr("cloud.desk.pace.PER_SECOND", 0.001)
    async with program(town, token) as caller:
        answers = [await caller.get("/beleid") for _ in range(4)]
        assert [each.status for each in answers] == [200, 200, 200, 429]
        assert answers[-1].headers["Content-Type"] == "application/problem+json"
        assert int(answers[-1].headers["Retry-After"]) >= 1


async def test_a_pace_lets_a_burst_through_and_then_so_many_a_second() -> None:
    pace = Pace()
    for _ in range(AT_ONCE):
        pace.take("prog-a", now_s=100.0)
    with pytest.raises(MustWait) as refused:
        pace.take("prog-a", now_s=100.0)
    assert refused.value.wait_s == pytest.approx(1 / PER_SECOND)
    pace.take("prog-b", now_s=100.0)  # another account has its own
    pace.take("prog-a", now_s=100.0 + refused.value.wait_s)
    for _ in range(AT_ONCE):
        pace.take("prog-a", now_s=1000.0)


async def test_two_who_let_a_program_in_at_once_do_it_once(town: TownHall) -> None:
    asked = {"id": "prog-samen", "doel": "x", "bereik": ["policy.read"], "totTijdstip": UNTIL}
    async with (
        calling(town, "o-106") as administrator,
        calling(town, "o-103") as one,
        calling(town, "o-104") as other,
    ):
        await administrator.post("/programmas", asked)
        both = await asyncio.gather(*(each.post("/programmas/prog-samen/bevestigingen", None) for each in (one, other)))
        assert sorted(each.status for each in both) == [204, 409]
        tokens = await asyncio.gather(*(administrator.post("/programmas/prog-samen/tokens", None) for _ in range(3)))
        assert sorted(each.status for each in tokens) == [200, 409, 409]


async def test_a_wall_hears_at_once_what_it_may_read_and_nothing_else(town: TownHall) -> None:
    walls = [await let_in(town, "prog-wand", "activations.read"), await let_in(town, "prog-stand", "fleet.read")]
    async with program(town, walls[0]) as presses, program(town, walls[1]) as fleet:
        async with following(presses) as alarms, following(fleet) as cameras:
            for each in (alarms, cameras):
                await each.until("tick")
            recording = str(await town.press("cam-08"))
            await town.press("cam-09")
            alarm = await alarms.until("activation", camera="cam-08")
            await alarms.until("activation", camera="cam-09")
            await cameras.until("camera", camera="cam-09")
        assert alarm.data == {"recording": recording, "camera": "cam-08"}
        assert {each.kind for each in alarms.heard} == {"tick", "activation"}
        assert {each.kind for each in cameras.heard} <= {"tick", "camera", "alert"}
        assert "None" not in {value for each in cameras.heard for value in each.data.values()}
        assert (await presses.get(f"/activeringen/{recording}")).said["camera"] == "cam-08"
        assert (await presses.get("/cameras/cam-08")).status == 403
    async with program(town, await let_in(town, "prog-cijfers", "figures.read")) as caller:
        assert (await caller.get("/gebeurtenissen")).status == 403
        assert ("prog-cijfers", "follow") in await denied(town)


async def test_who_comes_back_hears_what_it_missed_and_nothing_twice(town: TownHall) -> None:
    async with program(town, await let_in(town, "prog-terug", "activations.read")) as caller:
        async with following(caller) as stream:
            seen = (await stream.until("tick")).number  # nothing happened yet: also then it knows where it was
        missed = [str(await town.press(each)) for each in ("cam-10", "cam-11")]
        async with following(caller, seen) as stream:
            first = await stream.until("activation", camera="cam-10")
        async with following(caller, first.number) as stream:
            missed.append(str(await town.press("cam-12")))
            await stream.until("activation", camera="cam-12")
            heard = [first, *(each for each in stream.heard if each.kind == "activation")]
        assert [each.data["recording"] for each in heard] == missed
        for unknown in ("7", "x", "\u00b2", "9" * 400):
            async with following(caller, unknown) as stream:
                assert (await stream.until("reset" if unknown == "7" else "tick")).number


async def test_a_stream_ends_with_its_account_and_says_so(town: TownHall) -> None:
    stopped, over = await let_in(town, "prog-af", "cases.read"), await let_in(town, "prog-voorbij", "cases.read")
    async with program(town, stopped) as one, program(town, over) as other, calling(town, "o-107") as dpo:
        async with following(one) as stream:
            await stream.until("tick")
            assert (await dpo.ask("DELETE", "/programmas/prog-af")).status == 204
            town.hub.publish("heusden", "case", {"case": "of which it may not hear"})
            assert (await stream.until("end")).data == {"reden": "dit account is beëindigd"}
            assert await stream.answer.content.read() == b""
            assert "case" not in {each.kind for each in stream.heard}
        assert (await one.get("/gebeurtenissen")).status == 401
        async with following(other) as stream:
            await stream.until("tick")
            async with town.database.transaction() as t:
                day = {"until_at": town.clock() - timedelta(seconds=1)}
                await t.execute(update(tables.programs).where(tables.programs.c.id == "prog-voorbij").values(**day))
            assert (await stream.until("end")).data == {"reden": "de einddatum van dit account is voorbij"}


async def test_a_program_has_a_few_streams_and_none_that_it_does_not_read(
    town: TownHall, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with program(town, await let_in(town, "prog-veel", "fleet.read")) as caller, AsyncExitStack() as stack:
        oldest, *others = [await stack.enter_async_context(following(caller)) for _ in range(MOST_OF_A_PROGRAM + 1)]
        await oldest.until("end")
        await town.press("cam-13")
        for each in others:
            await each.until("camera", camera="cam-13")

    async def never(_response: web.StreamResponse, _raw: bytes) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("cloud.desk.live.STUCK_S", 0.01)
    monkeypatch.setattr(web.StreamResponse, "write", never)
    async with program(town, await let_in(town, "prog-vol", "fleet.read")) as caller, following(caller) as stream:
        async with asyncio.timeout(60):
            with pytest.raises(aiohttp.ClientError):
                await stream.answer.content.read()
