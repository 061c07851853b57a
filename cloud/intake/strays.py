"""Looks for segments in the vault that belong to no recording, and gives them what all footage has: a row and an end.

A dock sends segments first and hands in the recording last. Where that never comes (camera lost, dock stolen), the rule
in `cloud.rules.strays` decides: a recording put apart in sight, which the retention worker destroys in its time; or,
when its recording was destroyed already, gone at once. A file is looked at when it is new, and again while it is left.

How far it looked is in the database, beside the rows that say what is known: a restart reads the headers of what came
since, not of the whole vault, and a restored backup looks again at all that is newer than its rows.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from broker.clock import Clock, pause
from broker.wire.ids import Org, RecordingId, uuid7
from broker.wire.recording import SegmentFacts, read_segment_ends
from broker.wire.refusals import Refused
from cloud.database.engine import Database
from cloud.database.tables import cameras, outside_parts, recordings, segments, stray_looks
from cloud.intake.recordings import DAMAGED, Hub, Policies
from cloud.ledger.log import Ledger
from cloud.ledger.once import Once
from cloud.retention.seams import Eraser
from cloud.rules.strays import Erase, Left, PutApart, Wait, judge
from cloud.vault.shelf import INCOMING, Shelf

LOG: Final = logging.getLogger(__name__)

LOOK_S: Final = 3600.0
"""How often the vault is looked through for what is new, in shown seconds."""

NAMED_WITHIN_S: Final = 60.0
"""A file gets its name at most this long after its last byte was written."""

ACTOR: Final = "svc-retention"
NEVER_SUBMITTED: Final = "never_submitted"
UNKNOWN: Final = "unknown"
"""The camera of bytes that were damaged on its card: what they say of themselves is not to be believed."""

_CAMERA: Final = slice(32, 48)  # broker/wire/layout.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """One file that is in no recording. `facts` is None for what no camera signed as it is."""

    digest: bytes
    arrived_at: datetime
    recording: RecordingId
    camera: str
    facts: SegmentFacts | None

    @property
    def ended_at(self) -> datetime:
        """When its footage ends, by the camera."""
        return self.arrived_at if self.facts is None else self.facts.ends_at


class Strays:
    """One municipality's. `shelf` is only read; `eraser` takes away what came after its recording was destroyed."""

    def __init__(
        self,
        *,
        org: Org,
        database: Database,
        shelf: Shelf,
        eraser: Eraser,
        ledger: Ledger,
        policies: Policies,
        clock: Clock,
        hub: Hub,
    ) -> None:
        self._org = org
        self._database = database
        self._shelf = shelf
        self._eraser = eraser
        self._ledger = ledger
        self._once = Once(ledger)
        self._policies = policies
        self._clock = clock
        self._hub = hub
        self._left: dict[bytes, Stray] = {}
        self._looked_to: float | None = None

    @property
    def left(self) -> tuple[int, datetime | None]:
        """How many segments belonged to no recording at the last look, and since when the oldest of them is here."""
        return len(self._left), min((each.arrived_at for each in self._left.values()), default=None)

    async def run(self, *, rate: float = 1.0) -> NoReturn:
        """Look for ever; what fails is looked at again."""
        while True:
            try:
                await self.look()
            except (Refused, SQLAlchemyError, OSError) as cause:
                LOG.warning("strays: looked at again later: %s", cause)
            await pause(LOOK_S, rate=rate)

    async def look(self) -> int:
        """Deal with all that is left now; return how many segments belong to no recording after it."""
        since = await self._marked() if self._looked_to is None else self._looked_to
        keys, newest = await self._keys(), since
        folders = (each.name for each in os.scandir(self._shelf.folder) if each.is_dir())
        for prefix in sorted(set(folders) - {INCOMING}):  # what is being written has no name yet
            new, latest = await asyncio.to_thread(self._new_in, prefix, since, keys)
            newest = max(newest, latest)
            self._left |= await self._unknown(new)
        self._looked_to = newest
        self._left = await self._unknown(self._left)
        for recording, mine in _by_recording(self._left.values()).items():
            await self._settle(recording, mine)
        await self._mark(newest)
        return len(self._left)

    async def _marked(self) -> float:
        """Return how far the process before this one looked, as a file's time; 0 when nobody ever did."""
        query = select(stray_looks.c.looked_to).where(stray_looks.c.org == self._org)
        async with self._database.transaction() as t:
            before: datetime | None = (await t.execute(query)).scalar_one_or_none()
        return 0.0 if before is None else before.timestamp()

    async def _mark(self, looked_to: float) -> None:
        """Remember how far, but not beyond the oldest that is still left: the next process must find it too."""
        moments = [each.arrived_at for each in self._left.values()]
        moment = min([datetime.fromtimestamp(looked_to, UTC), *moments])
        async with self._database.transaction() as t:
            await t.execute(delete(stray_looks).where(stray_looks.c.org == self._org))
            await t.execute(insert(stray_looks).values(org=self._org, looked_to=moment))

    async def _keys(self) -> Mapping[bytes, tuple[str, Ed25519PublicKey]]:
        async with self._database.transaction() as t:
            query = select(cameras.c.key_id, cameras.c.id, cameras.c.public_key).where(cameras.c.org == self._org)
            rows = (await t.execute(query)).all()
        return {bytes(key_id): (name, Ed25519PublicKey.from_public_bytes(raw)) for key_id, name, raw in rows}

    def _new_in(
        self, prefix: str, since: float, keys: Mapping[bytes, tuple[str, Ed25519PublicKey]]
    ) -> tuple[dict[bytes, Stray], float]:
        """Return what came into one folder since the last look, and when the newest came."""
        found, newest = dict[bytes, Stray](), 0.0
        for entry in os.scandir(self._shelf.folder / prefix):
            if entry.name.startswith("."):
                continue
            digest = bytes.fromhex(entry.name)
            try:
                came = entry.stat().st_mtime
                if came < since - NAMED_WITHIN_S:
                    continue
                ends = self._shelf.read_ends(digest)
            except (FileNotFoundError, Refused):
                continue  # erased at this very moment
            newest = max(newest, came)
            found[digest] = _stray(digest, ends, datetime.fromtimestamp(came, UTC), keys)
        return found, newest

    async def _unknown(self, those: Mapping[bytes, Stray]) -> dict[bytes, Stray]:
        """Return those that no recording that is here names, and no other maker's delivery is about to name."""
        left = dict(those)
        async with self._database.transaction() as t:
            for recording, mine in _by_recording(those.values()).items():
                underway = select(outside_parts.c.recording).where(outside_parts.c.recording == str(recording))
                if (await t.execute(underway)).first() is not None:
                    known = {each.digest for each in mine}
                else:
                    # Damage has no recording to ask by: it is rare, so it may be looked for in all of them.
                    by = segments.c.recording == str(recording)
                    if mine[0].facts is None:
                        by = segments.c.digest == mine[0].digest.hex()
                    query = select(segments.c.digest).join(recordings, recordings.c.id == segments.c.recording)
                    rows = (await t.execute(query.where(by, recordings.c.state != "destroyed"))).scalars()
                    known = {bytes.fromhex(each) for each in rows}
                for each in mine:
                    if each.digest in known or not self._shelf.path(each.digest).exists():
                        del left[each.digest]
        return left

    async def _settle(self, recording: RecordingId, mine: Sequence[Stray]) -> None:
        async with self._database.transaction() as t:
            query = select(recordings).where(recordings.c.id == str(recording))
            row = (await t.execute(query)).one_or_none()
        # One that we made ourselves is no more than what is left, however it stands: more of it joins it.
        ours = row is not None and not row.head_sha256 and row.state == "quarantined"
        left = Left(
            last_arrived_at=max(each.arrived_at for each in mine),
            ended_at=max(each.ended_at for each in mine),
            state=None if row is None or ours else row.state,
        )
        now = self._clock()
        policy = await self._policies.of(self._org, min(left.ended_at, now))
        match judge(left, policy=policy, now=now):
            case Wait():
                return
            case PutApart() as apart:
                await self._put_apart(recording, mine, apart, policy_version=policy.policy.version, now=now)
            case Erase() as erase:
                assert row is not None
                await self._erase(recording, mine, erase, certificate=row.certificate, now=now)
        for each in mine:
            del self._left[each.digest]

    async def _put_apart(
        self, recording: RecordingId, mine: Sequence[Stray], apart: PutApart, *, policy_version: int, now: datetime
    ) -> None:
        """The ledger first; then the row, by which people see it and the retention worker finds it."""
        async with self._database.transaction() as t:
            there = (await t.execute(select(segments).where(segments.c.recording == str(recording)))).all()
        taken = {each.sequence for each in there}
        added = _segment_rows(recording, mine, taken)
        facts = {
            "camera": mine[0].camera,
            "state": "quarantined",
            "chain": "open",
            "segments": len(there) + len(added),
            "total_bytes": sum(each["ciphertext_bytes"] for each in added) + sum(e.ciphertext_bytes for e in there),
            "head_sha256": "",
            "last_hash": "",
            "policy_version": policy_version,
            "deviations": [NEVER_SUBMITTED],
        }
        moments = [(each["starts_at"], each["ends_at"]) for each in added] + [(e.starts_at, e.ends_at) for e in there]
        row = facts | {
            "id": str(recording),
            "org": self._org,
            "reason": apart.because,
            "started_at": min(start for start, _ in moments),
            "ended_at": max(end for _, end in moments),
            "expires_at": apart.expires_at,
            "pre_record_s": 0.0,
            "stop_reason": "interrupted",
            "via": "dock",
            "received_at": max(each.arrived_at for each in mine),
        }
        async with (
            self._once.entered("recording.quarantined", subject=str(recording), actor=ACTOR, at=now, facts=facts),
            self._database.transaction() as t,
        ):
            known = (await t.execute(select(recordings.c.state).where(recordings.c.id == str(recording)))).one_or_none()
            if known is None:
                await t.execute(insert(recordings).values(row))
            else:
                await t.execute(update(recordings).where(recordings.c.id == str(recording)).values(row))
            await t.execute(insert(segments), added)
        self._hub.publish(
            self._org,
            "recording",
            {"recording": str(recording), "camera": mine[0].camera, "state": "quarantined", "activated_at": None},
        )
        LOG.warning("strays: recording %s of %s: %s (%d segments)", recording, mine[0].camera, apart.because, len(mine))

    async def _erase(
        self, recording: RecordingId, mine: Sequence[Stray], erase: Erase, *, certificate: bytes, now: datetime
    ) -> None:
        for each in mine:
            await self._eraser.erase(each.digest)
        await self._ledger.append(
            "retention.destroyed",
            subject=str(recording),
            actor=ACTOR,
            at=now,
            facts={"segments": len(mine), "certificate_sha256": hashlib.sha256(certificate).hexdigest()},
        )
        LOG.warning("strays: %d segments of recording %s erased: %s", len(mine), recording, erase.because)


def _stray(
    digest: bytes,
    ends: tuple[bytes, bytes],
    arrived_at: datetime,
    keys: Mapping[bytes, tuple[str, Ed25519PublicKey]],
) -> Stray:
    header, tail = ends
    camera, key = keys.get(header[_CAMERA], (UNKNOWN, None))
    if key is not None and hashlib.sha256(header + tail).digest() == digest:
        try:
            facts = read_segment_ends(header, tail, key)
        except Refused:
            pass
        else:
            return Stray(digest=digest, arrived_at=arrived_at, recording=facts.recording, camera=camera, facts=facts)
    own = RecordingId(uuid7(arrived_at, digest[:10]))
    return Stray(digest=digest, arrived_at=arrived_at, recording=own, camera=UNKNOWN, facts=None)


def _by_recording(those: Iterable[Stray]) -> dict[RecordingId, list[Stray]]:
    found: dict[RecordingId, list[Stray]] = {}
    for each in those:
        found.setdefault(each.recording, []).append(each)
    return found


def _segment_rows(recording: RecordingId, mine: Sequence[Stray], taken: set[int]) -> list[dict[str, Any]]:
    """Return a row for each; a second one under a number that is taken gets the next free one: none is left out."""
    rows = []
    for each in mine:
        facts, at = each.facts, each.arrived_at
        sequence = 0 if facts is None else facts.sequence
        if sequence in taken:
            sequence = max(taken) + 1
        taken.add(sequence)
        rows.append(
            {
                "recording": str(recording),
                "sequence": sequence,
                "digest": each.digest.hex(),
                "ciphertext_bytes": 0 if facts is None else facts.ciphertext_bytes,
                "starts_at": at if facts is None else facts.starts_at,
                "ends_at": at if facts is None else facts.ends_at,
                "flags": 0 if facts is None else int(facts.flags),
                "kind": DAMAGED if facts is None else int(facts.kind),
            }
        )
    return rows
