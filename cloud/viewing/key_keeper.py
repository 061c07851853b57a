"""What stands in for the process that shows footage when footage is handed over: it keeps keys, and shows nothing.

BUG: the keys of a hand-over pass through the desk's own process, for as long as packing takes. What is packed leaves in
the clear for its recipient anyway; a viewing never takes this way.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Self

from broker.wire.approvals import split_keys
from broker.wire.recording import open_sealed, xwing_from_seed
from broker.wire.refusals import Code, refuse
from cloud.viewing.messages import OpenRecording


class KeyKeeper:
    """The session key of one hand-over, and what was released to it, until closed."""

    def __init__(self) -> None:
        self._keys = xwing_from_seed(secrets.token_bytes(32))
        self._opened: dict[str, tuple[bytes, Mapping[int, bytes]]] = {}
        self.public_key = self._keys.public_key

    @classmethod
    async def start(cls) -> Self:
        """Make the session's key pair."""
        return await asyncio.to_thread(cls)

    async def open(self, request_sha256: bytes, recordings: Sequence[OpenRecording]) -> None:
        """Take what the Kluis released for the request with this hash; raise Refused (MALFORMED)."""
        for each in recordings:
            released = open_sealed(self._keys, each.sealed, info=request_sha256)
            self._opened[each.recording] = (each.head, split_keys(released, first=each.first, last=each.last))

    def unseal(self, sealed: bytes, *, info: bytes) -> bytes:
        """Open what the Kluis sealed to this hand-over; raise Refused (MALFORMED)."""
        return open_sealed(self._keys, sealed, info=info)

    async def show(self, recording: str, raw: bytes, *, mark: tuple[str, ...], pre_record: str) -> bytes:  # noqa: ARG002
        """Show nothing: nobody watches a hand-over."""
        return b""

    def take(self, recording: str) -> tuple[bytes, Mapping[int, bytes]]:
        """Return a recording's head and its segment keys; raise Refused (NOT_ALLOWED) when they were not released."""
        if recording not in self._opened:
            raise refuse(Code.NOT_ALLOWED, "hand-over", expected="released keys", got="none")
        return self._opened[recording]

    async def close(self) -> None:
        """Forget the keys. Closing twice is fine."""
        self._keys = xwing_from_seed(secrets.token_bytes(32))
        self._opened.clear()
