"""A disk that forgets: what a power cut may leave of what a program wrote, built from the calls it made.

Assumed is only what POSIX promises. What was written to a file is on disk after fsync of that file; a name is on disk
after fsync of its folder. Everything else may be there or not: any part of the writes (none, all, every prefix, the
last one torn at 512 bytes, the first or the last one dropped, zeros of the right length), and of the names any prefix
in the order they were made, for all folders together or for one folder on its own. An ext4 keeps more (its journal
commits older names along with an fsync): what survives here survives there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

SECTOR = 512
Image = dict[str, bytes]
"""Path below the root -> content. A path that ends in a slash is an empty folder."""


@dataclass(frozen=True)
class Write:
    """One change to a file: bytes at an offset, or (None) a new length."""

    offset: int
    data: bytes | None


@dataclass
class File:
    """One file's bytes: those that are on disk, and what was written since."""

    durable: bytes = b""
    pending: list[Write] = field(default_factory=list)

    def variants(self) -> Iterator[bytes]:
        """Yield what a power cut may leave of it."""
        count = len(self.pending)
        for upto in range(count + 1):
            yield apply(self.durable, self.pending[:upto])
        if not count:
            return
        last = self.pending[-1]
        if last.data is not None:
            for cut in range(SECTOR, len(last.data), SECTOR):
                yield apply(self.durable, [*self.pending[:-1], Write(last.offset, last.data[:cut])])
        yield apply(self.durable, self.pending[1:])
        whole = apply(self.durable, self.pending)
        yield self.durable + bytes(max(len(whole) - len(self.durable), 0))

    @property
    def live(self) -> bytes:
        return apply(self.durable, self.pending)


def apply(content: bytes, writes: list[Write]) -> bytes:
    out = bytearray(content)
    for write in writes:
        if write.data is None:
            del out[write.offset :]
            out.extend(bytes(write.offset - len(out)))
            continue
        out.extend(bytes(max(write.offset - len(out), 0)))
        out[write.offset : write.offset + len(write.data)] = write.data
    return bytes(out)


@dataclass(frozen=True)
class Naming:
    """One change of names that happens as a whole: (folder, name, what it names from now on or None)."""

    changes: tuple[tuple[int, str, int | None], ...]

    @property
    def folders(self) -> set[int]:
        return {folder for folder, _, _ in self.changes}


Folders = dict[int, dict[str, int]]


class Disk:
    """What a program sees, and what a power cut may leave."""

    ROOT = 0

    def __init__(self) -> None:
        self.files: dict[int, File] = {}
        self.live: Folders = {self.ROOT: {}}
        self.durable: Folders = {self.ROOT: {}}
        self.pending: list[Naming] = []
        self._next = 1

    # --- what the program does ----------------------------------------------------------------------------------

    def find(self, path: str) -> int | None:
        node: int | None = self.ROOT
        for part in filter(None, path.split("/")):
            node = self.live.get(node, {}).get(part) if node is not None else None
        return node

    def place(self, path: str) -> tuple[int, str]:
        folder, _, name = path.rstrip("/").rpartition("/")
        node = self.find(folder)
        assert node is not None, f"no folder for {path}"
        return node, name

    def existing(self, path: str, content: bytes | None) -> None:
        """Something that was there before the program began; None is a folder."""
        folder, name = self.place(path)
        node = self._new(folder_=content is None)
        if content is not None:
            self.files[node].durable = content
        self.live[folder][name] = node
        self.durable[folder][name] = node

    def create(self, path: str) -> int:
        folder, name = self.place(path)
        node = self._new(folder_=False)
        self._name((folder, name, node))
        return node

    def make_folder(self, path: str) -> None:
        folder, name = self.place(path)
        self._name((folder, name, self._new(folder_=True)))

    def link(self, source: str, target: str) -> None:
        node = self.find(source)
        assert node is not None
        self._name((*self.place(target), node))

    def rename(self, source: str, target: str) -> None:
        node = self.find(source)
        assert node is not None
        self._name((*self.place(source), None), (*self.place(target), node))

    def unlink(self, path: str) -> None:
        self._name((*self.place(path), None))

    def write(self, node: int, offset: int, data: bytes) -> None:
        self.files[node].pending.append(Write(offset, data))

    def truncate(self, node: int, length: int) -> None:
        self.files[node].pending.append(Write(length, None))

    def sync(self, node: int) -> None:
        if node in self.files:
            file = self.files[node]
            file.durable, file.pending = file.live, []
            return
        kept = []
        for naming in self.pending:
            if node in naming.folders:
                _change(self.durable, naming)
            else:
                kept.append(naming)
        self.pending = kept

    def sync_everything(self) -> None:
        for file in self.files.values():
            file.durable, file.pending = file.live, []
        for naming in self.pending:
            _change(self.durable, naming)
        self.pending = []

    def _new(self, *, folder_: bool) -> int:
        node, self._next = self._next, self._next + 1
        if folder_:
            self.live[node], self.durable[node] = {}, {}
        else:
            self.files[node] = File()
        return node

    def _name(self, *changes: tuple[int, str, int | None]) -> None:
        naming = Naming(changes)
        _change(self.live, naming)
        self.pending.append(naming)

    # --- what a power cut may leave -----------------------------------------------------------------------------

    def images(self) -> Iterator[Image]:
        """Yield every disk that may be found after a power cut at this very moment (with repetitions)."""
        dirty = [node for node, file in self.files.items() if file.pending]
        for names in self._namings():
            tree: Folders = {folder: dict(entries) for folder, entries in self.durable.items()}
            for naming in names:
                _change(tree, naming)
            for chosen in self._contents(dirty):
                yield dict(self._walk(tree, self.ROOT, "", chosen))

    def _namings(self) -> Iterator[tuple[Naming, ...]]:
        pending = self.pending
        for upto in range(len(pending) + 1):
            yield tuple(pending[:upto])
        for folder in {folder for naming in pending for folder in naming.folders}:
            mine = [naming for naming in pending if folder in naming.folders]
            rest = [naming for naming in pending if folder not in naming.folders]
            if not rest:
                continue
            for upto in range(len(mine) + 1):
                yield tuple(mine[:upto])
                yield tuple(sorted((*rest, *mine[:upto]), key=pending.index))

    def _contents(self, dirty: list[int]) -> Iterator[dict[int, bytes]]:
        """One file in each of its variants, while of the others nothing or everything was written."""
        if not dirty:
            yield {}
            return
        for everything in (False, True):
            for node in dirty:
                others = {other: self.files[other] for other in dirty if other != node}
                rest = {other: file.live if everything else file.durable for other, file in others.items()}
                for content in self.files[node].variants():
                    yield {**rest, node: content}

    def _walk(self, tree: Folders, node: int, path: str, chosen: dict[int, bytes]) -> Iterator[tuple[str, bytes]]:
        entries = tree[node]
        if path and not entries:
            yield path, b""
        for name, inside in entries.items():
            if inside in self.files:
                yield path + name, chosen.get(inside, self.files[inside].durable)
            else:
                yield from self._walk(tree, inside, f"{path}{name}/", chosen)


def _change(tree: Folders, naming: Naming) -> None:
    for folder, name, node in naming.changes:
        if node is None:
            tree[folder].pop(name, None)
        else:
            tree[folder][name] = node


def distinct(images: Iterator[Image], seen: set[tuple[int, int]], *, acknowledged: int) -> Iterator[Image]:
    """Leave out what was seen with as much acknowledged."""
    for image in images:
        key = (acknowledged, hash(frozenset(image.items())))
        if key not in seen:
            seen.add(key)
            yield image
