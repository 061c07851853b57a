"""A database that goes away at the worst moment: when the ledger has just taken an entry of what it is to hold."""

from typing import Any, NoReturn

import pytest
from sqlalchemy.exc import OperationalError

from cloud.database.engine import Database


def away_once_entered(patch: pytest.MonkeyPatch, ledger: Any, database: Database, kind: str) -> None:
    """From the moment the ledger takes an entry of this kind the database is away, until `patch` is undone."""
    real = ledger.append

    def away() -> NoReturn:
        raise OperationalError("update", {}, OSError("the test took it away"))

    async def append(entered: str, **said: Any) -> Any:
        entry = await real(entered, **said)
        if entered == kind:
            patch.setattr(database, "transaction", away)
        return entry

    patch.setattr(ledger, "append", append)
