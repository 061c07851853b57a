"""What destruction asks of the other parts: the key first, then the bytes, and news for those who watch."""

from typing import Protocol

from broker.wire.ids import RecordingId


class Kluis(Protocol):
    """The key vault, as far as destruction goes."""

    async def destroy(self, recording: RecordingId, *, entry: bytes, proof: bytes) -> bytes:
        """Destroy the key on this order of the ledger; return the certificate, the same one when repeated."""


class Eraser(Protocol):
    """Takes segments out of the vault."""

    async def erase(self, digest: bytes) -> bool:
        """Erase durably; True when bytes were there. Erasing again is welcome."""
