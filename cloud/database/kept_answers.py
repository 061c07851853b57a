"""Answers to acts that create, kept for a day: asked again with the same key, the act is not done again.

The key is written down before the act begins. A crash in between leaves a key without an answer, and that is said:
nobody can know then whether it was done but by looking.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.elements import ColumnElement

from broker.clock import Clock
from cloud.database.engine import Database
from cloud.database.tables import kept_answers

KEPT_FOR: Final = timedelta(hours=24)
"""Longer than a program that lost its connection tries again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is known under a key: the hash of what was asked, and the answer; `status` None: it came to no end yet."""

    asked: str
    status: int | None
    headers: Mapping[str, str]
    body: bytes


class KeptAnswers:
    """The keys of one municipality's callers."""

    def __init__(self, database: Database, clock: Clock, *, org: str) -> None:
        self._database, self._clock, self._org = database, clock, org

    async def begin(self, who: str, key: str, *, asked: str) -> Kept | None:
        """Write down that this begins and return None; return what is known already where the key was used before."""
        now, mine = self._clock(), self._mine(who, key)
        row = {"org": self._org, "who": who, "key": key, "asked": asked, "begun_at": now}
        try:
            async with self._database.transaction() as t:
                await t.execute(delete(kept_answers).where(mine, kept_answers.c.begun_at < now - KEPT_FOR))
                found = (await t.execute(select(kept_answers).where(mine))).one_or_none()
                if found is None:
                    await t.execute(insert(kept_answers).values(**row))
                    return None
        except IntegrityError:  # another process was first
            async with self._database.transaction() as t:
                found = (await t.execute(select(kept_answers).where(mine))).one()
        return Kept(
            asked=found.asked, status=found.status, headers=dict(found.headers or {}), body=bytes(found.body or b"")
        )

    async def keep(self, who: str, key: str, *, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keep the answer."""
        values = {"status": status, "headers": dict(headers), "body": body}
        async with self._database.transaction() as t:
            await t.execute(update(kept_answers).where(self._mine(who, key)).values(**values))

    async def forget(self, who: str, key: str) -> None:
        """Forget the key: nothing was done, the next try may do it."""
        async with self._database.transaction() as t:
            await t.execute(delete(kept_answers).where(self._mine(who, key)))

    async def forget_old(self) -> None:
        """Forget what was kept long enough: an answer holds what people wrote."""
        async with self._database.transaction() as t:
            await t.execute(delete(kept_answers).where(kept_answers.c.begun_at < self._clock() - KEPT_FOR))

    def _mine(self, who: str, key: str) -> ColumnElement[bool]:
        column = kept_answers.c
        return (column.org == self._org) & (column.who == who) & (column.key == key)
