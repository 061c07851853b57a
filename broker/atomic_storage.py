"""Small state that a power cut cannot spoil and threads cannot tangle: TinyDB with a storage of our own.

TinyDB's own JSONStorage writes over the live file: killed in between, it is unreadable, one time in seven. And each of
its changes is a read, then a write: two threads at once lose one of the two.
"""

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinydb import TinyDB
from tinydb.storages import Storage

from broker import durable


class InUse(BlockingIOError):  # noqa: N818 - reads as a sentence where it is raised
    """Another process has this file. Two with one memory would overwrite each other."""


class AtomicStorage(Storage):
    """Written beside, synced, renamed, folder synced; one process only.

    Raises InUse when another process has the file, ValueError when it is damaged (never a silent start afresh).
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).absolute()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock: int | None = lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            self.close()
            raise InUse(f"state: {self._path} is in use by another process; stop that one first") from cause
        durable.clean(self._path)

    def read(self) -> dict[str, dict[str, Any]] | None:
        """Return everything, or None when nothing was ever written."""
        try:
            held: dict[str, dict[str, Any]] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        return held

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        """Return when everything is on disk; an old file stays until the new one is."""
        durable.replace(self._path, json.dumps(data).encode())

    def close(self) -> None:
        """Let another process have the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class SmallState:
    """One such file. `with state.turn() as database:` for every look and every change."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; raise InUse, or ValueError when it is damaged."""
        self._database = TinyDB(path, storage=AtomicStorage)
        self._turns = threading.Lock()

    @contextlib.contextmanager
    def turn(self) -> Iterator[TinyDB]:
        """Give the database to this thread alone."""
        with self._turns:
            yield self._database

    def close(self) -> None:
        """Let another process have the file."""
        with self._turns:
            self._database.close()
