"""The disk under a vault: create, sync, name, read. Blocking; the vault calls it from its threads.

Durable before visible: a file is synced before `link` gives it its name (and never replaces one), and the folder is
synced before the name counts.
"""

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from broker.durable import sync_folder
from broker.wire.recording import SEGMENT_HEADER_BYTES, SEGMENT_TAIL_BYTES
from broker.wire.refusals import Code, Refused, refuse

DISK_WRITE_BYTES: Final = 256 * 1024
"""Larger single writes ask the kernel for large folios, which cost more than they save on small machines."""

DIRECT_FROM_BYTES: Final = 512 * 1024
"""From here on bytes go to the disk past the page cache: a quarter less CPU."""

DIRECT_AT_ONCE_BYTES: Final = 1024 * 1024
"""So much of what does not lie at a block's start is copied to where one begins, and written from there: less than half
of what the page cache costs."""

INCOMING: Final = "incoming"
"""Where a file lies until it has its name. One folder: a file system with groups puts each file near the folder it was
made in, and 64 files in 64 places cost it more than 64 in one."""

DIGEST_BYTES: Final = 32

BLOCK_BYTES: Final = 4096
"""Direct writes begin and end at whole blocks, in memory and on the disk."""

_HASH_IN_TAIL: Final = slice(32, 64)
"""Where the trailer carries the SHA-256 of the ciphertext: after magic, flags, sequence, length and time."""

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

Content = bytes | bytearray | memoryview

FreeBytes = Callable[[Path], int]
"""Returns how many bytes an unprivileged process may still write below this folder."""


class NoVault(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The folder is no vault. Creating one is a command, never a side effect: a wrong mount must not look empty."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"vault: expected the 256 folders of a vault in {folder}; create it first with Vault.create")
        self.folder = folder


class Shelf:
    """256 folders by the first byte of the digest, a file for each segment, and one for what is being written."""

    def __init__(self, folder: Path, *, alone: bool = True) -> None:
        """Take an existing vault's folder; raise NoVault otherwise. `alone`: no other process writes into it."""
        for prefix in _prefixes():
            if not (folder / prefix).is_dir():
                raise NoVault(folder)
        self.folder = folder
        self._shelf = f"{folder}/"  # names are put together as text: pathlib takes longer than the kernel does
        self._alone = alone
        self._naming = threading.Lock()
        self._unsynced: Counter[bytes] = Counter()
        self._doubtful: set[bytes] = set()

    @staticmethod
    def create(folder: Path) -> None:
        """Make what is not there yet of its folders, synced."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (*_prefixes(), INCOMING):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder)
        sync_folder(folder.parent)

    def recover(self) -> None:
        """Remove what was being written when the power went, and sync the names: the crash may have come in between.

        Only for the one process that owns the vault: it would take away what another is writing.
        """
        (self.folder / INCOMING).mkdir(mode=0o700, exist_ok=True)  # a backup need not have it
        self.sweep()
        for prefix in _prefixes():
            sync_folder(self.folder / prefix)

    def sweep(self, *, process: int | None = None) -> None:
        """Remove what is half-written: everything, or what one process left that is dead."""
        for entry in os.scandir(self.folder / INCOMING):
            if process is None or entry.name.startswith(f"{process}-"):
                Path(entry).unlink(missing_ok=True)

    def has(self, digest: bytes) -> bool:
        """Say whether it is durably here."""
        return self.have([digest])[0]

    def have(self, digests: Sequence[bytes]) -> list[bool]:
        """Say for each whether it is durably here: a name that is being synced right now does not count yet.

        What another process named it may not have synced yet: then names are synced before they are believed.
        """
        with self._naming:
            certain = [not self._unsynced[digest] and digest not in self._doubtful for digest in digests]
            named = [sure and exists(self._path(digest)) for sure, digest in zip(certain, digests, strict=True)]
        if any(named) and not self._alone:
            sync_everything(self.folder)
        return named

    def path(self, digest: bytes) -> Path:
        """Return where this segment lies, or would lie."""
        return Path(self._path(digest))

    def _path(self, digest: bytes) -> str:
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"digest: expected {DIGEST_BYTES} bytes, got {len(digest)}")
        name = digest.hex()
        return f"{self._shelf}{name[:2]}/{name}"

    def temporary(self) -> str:
        """Return a fresh name for what is being written; it is ours, never the sender's."""
        return f"{self._shelf}{INCOMING}/{os.getpid()}-{secrets.token_hex(8)}"

    def name(self, temporary: str, digest: bytes) -> bool:
        """Give a synced file its name, durably; return False when the name was there already."""
        return self.name_all([(temporary, digest)])[0]

    def name_all(self, files: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Give synced files (temporary, digest) their names, durably, all with one sync.

        Return for each whether the name is new. Until its folder is synced a name counts as missing, so that nobody
        builds on what a power cut may undo. When the sync fails it stays missing until it is named anew: a second sync
        of the same name would only pretend. Who finds a name taken syncs as well: the one who took it may not have
        come that far.
        """
        digests = [digest for _, digest in files]
        with self._naming:
            self._unsynced.update(digests)
            again = self._doubtful.intersection(digests)
        try:
            new = [_name(temporary, self._path(digest), again=digest in again) for temporary, digest in files]
            self._sync_names({digest[:1].hex() for digest in digests})
        except OSError:
            with self._naming:
                self._doubtful.update(digests)
            raise
        finally:
            with self._naming:
                self._unsynced.subtract(digests)
                for digest in digests:
                    if not self._unsynced[digest]:
                        del self._unsynced[digest]
        with self._naming:
            self._doubtful.difference_update(again)
        return new

    def _sync_names(self, prefixes: set[str]) -> None:
        if len(prefixes) > 1:
            sync_everything(self.folder)
            prefixes = {min(prefixes)}
        for prefix in prefixes:  # also after a sync of everything: not every kernel tells there of a disk that is gone
            sync_folder(self.folder / prefix)

    def put(self, digest: bytes, raw: Content) -> bool:
        """Write bytes under a name, durably; return False when the name was there already."""
        return self.put_all([(digest, raw)])[0]

    def put_all(
        self, contents: Sequence[tuple[bytes, Content]], *, approved: Callable[[], Sequence[bool]] | None = None
    ) -> list[bool]:
        """Write many (digest, bytes) durably; return for each whether it is new. Either all are acknowledged or none.

        Several are written first and then synced together with their whole file system: a file system with a journal
        commits twice for all of them, instead of twice for each. `approved` is asked once all bytes are with the disk
        and before any is synced or has its name: what it says no to is taken away again. So it may be found out while
        the disk writes.
        """
        there = self.have([digest for digest, _ in contents])
        written: dict[int, tuple[str, bytes, int]] = {}
        try:
            for place, (digest, raw) in enumerate(contents):
                if not there[place]:
                    temporary = self.temporary()
                    fd = create(temporary)
                    written[place] = temporary, digest, fd
                    write(fd, raw)
            yes = [True] * len(contents) if approved is None else approved()
            good = {place: each for place, each in written.items() if yes[place]}
            files = list(good.values())
            if len(files) > 1:
                sync_everything(self.folder, opened_before=files[0][2])
            for _, _, fd in files[-1:]:
                os.fsync(fd)
            new = self.name_all([(temporary, digest) for temporary, digest, _ in files])
        finally:
            for temporary, _, fd in written.values():
                os.close(fd)
                unlink(temporary)
        added = {place for place, fresh in zip(good, new, strict=True) if fresh}
        return [place in added for place in range(len(contents))]

    def read(self, digest: bytes) -> bytes:
        """Return the whole file; raise Refused (NOT_FOUND)."""
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError as cause:
            raise _not_here(digest) from cause

    def read_ends(self, digest: bytes) -> tuple[bytes, bytes]:
        """Return the first 160 and the last 128 bytes; raise Refused (NOT_FOUND)."""
        try:
            fd = os.open(self._path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as cause:
            raise _not_here(digest) from cause
        try:
            end = max(os.fstat(fd).st_size - SEGMENT_TAIL_BYTES, 0)
            return os.pread(fd, SEGMENT_HEADER_BYTES, 0), os.pread(fd, SEGMENT_TAIL_BYTES, end)
        finally:
            os.close(fd)

    def erase(self, digest: bytes) -> bool:
        """Unlink it and sync the folder; True when it was there."""
        path = self.path(digest)
        try:
            path.unlink()
            there = True
        except FileNotFoundError:
            there = False
        sync_folder(path.parent)  # also when it was gone: a crash may have come between the unlink and its sync
        return there

    def digests(self) -> list[bytes]:
        """Return the names of everything, sorted."""
        return sorted(
            bytes.fromhex(entry.name)
            for prefix in _prefixes()
            for entry in os.scandir(self.folder / prefix)
            if not entry.name.startswith(".")
        )


def free_bytes(folder: Path) -> int:
    """Return what the file system of `folder` still offers, in bytes."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def is_what_it_is_called(raw: bytes, digest: bytes) -> bool:
    """Say whether these bytes are what the name promises: a segment's digest, or (evidence of damage) a plain hash."""
    header = raw[:SEGMENT_HEADER_BYTES]
    ciphertext = raw[SEGMENT_HEADER_BYTES:-SEGMENT_TAIL_BYTES]
    tail = raw[-SEGMENT_TAIL_BYTES:]
    if hashlib.sha256(header + tail).digest() == digest:
        return hashlib.sha256(ciphertext).digest() == tail[_HASH_IN_TAIL]
    return hashlib.sha256(raw).digest() == digest


def create(path: Path | str) -> int:
    """Open a new file for writing; raise FileExistsError rather than touch one that is there."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def write(fd: int, data: Content) -> None:
    """Write all of it."""
    view = memoryview(data)
    view = view[_write_direct(fd, view) :]
    while view:
        view = view[os.write(fd, view[:DISK_WRITE_BYTES]) :]


def _write_direct(fd: int, view: memoryview) -> int:
    """Write the whole blocks of a large body past the page cache; return how many bytes that were.

    0 where the disk takes no direct writes.
    """
    size = len(view) - len(view) % BLOCK_BYTES
    if size < DIRECT_FROM_BYTES:
        return 0
    written, straight = 0, _begins_at_a_block(view)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_DIRECT)
        while written < size:
            piece = view[written:size]
            written += os.write(fd, piece if straight else _at_a_block(piece))
    except OSError as cause:
        if cause.errno != errno.EINVAL:
            raise
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    return written


def _begins_at_a_block(view: memoryview) -> bool:
    return not view.readonly and ctypes.addressof(ctypes.c_char.from_buffer(view)) % BLOCK_BYTES == 0


class _Aligned(threading.local):
    """Memory of each thread that begins at a block."""

    def __init__(self) -> None:
        self.buffer = memoryview(mmap.mmap(-1, DIRECT_AT_ONCE_BYTES))


_ALIGNED: Final = _Aligned()


def _at_a_block(view: memoryview) -> memoryview:
    """Return these bytes, or the first of them, copied to memory of this thread that begins at a block."""
    piece = _ALIGNED.buffer[: len(view)]
    piece[:] = view[: len(piece)]
    return piece


def sync_everything(folder: Path, *, opened_before: int | None = None) -> None:
    """Make all that was written to a file system, and all its names, survive a power cut: syncfs(2).

    Failed writes are told to a descriptor that was open before them: `opened_before`. Raise OSError.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(fd if opened_before is None else opened_before):
            raise OSError(ctypes.get_errno(), "syncfs failed", str(folder))
    finally:
        os.close(fd)


@contextmanager
def disk_errors_as_refusals() -> Iterator[None]:
    """A full disk is an answer the sender understands; so is a sick one. A failed sync is never tried again."""
    try:
        yield
    except OSError as cause:
        code = Code.DISK_FULL if cause.errno in _FULL else Code.UNAVAILABLE
        raise refuse(code, "vault", expected="a disk that takes the bytes", got=cause) from cause


def unlink(path: str) -> None:
    """Take a name away, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - as text, see Shelf


def exists(path: str) -> bool:
    """Say whether there is such a name."""
    try:
        os.stat(path)  # noqa: PTH116 - os.path.exists would call a sick disk *not there*
    except FileNotFoundError:
        return False
    return True


def _name(temporary: str, final: str, *, again: bool) -> bool:
    """Give a file its name; False when it is taken. `again`: put the same content there anew, in one step."""
    if again:
        os.replace(temporary, final)  # noqa: PTH105
        return False
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    return True


def _prefixes() -> Iterator[str]:
    return (f"{value:02x}" for value in range(256))


def _not_here(digest: bytes) -> Refused:
    return refuse(Code.NOT_FOUND, "segment", expected="one that is in the vault", got=digest.hex())
