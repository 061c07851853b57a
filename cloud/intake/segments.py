"""Taking segments in: who may, whether there is room, and what each must pass before it is acknowledged.

The same hands for every way in: the fast lane and the ordinary handler, in the process that has the database and in
those beside it. They need a door, the cameras' keys and the vault; no database of their own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.sodium import SodiumKey
from broker.wire.delivery import MAX_BUNDLE_BYTES, bundle_name, unbundle
from broker.wire.ids import CameraKeyId, DeviceId, Org, tenant_id
from broker.wire.recording import (
    MAX_SEGMENT_BYTES,
    SEGMENT_HEADER_BYTES,
    SEGMENT_TAIL_BYTES,
    read_segment_ends,
    segment_digest,
)
from broker.wire.refusals import Code, Refused, Retry, refuse
from cloud.intake.bodies import Budget, Limits
from cloud.intake.front import Answer, Wanted, room_for
from cloud.intake.recordings import Missing
from cloud.vault.store import Approve, Vault, Whole

LOG: Final = logging.getLogger(__name__)

RETRY_AFTER_S: Final = {
    Code.TOO_MANY: 1,
    Code.UNAVAILABLE: 5,
    Code.LEDGER_UNWRITABLE: 10,
    Code.DISK_FULL: 60,
}

_CAMERA_IN_HEADER: Final = slice(32, 48)  # broker/wire/layout.py: whom the segment names as its maker, unchecked

CameraKeys = Callable[[CameraKeyId], Awaitable[Ed25519PublicKey]]
"""Returns the key of an enrolled camera; raises Refused."""


class Doorkeeper(Protocol):
    """Who says which dock this is."""

    async def dock(self, transport: asyncio.BaseTransport | None, what: str) -> DeviceId:
        """Return it; raise Refused for a stranger."""


class PartlyKept(Refused):
    """A bundle of which some segments were refused: why, by digest. All others are acknowledged."""

    def __init__(self, refused: Mapping[str, Refused]) -> None:
        super().__init__(next(iter(refused.values())).refusal)
        self.refused = refused


class Segments:
    """Takes segments into the vault."""

    def __init__(self, *, org: Org, door: Doorkeeper, keys: CameraKeys, vault: Vault, limits: Limits) -> None:
        self._tenant = tenant_id(org)
        self._door = door
        self._camera_keys = keys
        self._vault = vault
        self._keys: dict[CameraKeyId, SodiumKey] = {}
        self.limits = limits
        self.budget = Budget(limits)

    # --- the fast lane ------------------------------------------------------------------------------------------

    async def admit(self, transport: asyncio.BaseTransport, wanted: Wanted) -> AbstractContextManager[None] | None:
        """Return room for this body, or None where the ordinary handler must look: it says why not."""
        if wanted.size > (MAX_SEGMENT_BYTES if wanted.kind == "segments" else MAX_BUNDLE_BYTES):
            return None
        try:
            dock = await self._door.dock(transport, f"PUT {wanted.kind}")
            self._vault.guard_space(wanted.size)
            return self.budget.take_whole(dock, room_for(wanted.size))
        except Refused:
            return None

    async def keep(self, wanted: Wanted, body: memoryview) -> Answer:
        """Make a body durable, and answer."""
        try:
            if wanted.kind == "segments":
                return Answer(status=await self.keep_segment(bytes.fromhex(wanted.name), body))
            return Answer(status=await self.keep_bundle(wanted.name, body))
        except Refused as refused:
            return self.refusal(refused)
        except Exception:
            LOG.exception("receiver: PUT /v1/%s/%s failed", wanted.kind, wanted.name)
            return self.refusal(sorry())

    def refusal(self, refused: Refused) -> Answer:
        """Return a refusal as an answer."""
        code = refused.refusal.code
        return Answer(
            status=code.status,
            body=problem_document(refused),
            content_type="application/problem+json",
            retry_after_s=RETRY_AFTER_S[code] if code.retry is Retry.AFTER else None,
        )

    # --- what both lanes share ----------------------------------------------------------------------------------

    async def keep_segment(self, digest: bytes, body: memoryview) -> int:
        """Keep one segment; return 201, or 200 when it was here already. Raise Refused."""
        (new,) = await self._vault.keep_all([await self._whole(digest, body)])
        if isinstance(new, Refused):
            raise new
        return 201 if new else 200

    async def keep_bundle(self, name: str, body: memoryview) -> int:
        """Keep what is in a bundle; raise PartlyKept where some of it is not what it should be."""
        inside = list(unbundle(body))
        digests = [_digest_of(raw) for raw in inside]
        came = bundle_name(digests)
        if came != name:
            raise refuse(Code.DIGEST_DIFFERS, "bundle", expected=name, got=came)
        wholes = [await self._whole(digest, raw) for digest, raw in zip(digests, inside, strict=True)]
        kept = await self._vault.keep_all(wholes)
        refused = {digest.hex(): each for digest, each in zip(digests, kept, strict=True) if isinstance(each, Refused)}
        if refused:
            raise PartlyKept(refused)
        return 201 if any(kept) else 200

    async def must_pass(self, header: bytes, *, size: int) -> Approve:
        """Return what a segment of `size` bytes with this header must pass; raise Refused for an unknown camera."""
        return self._check(await self._camera_key(header), size=size)

    async def _whole(self, digest: bytes, raw: memoryview) -> Whole:
        if len(raw) < SEGMENT_HEADER_BYTES:
            raise refuse(Code.MALFORMED, "segment", expected=f"more than {SEGMENT_HEADER_BYTES} bytes", got=len(raw))
        approve = await self.must_pass(bytes(raw[:SEGMENT_HEADER_BYTES]), size=len(raw))
        return Whole(digest=digest, raw=raw, approve=approve)

    async def _camera_key(self, header: bytes) -> SodiumKey:
        """Return the key of the camera that a segment names; it may be remembered, a camera has one for life."""
        named = CameraKeyId(header[_CAMERA_IN_HEADER])
        if named not in self._keys:
            self._keys[named] = SodiumKey.of(await self._camera_keys(named))
        return self._keys[named]

    def _check(self, key: SodiumKey, *, size: int) -> Approve:
        def approve(header: bytes, tail: bytes, sha256: bytes) -> None:
            facts = read_segment_ends(header, tail, key)
            if facts.tenant != self._tenant:
                raise refuse(Code.WRONG_TENANT, "segment", expected="one of this municipality", got="another's")
            length = size - SEGMENT_HEADER_BYTES - SEGMENT_TAIL_BYTES
            if (facts.ciphertext_bytes, facts.ciphertext_sha256) != (length, sha256):
                raise refuse(
                    Code.DIGEST_DIFFERS, "segment", expected=facts.ciphertext_sha256.hex(), got=f"{length} other bytes"
                )

        return approve


def sorry() -> Refused:
    """Return the refusal for what should not have happened."""
    return refuse(Code.UNAVAILABLE, "receiver", expected="to answer", got="an error, which is in its log")


def problem_document(refused: Refused) -> bytes:
    """Return the problem document, with what is particular to it."""
    body, more = refused.refusal.problem(), dict[str, Any]()
    if isinstance(refused, Missing):
        more["missing"] = refused.digests
    if isinstance(refused, PartlyKept):
        more["refused"] = {digest: each.refusal.code.name for digest, each in refused.refused.items()}
    return msgspec.json.encode({**msgspec.json.decode(body), **more}) if more else body


def _digest_of(raw: memoryview) -> bytes:
    return segment_digest(bytes(raw[:SEGMENT_HEADER_BYTES]) + bytes(raw[-SEGMENT_TAIL_BYTES:]))
