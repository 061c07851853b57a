"""Asked twice with one key: done once, also when the desk was started anew in between."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import select

from broker.wire.refusals import Refused
from cloud.api.answering import Repeats
from cloud.database.engine import Database
from cloud.database.kept_answers import KEPT_FOR, KeptAnswers
from cloud.database.tables import kept_answers

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Desk:
    """A desk that makes something each time it is asked, and can be started anew on the same database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOON
        self.made = 0
        self.start()

    def start(self) -> None:
        self.repeats = Repeats(KeptAnswers(self.database, lambda: self.now, org="o"))

    async def make(self) -> web.Response:
        self.made += 1
        return web.Response(status=201, body=f'{{"nummer":{self.made}}}'.encode(), headers={"Location": "/v1/x/1"})

    async def asked(self, key: str = "k", *, who: str = "o-1", what: str = "a") -> web.Response:
        return await self.repeats.once(who, key, asked=what, do=self.make)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'town.sqlite'}")
    await database.create()
    yield Desk(database)
    await database.close()


async def test_the_same_answer_comes_again_at_once_later_and_after_a_restart(desk: Desk) -> None:
    together = await asyncio.gather(*(desk.asked() for _ in range(3)))
    later = await desk.asked()
    desk.start()
    restarted = await desk.asked()
    for each in (*together, later, restarted):
        assert (each.status, each.body, each.headers["Location"]) == (201, b'{"nummer":1}', "/v1/x/1")
    assert desk.made == 1


async def test_a_key_is_of_one_caller_and_one_request(desk: Desk) -> None:
    await desk.asked()
    await desk.asked(who="o-2")
    assert desk.made == 2
    for _ in ("running", "restarted"):
        with pytest.raises(Refused, match="the same request"):
            await desk.asked(what="b")
        desk.start()


async def test_what_failed_may_be_tried_again_and_what_was_cut_off_says_so(desk: Desk) -> None:
    async def fail() -> web.Response:
        raise ValueError("nothing was made")

    with pytest.raises(ValueError, match="nothing"):
        await desk.repeats.once("o-1", "k", asked="a", do=fail)
    assert (await desk.asked()).status == 201

    struck = asyncio.Event()

    async def never() -> web.Response:
        struck.set()
        await asyncio.Event().wait()
        raise AssertionError

    acting = asyncio.create_task(desk.repeats.once("o-1", "cut", asked="a", do=never))
    await struck.wait()
    acting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await acting
    desk.start()
    with pytest.raises(Refused, match="cut off"):
        await desk.asked("cut")
    assert desk.made == 1


async def test_a_key_is_forgotten_after_a_day(desk: Desk) -> None:
    await desk.asked()
    desk.now += KEPT_FOR - timedelta(seconds=1)
    await desk.asked()
    assert desk.made == 1
    desk.now += timedelta(seconds=2)
    await desk.asked()
    assert desk.made == 2
    desk.now += 2 * KEPT_FOR
    await KeptAnswers(desk.database, lambda: desk.now, org="o").forget_old()
    async with desk.database.transaction() as t:
        assert (await t.execute(select(kept_answers))).all() == []
