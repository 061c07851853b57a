"""What is tried until it succeeds is entered in the ledger once, however often what follows the entry fails.

Services that go on by themselves (a clock, a dock that comes back) use this. A person who does something twice is
entered twice: that is what happened.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

_Entry = TypeVar("_Entry")
_Taken_co = TypeVar("_Taken_co", covariant=True)


class Appends(Protocol[_Taken_co]):
    """The ledger, as far as this goes."""

    async def append(
        self,
        kind: str,
        *,
        subject: str,
        actor: str,
        at: datetime,
        facts: Mapping[str, Any],
        private: str | None = None,
    ) -> _Taken_co:
        """Write one entry and return when it is durable; raise LedgerUnwritable."""


class Once(Generic[_Entry]):
    """Remembers which entries the ledger took of acts that are not done yet. A new process remembers none of them."""

    def __init__(self, ledger: Appends[_Entry]) -> None:
        self._ledger = ledger
        self._not_done: dict[tuple[str, ...], _Entry] = {}

    @asynccontextmanager
    async def entered(
        self,
        kind: str,
        *,
        subject: str,
        actor: str,
        at: datetime,
        facts: Mapping[str, Any],
        private: str | None = None,
    ) -> AsyncIterator[_Entry]:
        """Give the act its entry: the one of an earlier try that said the same, or a new one.

        It is done when the block ends without raising. Raises LedgerUnwritable, and then the act must not happen.
        """
        name = (kind, subject, actor, json.dumps(facts, sort_keys=True), json.dumps(private))
        entry = self._not_done.get(name)
        if entry is None:
            entry = await self._ledger.append(kind, subject=subject, actor=actor, at=at, facts=facts, private=private)
            self._not_done[name] = entry
        yield entry
        self._not_done.pop(name, None)
