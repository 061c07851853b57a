"""What a package holds of a recording from outside: each file as it came, what was said of it, encrypted clips opened.

Read piece by piece: a film may be larger than memory.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.wire.content_key import read_key_file
from broker.wire.locked_clip import IV_BYTES, open_clip
from broker.wire.recording import Kind
from broker.wire.refusals import Refused
from cloud.viewing.clips import FilmFile, films_of
from cloud.viewing.stitched import Pieces, Unlocked

LOG: Final = logging.getLogger(__name__)

_ENDING: Final = re.compile(r"[a-z0-9]{1,8}")

Read = Callable[[int], bytes]
"""Returns what one segment holds, opened. Blocks."""

OpenKey = Callable[[int, bytes], Awaitable[bytes]]
"""Returns a clip's own key, from the segment its key file is and the wrapped key in it; raises Refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedFile:
    """One file in the register: its segments, its letter being the last."""

    name: str
    first: int
    last: int

    @property
    def ending(self) -> str:
        """What its name ends in, where that says something; else ``bin``."""
        ending = self.name.rpartition(".")[2].lower()
        return ending if "." in self.name and _ENDING.fullmatch(ending) else "bin"


class Handed:
    """The files of one recording. `lines` are the segments that were released."""

    def __init__(self, lines: Sequence[Any], files: Iterable[Any]) -> None:
        self._lines = lines
        there = {line.sequence for line in lines if line.kind == Kind.FILE}
        whole = [HandedFile(name=file.name, first=file.first, last=file.last) for file in files]
        self.files = [file for file in whole if file.first < file.last and there.issuperset(_pieces_of(file))]
        self._clear: dict[int, bytes] = {}

    async def unlock(self, read: Callable[[int], Awaitable[bytes]], open_key: OpenKey) -> None:
        """Get the keys of clips that their camera encrypted; a clip whose key cannot be had goes along shut."""
        for film in self._films():
            if not film.clip.key_sizes:
                continue
            try:
                wrapped, iv = read_key_file(await read(film.clip.key_first))
                self._clear[film.clip.first] = await open_key(film.clip.key_first, wrapped) + iv
            except Refused as refused:
                LOG.warning("hand-over: %s goes along encrypted: %s", film.name, refused)

    def items(self, read: Read) -> Iterator[tuple[str, bytes | Iterable[bytes]]]:
        """Yield (name in the recording's folder, content). Blocks."""
        for file in self.files:
            yield f"files/{file.first:08d}.{file.ending}", map(read, _pieces_of(file))
        for line in self._lines:
            if line.kind == Kind.LETTER:
                yield f"letters/{line.sequence:08d}.json", read(line.sequence)
        endings = {file.first: file.ending for file in self.files}
        for film in self._films():
            opener = self._clear.get(film.clip.first)
            if opener is not None and _fits(film, opener, read):
                pieces = map(read, range(film.clip.first, film.last + 1))
                clear = open_clip(pieces, opener[:-IV_BYTES], opener[-IV_BYTES:])
                yield f"opened/{film.clip.first:08d}.{endings[film.clip.first]}", clear
                yield f"opened/{film.clip.first:08d}.key", opener

    def _films(self) -> tuple[FilmFile, ...]:
        return films_of(self._lines, self.files)


def _pieces_of(file: HandedFile) -> range:
    return range(file.first, file.last)


def _fits(film: FilmFile, opener: bytes, read: Read) -> bool:
    """Look at the end of a clip first: half a package cannot be taken back."""
    pieces = Pieces(film.clip.sizes, lambda number: read(film.clip.first + number))
    try:
        Unlocked(pieces, key=opener[:-IV_BYTES], iv=opener[-IV_BYTES:])
    except Refused as refused:
        LOG.warning("hand-over: %s goes along encrypted: %s", film.name, refused)
        return False
    return True
