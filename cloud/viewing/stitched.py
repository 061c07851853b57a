"""A file that lies in pieces, read as one without ever holding more than a few of them. For the worker's process."""

import io
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from broker.wire.refusals import Code, refuse

PIECES_AT_ONCE: Final = 6
"""Pieces of at most 8 MiB in memory: pictures and sound are read at two places, and each may touch a seam."""

_BLOCK: Final = 16


class _Seeking(io.RawIOBase):
    """What every file does that knows its size."""

    size = 0

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def readinto(self, target: Any) -> int:
        data = self.read_at(self._at, len(target))
        target[: len(data)] = data
        self._at += len(data)
        return len(data)

    def read_at(self, at: int, size: int) -> bytes:
        raise NotImplementedError


class Pieces:
    """Fetches pieces, and keeps the last few. `fetch` takes a piece's number, from 0, and returns its bytes."""

    def __init__(self, sizes: Sequence[int], fetch: Callable[[int], bytes]) -> None:
        self.begins = [0, *accumulate(sizes)]
        self._fetch = fetch
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    @property
    def size(self) -> int:
        """All of them together, in bytes."""
        return self.begins[-1]

    def read_at(self, at: int, size: int) -> bytes:
        """Return up to `size` bytes from `at`; raise Refused for a piece that is not what its size says."""
        read = bytearray()
        end = min(self.size, at + size)
        while at + len(read) < end:
            here = at + len(read)
            number = bisect_right(self.begins, here) - 1
            begin = self.begins[number]
            read += self._piece(number)[here - begin : end - begin]
        return bytes(read)

    def _piece(self, number: int) -> bytes:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        piece = self._fetch(number)
        expected = self.begins[number + 1] - self.begins[number]
        if len(piece) != expected:
            raise refuse(Code.MALFORMED, "piece of a file", expected=f"{expected} bytes", got=len(piece))
        while len(self._kept) >= PIECES_AT_ONCE:
            self._kept.popitem(last=False)
        self._kept[number] = piece
        return piece


class Stitched(_Seeking):
    """The whole file, as it came."""

    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        self._pieces, self.size = pieces, pieces.size

    def read_at(self, at: int, size: int) -> bytes:
        """Return bytes of the file."""
        return self._pieces.read_at(at, size)


class Unlocked(_Seeking):
    """A file that an Axis camera encrypted (AES-256-CBC, PKCS 7), in the clear where it is read."""

    def __init__(self, pieces: Pieces, *, key: bytes, iv: bytes) -> None:
        """Raise Refused (NOT_ALLOWED) when this key does not open it: the padding at its end tells."""
        super().__init__()
        self._pieces, self._key, self._iv = pieces, key, iv
        locked = pieces.size
        self.size = locked
        padding = self.read_at(locked - _BLOCK, _BLOCK) if locked and locked % _BLOCK == 0 else b"\0"
        if not 1 <= padding[-1] <= _BLOCK or padding[-padding[-1] :] != bytes([padding[-1]]) * padding[-1]:
            raise refuse(Code.NOT_ALLOWED, "clip", expected="one that this content key opens", got="another padding")
        self.size = locked - padding[-1]

    def read_at(self, at: int, size: int) -> bytes:
        """Return bytes in the clear; each block needs only the one before it."""
        end = min(self.size, at + size)
        if end <= at:
            return b""
        first = at // _BLOCK * _BLOCK
        last = -(-end // _BLOCK) * _BLOCK
        before = self._iv if first == 0 else self._pieces.read_at(first - _BLOCK, _BLOCK)
        decryptor = Cipher(algorithms.AES(self._key), modes.CBC(before)).decryptor()
        clear = decryptor.update(self._pieces.read_at(first, last - first)) + decryptor.finalize()
        return clear[at - first : end - first]
