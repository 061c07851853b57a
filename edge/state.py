"""What a camera remembers over a reboot, in one small TinyDB document that a power cut cannot spoil."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any, Final

import msgspec
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Document

from broker.wire.events import CameraSettings
from broker.wire.recording import Checkpoint
from edge import durable

_ONLY: Final = 1


class AtomicStorage(Storage):
    """TinyDB's storage, but durable: written beside, synced, renamed, folder synced; one process only.

    TinyDB's own JSONStorage overwrites the live file and is unreadable after one kill in seven. Raises BlockingIOError
    when another process has the file open, ValueError when it is damaged (never a silent start afresh).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock: int | None = lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise

    def read(self) -> dict[str, dict[str, Any]] | None:
        """Return the whole document, or None when nothing was ever written."""
        try:
            held: dict[str, dict[str, Any]] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        return held

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        """Return when the document is on disk."""
        durable.replace(self._path, json.dumps(data).encode())

    def close(self) -> None:
        """Let another process open it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a camera remembers. `keylist` is the newest signed list it accepted, as text."""

    settings: CameraSettings | None = None
    highest_command: int = 0
    keylist: str | None = None
    checkpoint_size: int = 0
    checkpoint_root: str = "00" * 32
    battery_pct: float = 100.0

    @property
    def checkpoint(self) -> Checkpoint:
        """The newest ledger checkpoint the camera has seen."""
        return Checkpoint(size=self.checkpoint_size, root=bytes.fromhex(self.checkpoint_root))


class DeviceState:
    """The camera's memory. `change` blocks on the disk: call it in a thread."""

    def __init__(self, path: Path) -> None:
        self._database = TinyDB(path, storage=AtomicStorage)
        held = self._database.get(doc_id=_ONLY)
        self._remembered = msgspec.convert(dict(held), Remembered) if isinstance(held, dict) else Remembered()

    @property
    def now(self) -> Remembered:
        """What is remembered at this moment."""
        return self._remembered

    def change(self, **changes: Any) -> Remembered:
        """Return the new memory, which is then on disk."""
        changed = msgspec.structs.replace(self._remembered, **changes)
        whole = msgspec.to_builtins(changed)
        self._database.upsert(Document(whole, doc_id=_ONLY))
        self._remembered = changed
        return changed

    def close(self) -> None:
        """Let another process open it."""
        self._database.close()
