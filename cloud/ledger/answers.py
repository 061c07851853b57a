"""What somebody outside answers, as long as it is as short as such an answer is."""

from typing import Final

import aiohttp

MOST_BYTES: Final = 65_536
"""A cosignature is a line, a time stamp with its certificates a few kilobytes."""


async def read_answer(response: aiohttp.ClientResponse) -> bytes:
    """Return the body; raise aiohttp.ClientPayloadError when it goes on beyond MOST_BYTES."""
    found = bytearray()
    async for piece in response.content.iter_chunked(8192):
        found += piece
        if len(found) > MOST_BYTES:
            raise aiohttp.ClientPayloadError(f"an answer of more than {MOST_BYTES} bytes")
    return bytes(found)
