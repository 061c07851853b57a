"""What a dock remembers over a power cut: receipts that a camera has not yet got, and the newest key list.

It is little, and none of it is needed to be right: which segments the cloud has, the cloud says itself. Losing this
file costs a question, never footage.
"""

import contextlib
import fcntl
import json
import os
import threading
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from tinydb import Query, TinyDB
from tinydb.storages import Storage

from broker.wire.ids import DeviceId, RecordingId
from dock_agent import durable

MOST_RECEIPTS: Final = 500
"""The oldest is forgotten first; the cloud gives the same one again."""


class InUse(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """Another process has this file. Two docks with one memory would overwrite each other."""


class AtomicStorage(Storage):
    """TinyDB's file, written whole or not at all, and by one process only.

    The storage that comes with TinyDB writes over the live file: a crash in between makes all of it unreadable. Damaged
    JSON is raised, never taken for an empty database.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            os.close(self._lock)
            raise InUse(f"state: {self._path} is in use by another process; stop that one first") from cause
        durable.clean(self._path)

    def read(self) -> dict[str, dict[str, Any]] | None:
        """Return everything, or None where there is nothing yet."""
        with contextlib.suppress(FileNotFoundError):
            content: dict[str, dict[str, Any]] = json.loads(self._path.read_bytes())
            return content
        return None

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        """Write everything, durably."""
        durable.replace(self._path, json.dumps(data).encode())

    def close(self) -> None:
        """Let another process have the file."""
        os.close(self._lock)


class DockState:
    """A dock's memory. Blocks on the disk: call it in a thread. Threads take turns, since TinyDB reads, then writes."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; raise InUse."""
        self._db = TinyDB(path, storage=AtomicStorage)
        self._receipts = self._db.table("receipts")
        self._notes = self._db.table("notes")
        self._turn = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def remember_receipt(self, recording: RecordingId, camera: DeviceId, receipt: bytes) -> None:
        """Keep a receipt until the camera has used it."""
        with self._turn:
            row = {"recording": str(recording), "camera": camera, "receipt": b64encode(receipt).decode()}
            self._receipts.upsert(row, Query().recording == str(recording))
            if len(self._receipts) > MOST_RECEIPTS:
                self._receipts.remove(doc_ids=[min(row.doc_id for row in self._receipts)])

    def receipt(self, recording: RecordingId) -> bytes | None:
        """Return the receipt of this recording, if it is still here."""
        with self._turn:
            row = self._receipts.get(Query().recording == str(recording))
            return b64decode(row["receipt"]) if isinstance(row, dict) else None

    def forget_receipts(self, recordings: set[RecordingId]) -> None:
        """Forget what the cameras have used."""
        with self._turn:
            names = {str(recording) for recording in recordings}
            if any(row["recording"] in names for row in self._receipts):
                self._receipts.remove(Query().recording.one_of(list(names)))

    def receipts_of(self, camera: DeviceId) -> set[RecordingId]:
        """Return for which recordings of this camera a receipt is kept."""
        with self._turn:
            rows = self._receipts.search(Query().camera == camera)
            return {RecordingId(UUID(row["recording"])) for row in rows}

    def remember_note(self, name: str, value: bytes) -> None:
        """Keep the newest of something, such as the key list."""
        with self._turn:
            self._notes.upsert({"name": name, "value": b64encode(value).decode()}, Query().name == name)

    def note(self, name: str) -> bytes | None:
        """Return the newest of something, or None."""
        with self._turn:
            row = self._notes.get(Query().name == name)
            return b64decode(row["value"]) if isinstance(row, dict) else None
