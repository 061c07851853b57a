"""A zip that has exactly one spelling: stored members one after the other, no dates, no comments, nothing in between.

Any tool opens it; this reader also refuses every byte that could be otherwise, so that a bundle is its members and
nothing else (a zip can hide data between members, in comments and in fields that tools read differently). No zip64: at
most 4 GiB and 65 535 members. Layout: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.
"""

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from broker.wire.refusals import Code, Refusal, Refused, refuse

MAX_ARCHIVE_BYTES: Final = 2**32 - 1
MAX_MEMBERS: Final = 2**16 - 1
MAX_NAME_BYTES: Final = 200
CHUNK_BYTES: Final = 1 << 20

_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END: Final = struct.Struct("<4sHHHHIIH")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_CENTRAL_MAGIC: Final = b"PK\x01\x02"
_END_MAGIC: Final = b"PK\x05\x06"
_ZIP_20: Final = 20
_DATE: Final = 0x21  # 1980-01-01, the first day that a zip knows
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file in the archive. `begins_at` is the offset of its first byte in the whole file."""

    name: str
    begins_at: int
    size: int
    crc32: int


class ArchiveDiffers(Refused):
    """The archive is not in the one spelling; what differs lies in bytes `first` to `last` of the whole file."""

    def __init__(self, where: str, *, first: int, last: int) -> None:
        super().__init__(
            Refusal(
                code=Code.MALFORMED,
                what="bundle",
                expected="a zip as vierogen writes it",
                got=f"another spelling in {where}",
            )
        )
        self.first, self.last = first, last


class ArchiveWriter:
    """Writes members one after the other to a new, seekable file; `close` makes it an archive."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._members: dict[str, Member] = {}

    def add(self, name: str, content: bytes | Iterable[bytes]) -> Member:
        """Write one member; ValueError for a name that is not allowed or there already, Refused (TOO_LARGE)."""
        _check_name(name)
        if name in self._members:
            raise ValueError(f"archive: {name} is there already")
        header_at = self._target.tell()
        self._target.write(_local_header(Member(name=name, begins_at=0, size=0, crc32=0)))
        begins_at = self._target.tell()
        size = crc32 = 0
        for chunk in (content,) if isinstance(content, bytes) else content:
            self._target.write(chunk)
            size, crc32 = size + len(chunk), zlib.crc32(chunk, crc32)
            _check_size(begins_at + size)
        member = Member(name=name, begins_at=begins_at, size=size, crc32=crc32)
        self._target.seek(header_at)
        self._target.write(_local_header(member))
        self._target.seek(begins_at + size)
        self._members[name] = member
        return member

    def close(self) -> None:
        """Write the directory."""
        directory = b"".join(map(_central_header, self._members.values()))
        at = self._target.tell()
        _check_size(at + len(directory) + _END.size)
        if len(self._members) > MAX_MEMBERS:
            raise refuse(Code.TOO_LARGE, "archive", expected=f"at most {MAX_MEMBERS} members", got=len(self._members))
        self._target.write(directory + _end(len(self._members), len(directory), at))


class Archive:
    """Reads an archive that is written in the one way; anything else is Refused (MALFORMED, TOO_LARGE).

    Opening reads the directory and every local header; `check` and reading to the end compare the checksums.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.size = source.seek(0, 2)
        self._members = {member.name: member for member in self._read_directory()}
        self._check_members()

    @property
    def members(self) -> tuple[Member, ...]:
        """All members in the order in which they lie."""
        return tuple(self._members.values())

    def __contains__(self, name: str) -> bool:
        """Whether there is a member of this name."""
        return name in self._members

    def member(self, name: str) -> Member:
        """Return where this member lies; Refused (NOT_FOUND)."""
        if name not in self._members:
            raise refuse(Code.NOT_FOUND, "bundle", expected=f"a file {name}", got="none")
        return self._members[name]

    def read(self, name: str, *, at_most: int) -> bytes:
        """Return a whole member of at most so many bytes; Refused (TOO_LARGE) beyond."""
        member = self.member(name)
        if member.size > at_most:
            raise refuse(Code.TOO_LARGE, name, expected=f"at most {at_most} bytes", got=member.size)
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a member's bytes, a mebibyte at a time; Refused (DIGEST_DIFFERS) at its end if the checksum differs."""
        member = self.member(name)
        crc32, left, at = 0, member.size, member.begins_at
        while left:
            self._source.seek(at)
            chunk = self._source.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise refuse(Code.DIGEST_DIFFERS, name, expected=f"{left} more bytes", got="the end of the file")
            crc32, left, at = zlib.crc32(chunk, crc32), left - len(chunk), at + len(chunk)
            yield chunk
        if crc32 != member.crc32:
            raise refuse(Code.DIGEST_DIFFERS, name, expected=f"checksum {member.crc32:08x}", got=f"{crc32:08x}")

    def _read_directory(self) -> list[Member]:
        if not _END.size <= self.size <= MAX_ARCHIVE_BYTES:
            raise refuse(Code.TOO_LARGE, "bundle", expected=f"{_END.size} to {MAX_ARCHIVE_BYTES} bytes", got=self.size)
        end = self._read_at(self.size - _END.size, _END.size)
        _, _, _, _, count, length, at, _ = _END.unpack(end)
        if end != _end(count, length, at) or at + length + _END.size != self.size:
            raise ArchiveDiffers("its last 22 bytes", first=self.size - _END.size, last=self.size - 1)
        directory, members, offset = self._read_at(at, length), [], 0
        for _ in range(count):
            member = _read_central(directory, offset, directory_at=at)
            members.append(member)
            offset += _CENTRAL.size + len(member.name)
        if offset != length or len({member.name for member in members}) != count:
            raise ArchiveDiffers("its directory", first=at, last=at + length - 1)
        self._directory_at = at
        return members

    def _check_members(self) -> None:
        """Each local header says the same as the directory, and begins where the member before it ended."""
        at = 0
        for member in self._members.values():
            header = _local_header(member)
            if member.begins_at != at + len(header) or self._read_at(at, len(header)) != header:
                raise ArchiveDiffers(f"the header of {member.name}", first=at, last=at + len(header) - 1)
            at = member.begins_at + member.size
        if at != self._directory_at:
            last = self._directory_at - 1
            raise ArchiveDiffers("what lies between the last file and the directory", first=at, last=last)

    def _read_at(self, at: int, length: int) -> bytes:
        self._source.seek(at)
        return self._source.read(length)


def _read_central(directory: bytes, offset: int, *, directory_at: int) -> Member:
    first, last = directory_at + offset, directory_at + len(directory) - 1
    try:
        fields = _CENTRAL.unpack_from(directory, offset)
        name = directory[offset + _CENTRAL.size : offset + _CENTRAL.size + fields[10]].decode("ascii")
        _check_name(name)
    except (struct.error, ValueError) as cause:
        raise ArchiveDiffers("its directory", first=first, last=last) from cause
    begins_at = fields[16] + _LOCAL.size + len(name)
    member = Member(name=name, begins_at=begins_at, size=fields[8], crc32=fields[7])
    if directory[offset : offset + _CENTRAL.size + len(name)] != _central_header(member):
        raise ArchiveDiffers(f"the directory's entry of {name}", first=first, last=last)
    return member


def _local_header(member: Member) -> bytes:
    name = member.name.encode()
    sizes = (member.crc32, member.size, member.size, len(name), 0)
    return _LOCAL.pack(_LOCAL_MAGIC, _ZIP_20, 0, 0, 0, _DATE, *sizes) + name


def _central_header(member: Member) -> bytes:
    name = member.name.encode()
    header_at = member.begins_at - _LOCAL.size - len(name)
    sizes = (member.crc32, member.size, member.size, len(name), 0, 0, 0, 0, 0, header_at)
    return _CENTRAL.pack(_CENTRAL_MAGIC, _ZIP_20, _ZIP_20, 0, 0, 0, _DATE, *sizes) + name


def _end(count: int, length: int, at: int) -> bytes:
    return _END.pack(_END_MAGIC, 0, 0, count, count, length, at, 0)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_BYTES:
        raise ValueError(f"archive: expected a plain relative name in lower case, got {name[:80]!r}")


def _check_size(size: int) -> None:
    if size > MAX_ARCHIVE_BYTES:
        raise refuse(Code.TOO_LARGE, "archive", expected=f"at most {MAX_ARCHIVE_BYTES} bytes", got=f"{size} or more")
