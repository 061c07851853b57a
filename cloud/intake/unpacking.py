"""Getting back the files that another maker's system handed over, from the opened segments of their recording.

For a hand-over or a room that has the keys; reads what `cloud/intake/outside.py` sealed, and checks each file against
the hash in its letter.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from broker.wire.recording import Kind
from broker.wire.refusals import Code, refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """One file, byte for byte as it came, and what was said of it."""

    name: str
    version: int
    sha256: str
    letter: Mapping[str, str]
    content: bytes = field(repr=False)


def unpack(opened: Iterable[tuple[Kind, bytes]]) -> Iterator[Unpacked]:
    """Yield the files in order; `opened` are all segments of a recording in order, each with its kind.

    Raise Refused: DIGEST_DIFFERS for a file that is not what its letter says, MALFORMED for a letter that is none. One
    file is in memory at a time.
    """
    content = bytearray()
    for kind, plaintext in opened:
        if kind is Kind.FILE:
            content += plaintext
        elif kind is Kind.LETTER:
            letter = _read(plaintext)
            if "sha256" in letter:  # else the opening or the list at the end, which are about the whole
                yield _file(letter, bytes(content))
                content.clear()


def _read(plaintext: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(plaintext, type=dict[str, Any])
    except msgspec.DecodeError as cause:
        raise refuse(Code.MALFORMED, "letter", expected="a JSON object", got=cause) from cause


def _file(letter: Mapping[str, Any], content: bytes) -> Unpacked:
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != letter["sha256"]:
        raise refuse(Code.DIGEST_DIFFERS, "file", expected=str(letter["sha256"]), got=sha256)
    try:
        return Unpacked(
            name=letter["name"], version=letter["version"], sha256=sha256, letter=letter["letter"], content=content
        )
    except KeyError as cause:
        raise refuse(Code.MALFORMED, "letter", expected="name, version, letter", got=sorted(letter)) from cause
