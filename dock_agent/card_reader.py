"""Reading a camera's card: only what is sealed, only regular files, never more than one piece of a segment in memory.

A card is a stranger's disk. No link on it is followed, no length on it believed, and nothing on it can be opened: the
dock has no key. That a camera is pulled out in the middle is the normal case, and has a name: CardGone.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker import durable
from broker.wire.card import MAX_CARD_BYTES, Card, read_card
from broker.wire.ids import DeviceId, Org, RecordingId, camera_key_id, parse_recording
from broker.wire.recording import (
    END_BYTES,
    MAX_SEGMENT_BYTES,
    SEGMENT_HEADER_BYTES,
    SEGMENT_TAIL_BYTES,
    Flag,
    read_end,
    read_segment_ends,
)
from broker.wire.refusals import Code, Refused, refuse
from dock_agent.rules.offload import OnCard

HEAD, END, SEGMENT, RECEIPT = "head.voh", "end.voe", ".vos", ".receipt"
MAX_HEAD_BYTES: Final = 8192
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN)


class CardGone(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The camera was taken out. Nothing is wrong: what was not delivered is still on it."""


class CardSick(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The card is there and cannot be read or written. Somebody must look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFile:
    """One segment on a card."""

    recording: RecordingId
    sequence: int
    digest: bytes
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A closed recording, ready to be sent: what it says of itself, and where its segments are."""

    on_card: OnCard
    head: bytes
    end: bytes
    segments: tuple[SegmentFile, ...]


class Pieces:
    """Gathers what is sent into pieces as large as one buffer, however small the segments are."""

    def __init__(self, buffer: memoryview, send: Callable[[memoryview], None]) -> None:
        self._buffer = buffer
        self._send = send
        self._filled = 0

    def room(self) -> memoryview:
        """Return where the next bytes go; never empty."""
        if self._filled == len(self._buffer):
            self.flush()
        return self._buffer[self._filled :]

    def came(self, size: int) -> None:
        """Count bytes that were put into the room."""
        self._filled += size

    def add(self, content: bytes) -> None:
        """Put in a few bytes."""
        if self._filled + len(content) > len(self._buffer):
            self.flush()
        self._buffer[self._filled : self._filled + len(content)] = content
        self._filled += len(content)

    def flush(self) -> None:
        """Send what is gathered."""
        if self._filled:
            self._send(self._buffer[: self._filled])
            self._filled = 0


class DockedCard:
    """The card in one bay. Its methods block: call them in a thread."""

    def __init__(self, bay: Path) -> None:
        """`bay` is the bay's folder or link. Raise CardGone, CardSick, or Refused for what is no card of ours."""
        self._bay = bay
        try:
            self._root = bay.resolve(strict=True)
            self._inode = _identity(self._root)
        except OSError as cause:
            raise CardGone(f"{bay.name}: no camera") from cause
        with self._errors():
            raw = self._read("card.json", most=MAX_CARD_BYTES)
        self.card: Card = read_card(raw)

    @property
    def camera(self) -> DeviceId:
        """Whose card this is, by its own signature."""
        return self.card.device

    @property
    def org(self) -> Org:
        """Which municipality the camera belongs to."""
        return self.card.municipality

    def still_there(self) -> bool:
        """Whether this very card is still in the bay."""
        with contextlib.suppress(OSError):
            return self._bay.resolve(strict=True) == self._root and _identity(self._root) == self._inode
        return False

    def check_there(self) -> None:
        """Raise CardGone unless this very card is still in the bay."""
        if not self.still_there():
            raise CardGone(f"{self._bay.name}: the camera was taken out")

    def closed(self) -> tuple[RecordingId, ...]:
        """Return the recordings that have their end record, oldest first. An open one is still the camera's."""
        self.check_there()
        with self._errors():
            names = self._names("recordings")
            found = []
            for name in names:
                with contextlib.suppress(ValueError):
                    recording = parse_recording(name)
                    if (self._root / "recordings" / name / END).exists():
                        found.append(recording)
        return tuple(sorted(found))

    def on_card(self, recording: RecordingId) -> OnCard:
        """Return what a recording says of itself, without its segments. Raises as `contents` does."""
        return self._what_it_says(recording)[0]

    def contents(self, recording: RecordingId) -> Contents:
        """Return what is to be sent of a recording. Raise CardGone, CardSick, or Refused for a false end record."""
        on_card, head, end = self._what_it_says(recording)
        folder = f"recordings/{recording}"
        with self._errors():
            segments = tuple(self._segment(folder, recording, sequence) for sequence in range(on_card.segments))
        return Contents(on_card=on_card, head=head, end=end, segments=segments)

    def _what_it_says(self, recording: RecordingId) -> tuple[OnCard, bytes, bytes]:
        self.check_there()
        folder = f"recordings/{recording}"
        with self._errors():
            head = self._read(f"{folder}/{HEAD}", most=MAX_HEAD_BYTES)
            raw_end = self._read(f"{folder}/{END}", most=END_BYTES)
            end = read_end(raw_end, self.card.key)
            if end.recording != recording:
                raise refuse(Code.MALFORMED, "end record", expected=f"one of {recording}", got=end.recording)
            pressed = self._is_of_a_press(folder, end.segments)
        on_card = OnCard(
            recording=recording,
            camera_key=camera_key_id(self.card.raw_key).hex(),
            pressed=pressed,
            head_sha256=hashlib.sha256(head).hexdigest(),
            segments=end.segments,
            last_hash=end.last_hash.hex(),
            total_bytes=end.total_bytes,
        )
        return on_card, head, raw_end

    def send(self, segment: SegmentFile, pieces: "Pieces") -> None:
        """Read a segment into `pieces`, which sends it. Raise CardGone or CardSick.

        Whether it is still the same card in the bay is for who sends many to ask: `check_there`.
        """
        name = f"{segment.sequence:08}{SEGMENT}"
        with self._errors():
            fd = _open(f"{self._root}/recordings/{segment.recording}/{name}")
        try:
            left = segment.size
            while left:
                room = pieces.room()
                with self._errors():
                    read = os.readv(fd, [room[:left]])
                if not read:
                    raise CardSick(f"{name}: expected {segment.size} bytes, got {segment.size - left}")
                pieces.came(read)
                left -= read
        finally:
            os.close(fd)

    def raw(self, segment: SegmentFile) -> bytes:
        """Return one segment whole, to be kept as it is when it does not verify."""
        self.check_there()
        folder = Path("recordings") / str(segment.recording)
        with self._errors():
            return self._read(str(folder / f"{segment.sequence:08}{SEGMENT}"), most=MAX_SEGMENT_BYTES)

    def hand_receipt(self, recording: RecordingId, receipt: bytes) -> None:
        """Write a receipt for the camera, durably. Raise CardGone, CardSick."""
        self._put(f"receipts/{recording}{RECEIPT}", receipt)

    def hand(self, name: str, content: bytes) -> None:
        """Write something else for the camera (``keylist.json``), durably, if it is new. Raise CardGone, CardSick."""
        with contextlib.suppress(OSError, CardSick):
            if self._read(f"from-dock/{name}", most=1_048_576) == content:
                return
        self._put(f"from-dock/{name}", content)

    def _put(self, name: str, content: bytes) -> None:
        self.check_there()
        with self._errors():
            folder = (self._root / name).parent
            if folder.is_symlink() or not folder.is_dir():
                raise CardSick(f"{folder.name}: expected a folder on the card")
            durable.replace(self._root / name, content)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What the disk says, in words: a card that is out is gone, one that is in and does not answer is sick."""
        try:
            yield
        except OSError as cause:
            if cause.errno in _GONE and not self.still_there():
                raise CardGone(f"{self._bay.name}: the camera was taken out") from cause
            raise CardSick(f"{self._bay.name}: {cause}") from cause

    def _names(self, folder: str) -> list[str]:
        path = self._root / folder
        if path.is_symlink():
            raise CardSick(f"{folder}: expected a folder on the card, got a link")
        return sorted(entry.name for entry in os.scandir(path) if not entry.is_symlink())

    def _read(self, name: str, *, most: int) -> bytes:
        fd = _open(self._root / name)
        try:
            content = os.read(fd, most + 1)
            while piece := os.read(fd, most + 1 - len(content)) if len(content) <= most else b"":
                content += piece
        finally:
            os.close(fd)
        if len(content) > most:
            raise CardSick(f"{name}: expected at most {most} bytes")
        return content

    def _segment(self, folder: str, recording: RecordingId, sequence: int) -> SegmentFile:
        name = f"{sequence:08}{SEGMENT}"
        header, tail, size = self._ends(folder, name)
        if size > MAX_SEGMENT_BYTES:
            raise CardSick(f"{name}: expected at most {MAX_SEGMENT_BYTES} bytes, got {size}")
        digest = hashlib.sha256(header + tail).digest()
        return SegmentFile(recording=recording, sequence=sequence, digest=digest, size=size)

    def _ends(self, folder: str, name: str) -> tuple[bytes, bytes, int]:
        fd = _open(f"{self._root}/{folder}/{name}")
        try:
            size = os.fstat(fd).st_size
            header = os.pread(fd, SEGMENT_HEADER_BYTES, 0)
            return header, os.pread(fd, SEGMENT_TAIL_BYTES, max(size - SEGMENT_TAIL_BYTES, 0)), size
        finally:
            os.close(fd)

    def _is_of_a_press(self, folder: str, segments: int) -> bool:
        """Whether the first footage (segment 1; 0 is the initialisation) is from before a press."""
        if segments < 2:
            return False
        header, tail, _ = self._ends(folder, f"{1:08}{SEGMENT}")
        try:
            return Flag.PRE_RECORD in read_segment_ends(header, tail, self.card.key).flags
        except Refused:  # damaged: it will be refused, and kept as it is; in doubt it goes first
            return True


def _open(path: Path | str) -> int:
    """Open a regular file that is no link; raise OSError or CardSick."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise CardSick(f"{Path(path).name}: expected a regular file")
    return fd


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
