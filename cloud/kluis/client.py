"""The Kluis as the other parts see it: a socket, and refusals that come back as what they were."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar

import aiohttp
import msgspec

from broker.wire.ids import RecordingId
from broker.wire.refusals import Code, Refusal, Refused, refuse
from broker.wire.statements import Statement
from cloud.kluis.messages import (
    Certificates,
    ChangeOrder,
    CloseCaseOrder,
    ContentKeyOrder,
    DestroyOrder,
    Documents,
    Housekeeping,
    IntakeOrder,
    Item,
    KluisPublic,
    Released,
    ReleasedRecording,
    ReleaseOrder,
)

__all__ = [
    "Certificates",
    "Documents",
    "Housekeeping",
    "Item",
    "KluisClient",
    "KluisPublic",
    "Released",
    "ReleasedRecording",
]

ANSWER_S: Final = 30.0
"""How long an answer may take: the longest work is rewriting all rows, well below a second for a large town."""

_T = TypeVar("_T")


class _Problem(msgspec.Struct):
    type: str
    title: str
    expected: str = ""
    got: str = ""


class KluisClient:
    """A connection to the Kluis. Every method raises Refused; UNAVAILABLE when no Kluis answers. Close it after use."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def public(self) -> KluisPublic:
        """Return its keys, its mode and what is in force."""
        return await self._get("public", KluisPublic)

    async def documents(self) -> Documents:
        """Return the roster and the policy in force, signed by the Kluis."""
        return await self._get("documents", Documents)

    async def keylist(self) -> bytes:
        """Return the signed list of keys to which cameras seal (broker/wire/keylist.py)."""
        return await self._call("GET", "keylist")

    async def intake(self, head: bytes, *, camera_public_key: bytes, end: bytes | None = None) -> None:
        """Give a recording's key into custody; idempotent. Refused: DESTROYED, WRONG_TENANT, NOT_FOUND, CONFLICT.

        NOT_FOUND: sealed to an intake key that is gone; nothing opens this recording any more. With the end record
        the Kluis also knows how many segments there are, and refuses ranges beyond.
        """
        await self._call("POST", "intake", IntakeOrder(head=head, camera_public_key=camera_public_key, end=end))

    async def release(
        self,
        request: bytes,
        *,
        statements: Sequence[Statement],
        entries: Sequence[bytes],
        proofs: Sequence[bytes],
    ) -> Released:
        """Return the keys, sealed to the request's session key. One of each per person of the request, in its order."""
        order = ReleaseOrder(
            request=request, statements=tuple(statements), entries=tuple(entries), proofs=tuple(proofs)
        )
        return msgspec.json.decode(await self._call("POST", "release", order), type=Released)

    async def content_key(
        self, request: bytes, *, journal_index: int, camera_public_key: bytes, segment: bytes
    ) -> bytes:
        """Return the key of a clip that its camera encrypted, sealed to the session of a request just released.

        `journal_index` is what the release said, `segment` the sealed one with the clip's key file, within the range.
        Sealed with HPKE info = content_info(SHA-256 of the request, the wrapped key in that file).
        """
        order = ContentKeyOrder(
            request=request, journal_index=journal_index, camera_public_key=camera_public_key, segment=segment
        )
        return await self._call("POST", "content-key", order)

    async def destroy(self, recording: RecordingId, *, entry: bytes, proof: bytes) -> bytes:
        """Destroy a recording's key; return the *executed* certificate. Repeating returns the same one.

        After a restore of the whole Kluis, repeat every order that the ledger holds: see `reapply`.
        """
        return await self._call("POST", "destroy", DestroyOrder(recording=str(recording), entry=entry, proof=proof))

    async def reapply(self, orders: Sequence[tuple[RecordingId, bytes, bytes]]) -> tuple[bytes, ...]:
        """Repeat these destructions (recording, entry, proof) and return their certificates."""
        return tuple([await self.destroy(recording, entry=entry, proof=proof) for recording, entry, proof in orders])

    async def certificates(self, recording: RecordingId) -> Certificates:
        """Return the certificates of a destruction; NOT_FOUND when there was none."""
        return await self._get(f"certificates/{recording}", Certificates)

    async def inventory(self) -> tuple[Item, ...]:
        """Return every recording the Kluis knows: what it holds and what it destroyed."""
        return await self._get("inventory", tuple[Item, ...])

    async def change(
        self,
        kind: Literal["roster", "policy"],
        document: bytes,
        *,
        statements: Sequence[Statement],
        entry: bytes,
        proof: bytes,
    ) -> None:
        """Put a new roster or policy in force that two officials signed (approvals.change_challenge)."""
        order = ChangeOrder(document=document, statements=tuple(statements), entry=entry, proof=proof)
        await self._call("POST", kind, order)

    async def close_case(self, *, entry: bytes, proof: bytes) -> None:
        """Tell that a case is closed (ledger kind case.closed, subject the case): nothing is released for it again."""
        await self._call("POST", "close-case", CloseCaseOrder(entry=entry, proof=proof))

    async def rotate(self) -> Housekeeping:
        """Rewrite the store under a new generation now, and finish what is then over."""
        return msgspec.json.decode(await self._call("POST", "rotate"), type=Housekeeping)

    async def journal(self, first: int, last: int) -> tuple[bytes, ...]:
        """Return entries first..last-1 of the Kluis's own journal, at most a thousand."""
        return await self._get(f"journal/{first}/{last}", tuple[bytes, ...])

    async def checkpoint(self) -> bytes:
        """Return the journal's newest checkpoint, a signed note."""
        return await self._call("GET", "checkpoint")

    async def close(self) -> None:
        """Let go of the connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _get(self, path: str, kind: type[_T]) -> _T:
        return msgspec.json.decode(await self._call("GET", path), type=kind)

    async def _call(self, method: str, path: str, order: object = None) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=str(self._socket)),
                timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            )
        body = None if order is None else msgspec.json.encode(order)
        try:
            async with self._session.request(method, f"http://kluis/v1/{path}", data=body) as response:
                answer = await response.read()
                if response.status < 300:
                    return answer
        except (TimeoutError, aiohttp.ClientError, OSError) as cause:
            raise refuse(Code.UNAVAILABLE, "Kluis", expected=f"an answer on {self._socket}", got=cause) from cause
        raise _refused(response.status, answer)


def _refused(status: int, answer: bytes) -> Refused:
    try:
        problem = msgspec.json.decode(answer, type=_Problem)
        code = Code[problem.type.rpartition(":")[2].replace("-", "_").upper()]
    except (msgspec.DecodeError, KeyError):
        return refuse(Code.UNAVAILABLE, "Kluis", expected="an answer", got=f"status {status}: {answer[:200]!r}")
    return Refused(Refusal(code=code, what=problem.title, expected=problem.expected, got=problem.got))
