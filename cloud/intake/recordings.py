"""A recording that a dock has delivered: checked step by step, decided on, written down, and answered with a receipt.

The order is what keeps the promises. Bytes are durable before the row that names them is committed; the row is there
before the ledger speaks of it; the ledger has it before the receipt is signed; and only on the receipt does a camera
wipe. A crash between any two of these leaves a recording that the same submission completes. (After a crash between
ledger and receipt the ledger may say the same twice; what one process tries again it enters once.)

No receipt is given for what is not wholly here and wholly signed: then the cloud keeps what it got, quarantined and in
sight, and the camera keeps the original.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import ColumnElement, Row, and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.clock import Clock
from broker.wire.ids import CameraKeyId, DeviceId, Org, RecordingId, tenant_id
from broker.wire.policy import Policy
from broker.wire.receipts import Receipt, sign_receipt
from broker.wire.recording import ChainState, ChainVerdict, End, Head, SegmentFacts, claimed_camera, read_end, read_head
from broker.wire.refusals import Code, Refusal, Refused, refuse
from cloud.database.engine import Database
from cloud.database.tables import cameras, recordings, segments
from cloud.intake.circumstances import Circumstances, correction_of, decided, judge, look_around
from cloud.intake.delivery import (
    Delivery,
    RegisteredCamera,
    Submission,
    judge_chain,
    names_of,
    read_what_is_signed,
)
from cloud.ledger.log import Entry, Ledger
from cloud.ledger.once import Once
from cloud.rules.apart import DECLARED
from cloud.vault.store import Vault

DAMAGED: Final = 0  # `segments.kind` of bytes that were kept as they are because they do not verify
SETTLED: Final = ("destroying", "destroyed")
_DECIDED: Final = ("state", "reason", "official", "activated_at", "pre_record_s", "deviations", "expires_at")
_ENDS_AT_ONCE: Final = 1024
_ROWS_AT_ONCE: Final = 2048


class Custody(Protocol):
    """The Kluis, as far as intake needs it."""

    async def intake(self, head: bytes, *, camera_public_key: bytes, end: bytes | None = None) -> None:
        """Take the key into custody; idempotent. Raise Refused (DESTROYED; NOT_FOUND: nothing opens it any more)."""

    async def keylist(self) -> bytes:
        """Return the signed list of keys to which cameras seal."""


class Hub(Protocol):
    """Where browsers hear that something changed."""

    def publish(self, org: str, kind: str, data: dict[str, Any]) -> int:
        """Say it; return its number."""


class Policies(Protocol):
    """What the municipality decided, by date."""

    async def of(self, org: Org, at: datetime) -> Policy:
        """Return the policy that was in force at this moment."""


class Missing(Refused):
    """MISSING_SEGMENTS, with the digests that are not durably here."""

    def __init__(self, digests: Sequence[str], *, of: int) -> None:
        super().__init__(
            Refusal(
                code=Code.MISSING_SEGMENTS,
                what="recording",
                expected=f"all {of} segments in the vault",
                got=f"{len(digests)} missing",
            )
        )
        self.digests = tuple(digests)


class Intake:
    """Turns deliveries into recordings."""

    def __init__(
        self,
        *,
        org: Org,
        database: Database,
        vault: Vault,
        kluis: Custody,
        ledger: Ledger,
        policies: Policies,
        receipt_key: Ed25519PrivateKey,
        clock: Clock,
        hub: Hub,
    ) -> None:
        self._org = org
        self._database = database
        self._vault = vault
        self._kluis = kluis
        self._ledger = ledger
        self._once = Once(ledger)
        self._policies = policies
        self._receipt_key = receipt_key
        self._clock = clock
        self._hub = hub
        self._turns: dict[RecordingId, tuple[asyncio.Lock, int]] = {}

    async def camera_key(self, named: CameraKeyId) -> Ed25519PublicKey:
        """Return the registered key of a camera, also of a revoked one; raise Refused (UNKNOWN_IDENTITY)."""
        return (await self._camera(named)).key

    async def receive(self, recording: RecordingId, submission: Submission, *, dock: DeviceId) -> bytes:
        """Return the signed receipt of a delivered recording. The same delivery again gets the same receipt.

        Raises Refused: UNKNOWN_IDENTITY, WRONG_TENANT, MALFORMED, BAD_SIGNATURE for head and end; CONFLICT for other
        bytes under a known id; DESTROYED; Missing; BROKEN_CHAIN when it is kept but quarantined without a receipt;
        LEDGER_UNWRITABLE when it is kept and the receipt must wait.
        """
        async with self._turn(recording):
            # 1. the form, and what the camera itself says
            digests, damaged = names_of(submission)
            camera = await self._camera(claimed_camera(submission.head))
            head = read_head(submission.head, camera.key)
            if head.recording != recording:
                raise refuse(Code.MALFORMED, "recording", expected=f"the head of {recording}", got=head.recording)
            if head.tenant != tenant_id(self._org):
                raise refuse(Code.WRONG_TENANT, "recording", expected=f"one of {self._org}", got="another's")
            end = read_end(submission.end, camera.key)
            if end.recording != recording:
                raise refuse(Code.MALFORMED, "recording", expected=f"the end of {recording}", got=end.recording)

            # 2. an answer given before
            known = await self._known(head, end)
            if known is not None and known.receipt is not None:
                return bytes(known.receipt)

            # 3. every segment durably here
            await self._all_here([*digests.values(), *damaged.values()])
            await self._all_raw(damaged.values())

            # 4. each signed by this camera, together one unbroken chain
            facts, chain = await self._judge(head, end, list(digests.values()), camera.key, damaged=len(damaged))
            delivery = Delivery(
                camera=camera,
                dock=dock,
                head=head,
                end=end,
                end_record=submission.end,
                facts=facts,
                damaged=damaged,
                chain=chain,
            )

            # 5. the key in custody
            key_gone = await self._hand_key(submission, camera)

            # 6. decided and written down, with the holds that waited for it
            policy = await self._policies.of(self._org, delivery.started_at)
            row = await self._write(delivery, policy, key_gone=key_gone)
            self._tell(row)

            # 7. the ledger, then the receipt
            told_before = known is not None and (known.state, known.chain) == (row["state"], row["chain"])
            if delivery.chain.state is ChainState.TAMPERED:
                if not told_before:
                    await self._enter(row, actor=dock)
                because = delivery.chain.because
                raise refuse(Code.BROKEN_CHAIN, f"recording {recording}", expected="an unbroken chain", got=because)
            async with self._entered(row, actor=dock):
                receipt = self._sign(delivery)
                await self._remember_receipt(recording, receipt)
            return receipt

    async def readmit(self, recording: RecordingId) -> str | None:
        """Decide again on a recording of which more has become known; return its state, None when it is not here.

        To be called after its activation was committed. Only what is *quarantined* is looked at again, and what was
        admitted on people's word: the camera's own takes its place. No other state gets better by knowing of a press.
        (What was never handed in whole has no end record, and waits for that.)
        """
        async with self._turn(recording):
            async with self._database.transaction() as t:
                before = (await t.execute(select(recordings).where(_is(self._org, recording)))).one_or_none()
            if before is None or not _waits_for_a_press(before):
                return None if before is None else str(before.state)
            policy = await self._policies.of(self._org, before.started_at)
            async with self._database.transaction() as t:
                row = (await t.execute(select(recordings).where(_is(self._org, recording)))).one()
                if row.state != before.state:
                    return str(row.state)
                around = await look_around(
                    t,
                    recording,
                    org=self._org,
                    camera=row.camera,
                    dock=row.dock,
                    at=row.started_at,
                    now=self._clock(),
                )
                correction = row.ended_at - await self._claimed_end(t, row)
                admission = judge(
                    recording,
                    around,
                    policy,
                    chain=ChainState(row.chain),
                    started_at=row.started_at,
                    ended_at=row.ended_at,
                    activated_at=None if around.activated_at is None else around.activated_at + correction,
                    pre_record_s=row.pre_record_s,
                )
                changed = {
                    "official": row.official or around.official,
                    "incident": row.incident or around.incident,
                    **decided(admission, around, started_at=row.started_at, correction=correction),
                }
                if "key_gone" in row.deviations:
                    changed |= _unreadable(changed)
                if DECLARED in row.deviations:
                    if changed["state"] in ("quarantined", "due"):
                        return str(row.state)  # not enough to stand without their word
                    changed |= {"official": around.official or row.official, "expires_at": row.expires_at}
                await t.execute(update(recordings).where(_is(self._org, recording)).values(changed))
            after = {**row._asdict(), **changed}
            if after["state"] != row.state or DECLARED in row.deviations:
                self._tell(after)
                await self._enter(after, actor=row.dock)
            return str(after["state"])

    # --- the steps ----------------------------------------------------------------------------------------------

    async def _camera(self, named: CameraKeyId) -> RegisteredCamera:
        query = select(cameras.c.id, cameras.c.public_key).where(cameras.c.org == self._org, cameras.c.key_id == named)
        async with self._database.transaction() as t:
            row = (await t.execute(query)).one_or_none()
        if row is None:
            raise refuse(Code.UNKNOWN_IDENTITY, "camera", expected=f"a camera of {self._org}", got=named.hex())
        key = Ed25519PublicKey.from_public_bytes(row.public_key)
        return RegisteredCamera(id=DeviceId(row.id), raw_key=row.public_key, key=key)

    async def _known(self, head: Head, end: End) -> Row[Any] | None:
        """Return what was written down of this recording before; raise Refused (DESTROYED, CONFLICT)."""
        async with self._database.transaction() as t:
            row = (await t.execute(select(recordings).where(recordings.c.id == str(head.recording)))).one_or_none()
        if row is None or not row.head_sha256:
            return None  # never heard of, or announced only
        what = f"recording {head.recording}"
        if row.state in SETTLED:
            raise refuse(Code.DESTROYED, what, expected="one that is kept", got=row.state)
        if (row.org, row.head_sha256) != (self._org, head.sha256.hex()):
            raise refuse(Code.CONFLICT, what, expected="the head we have", got="another head")
        if row.receipt is not None and (row.segments, row.last_hash) != (end.segments, end.last_hash.hex()):
            raise refuse(Code.CONFLICT, what, expected="the end we have", got="another end")
        return row

    async def _all_here(self, digests: Sequence[bytes]) -> None:
        missing = await self._vault.missing(digests)
        lacking = [digest.hex() for digest, gone in zip(digests, missing, strict=True) if gone]
        if lacking:
            raise Missing(lacking, of=len(digests))

    async def _all_raw(self, damaged: Iterable[bytes]) -> None:
        """Raise Refused (CONFLICT) for what is named as damaged and is a segment: it may be another recording's."""
        for name in damaged:
            raw = await self._vault.read(name)
            if hashlib.sha256(raw).digest() != name:
                raise refuse(Code.CONFLICT, "damaged segment", expected="bytes kept as they are", got="a segment")

    async def _judge(
        self, head: Head, end: End, digests: Sequence[bytes], key: Ed25519PublicKey, *, damaged: int
    ) -> tuple[tuple[SegmentFacts, ...], ChainVerdict]:
        """Return what the segments say, and whether they are the recording; those that are not the camera's left out.

        Who has the name of a segment in the vault was verified at the door, whatever way it came. Here the signed end
        record speaks for all of them: it names the last digest, each digest covers its segment's header, trailer and
        signature, and each header names the digest before it. Only where that chain does not hold is each signature
        verified again, to tell what is the camera's and what is not.
        """
        facts = await self._facts(digests, key, vouched=True)
        chain = judge_chain(head, facts, end, unreadable=len(digests) + damaged - len(facts))
        if chain.state is ChainState.TAMPERED:
            facts = await self._facts(digests, key, vouched=False)
            chain = judge_chain(head, facts, end, unreadable=len(digests) + damaged - len(facts))
        return facts, chain

    async def _facts(
        self, digests: Sequence[bytes], key: Ed25519PublicKey, *, vouched: bool
    ) -> tuple[SegmentFacts, ...]:
        facts: list[SegmentFacts] = []
        for start in range(0, len(digests), _ENDS_AT_ONCE):
            ends = await self._vault.read_all_ends(digests[start : start + _ENDS_AT_ONCE])
            facts += await asyncio.to_thread(read_what_is_signed, ends, key, vouched=vouched)
        return tuple(facts)

    async def _hand_key(self, submission: Submission, camera: RegisteredCamera) -> bool:
        """Give the key into custody; return whether it is gone: sealed to a week whose key the Kluis destroyed."""
        try:
            await self._kluis.intake(submission.head, camera_public_key=camera.raw_key, end=submission.end)
        except Refused as refused:
            if refused.refusal.code is Code.NOT_FOUND:
                return True
            raise
        return False

    async def _write(self, delivery: Delivery, policy: Policy, *, key_gone: bool) -> dict[str, Any]:
        """Decide and write down, in one transaction: what is decided on is what is true when it commits."""
        recording = delivery.head.recording
        async with self._database.transaction() as t:
            around = await look_around(
                t,
                recording,
                org=self._org,
                camera=delivery.camera.id,
                dock=delivery.dock,
                at=delivery.started_at,
                now=self._clock(),
            )
            correction = correction_of(delivery.end.ended_at, around)
            activated_at = around.activated_at
            admission = judge(
                recording,
                around,
                policy,
                chain=delivery.chain.state,
                started_at=delivery.started_at + correction,
                ended_at=delivery.end.ended_at + correction,
                activated_at=None if activated_at is None else activated_at + correction,
                pre_record_s=delivery.flagged_pre_record_s,
            )
            row = {
                **_row(self._org, delivery, around, policy, correction),
                **decided(admission, around, started_at=delivery.started_at + correction, correction=correction),
            }
            if activated_at is None:
                row["pre_record_s"] = delivery.flagged_pre_record_s
            if key_gone:
                row |= _unreadable(row)
            there = (await t.execute(select(recordings).where(_is(self._org, recording)))).one_or_none()
            if there is not None and there.state in SETTLED:
                raise refuse(Code.DESTROYED, f"recording {recording}", expected="one that is kept", got=there.state)
            if there is not None and DECLARED in there.deviations and row["state"] == "quarantined":
                row |= {name: getattr(there, name) for name in _DECIDED}  # two people let in just this
            if there is None:
                await t.execute(insert(recordings).values(row))
            else:
                await t.execute(delete(segments).where(segments.c.recording == str(recording)))
                await t.execute(update(recordings).where(_is(self._org, recording)).values(row))
            rows = _segment_rows(delivery, correction)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                await t.execute(insert(segments), rows[start : start + _ROWS_AT_ONCE])
        return row

    async def _claimed_end(self, t: AsyncConnection, row: Row[Any]) -> datetime:
        query = select(cameras.c.public_key).where(cameras.c.org == self._org, cameras.c.id == row.camera)
        key = Ed25519PublicKey.from_public_bytes((await t.execute(query)).scalar_one())
        return read_end(row.end_record, key).ended_at

    async def _enter(self, row: Mapping[str, Any], *, actor: str) -> None:
        async with self._entered(row, actor=actor):
            pass

    def _entered(self, row: Mapping[str, Any], *, actor: str) -> AbstractAsyncContextManager[Entry]:
        """Write the recording's state in the ledger; raise LedgerUnwritable: it is kept, but gets no receipt yet."""
        kind = row["state"] if row["state"] in {"quarantined", "restricted"} else "received"
        facts: dict[str, Any] = {
            "camera": row["camera"],
            "state": row["state"],
            "chain": row["chain"],
            "segments": row["segments"],
            "total_bytes": row["total_bytes"],
            "head_sha256": row["head_sha256"],
            "last_hash": row["last_hash"],
            "policy_version": row["policy_version"],
            "deviations": list(row["deviations"]),
        }
        if kind != "received":
            facts["reason"] = row["reason"]
        return self._once.entered(
            f"recording.{kind}", subject=str(row["id"]), actor=actor, at=self._clock(), facts=facts
        )

    def _sign(self, delivery: Delivery) -> bytes:
        checkpoint = self._ledger.checkpoint()
        return sign_receipt(
            Receipt(
                org=self._org,
                recording=delivery.head.recording,
                camera_key=delivery.head.camera.hex(),
                head_sha256=delivery.head.sha256.hex(),
                segments=delivery.end.segments,
                last_hash=delivery.end.last_hash.hex(),
                total_bytes=delivery.end.total_bytes,
                stored_at=self._clock(),
                ledger_size=checkpoint.size,
                ledger_root=checkpoint.root.hex(),
            ),
            self._receipt_key,
        )

    async def _remember_receipt(self, recording: RecordingId, receipt: bytes) -> None:
        async with self._database.transaction() as t:
            await t.execute(update(recordings).where(_is(self._org, recording)).values(receipt=receipt))

    def _tell(self, row: Mapping[str, Any]) -> None:
        data = {
            "recording": row["id"],
            "camera": row["camera"],
            "state": row["state"],
            "activated_at": None if row["activated_at"] is None else row["activated_at"].isoformat(),
        }
        self._hub.publish(self._org, "recording", data)

    @asynccontextmanager
    async def _turn(self, recording: RecordingId) -> AsyncIterator[None]:
        """One delivery of a recording at a time, however many docks bring it."""
        lock, waiting = self._turns.get(recording, (asyncio.Lock(), 0))
        self._turns[recording] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns[recording]
            if waiting == 1:
                del self._turns[recording]
            else:
                self._turns[recording] = (lock, waiting - 1)


def _unreadable(row: Mapping[str, Any]) -> dict[str, Any]:
    """What becomes of a recording that nobody can open any more: kept apart and in sight until its term is over."""
    deviations = [*row["deviations"], "key_gone"]
    if row["state"] == "due":
        return {"deviations": deviations}
    return {"deviations": deviations, "state": "quarantined", "reason": "the key to which it was sealed is destroyed"}


def _waits_for_a_press(row: Row[Any]) -> bool:
    open_to_it = row.state == "quarantined" or (DECLARED in row.deviations and row.state not in SETTLED)
    return open_to_it and row.end_record is not None


def _is(org: Org, recording: RecordingId) -> ColumnElement[bool]:
    return and_(recordings.c.org == org, recordings.c.id == str(recording))


def _row(org: Org, delivery: Delivery, around: Circumstances, policy: Policy, correction: timedelta) -> dict[str, Any]:
    return {
        "id": str(delivery.head.recording),
        "org": org,
        "camera": delivery.camera.id,
        "official": around.official,
        "incident": around.incident,
        "policy_version": policy.policy.version,
        "started_at": delivery.started_at + correction,
        "activated_at": None,
        "ended_at": delivery.end.ended_at + correction,
        "segments": delivery.end.segments,
        "total_bytes": delivery.end.total_bytes,
        "chain": delivery.chain.state.value,
        "stop_reason": delivery.end.stop_reason.name.lower(),
        "head_sha256": delivery.head.sha256.hex(),
        "last_hash": delivery.end.last_hash.hex(),
        "end_record": delivery.end_record,
        "dock": delivery.dock,
        "via": "dock",
        "received_at": around.now,
    }


def _segment_rows(delivery: Delivery, correction: timedelta) -> list[dict[str, Any]]:
    """Return a row for each segment of *this* recording: what is destroyed with it is what stands here."""
    head, rows = delivery.head, dict[int, dict[str, Any]]()
    for each in delivery.facts:
        if (each.recording, each.tenant, each.camera) == (head.recording, head.tenant, head.camera):
            rows.setdefault(
                each.sequence,
                {
                    "digest": each.digest.hex(),
                    "ciphertext_bytes": each.ciphertext_bytes,
                    "starts_at": each.starts_at + correction,
                    "ends_at": each.ends_at + correction,
                    "flags": int(each.flags),
                    "kind": int(each.kind),
                },
            )
    for sequence, name in delivery.damaged.items():
        moment = delivery.started_at + correction
        damaged = {"ciphertext_bytes": 0, "starts_at": moment, "ends_at": moment, "flags": 0, "kind": DAMAGED}
        rows.setdefault(sequence, {"digest": name.hex(), **damaged})
    return [{"recording": str(head.recording), "sequence": sequence, **row} for sequence, row in sorted(rows.items())]
