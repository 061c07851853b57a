"""What a dock remembers over a power cut: receipts that a camera has not yet got, and the newest key list.

It is little, and none of it is needed to be right: which segments the cloud has, the cloud says itself. Losing this
file costs a question, never footage.
"""

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Final
from uuid import UUID

from tinydb import Query

from broker.atomic_storage import SmallState
from broker.wire.ids import DeviceId, RecordingId

MOST_RECEIPTS: Final = 500
"""The oldest is forgotten first; the cloud gives the same one again."""


class DockState:
    """A dock's memory. Blocks on the disk: call it in a thread. Threads take turns, since TinyDB reads, then writes."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; raise InUse."""
        self._file = SmallState(path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remember_receipt(self, recording: RecordingId, camera: DeviceId, receipt: bytes) -> None:
        """Keep a receipt until the camera has used it."""
        with self._file.turn() as database:
            row = {"recording": str(recording), "camera": camera, "receipt": b64encode(receipt).decode()}
            database.table("receipts").upsert(row, Query().recording == str(recording))
            if len(database.table("receipts")) > MOST_RECEIPTS:
                database.table("receipts").remove(doc_ids=[min(row.doc_id for row in database.table("receipts"))])

    def receipt(self, recording: RecordingId) -> bytes | None:
        """Return the receipt of this recording, if it is still here."""
        with self._file.turn() as database:
            row = database.table("receipts").get(Query().recording == str(recording))
            return b64decode(row["receipt"]) if isinstance(row, dict) else None

    def forget_receipts(self, recordings: set[RecordingId]) -> None:
        """Forget what the cameras have used."""
        with self._file.turn() as database:
            names = {str(recording) for recording in recordings}
            if any(row["recording"] in names for row in database.table("receipts")):
                database.table("receipts").remove(Query().recording.one_of(list(names)))

    def receipts_of(self, camera: DeviceId) -> set[RecordingId]:
        """Return for which recordings of this camera a receipt is kept."""
        with self._file.turn() as database:
            rows = database.table("receipts").search(Query().camera == camera)
            return {RecordingId(UUID(row["recording"])) for row in rows}

    def remember_note(self, name: str, value: bytes) -> None:
        """Keep the newest of something, such as the key list."""
        with self._file.turn() as database:
            database.table("notes").upsert({"name": name, "value": b64encode(value).decode()}, Query().name == name)

    def note(self, name: str) -> bytes | None:
        """Return the newest of something, or None."""
        with self._file.turn() as database:
            row = database.table("notes").get(Query().name == name)
            return b64decode(row["value"]) if isinstance(row, dict) else None
