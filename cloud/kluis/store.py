"""The Kluis's rows, in SQLite: one process, one connection, nothing left behind by a delete.

No WAL: one connection needs none, and old rows would linger in it. `secure_delete` overwrites what is deleted;
`synchronous = EXTRA` also makes the removal of the rollback journal durable. What lingers below SQLite (a file system's
journal, a worn flash block, a backup) is sealed under a generation that dies later: see keys.py.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Final

LOCKED_S: Final = 0.2
"""How long to wait for another process to let go; there should be none."""


class Store:
    """A connection and its transactions. Use from one thread at a time; sqlite3.OperationalError when it is in use."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=LOCKED_S, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        for setting in ("journal_mode = DELETE", "synchronous = EXTRA", "secure_delete = ON", "temp_store = MEMORY"):
            self._db.execute(f"PRAGMA {setting}").close()
        self._db.execute("PRAGMA trusted_schema = OFF").close()
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE").close()

    @classmethod
    def create(cls, path: Path) -> "Store":
        """Make an empty store; raise FileExistsError when there is one."""
        path.touch(mode=0o600, exist_ok=False)
        store = cls(path)
        store._db.executescript(resources.files("cloud.kluis").joinpath("schema.sql").read_text())
        return store

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Open the store; raise FileNotFoundError when there is none, OperationalError when it cannot be written."""
        if not path.is_file():
            raise FileNotFoundError(path)
        store = cls(path)
        with store.transaction():
            pass  # SQLite opens for reading only, and says nothing, where it may not write: better not to start
        return store

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what happens within, durably, or none of it."""
        self._db.execute("BEGIN IMMEDIATE").close()
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK").close()
            raise
        self._db.execute("COMMIT").close()

    def rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        """Return all rows of a question."""
        return self._db.execute(statement, values).fetchall()

    def row(self, statement: str, *values: object) -> sqlite3.Row | None:
        """Return the first row of a question, if any."""
        found: sqlite3.Row | None = self._db.execute(statement, values).fetchone()
        return found

    def do(self, statement: str, *values: object) -> int:
        """Run a change; return how many rows it touched."""
        return self._db.execute(statement, values).rowcount

    def recall(self, name: str) -> bytes:
        """Return what is remembered under this name; raise KeyError."""
        found = self.row("SELECT value FROM memory WHERE name = ?", name)
        if found is None:
            raise KeyError(name)
        return bytes(found["value"])

    def remember(self, name: str, value: bytes) -> None:
        """Remember this, instead of what was there."""
        self.do("INSERT INTO memory VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def written(moment: datetime) -> str:
    """Return the moment as text that sorts in time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def read_moment(text: str) -> datetime:
    """Return the moment that `written` wrote."""
    return datetime.fromisoformat(text)
