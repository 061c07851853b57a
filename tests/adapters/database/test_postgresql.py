"""The same tables and transactions on PostgreSQL, where several really run at once."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, insert, inspect, select

from cloud.database import tables
from cloud.database.engine import Database
from cloud.database.migrate import differences, newest, upgrade
from tests.adapters.database.postgresql import new_database, server

pytestmark = [pytest.mark.slow]

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    opened = Database(new_database(server(), name=f"t{secrets.token_hex(8)}"))
    yield opened
    await opened.close()


async def test_on_postgresql_the_versions_lead_to_the_tables_that_the_code_knows(database: Database) -> None:
    assert await upgrade(database) == newest()
    assert await upgrade(database) == newest()
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert set(names) == {*tables.metadata.tables, "alembic_version"}


async def test_on_postgresql_a_moment_comes_back_as_it_was(database: Database) -> None:
    await upgrade(database)
    async with database.transaction() as t:
        await t.execute(insert(tables.denials).values(org="o", at=NOON, who="a", what="b", why="c"))
        assert (await t.execute(select(tables.denials.c.at))).scalar_one() == NOON


async def test_on_postgresql_a_cancelled_task_writes_nothing_and_leaves_the_pool_usable(database: Database) -> None:
    await database.create()

    async def write_two(number: int) -> None:
        async with database.transaction() as t:
            for which in ("first", "second"):
                await t.execute(insert(tables.denials).values(org="o", at=NOON, who=str(number), what=which, why="x"))

    for turn in range(10):
        tasks = [asyncio.create_task(write_two(100 * turn + number)) for number in range(12)]
        for task in tasks[::2]:
            await asyncio.sleep(0.001)
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.CancelledError)
    async with database.transaction() as t:
        query = select(func.count()).select_from(tables.denials).group_by(tables.denials.c.who)
        assert set((await t.execute(query)).scalars()) == {2}
