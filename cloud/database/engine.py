"""One connection per database: SQLite in write-ahead mode with full synchronisation, or PostgreSQL.

SQLite before 3.51.3 can corrupt a write-ahead database that several connections write, so there is exactly one, and
transactions take turns on it. PostgreSQL takes a pool.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from cloud.database.tables import metadata


class Database:
    """The cloud's metadata. `async with database.transaction() as t: await t.execute(...)`."""

    def __init__(self, url: str) -> None:
        """`url` is SQLAlchemy's: ``sqlite+aiosqlite:////path`` or ``postgresql+asyncpg://…``."""
        self._single = url.startswith("sqlite")
        if self._single:
            self._engine = create_async_engine(url, poolclass=StaticPool)
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_immediate)
        else:
            self._engine = create_async_engine(url, pool_size=8)
        self._turn = asyncio.Lock()

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for migrations and tests."""
        return self._engine

    async def create(self) -> None:
        """Create what is not there yet."""
        async with self._engine.begin() as connection:
            await connection.run_sync(metadata.create_all)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Give a transaction: committed when the block ends, rolled back when it raises. Do not nest."""
        if self._single:
            async with self._turn, self._engine.begin() as connection:
                yield connection
        else:
            async with self._engine.begin() as connection:
                yield connection

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves: the driver would begin too late
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # NORMAL loses acknowledged commits at a power cut
        "foreign_keys=ON",
        "trusted_schema=OFF",
        "busy_timeout=5000",
        "secure_delete=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
