"""How a dock sends several segments in one body, and how the receiver takes them apart again.

A bundle is a row of segments, each with its length in front (4 bytes, big-endian). Its name is the SHA-256 of the
digests of its segments, in order. A digest commits to every byte of its segment (through the hash of the ciphertext in
the trailer), so the name commits to every byte of the bundle, and the dock can say it without reading the footage
twice.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from broker.wire.layout import SEGMENT_HEADER_BYTES, SEGMENT_TAIL_BYTES
from broker.wire.refusals import Code, refuse

MAX_BUNDLE_BYTES: Final = 8 * 1024 * 1024
MAX_IN_BUNDLE_BYTES: Final = 2 * 1024 * 1024
"""Two seconds of a body camera's full HD. A larger segment goes alone: a sync costs little beside its bytes."""

LENGTH_BYTES: Final = 4


def bundle_name(digests: Iterable[bytes]) -> str:
    """Return the name under which a bundle of these segments is sent, in hexadecimal."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def length_in_bundle(size: int) -> bytes:
    """Return what stands before a segment of this size."""
    return size.to_bytes(LENGTH_BYTES, "big")


def unbundle(body: memoryview) -> Iterator[memoryview]:
    """Yield the segments of a bundle, as views of it; raise Refused (MALFORMED)."""
    place = 0
    while place < len(body):
        length = int.from_bytes(body[place : place + LENGTH_BYTES], "big")
        start = place + LENGTH_BYTES
        place = start + length
        if not SEGMENT_HEADER_BYTES + SEGMENT_TAIL_BYTES < length <= MAX_IN_BUNDLE_BYTES or place > len(body):
            raise refuse(
                Code.MALFORMED,
                "bundle",
                expected=f"segments of at most {MAX_IN_BUNDLE_BYTES} bytes with their lengths",
                got=f"a length of {length} at {start - LENGTH_BYTES} of {len(body)}",
            )
        yield body[start:place]
