"""What a camera has said and the cloud has not confirmed: on disk before it is sent, until a receipt covers it.

One line per event in a file per boot; only ever appended. PUBACK says that a broker has it, an EventReceipt that the
cloud has it on disk: only the second empties the outbox. After a restart the same events go out with the same ids.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from broker.wire.events import EventReceipt
from edge import durable


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    boot: str
    sequence: int
    topic: str
    event: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One event that the cloud has not confirmed."""

    boot: str
    sequence: int
    topic: str
    payload: bytes


class Outbox:
    """One camera's outbox. `append` and `confirm` block on the disk: call them in a thread, one at a time."""

    def __init__(self, folder: Path) -> None:
        durable.make_folder(folder)
        self._folder = folder
        self._waiting: dict[tuple[str, int], Waiting] = {}
        self._files: dict[Path, set[tuple[str, int]]] = {}
        self._writing: Path | None = None
        self._held: list[Waiting] = []
        self.strange: tuple[str, ...] = ()
        for path in sorted(folder.glob("*.log")):
            self._load(path)

    def waiting(self) -> tuple[Waiting, ...]:
        """What is not confirmed, oldest first."""
        return tuple(self._waiting.values())

    def in_memory(self) -> tuple[Waiting, ...]:
        """What is not confirmed and not on disk either: it would not outlive the camera."""
        return tuple(each for each in self._held if (each.boot, each.sequence) in self._waiting)

    def append(self, waiting: Waiting) -> None:
        """Return when the event is on disk, and with it those that the disk refused before; raise OSError.

        Before that it must not be sent. A file that failed is left as it is: what comes goes into a new one, since half
        a line in front of it would spoil it.
        """
        held = self.in_memory()
        path = self._writing or self._folder / f"{waiting.boot}.{waiting.sequence:08}.log"
        fresh, self._writing = self._writing is None, None
        _append(path, b"".join(_line(each) for each in (*held, waiting)))
        if fresh:
            durable.sync_folder(self._folder)
        self._writing, self._held = path, []
        for each in (*held, waiting):
            self._files.setdefault(path, set()).add((each.boot, each.sequence))
        self._waiting[(waiting.boot, waiting.sequence)] = waiting

    def hold(self, waiting: Waiting) -> None:
        """Keep in memory an event that the disk refused: to be said while there is power, and written with the next."""
        self._waiting[(waiting.boot, waiting.sequence)] = waiting
        self._held.append(waiting)

    def confirm(self, receipt: EventReceipt) -> tuple[Waiting, ...]:
        """Forget what the receipt covers; return what the cloud misses of it and must get again."""
        covered = [
            name
            for name in self._waiting
            if name[0] == receipt.boot and name[1] <= receipt.sequence and name[1] not in receipt.missing
        ]
        self._forget(covered)
        return tuple(
            waiting for name, waiting in self._waiting.items() if name[0] == receipt.boot and name[1] in receipt.missing
        )

    def _forget(self, names: Iterable[tuple[str, int]]) -> None:
        gone = set(names)
        for name in gone:
            del self._waiting[name]
        for path, held in list(self._files.items()):
            held.difference_update(gone)
            if not held:
                path.unlink()
                del self._files[path]
                self._writing = None if path == self._writing else self._writing

    def _load(self, path: Path) -> None:
        """Read one file. A last line without its end was never synced, so never sent: it is left out."""
        held: set[tuple[str, int]] = set()
        *lines, torn = path.read_bytes().split(b"\n")
        for raw in lines:
            try:
                line = msgspec.json.decode(raw, type=_Line)
            except msgspec.DecodeError as cause:
                self.strange += (f"outbox {path.name}: a line cannot be read ({cause}); the file is kept",)
                held.add(("", 0))  # never confirmed, so the file stays for somebody to look at
                continue
            name = (line.boot, line.sequence)
            held.add(name)
            self._waiting[name] = Waiting(
                boot=line.boot, sequence=line.sequence, topic=line.topic, payload=bytes(line.event)
            )
        if torn:
            self.strange += (f"outbox {path.name}: {len(torn)} bytes of an event that was never sent are left out",)
        if held:
            self._files[path] = held
        else:
            path.unlink()


def _line(waiting: Waiting) -> bytes:
    line = _Line(boot=waiting.boot, sequence=waiting.sequence, topic=waiting.topic, event=msgspec.Raw(waiting.payload))
    return msgspec.json.encode(line) + b"\n"


def _append(path: Path, lines: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(descriptor, rest) :]  # a disk that fills up may take less than all of it
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
