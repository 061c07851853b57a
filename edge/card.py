"""The memory card: what the camera writes is sealed at once, survives a power cut, and is wiped only on a receipt.

::

    card.json                        whose card this is, signed by the camera
    recordings/<uuid>/head.voh       00000000.vos ... end.voe; `.part` = being written
    receipts/<uuid>.receipt          put here by the dock
    from-dock/keylist.json           put here by the dock
    wiping/<uuid>/                   a receipted recording on its way out; only the camera moves one here

Sequence 0 holds the initialisation segment alone, footage starts at 1. The card never holds a key: a recording's data
key lives in the sealer, in memory, one segment ahead, and is gone with it.
"""

import errno
import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.sodium import SodiumKey
from broker.wire.card import sign_card
from broker.wire.ids import DeviceId, Org, RecordingId, camera_key_id, parse_recording, tenant_id
from broker.wire.receipts import Receipt, read_receipt
from broker.wire.recording import (
    SEGMENT_HEADER_BYTES,
    SEGMENT_TAIL_BYTES,
    Checkpoint,
    Flag,
    Kind,
    Recipient,
    Sealer,
    SegmentFacts,
    StopReason,
    close_interrupted,
    read_end,
    read_head,
    read_segment_ends,
    salvage_segment,
)
from broker.wire.refusals import Code, Refused, refuse
from edge import durable

HEAD, END, SEGMENT, RECEIPT = "head.voh", "end.voe", ".vos", ".receipt"
ORPHAN: Final = ".orphan"
"""Suffix of a segment behind a hole that a power cut tore: kept for an investigation, not part of the chain."""

RESERVE_BYTES: Final = 65_536
"""Kept free for end records and folders, so that a full card can still close what is on it."""

_SEALING_BYTES: Final = 1024
_PER_CHUNK_BYTES: Final = 16
_CHUNK_BYTES: Final = 16_384


class CardFull(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """There is no room for the next segment. Nothing of it was written; what is on the card is safe."""


class CardBroken(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The card cannot be written although there is room. Nothing was overwritten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """What is to become a segment. `flags` without LAST are the camera's word on its circumstances."""

    plaintext: bytes = field(repr=False)
    kind: Kind
    flags: Flag
    starts_at: datetime
    ends_at: datetime
    monotonic_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A recording that has its end record."""

    recording: RecordingId
    segments: int
    ended_at: datetime
    reason: StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the camera found on its card at boot: what it closed, and what it cannot explain (kept, and reported)."""

    closed: tuple[Closed, ...]
    strange: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiped:
    """What the receipts in the card led to. A refused receipt wipes nothing."""

    receipts: tuple[Receipt, ...]
    refused: tuple[tuple[str, str], ...]  # (file, why)


class MemoryCard:
    """One camera's card. Its methods block on the disk: call them in a thread."""

    def __init__(
        self,
        folder: Path,
        *,
        org: Org,
        camera: DeviceId,
        signing_key: Ed25519PrivateKey,
        receipt_key: Ed25519PublicKey,
        limit_bytes: int,
    ) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._org = org
        self._key = signing_key
        self._key_id = camera_key_id(signing_key.public_key().public_bytes_raw())
        self._receipt_key = receipt_key
        self._recordings = folder / "recordings"
        self._receipts = folder / "receipts"
        self._wiping = folder / "wiping"
        for inside in (self._recordings, self._receipts, self._wiping, folder / "from-dock"):
            durable.make_folder(inside)
        if not (folder / "card.json").exists():
            durable.put(folder, "card.json", sign_card(org, camera, signing_key))
        (folder / ("card.json" + durable.PART)).unlink(missing_ok=True)  # of a start that died in between
        self._counting = threading.Lock()
        self._used = _bytes_in(folder)
        self._refused: set[tuple[str, int]] = set()
        self._recording = set[str]()

    @property
    def free_pct(self) -> int:
        """How much of the card is free, 0 to 100."""
        return max(0, min(100, 100 * (self.limit_bytes - self._used) // self.limit_bytes))

    def recordings(self) -> tuple[RecordingId, ...]:
        """The recordings on the card, oldest first."""
        names = sorted(folder.name for folder in self._recordings.iterdir())
        return tuple(parse_recording(name) for name in names if not name.startswith("."))

    def folder_of(self, recording: RecordingId) -> Path:
        """Where this recording lies."""
        return self._recordings / str(recording)

    def account_of(self, recording: RecordingId) -> tuple[datetime | None, Closed | None]:
        """Return when the footage of a recording begins (None: there is none), and how it ended (None: it is open).

        Raises Refused, ValueError, OSError where it cannot be read.
        """
        folder, public = self.folder_of(recording), self._key.public_key()
        first, end = folder / _name(0), folder / END
        begins_at = read_segment_ends(*_halves(_ends(first)), public).starts_at if first.exists() else None
        if not end.exists():
            return begins_at, None
        said = read_end(end.read_bytes(), public)
        return begins_at, Closed(
            recording=recording, segments=said.segments, ended_at=said.ended_at, reason=said.stop_reason
        )

    def dock_says(self) -> bytes | None:
        """Return what the dock put here for the camera at the last docking, unchecked; None where there is nothing."""
        try:
            return (self.folder / "from-dock" / "keylist.json").read_bytes()
        except FileNotFoundError:
            return None

    # --- recording ----------------------------------------------------------------------------------------------

    def begin(
        self, recording: RecordingId, *, boot: bytes, recipients: tuple[Recipient, ...], checkpoint: Checkpoint
    ) -> "Writing":
        """Start a recording: its head is on disk when this returns. Raises CardFull or CardBroken."""
        data_key = secrets.token_bytes(32)
        head, sealer = Sealer.start(
            tenant=tenant_id(self._org),
            signing_key=self._key,
            recording=recording,
            boot=boot,
            data_key=data_key,
            recipients=recipients,
            checkpoint=checkpoint,
        )
        del data_key
        self.take_room(len(head))
        self._recording.add(str(recording))
        unfinished = self._recordings / f".{recording}"
        try:
            unfinished.mkdir()
            durable.put(unfinished, HEAD, head)
            unfinished.rename(self.folder_of(recording))
            durable.sync_folder(self._recordings)
        except OSError as cause:
            shutil.rmtree(unfinished, ignore_errors=True)  # a head without a name: no footage was ever in it
            self.is_over(recording)
            raise _why(cause) from cause
        return Writing(self, recording=recording, sealer=sealer)

    def is_over(self, recording: RecordingId) -> None:
        """Nobody writes this recording any more."""
        self._recording.discard(str(recording))

    def take_room(self, size: int) -> None:
        """Count so many bytes as used; raise CardFull when there is no room for them."""
        with self._counting:
            if self._used + size + RESERVE_BYTES > self.limit_bytes:
                raise CardFull(f"card: {size} bytes to write, {max(0, self.limit_bytes - self._used)} free")
            self._used += size

    def give_back(self, size: int) -> None:
        """Count so many bytes as free again."""
        with self._counting:
            self._used = max(0, self._used - size)

    # --- after a power cut --------------------------------------------------------------------------------------

    def recover(self, *, now: datetime) -> Found:
        """Close what a power cut or a sick card interrupted: at boot and in a bay; never what is being recorded.

        Nothing is continued, no footage is deleted. What fails of it is said, kept, and tried again by the next call.
        """
        closed: list[Closed] = []
        strange: list[str] = []
        try:
            self._finish_wiping()
        except OSError as cause:
            strange.append(f"what has its receipt cannot be wiped yet: {cause}")
        for folder in sorted(self._recordings.iterdir()):
            if folder.name.removeprefix(".") in self._recording:
                continue  # somebody took the camera out of the bay and pressed
            if folder.name.startswith("."):
                shutil.rmtree(folder, ignore_errors=True)  # a head that never got its name: no footage was ever in it
            elif not (folder / END).exists():
                try:
                    closed.append(self._close(folder, now=now, strange=strange))
                except (Refused, OSError, ValueError) as cause:
                    strange.append(f"recording {folder.name} is kept but cannot be closed: {cause}")
        return Found(closed=tuple(closed), strange=tuple(strange))

    def close_as_it_lies(self, recording: RecordingId, *, now: datetime) -> Closed:
        """Close one recording with what is on the card of it; raise OSError, Refused, ValueError."""
        return self._close(self.folder_of(recording), now=now, strange=[])

    def _close(self, folder: Path, *, now: datetime, strange: list[str]) -> Closed:
        facts = list(self._unbroken_row(folder))
        while found := self._salvage(
            folder, len(facts), now=facts[-1].ends_at + timedelta(seconds=1) if facts else now
        ):
            facts.append(found)
            if found.salvaged:
                break  # cut short: what was sealed behind it belongs to another end of it
            facts += self._unbroken_row(folder, len(facts))
        behind = [path for path in sorted(folder.glob("*" + SEGMENT)) if int(path.stem) >= len(facts)]
        for path in behind:
            path.rename(path.with_name(path.name + ORPHAN))
        if behind:
            strange.append(f"recording {folder.name}: a hole before segment {behind[0].stem}; {len(behind)} set apart")
        ended_at = facts[-1].ends_at if facts else now
        end = close_interrupted(
            head=(folder / HEAD).read_bytes(),
            tails=tuple(_ends(folder / _name(each.sequence)) for each in facts),
            signing_key=self._key,
            ended_at=ended_at,
        )
        durable.put(folder, END, end)
        return Closed(
            recording=parse_recording(folder.name),
            segments=len(facts),
            ended_at=ended_at,
            reason=StopReason.INTERRUPTED,
        )

    def _unbroken_row(self, folder: Path, sequence: int = 0) -> Iterator[SegmentFacts]:
        """Yield the segments from this one up to the first that is missing."""
        public = SodiumKey.of(self._key.public_key())
        while (folder / _name(sequence)).exists():
            yield read_segment_ends(*_halves(_ends(folder / _name(sequence))), public)
            (folder / (_name(sequence) + durable.PART)).unlink(missing_ok=True)  # it has its name already
            sequence += 1

    def _salvage(self, folder: Path, sequence: int, *, now: datetime) -> SegmentFacts | None:
        """Give a segment that was being written its name, as far as it came. Of a batch all but the last are whole."""
        part = folder / (_name(sequence) + durable.PART)
        if not part.exists():
            return None
        whole = salvage_segment(part.read_bytes(), signing_key=self._key, ended_at=now)
        if whole is None:
            return None
        durable.write_part(folder, _name(sequence) + ".salvaged", whole)
        os.link(folder / (_name(sequence) + ".salvaged" + durable.PART), folder / _name(sequence))
        durable.sync_folder(folder)
        for left in (_name(sequence) + ".salvaged", _name(sequence)):
            (folder / (left + durable.PART)).unlink()
        header, tail = whole[:SEGMENT_HEADER_BYTES], whole[-SEGMENT_TAIL_BYTES:]
        return read_segment_ends(header, tail, self._key.public_key())

    # --- wiping -------------------------------------------------------------------------------------------------

    def wipe_receipted(self) -> Wiped:
        """Wipe exactly the recordings for which a receipt lies here that the receiver signed and that fits these bytes.

        Nothing else in this program deletes footage. A receipt that does not fit is left where it is, refused once.
        """
        self._finish_wiping()
        wiped: list[Receipt] = []
        refused: list[tuple[str, str]] = []
        for path in sorted(self._receipts.glob("*" + RECEIPT)):
            seen = (path.name, path.stat().st_mtime_ns)
            if seen in self._refused:
                continue
            try:
                recording = parse_recording(path.name.removesuffix(RECEIPT))
                receipt = read_receipt(path.read_bytes(), self._receipt_key)
                if self.folder_of(recording).exists():
                    self._check_receipt(receipt, recording)
                    self._wipe(recording)
                    wiped.append(receipt)
                path.unlink()
                durable.sync_folder(self._receipts)
            except (Refused, ValueError) as cause:
                self._refused.add(seen)
                refused.append((path.name, str(cause)))
        return Wiped(receipts=tuple(wiped), refused=tuple(refused))

    def _check_receipt(self, receipt: Receipt, recording: RecordingId) -> None:
        """Raise Refused unless the receipt is for this town, this camera, this recording and these very bytes."""
        folder = self.folder_of(recording)
        public = self._key.public_key()
        head = (folder / HEAD).read_bytes()
        read_head(head, public)
        try:
            end = read_end((folder / END).read_bytes(), public)
        except FileNotFoundError as cause:
            raise refuse(Code.CONFLICT, "receipt", expected="a recording that is closed", got="an open one") from cause
        row = tuple(self._unbroken_row(folder))
        last = row[-1].digest if row else hashlib.sha256(head).digest()
        here = (
            str(self._org),
            str(recording),
            self._key_id.hex(),
            hashlib.sha256(head).hexdigest(),
            len(row),
            last.hex(),
            sum(each.ciphertext_bytes for each in row),
        )
        named = (
            receipt.org,
            str(receipt.recording),
            receipt.camera_key,
            receipt.head_sha256,
            receipt.segments,
            receipt.last_hash,
            receipt.total_bytes,
        )
        if named != here or (end.segments, end.last_hash) != (len(row), last):
            raise refuse(Code.CONFLICT, "receipt", expected=f"one for {here}", got=named)

    def _wipe(self, recording: RecordingId) -> None:
        leaving = self._wiping / str(recording)
        self.folder_of(recording).rename(leaving)
        durable.sync_folder(self._wiping)
        durable.sync_folder(self._recordings)
        self._remove(leaving)

    def _finish_wiping(self) -> None:
        """Remove what was on its way out when the power went or the card failed."""
        for left in list(self._wiping.iterdir()):
            self._remove(left)

    def _remove(self, leaving: Path) -> None:
        """End record first, then the head, then the segments: whatever a power cut leaves is never taken for whole."""
        size = sum(file.stat().st_size for file in leaving.iterdir())
        for name in (END, HEAD):
            (leaving / name).unlink(missing_ok=True)
        durable.sync_folder(leaving)
        for file in list(leaving.iterdir()):
            file.unlink()
        leaving.rmdir()
        durable.sync_folder(self._wiping)
        self.give_back(size)


class Writing:
    """One recording on its way to the card. Call from one thread at a time."""

    def __init__(self, card: MemoryCard, *, recording: RecordingId, sealer: Sealer) -> None:
        self._card = card
        self._folder = card.folder_of(recording)
        self._recording = recording
        self._sealer = sealer
        self._written = 0
        self._ends_at: datetime | None = None

    @property
    def segments(self) -> int:
        """How many segments are on disk."""
        return self._written

    def append(self, batch: Sequence[Plain]) -> None:
        """Seal these in order; they are on disk, under their names, when this returns. Raises CardFull or CardBroken.

        One folder sync serves the whole batch, each segment's data is synced of its own. When the card is full, what
        came before the one that did not fit is kept.
        """
        ready: list[str] = []
        try:
            for plain in batch:
                promised = _sealed_bytes(len(plain.plaintext))
                self._card.take_room(promised)
                name, size = self._write(plain)
                self._card.give_back(promised - size)
                ready.append(name)
                self._ends_at = plain.ends_at
        finally:
            if ready:
                self._name(ready)

    def _write(self, plain: Plain) -> tuple[str, int]:
        name = _name(self._sealer.sequence)
        sealed = self._sealer.seal(
            plain.plaintext,
            kind=plain.kind,
            flags=plain.flags,
            starts_at=plain.starts_at,
            ends_at=plain.ends_at,
            monotonic_us=plain.monotonic_us,
        )
        try:
            try:
                durable.write_part(self._folder, name, sealed)
            except OSError as cause:
                if cause.errno == errno.ENOSPC:
                    raise
                durable.write_part(self._folder, name, sealed)  # written anew: never synced a second time
        except OSError as cause:
            raise _why(cause) from cause
        return name, len(sealed)

    def _name(self, names: Sequence[str]) -> None:
        try:
            durable.give_names(self._folder, names)
        except OSError as cause:
            raise _why(cause) from cause
        self._written += len(names)

    def finish(self, *, reason: StopReason, ended_at: datetime) -> Closed:
        """Write the end record. Where the card failed meanwhile, close what lies on it as after a power cut."""
        ended_at = max(ended_at, self._ends_at) if self._ends_at else ended_at
        try:
            if self._sealer.sequence != self._written:
                return self._card.close_as_it_lies(self._recording, now=ended_at)
            end = self._sealer.finish(reason=reason, ended_at=ended_at)
            durable.put(self._folder, END, end)
        except OSError as cause:
            raise _why(cause) from cause
        except (Refused, ValueError) as cause:
            raise CardBroken(f"card: what was written reads back as something else: {cause}") from cause
        finally:
            self._card.is_over(self._recording)
        self._card.give_back(-len(end))
        return Closed(recording=self._recording, segments=self._written, ended_at=ended_at, reason=reason)


def _bytes_in(folder: Path) -> int:
    """Return the bytes of all files here. In a bay the dock writes too: what it renames meanwhile is not counted."""
    found = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                found += _bytes_in(Path(entry)) if entry.is_dir() else entry.stat().st_size
    return found


def _name(sequence: int) -> str:
    return f"{sequence:08}{SEGMENT}"


def _ends(path: Path) -> bytes:
    """Return header, trailer and signature of a segment without reading what is between them."""
    with path.open("rb") as file:
        header = file.read(SEGMENT_HEADER_BYTES)
        file.seek(-SEGMENT_TAIL_BYTES, os.SEEK_END)
        return header + file.read(SEGMENT_TAIL_BYTES)


def _halves(ends: bytes) -> tuple[bytes, bytes]:
    return ends[:SEGMENT_HEADER_BYTES], ends[SEGMENT_HEADER_BYTES:]


def _sealed_bytes(plain: int) -> int:
    """Return an upper bound of what a segment of this plaintext takes on the card."""
    return plain + _SEALING_BYTES + _PER_CHUNK_BYTES * (plain // _CHUNK_BYTES + 1)


def _why(cause: OSError) -> CardFull | CardBroken:
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return CardFull(f"card: {cause.strerror}")
    return CardBroken(f"card: {cause.strerror or cause}")
