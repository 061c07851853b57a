"""A Kluis and a vault that remember, and that can be away or crash at a chosen moment."""

import hashlib
from dataclasses import dataclass, field

from broker.wire.ids import RecordingId
from broker.wire.refusals import Code, refuse
from cloud.retention.worker import RetentionWorker
from tests.adapters.casework.office import Town


class Crash(BaseException):
    """The process is gone: nothing after this runs, no handler sees it."""


@dataclass
class CertifyingKluis:
    """Destroys keys and certifies it, the same certificate when repeated. `away` makes it unreachable."""

    keys: set[str] = field(default_factory=set)
    certified: dict[str, bytes] = field(default_factory=dict)
    away: bool = False
    crash: str = ""
    orders: int = 0

    async def destroy(self, recording: RecordingId, *, entry: bytes, proof: bytes) -> bytes:
        assert b'"kind":"retention.destroying"' in entry
        assert str(recording).encode() in entry
        assert proof
        if self.away:
            raise refuse(Code.UNAVAILABLE, "Kluis", expected="an answer", got="none")
        if self.crash == "before":
            raise Crash
        self.orders += 1
        self.keys.discard(str(recording))
        certificate = self.certified.setdefault(str(recording), hashlib.sha256(entry).hexdigest().encode())
        if self.crash == "after":
            raise Crash
        return certificate


@dataclass
class RememberingVault:
    """Holds digests; `crash_at` counts erasures down to a crash."""

    held: set[str] = field(default_factory=set)
    crash_at: int = -1
    broken: bool = False

    async def erase(self, digest: bytes) -> bool:
        if self.broken:
            raise OSError(5, "the disk does not answer")
        if self.crash_at == 0:
            raise Crash
        self.crash_at -= 1
        there = digest.hex() in self.held
        self.held.discard(digest.hex())
        return there


def worker_of(town: Town, kluis: CertifyingKluis, vault: RememberingVault) -> RetentionWorker:
    return RetentionWorker(town.database, town.ledger, kluis, vault, town.policies, town.clock, town.hub)
