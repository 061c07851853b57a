"""One connection that many tasks share must outlive every one of them."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import InvalidRequestError, OperationalError

from cloud.database import engine, tables
from cloud.database.engine import Database

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite+aiosqlite:///{tmp_path / 'town.sqlite'}")
    await opened.create()
    yield opened
    await opened.close()


async def _write_two(database: Database, number: int) -> None:
    async with database.transaction() as t:
        for which in ("first", "second"):
            await t.execute(insert(tables.denials).values(org="o", at=NOON, who=str(number), what=which, why="a test"))


@pytest.mark.parametrize("seed", range(5))
async def test_a_task_cancelled_in_a_transaction_leaves_the_database_usable_and_nothing_half_written(
    database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    for turn in range(20):
        tasks = [asyncio.create_task(_write_two(database, 100 * turn + number)) for number in range(8)]
        for task in tasks:
            await asyncio.sleep(chance.random() * 0.004)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()  # a task group and whoever waits for it both cancel
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.CancelledError)

    await _write_two(database, 10_000)
    async with database.transaction() as t:
        query = select(func.count()).select_from(tables.denials).group_by(tables.denials.c.who)
        assert set((await t.execute(query)).scalars()) == {2}


async def test_a_task_cancelled_while_the_database_is_opened_leaves_nothing_open(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[engine._Whole] = []

    class Seen(engine._Whole):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            opened.append(self)

    monkeypatch.setattr(engine, "_Whole", Seen)
    for turns in range(60):
        again = Database(f"sqlite+aiosqlite:///{tmp_path / 'town.sqlite'}")
        task = asyncio.create_task(_write_two(again, turns))
        for _ in range(turns):
            await asyncio.sleep(0.000_1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await _write_two(again, 1_000 + turns)
        await again.close()
    assert [each for each in opened if each._connection is not None] == []


async def test_whoever_comes_after_the_end_is_refused_and_opens_nothing(database: Database) -> None:
    writing = asyncio.create_task(_write_two(database, 1))
    await asyncio.sleep(0)
    await database.close()
    await writing  # it had begun, and was waited for
    with pytest.raises(InvalidRequestError, match="closed"):
        await _write_two(database, 2)


async def test_a_transaction_that_raises_writes_nothing(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as t:
            await t.execute(insert(tables.denials).values(org="o", at=NOON, who="a", what="b", why="c"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with database.transaction() as t:
        assert (await t.execute(select(func.count()).select_from(tables.denials))).scalar_one() == 0


async def test_a_disk_that_failed_once_while_the_database_was_opened_does_not_leave_it_read_only(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.close()
    connect, times = sqlite3.connect, 0

    def fall_back_to_reading_once(path: str, **options: Any) -> Any:
        nonlocal times
        times += 1
        return connect(f"file:{path}?mode=ro", **(options | {"uri": True})) if times == 1 else connect(path, **options)

    monkeypatch.setattr(sqlite3, "connect", fall_back_to_reading_once)
    opened = Database(f"sqlite+aiosqlite:///{tmp_path / 'town.sqlite'}")
    try:
        with pytest.raises(OperationalError, match="readonly"):
            await _write_two(opened, 1)
        await _write_two(opened, 2)
        async with opened.transaction() as t:
            assert set((await t.execute(select(tables.denials.c.who))).scalars()) == {"2"}
    finally:
        await opened.close()
    assert times == 2
