"""Recompute a ledger from its files and name the first entry that is not what was promised.

Needs the folder and the ledger's public key, no database and no running part; changes nothing. Checkpoints that others
kept (cameras, receipts, witnesses, a court) show besides that the ledger only grew since they saw it.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.wire import tlog
from broker.wire.entries import read_entry
from broker.wire.refusals import Refused
from cloud.ledger.tiles import CHECKPOINT, LOCK, TILE, tile_path, unpack_bundle

TRIES: Final = 3
"""Times that a ledger which grows under our eyes is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is not as promised. `index` is the first entry concerned, None when it is no entry."""

    where: str
    index: int | None
    what: str

    def __str__(self) -> str:
        """One line for a terminal."""
        entry = "" if self.index is None else f" (entry {self.index})"
        return f"{self.where}{entry}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found. `notes` are leftovers that nobody was promised: no harm, worth knowing."""

    size: int
    root: bytes
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether every byte that was promised is there and is what was promised."""
        return not self.problems

    @property
    def first(self) -> Problem | None:
        """The problem with the first broken entry; otherwise the first problem; None when intact."""
        numbered = [problem for problem in self.problems if problem.index is not None]
        return min(numbered, key=lambda problem: problem.index or 0) if numbered else next(iter(self.problems), None)


def verify(
    folder: Path,
    *,
    origin: str,
    key: Ed25519PublicKey,
    seen: Sequence[bytes] = (),
    witnesses: Mapping[str, Ed25519PublicKey] | None = None,
) -> Verification:
    """Return what the files of this ledger hold against its own newest promise and against what others `seen`.

    Every witness that is given must have cosigned the newest checkpoint. A ledger that grew meanwhile is looked at
    again: its writer puts full tiles in the place of partial ones. Raises nothing but OSError.
    """
    for _ in range(TRIES):
        before = _promise(folder)
        found = _look(folder, origin=origin, key=key, seen=seen, witnesses=witnesses or {})
        if found.intact or _promise(folder) == before:
            break
    return found


def _promise(folder: Path) -> bytes:
    try:
        return (folder / CHECKPOINT).read_bytes()
    except FileNotFoundError:
        return b""


def _look(
    folder: Path,
    *,
    origin: str,
    key: Ed25519PublicKey,
    seen: Sequence[bytes],
    witnesses: Mapping[str, Ed25519PublicKey],
) -> Verification:
    try:
        note = (folder / CHECKPOINT).read_bytes()
        promised = tlog.read_checkpoint(note, origin=origin, key=key)
        for name, witness in witnesses.items():
            tlog.check_cosignature(note, name=name, key=witness)
    except (Refused, FileNotFoundError) as cause:
        problem = Problem(where=CHECKPOINT, index=None, what=str(cause))
        return Verification(size=0, root=b"", problems=(problem,))
    found = _Check(folder, promised)
    found.entries()
    found.upper_tiles()
    found.older_tiles()
    found.promises([_Seen.read(raw, origin=origin, key=key) for raw in seen])
    return Verification(
        size=promised.size, root=promised.root, problems=tuple(found.problems), notes=tuple(found.notes)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A checkpoint that somebody kept, or why it is none."""

    checkpoint: tlog.Checkpoint | None
    because: str = ""

    @classmethod
    def read(cls, raw: bytes, *, origin: str, key: Ed25519PublicKey) -> "_Seen":
        try:
            return cls(checkpoint=tlog.read_checkpoint(raw, origin=origin, key=key))
        except Refused as cause:
            return cls(checkpoint=None, because=str(cause))


@dataclass
class _Check:
    """One pass over the files; `tree` is over the entries as they lie there."""

    folder: Path
    promised: tlog.Checkpoint
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tree: tlog.Tree = field(default_factory=tlog.Tree)

    def entries(self) -> None:
        """Hash every entry and compare with its hash in the tile; where they differ, the root says which is wrong."""
        differing: list[tuple[int, str, str]] = []
        for number in range(-(-self.promised.size // TILE)):
            width = min(TILE, self.promised.size - number * TILE)
            bundle, tile = tile_path("entries", number, width), tile_path(0, number, width)
            hashes = self._hashes(tile, number * TILE, width)
            for at, entry in enumerate(self._bundle(bundle, number * TILE, width)):
                index, ours = number * TILE + at, tlog.leaf_hash(entry)
                theirs = hashes[at * 32 : at * 32 + 32]
                self.tree.append(ours)
                if ours != theirs:
                    differing.append((index, bundle, tile))
                self._check_form(bundle, index, entry)
            for index in range(self.tree.size, number * TILE + width):  # broken off: keep the rest in its place
                stands_in = hashes[(index % TILE) * 32 : (index % TILE) * 32 + 32] or bytes(tlog.HASH_BYTES)
                self.tree.append(stands_in.ljust(tlog.HASH_BYTES, b"\0"))
        entries_hold = self.tree.root() == self.promised.root
        for index, bundle, tile in differing:
            if entries_hold:
                what = "the hash in the tile is not that of the entry; the entry itself is as promised"
                self.problems.append(Problem(where=tile, index=index, what=what))
            else:
                what = "the entry does not have the hash that the tree was built from"
                self.problems.append(Problem(where=bundle, index=index, what=what))

    def upper_tiles(self) -> None:
        """Compare the tiles above level 0 with what the entries give."""
        for level in range(1, 8):
            count = self.promised.size >> (8 * level)
            for number in range(-(-count // TILE)):
                width = min(TILE, count - number * TILE)
                self._check_tile(tile_path(level, number, width), level, number, width)

    def older_tiles(self) -> None:
        """Check what else lies in the folder: narrower tiles of earlier checkpoints must say the same."""
        expected = set(self._expected())
        lying = [Path(at, name) for at, _, names in os.walk(self.folder) for name in names]
        for path in sorted(lying):
            name, known = path.relative_to(self.folder).as_posix(), len(self.problems)
            if name in expected or name in {CHECKPOINT, LOCK}:
                continue
            older = _parse_partial(name)
            if older is None:
                self.notes.append(f"{name}: not a file of a ledger")
                continue
            level, number, width = older
            if self._start(level, number) + (width << _shift(level)) > self.promised.size:
                self.notes.append(f"{name}: beyond the checkpoint; a crash left it, nobody was promised it")
            elif level == "entries":
                self._check_older_bundle(name, number, width)
            else:
                self._check_tile(name, int(level), number, width)
            if not path.exists():
                del self.problems[known:]  # tidied away while we read: a full one says it all

    def promises(self, seen: Sequence[_Seen]) -> None:
        """Compare the roots with the newest checkpoint's and with those that others kept."""
        if self.tree.root() != self.promised.root and not self.problems:
            self.problems.append(self._narrow([each.checkpoint for each in seen if each.checkpoint]))
        for each in seen:
            kept = each.checkpoint
            if kept is None:
                self.problems.append(Problem(where="kept checkpoint", index=None, what=each.because))
            elif kept.size > self.tree.size:
                what = f"the ledger has shrunk: {kept.size} entries were promised, {self.tree.size} are here"
                self.problems.append(Problem(where="kept checkpoint", index=self.tree.size, what=what))
            elif self.tree.root(kept.size) != kept.root:
                what = f"the first {kept.size} entries are not those that were promised then"
                self.problems.append(Problem(where="kept checkpoint", index=None, what=what))

    def _narrow(self, kept: Sequence[tlog.Checkpoint]) -> Problem:
        """Everything agrees but the root: entries and hashes were rewritten together. Kept checkpoints bound where."""
        sound = max((each.size for each in kept if self.tree.root(each.size) == each.root), default=0)
        what = f"entries and tiles were rewritten together, from entry {sound} on at the earliest"
        return Problem(where=CHECKPOINT, index=sound, what=what)

    def _expected(self) -> Iterator[str]:
        for level in ("entries", *range(8)):
            count = self.promised.size >> _shift(level)
            for number in range(-(-count // TILE)):
                yield tile_path(level, number, min(TILE, count - number * TILE))

    def _bundle(self, name: str, start: int, width: int) -> Iterator[bytes]:
        """Yield the bundle's entries; where it breaks off or goes on, the entry there is the problem."""
        got = 0
        try:
            for got, entry in enumerate(unpack_bundle((self.folder / name).read_bytes()), start=1):
                if got > width:
                    raise ValueError(f"more than {width} entries")
                yield entry
        except (ValueError, FileNotFoundError) as cause:
            at = min(got, width - 1)
            self.problems.append(Problem(where=name, index=start + at, what=f"the bundle is damaged here: {cause}"))
            return
        if got < width:
            what = f"expected {width} entries, got {got}"
            self.problems.append(Problem(where=name, index=start + got, what=what))

    def _hashes(self, name: str, start: int, width: int) -> bytes:
        try:
            hashes = (self.folder / name).read_bytes()
        except FileNotFoundError:
            self.problems.append(Problem(where=name, index=start, what="the tile is missing"))
            return b""
        if len(hashes) != width * tlog.HASH_BYTES:
            what = f"expected {width} hashes, got {len(hashes)} bytes"
            at = min(len(hashes) // tlog.HASH_BYTES, width - 1)
            self.problems.append(Problem(where=name, index=start + at, what=what))
        return hashes

    def _check_form(self, name: str, index: int, entry: bytes) -> None:
        try:
            read_entry(entry)
        except Refused as cause:
            self.notes.append(f"{name} (entry {index}): not an entry that this version reads: {cause}")

    def _check_tile(self, name: str, level: int, number: int, width: int) -> None:
        expected = self.tree.nodes(8 * level, number * TILE, number * TILE + width)
        hashes = self._hashes(name, self._start(level, number), width)
        for at in range(min(len(expected), len(hashes)) // tlog.HASH_BYTES):
            part = slice(at * tlog.HASH_BYTES, (at + 1) * tlog.HASH_BYTES)
            if expected[part] != hashes[part]:
                index = (number * TILE + at) << (8 * level)
                what = "a hash is not what the entries give"
                self.problems.append(Problem(where=name, index=index, what=what))
                return

    def _check_older_bundle(self, name: str, number: int, width: int) -> None:
        for at, entry in enumerate(self._bundle(name, number * TILE, width)):
            expected = self.tree.nodes(0, number * TILE + at, number * TILE + at + 1)
            if tlog.leaf_hash(entry) != expected:
                what = "an earlier copy of the entry says something else"
                self.problems.append(Problem(where=name, index=number * TILE + at, what=what))
                return

    def _start(self, level: str | int, number: int) -> int:
        return (number * TILE) << _shift(level)


def _shift(level: str | int) -> int:
    return 0 if level == "entries" else 8 * int(level)


def _parse_partial(name: str) -> tuple[str | int, int, int] | None:
    """Return (level, number, width) of a partial tile's name; full tiles are expected or beyond the checkpoint."""
    parts = name.split("/")
    if len(parts) < 3 or parts[0] != "tile":
        return None
    width = TILE
    if len(parts) > 3 and parts[-2].endswith(".p") and parts[-1].isdigit():
        width, parts = int(parts[-1]), [*parts[:-2], parts[-2].removesuffix(".p")]
    digits = "".join(part.removeprefix("x") for part in parts[2:])
    if not digits.isdigit() or not (parts[1] == "entries" or parts[1].isdigit()) or not 0 < width <= TILE:
        return None
    level: str | int = parts[1] if parts[1] == "entries" else int(parts[1])
    return (level, int(digits), width) if tile_path(level, int(digits), width) == name else None
