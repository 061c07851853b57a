"""Every disk that a power cut may leave behind: what was written but not synced may be there, in part, or not at all.

Records what a writer does to files and folders, and gives for each moment the possible disks, in the manner of
CrashMonkey (OSDI 2018): file contents count from their fsync, names from the fsync of their folder; names that were not
synced are there up to any point or but for one, and files that were not synced are empty, torn, or whole.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Inode:
    content: bytes = b""
    synced: bytes | None = None


@dataclass(frozen=True)
class Name:
    """A change of a name in a folder: to a file, to a folder (None), or gone."""

    path: str
    inode: Inode | None = None
    gone: bool = False


@dataclass
class Recorder:
    """Stands in front of the operating system for one module and remembers."""

    root: Path
    durable: dict[str, Inode | None] = field(default_factory=dict)
    pending: list[Name] = field(default_factory=list)
    now: dict[str, Inode | None] = field(default_factory=dict)
    handles: dict[int, Inode | str] = field(default_factory=dict)
    acknowledged: int = 0
    disks: dict[tuple[tuple[str, bytes | None], ...], int] = field(default_factory=dict)

    def start(self) -> None:
        """What lies there now is durable."""
        for path in self.root.rglob("*"):
            content = None if path.is_dir() else path.read_bytes()
            self.durable[str(path)] = None if content is None else Inode(content, content)
        self.now = dict(self.durable)

    def install(self, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
        recorder, real = self, os

        class Os:
            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
                handle = real.open(path, flags, mode)
                if flags & real.O_CREAT:
                    recorder.handles[handle] = recorder.create(str(path))
                else:
                    recorder.handles[handle] = str(path)
                return handle

            def write(self, handle: int, content: Any) -> int:
                inode = recorder.handles[handle]
                assert isinstance(inode, Inode)
                inode.content += bytes(content)
                recorder.look()
                return real.write(handle, content)

            def fsync(self, handle: int) -> None:
                recorder.sync(recorder.handles[handle])

            def close(self, handle: int) -> None:
                recorder.handles.pop(handle, None)
                real.close(handle)

        monkeypatch.setattr(module, "os", Os())
        for method, change in (("rename", recorder.rename), ("mkdir", recorder.mkdir), ("unlink", recorder.unlink)):
            monkeypatch.setattr(Path, method, _recorded(getattr(Path, method), change))
        monkeypatch.setattr(Path, "rmdir", _recorded(Path.rmdir, recorder.unlink))

    def create(self, path: str) -> Inode:
        inode = Inode()
        self._change(Name(path, inode))
        return inode

    def rename(self, old: Path, new: Any) -> None:
        inode = self.now[str(old)]
        self._change(Name(str(old), gone=True), Name(str(new), inode))

    def mkdir(self, path: Path, *_: Any, **__: Any) -> None:
        if str(path) not in self.now:
            self._change(Name(str(path)))

    def unlink(self, path: Path, *_: Any, **__: Any) -> None:
        self._change(Name(str(path), gone=True))

    def sync(self, what: Inode | str) -> None:
        if isinstance(what, Inode):
            what.synced = what.content
        else:
            for change in [each for each in self.pending if str(Path(each.path).parent) == what]:
                self.pending.remove(change)
                _apply(self.durable, change)
        self.look()

    def acknowledge(self, size: int) -> None:
        self.acknowledged = size
        self.look()

    def look(self) -> None:
        """Remember every disk that a power cut at this moment may leave, with how much was acknowledged by then."""
        kept = [self.pending[:upto] for upto in range(len(self.pending) + 1)]
        kept += [self.pending[:at] + self.pending[at + 1 :] for at in range(len(self.pending))]
        for changes in kept:
            names = dict(self.durable)
            for change in changes:
                _apply(names, change)
            for how in ("lost", "torn", "whole"):
                disk = tuple(sorted(_contents(names, how)))
                self.disks[disk] = max(self.disks.get(disk, 0), self.acknowledged)

    def _change(self, *changes: Name) -> None:
        """A rename is one change: a disk holds the old name or the new one."""
        for change in changes:
            _apply(self.now, change)
        if len(changes) == 2:
            gone, new = changes
            self.pending = [each for each in self.pending if each.path != gone.path]
            self.pending.append(new)
        else:
            self.pending.extend(changes)
        self.look()


def _recorded(real: Any, change: Any) -> Any:
    def call(path: Path, *arguments: Any, **options: Any) -> Any:
        done = real(path, *arguments, **options)
        change(path, *arguments, **options)
        return done

    return call


def _apply(names: dict[str, Inode | None], change: Name) -> None:
    if change.gone:
        names.pop(change.path, None)
    else:
        names[change.path] = change.inode


def _contents(names: dict[str, Inode | None], how: str) -> Iterator[tuple[str, bytes | None]]:
    for path, inode in names.items():
        if any(str(parent) not in names for parent in _parents(path, names)):
            continue
        if inode is None:
            yield path, None
        elif inode.synced is not None or how == "whole":
            yield path, inode.synced if inode.synced is not None else inode.content
        else:
            yield path, b"" if how == "lost" else inode.content[: len(inode.content) // 2]


def _parents(path: str, names: dict[str, Inode | None]) -> Iterator[Path]:
    root = min(names, key=len)
    yield from (parent for parent in Path(path).parents if len(str(parent)) > len(str(Path(root).parent)))


def materialise(disk: tuple[tuple[str, bytes | None], ...], *, recorded: Path, at: Path) -> None:
    """Put this disk in a folder."""
    for path, content in disk:
        target = at / Path(path).relative_to(recorded)
        if content is None:
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
