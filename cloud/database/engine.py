"""One connection per database: SQLite in write-ahead mode with full synchronisation, or PostgreSQL.

SQLite before 3.51.3 can corrupt a write-ahead database that several connections write, so there is exactly one, and
transactions take turns on it. PostgreSQL takes a pool.

A task may be cancelled in the middle of a transaction. SQLAlchemy then throws the connection away while SQLite's thread
still works on it, and the next one finds the database locked. So on SQLite a statement that began is waited for, and a
cancellation is an ordinary reason to roll back.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Any, Final, TypeVar

import aiosqlite
from sqlalchemy import ExceptionContext, event
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from cloud.database.tables import metadata

Result = TypeVar("Result")

_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",  # NORMAL loses acknowledged commits at a power cut
    "foreign_keys=ON",
    "trusted_schema=OFF",
    "busy_timeout=5000",
    "secure_delete=ON",
)

_ROWS_AT_ONCE: Final = 64
"""Rows that one turn of SQLite's thread fetches (aiosqlite's default)."""

_PRIMARY: Final = 0xFF
"""What part of SQLite's extended error code says which kind it is."""


class Database:
    """The cloud's metadata. `async with database.transaction() as t: await t.execute(...)`."""

    def __init__(self, url: str) -> None:
        """`url` is SQLAlchemy's: ``sqlite+aiosqlite:////path`` or ``postgresql+asyncpg://…``."""
        self._single = url.startswith("sqlite")
        if self._single:
            self._engine = create_async_engine(
                url, poolclass=StaticPool, connect_args={"async_creator_fn": _open_sqlite}
            )
            event.listen(self._engine.sync_engine, "handle_error", _keep_connection)
            event.listen(self._engine.sync_engine, "begin", _begin_immediate)
        else:
            self._engine = create_async_engine(url, pool_size=8)
        self._turn = asyncio.Lock()
        self._closed = False

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
        """Give a transaction: committed when the block ends, rolled back when it raises. Do not nest.

        After `close` it raises InvalidRequestError: SQLAlchemy would open a connection that nobody closes.
        """
        async with self._turn if self._single else nullcontext():
            if self._closed:
                raise InvalidRequestError("the database is closed")
            async with self._engine.begin() as connection:
                yield connection

    async def close(self) -> None:
        """Close every connection; on SQLite when the transaction that has its turn is done."""
        async with self._turn if self._single else nullcontext():
            self._closed = True
            await self._engine.dispose()


async def finish(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what `work` returns. When this task is cancelled meanwhile, the work is done to its end all the same."""
    doing = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({doing})
        if not doing.cancelled():
            doing.exception()  # seen: the cancellation is what the caller hears
        raise


class _Whole(aiosqlite.Connection):
    """A connection whose statements, once begun, come to their end before their task hears that it is cancelled."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await finish(super()._execute(fn, *args, **kwargs))  # type: ignore[no-untyped-call]


async def _open_sqlite(database: str, **options: Any) -> _Whole:
    """Open the file as we want it; whoever is cancelled meanwhile leaves nothing open."""
    connection = _Whole(partial(sqlite3.connect, database, isolation_level=None, **options), _ROWS_AT_ONCE)
    connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does for the connections that it opens itself
    try:
        await finish(_started(connection))
        for pragma in _PRAGMAS:
            await connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        await connection.close()
        raise
    return connection


async def _started(connection: _Whole) -> None:
    await connection


def _keep_connection(context: ExceptionContext) -> None:
    """Say whether a connection is done for: not by a cancellation, but when SQLite took it for reading only.

    A disk that fails one open(2) for writing makes SQLite open the file for reading, without a word, and every write
    over that connection fails for as long as it lives. The next one is opened anew.
    """
    failed = context.original_exception
    if isinstance(failed, asyncio.CancelledError):
        context.is_disconnect = False
    elif isinstance(failed, sqlite3.OperationalError):
        code = getattr(failed, "sqlite_errorcode", sqlite3.SQLITE_OK)  # the driver itself raises some without one
        if code & _PRIMARY == sqlite3.SQLITE_READONLY:
            context.is_disconnect = True


def _begin_immediate(connection: Any) -> None:  # we say BEGIN ourselves: the driver would begin too late
    connection.exec_driver_sql("BEGIN IMMEDIATE")
