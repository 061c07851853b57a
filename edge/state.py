"""What a camera remembers over a reboot, in one small TinyDB document that a power cut cannot spoil."""

from pathlib import Path
from typing import Any, Final

import msgspec
from tinydb.table import Document

from broker.atomic_storage import SmallState
from broker.wire.events import CameraSettings
from broker.wire.recording import Checkpoint

_ONLY: Final = 1


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a camera remembers. `keylist` is the newest signed list it accepted, as text.

    `said`: the recordings on the card when it was switched off of which the cloud has the events, or the outbox.
    """

    settings: CameraSettings | None = None
    highest_command: int = 0
    keylist: str | None = None
    checkpoint_size: int = 0
    checkpoint_root: str = "00" * 32
    battery_pct: float = 100.0
    said: tuple[str, ...] = ()

    @property
    def checkpoint(self) -> Checkpoint:
        """The newest ledger checkpoint the camera has seen."""
        return Checkpoint(size=self.checkpoint_size, root=bytes.fromhex(self.checkpoint_root))


class DeviceState:
    """The camera's memory. `change` blocks on the disk: call it in a thread."""

    def __init__(self, path: Path) -> None:
        self._file = SmallState(path)
        with self._file.turn() as database:
            held = database.get(doc_id=_ONLY)
        self._remembered = msgspec.convert(dict(held), Remembered) if isinstance(held, dict) else Remembered()

    @property
    def now(self) -> Remembered:
        """What is remembered at this moment."""
        return self._remembered

    def change(self, **changes: Any) -> Remembered:
        """Return the new memory, which is then on disk."""
        with self._file.turn() as database:
            changed = msgspec.structs.replace(self._remembered, **changes)
            database.upsert(Document(msgspec.to_builtins(changed), doc_id=_ONLY))
            self._remembered = changed
        return changed

    def close(self) -> None:
        """Let another process open it."""
        self._file.close()
