"""A recording that a dock has delivered: checked step by step, decided on, written down, and answered with a receipt.

The order is what keeps the promises. Bytes are durable before the row that names them is committed; the row is there
before the ledger speaks of it; the ledger has it before the receipt is signed; and only on the receipt does a camera
wipe. A crash between any two of these leaves a recording that the same submission completes. (After a crash between
ledger and receipt the ledger may say the same twice.)

No receipt is given for what is not wholly here and wholly signed: then the cloud keeps what it got, quarantined and in
sight, and the camera keeps the original.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import ColumnElement, Row, and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.clock import Clock
from broker.wire.ids import CameraKeyId, DeviceId, Org, RecordingId, tenant_id
from broker.wire.policy import Policy
from broker.wire.receipts import Receipt, sign_receipt
from broker.wire.recording import (
    ChainState,
    ChainVerdict,
    End,
    Flag,
    Head,
    Kind,
    SegmentFacts,
    check_chain,
    claimed_camera,
    read_end,
    read_head,
    read_segment_ends,
)
from broker.wire.refusals import Code, Refusal, Refused, refuse
from cloud.database.engine import Database
from cloud.database.tables import (
    activations,
    camera_states,
    cameras,
    docks,
    holds,
    recordings,
    segments,
    shifts,
    usage_reports,
)
from cloud.ledger.log import Ledger, LedgerUnwritable
from cloud.rules import admission as rules
from cloud.vault.store import Vault

OPEN_HOLDS: Final = ("provisional", "active", "release_requested")
MOST_SEGMENTS: Final = 200_000  # a day and a night of one-second segments, doubled
OFFSET_COUNTS_S: Final = 1.0  # a smaller offset of a camera's clock is within what it measures itself
DAMAGED: Final = 0  # `segments.kind` of bytes that were kept as they are because they do not verify
_ENDS_AT_ONCE: Final = 1024
_ROWS_AT_ONCE: Final = 2048


class Custody(Protocol):
    """The Kluis, as far as intake needs it."""

    async def intake(self, head: bytes, *, camera_public_key: bytes) -> None:
        """Take the recording's key share into custody; idempotent. Raise Refused (DESTROYED, ...)."""

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


class Submission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a dock hands in when all segments are up: the camera's head and end record, and the segments in order.

    `damaged` names, by sequence, segments that do not verify: their bytes were kept as they are, under their SHA-256.
    """

    head: bytes
    digests: tuple[str, ...]
    end: bytes
    damaged: dict[str, str] = {}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Camera:
    id: DeviceId
    raw_key: bytes
    key: Ed25519PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delivery:
    """Everything that was read and checked of one submission. Times are the camera's."""

    camera: _Camera
    dock: DeviceId
    head: Head
    end: End
    end_record: bytes
    facts: tuple[SegmentFacts, ...]
    damaged: Mapping[int, bytes]
    chain: ChainVerdict

    @property
    def started_at(self) -> datetime:
        footage = [each for each in self.facts if each.kind is Kind.VIDEO and each.ends_at > each.starts_at]
        return min((each.starts_at for each in footage or self.facts), default=self.end.ended_at)

    @property
    def flagged_pre_record_s(self) -> float:
        """How much the segments themselves say is from before the press, in seconds."""
        flagged = [each for each in self.facts if Flag.PRE_RECORD in each.flags and each.ends_at > each.starts_at]
        if not flagged:
            return 0.0
        return (max(each.ends_at for each in flagged) - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Circumstances:
    """What the cloud knows around a recording at this moment."""

    now: datetime
    camera_enrolled: bool
    camera_enrolled_at: datetime
    dock_enrolled: bool
    activated_at: datetime | None  # by the camera's clock
    announced_at: datetime | None  # by ours: when the activation came in
    official: str | None
    on_duty: bool | None
    incident: str | None
    open_holds: int
    clock_offset_s: float


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
            digests, damaged = _names(submission)
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
            facts = await self._facts(list(digests.values()), camera.key)
            delivery = _Delivery(
                camera=camera,
                dock=dock,
                head=head,
                end=end,
                end_record=submission.end,
                facts=facts,
                damaged=damaged,
                chain=_judge_chain(head, facts, end, unreadable=len(submission.digests) - len(facts)),
            )

            # 5. the key in custody
            await self._kluis.intake(submission.head, camera_public_key=camera.raw_key)

            # 6. decided and written down, with the holds that waited for it
            policy = await self._policies.of(self._org, delivery.started_at)
            row = await self._write(delivery, policy)
            self._tell(row)

            # 7. the ledger, then the receipt
            await self._enter(row, actor=dock)
            if delivery.chain.state is ChainState.TAMPERED:
                because = delivery.chain.because
                raise refuse(Code.BROKEN_CHAIN, f"recording {recording}", expected="an unbroken chain", got=because)
            receipt = self._sign(delivery)
            await self._remember_receipt(recording, receipt)
            return receipt

    async def readmit(self, recording: RecordingId) -> str | None:
        """Decide again on a recording of which more has become known; return its state, None when it is not here.

        To be called after an activation, a report or a hold for it was committed. Only *quarantined* and *restricted*
        are looked at again: no other state gets better by knowing more.
        """
        async with self._turn(recording):
            async with self._database.transaction() as t:
                before = (await t.execute(select(recordings).where(_is(self._org, recording)))).one_or_none()
            if before is None or before.state not in {"quarantined", "restricted"}:
                return None if before is None else str(before.state)
            policy = await self._policies.of(self._org, before.started_at)
            async with self._database.transaction() as t:
                row = (await t.execute(select(recordings).where(_is(self._org, recording)))).one()
                if row.state != before.state:
                    return str(row.state)
                around = await self._circumstances(t, recording, camera=row.camera, dock=row.dock, at=row.started_at)
                correction = row.ended_at - await self._claimed_end(t, row)
                admission = _admission(
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
                    **_decided(admission, around, started_at=row.started_at, correction=correction),
                }
                await t.execute(update(recordings).where(_is(self._org, recording)).values(changed))
            after = {**row._asdict(), **changed}
            if after["state"] != row.state:
                self._tell(after)
                await self._enter(after, actor=row.dock)
            return str(after["state"])

    # --- the steps ----------------------------------------------------------------------------------------------

    async def _camera(self, named: CameraKeyId) -> _Camera:
        query = select(cameras.c.id, cameras.c.public_key).where(cameras.c.org == self._org, cameras.c.key_id == named)
        async with self._database.transaction() as t:
            row = (await t.execute(query)).one_or_none()
        if row is None:
            raise refuse(Code.UNKNOWN_IDENTITY, "camera", expected=f"a camera of {self._org}", got=named.hex())
        key = Ed25519PublicKey.from_public_bytes(row.public_key)
        return _Camera(id=DeviceId(row.id), raw_key=row.public_key, key=key)

    async def _known(self, head: Head, end: End) -> Row[Any] | None:
        """Return what was written down of this recording before; raise Refused (DESTROYED, CONFLICT)."""
        async with self._database.transaction() as t:
            row = (await t.execute(select(recordings).where(recordings.c.id == str(head.recording)))).one_or_none()
        if row is None or not row.head_sha256:
            return None  # never heard of, or announced only
        what = f"recording {head.recording}"
        if row.state in {"destroying", "destroyed"}:
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

    async def _facts(self, digests: Sequence[bytes], key: Ed25519PublicKey) -> tuple[SegmentFacts, ...]:
        """Return what the segments say; those without this camera's signature are left out."""
        facts: list[SegmentFacts] = []
        for start in range(0, len(digests), _ENDS_AT_ONCE):
            ends = await self._vault.read_all_ends(digests[start : start + _ENDS_AT_ONCE])
            facts += await asyncio.to_thread(_read_ends, ends, key)
        return tuple(facts)

    async def _write(self, delivery: _Delivery, policy: Policy) -> dict[str, Any]:
        """Decide and write down, in one transaction: what is decided on is what is true when it commits."""
        recording = delivery.head.recording
        async with self._database.transaction() as t:
            around = await self._circumstances(
                t, recording, camera=delivery.camera.id, dock=delivery.dock, at=delivery.started_at
            )
            correction = _correction(delivery.end.ended_at, around)
            activated_at = around.activated_at
            admission = _admission(
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
                **_decided(admission, around, started_at=delivery.started_at + correction, correction=correction),
            }
            if activated_at is None:
                row["pre_record_s"] = delivery.flagged_pre_record_s
            there = (await t.execute(select(recordings.c.state).where(_is(self._org, recording)))).one_or_none()
            if there is not None and there.state in {"destroying", "destroyed"}:
                raise refuse(Code.DESTROYED, f"recording {recording}", expected="one that is kept", got=there.state)
            if there is None:
                await t.execute(insert(recordings).values(row))
            else:
                await t.execute(delete(segments).where(segments.c.recording == str(recording)))
                await t.execute(update(recordings).where(_is(self._org, recording)).values(row))
            rows = _segment_rows(delivery, correction)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                await t.execute(insert(segments), rows[start : start + _ROWS_AT_ONCE])
        return row

    async def _circumstances(
        self, t: AsyncConnection, recording: RecordingId, *, camera: str, dock: str, at: datetime
    ) -> _Circumstances:
        now, name = self._clock(), str(recording)
        register = (
            await t.execute(
                select(cameras.c.state, cameras.c.enrolled_at).where(cameras.c.org == self._org, cameras.c.id == camera)
            )
        ).one()
        dock_state = await t.execute(select(docks.c.state).where(docks.c.org == self._org, docks.c.id == dock))
        activation = (
            await t.execute(
                select(activations).where(
                    activations.c.recording == name, activations.c.org == self._org, activations.c.camera == camera
                )
            )
        ).one_or_none()
        incident = await self._incident(t, name)
        wearer, on_duty = await self._wearer(t, camera, at=at)
        return _Circumstances(
            now=now,
            camera_enrolled=register.state == "enrolled",
            camera_enrolled_at=register.enrolled_at,
            dock_enrolled=dock_state.scalar_one_or_none() == "enrolled",
            activated_at=None if activation is None else activation.activated_at,
            announced_at=None if activation is None else activation.received_at,
            official=wearer if activation is None else activation.official or wearer,
            on_duty=on_duty,
            incident=incident,
            open_holds=await self._open_holds(t, name, incident, now=now),
            clock_offset_s=await self._clock_offset_s(t, camera),
        )

    async def _wearer(self, t: AsyncConnection, camera: str, *, at: datetime) -> tuple[str | None, bool | None]:
        """Return who wore the camera then, and whether that was in a shift (None: no shift of it is known at all)."""
        query = select(shifts).where(shifts.c.org == self._org, shifts.c.camera == camera, shifts.c.starts_at <= at)
        last = (await t.execute(query.order_by(shifts.c.starts_at.desc()).limit(1))).one_or_none()
        if last is None:
            return None, None
        if last.ends_at is not None and last.ends_at < at:
            return None, False
        return str(last.official), True

    async def _incident(self, t: AsyncConnection, recording: str) -> str | None:
        """Return the incident that a usage report, written before the footage came, names for it."""
        query = (
            select(usage_reports.c.incident)
            .where(
                usage_reports.c.org == self._org,
                usage_reports.c.recording == recording,
                usage_reports.c.incident.is_not(None),
            )
            .limit(1)
        )
        return (await t.execute(query)).scalar_one_or_none()

    async def _open_holds(self, t: AsyncConnection, recording: str, incident: str | None, *, now: datetime) -> int:
        """Count the holds on it or on its incident, also those placed before it came."""
        query = select(holds.c.id).where(
            holds.c.org == self._org,
            or_(holds.c.recording == recording, and_(holds.c.incident == incident, holds.c.incident.is_not(None))),
            holds.c.state.in_(OPEN_HOLDS),
            or_(holds.c.state != "provisional", holds.c.lapses_at.is_(None), holds.c.lapses_at > now),
        )
        return len((await t.execute(query)).all())

    async def _clock_offset_s(self, t: AsyncConnection, camera: str) -> float:
        query = select(camera_states.c.state).where(camera_states.c.org == self._org, camera_states.c.camera == camera)
        state = (await t.execute(query)).scalar_one_or_none()
        offset = state.get("clock_offset_ms", 0) if isinstance(state, dict) else 0
        return offset / 1000 if isinstance(offset, (int, float)) else 0.0

    async def _claimed_end(self, t: AsyncConnection, row: Row[Any]) -> datetime:
        query = select(cameras.c.public_key).where(cameras.c.org == self._org, cameras.c.id == row.camera)
        key = Ed25519PublicKey.from_public_bytes((await t.execute(query)).scalar_one())
        return read_end(row.end_record, key).ended_at

    async def _enter(self, row: Mapping[str, Any], *, actor: str) -> None:
        """Write the recording's state in the ledger; raise Refused (LEDGER_UNWRITABLE): kept, but no receipt yet."""
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
        try:
            await self._ledger.append(
                f"recording.{kind}", subject=str(row["id"]), actor=actor, at=self._clock(), facts=facts
            )
        except LedgerUnwritable as cause:
            raise refuse(
                Code.LEDGER_UNWRITABLE, f"recording {row['id']}", expected="an entry in the ledger", got=cause
            ) from cause

    def _sign(self, delivery: _Delivery) -> bytes:
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


def _is(org: Org, recording: RecordingId) -> ColumnElement[bool]:
    return and_(recordings.c.org == org, recordings.c.id == str(recording))


def _names(submission: Submission) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Return (digests of the segments that verify, hashes of the damaged ones) by place; raise Refused (MALFORMED)."""
    if len(submission.digests) > MOST_SEGMENTS:
        raise refuse(
            Code.TOO_LARGE, "recording", expected=f"at most {MOST_SEGMENTS} segments", got=len(submission.digests)
        )
    try:
        damaged = {int(place): _hash(name) for place, name in submission.damaged.items()}
        digests = {place: _hash(name) for place, name in enumerate(submission.digests) if place not in damaged}
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "recording", expected="SHA-256 in 64 hexadecimal digits", got=cause) from cause
    if not damaged.keys() <= set(range(len(submission.digests))):
        raise refuse(Code.MALFORMED, "recording", expected="damage at a place of this recording", got=sorted(damaged))
    return digests, damaged


def _hash(name: str) -> bytes:
    value = bytes.fromhex(name)
    if value.hex() != name or len(value) != hashlib.sha256().digest_size:
        raise ValueError(name)
    return value


def _read_ends(ends: Sequence[tuple[bytes, bytes]], key: Ed25519PublicKey) -> list[SegmentFacts]:
    facts = []
    for header, tail in ends:
        try:
            facts.append(read_segment_ends(header, tail, key))
        except Refused:  # here under its digest, but not this camera's: counted as unreadable by who called
            continue
    return facts


def _judge_chain(head: Head, facts: tuple[SegmentFacts, ...], end: End, *, unreadable: int) -> ChainVerdict:
    if unreadable:
        return ChainVerdict(
            state=ChainState.TAMPERED, because=f"{unreadable} of {end.segments} segments do not bear the camera's seal"
        )
    return check_chain(head, facts, end)


def _correction(claimed_end: datetime, around: _Circumstances) -> timedelta:
    """Return what to add to the camera's times. What it signed stays as it is; terms count from corrected times.

    A recording cannot have ended after it arrived, nor before its camera was enrolled: a camera that woke up in 1970
    must not have its footage destroyed at the door. Then the moment counts when its activation was heard of.
    """
    offset_s = around.clock_offset_s
    ended_at = claimed_end - timedelta(seconds=offset_s) if abs(offset_s) >= OFFSET_COUNTS_S else claimed_end
    if ended_at < around.camera_enrolled_at:
        ended_at = around.announced_at or around.now
    return min(ended_at, around.now) - claimed_end


def _admission(
    recording: RecordingId,
    around: _Circumstances,
    policy: Policy,
    *,
    chain: ChainState,
    started_at: datetime,
    ended_at: datetime,
    activated_at: datetime | None,
    pre_record_s: float,
) -> rules.Admission:
    """Ask the rules; raise Refused (NOT_ALLOWED) where the policy keeps this door shut.

    Where the press is known, the pre-record runs up to it; else the flags of the segments count.
    """
    if activated_at is not None:
        pre_record_s = max((activated_at - started_at).total_seconds(), 0.0)
    incoming = rules.Incoming(
        recording=recording,
        via="dock",
        camera_enrolled=around.camera_enrolled,
        dock_enrolled=around.dock_enrolled,
        chain=rules.ChainState(chain.value),
        activation_known=activated_at is not None,
        activated_at=activated_at,
        started_at=started_at,
        ended_at=ended_at,
        pre_record_s=pre_record_s,
        open_holds=around.open_holds,
        clock_offset_s=around.clock_offset_s,
        on_duty=around.on_duty,
    )
    admission = rules.admit(incoming, policy=policy, now=around.now)
    if admission.state is rules.AdmissionState.REFUSED:
        raise refuse(Code.NOT_ALLOWED, f"recording {recording}", expected="an open door", got=admission.because)
    return admission


def _decided(
    admission: rules.Admission, around: _Circumstances, *, started_at: datetime, correction: timedelta
) -> dict[str, Any]:
    decided: dict[str, Any] = {
        "state": admission.state.value,
        "reason": admission.because,
        "deviations": list(admission.deviations),
        "expires_at": admission.expires_at,
    }
    if around.activated_at is not None:
        activated_at = around.activated_at + correction
        decided["activated_at"] = activated_at
        decided["pre_record_s"] = max((activated_at - started_at).total_seconds(), 0.0)
    return decided


def _row(
    org: Org, delivery: _Delivery, around: _Circumstances, policy: Policy, correction: timedelta
) -> dict[str, Any]:
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


def _segment_rows(delivery: _Delivery, correction: timedelta) -> list[dict[str, Any]]:
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
