"""Taking a recording for destruction in one transaction that looks at the holds itself, and finishing what was taken.

Whoever commits first wins: a hold that was there when this transaction looked keeps the footage; one that comes after
it finds *destroying* and is too late. From *destroying* there is no way back, so every step after it can be repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from broker.wire.ids import Org
from cloud.casework.holding import begin_destruction, holds_on, lock_recording
from cloud.database.engine import Database
from cloud.database.tables import recordings, segments
from cloud.rules.lifecycles import RECORDING
from cloud.rules.retention import Destroy, Keep, Stored, judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """It is ours to destroy: nothing brings it back. `because` is the rule by which."""

    recording: str
    org: str
    because: str
    policy_version: int
    digests: tuple[str, ...]
    ended_at: datetime
    expires_at: datetime
    certificate: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A recording that somebody must look at."""

    id: str
    expires_at: datetime
    state: str


async def claim(database: Database, org: Org | str, recording: str, now: datetime) -> Claimed | Keep:
    """Take this recording for destruction if the rules say so now, or return why it stays."""
    async with database.transaction() as t:
        row = await lock_recording(t, org, recording)
        if row is None:
            return Keep(because="there is no such recording here", waarom="deze opname is hier niet", held=False)
        standing = await holds_on(t, org, recording, row.incident, now)
        stored = Stored(state=row.state, expires_at=row.expires_at, open_holds=len(standing))
        verdict = judge(stored, now)
        match verdict:
            case Keep():
                if verdict.held and row.state in ("retained", "due"):
                    await t.execute(
                        update(recordings)
                        .where(recordings.c.org == org, recordings.c.id == recording)
                        .values(state="held", reason=verdict.because)
                    )
                return verdict
            case Destroy():
                because = row.reason if row.state == "destroying" else verdict.because
                if row.state != "destroying":
                    await begin_destruction(t, org, row, now=now, because=because)
                names = select(segments.c.digest).where(segments.c.recording == recording)
                digests = (await t.execute(names.order_by(segments.c.sequence))).scalars().all()
                return Claimed(
                    recording=recording,
                    org=str(org),
                    because=because,
                    policy_version=row.policy_version,
                    digests=tuple(digests),
                    ended_at=row.ended_at,
                    expires_at=row.expires_at,
                    certificate=row.certificate,
                )


async def remember_certificate(database: Database, claimed: Claimed, certificate: bytes) -> None:
    """Keep the Kluis's word that the key is gone, before a byte is erased."""
    async with database.transaction() as t:
        await t.execute(
            update(recordings)
            .where(recordings.c.org == claimed.org, recordings.c.id == claimed.recording)
            .values(certificate=certificate)
        )


async def finish(database: Database, claimed: Claimed, now: datetime) -> None:
    """Say that it is gone, once key and bytes are. Repeating it changes nothing."""
    async with database.transaction() as t:
        await t.execute(
            update(recordings)
            .where(
                recordings.c.org == claimed.org,
                recordings.c.id == claimed.recording,
                recordings.c.state == "destroying",
            )
            .values(state=RECORDING.after("destroying", "finish"), destroyed_at=now)
        )


async def to_look_at(
    database: Database, org: Org | str, now: datetime, *, most: int, begun_only: bool = False
) -> Sequence[Waiting]:
    """Return recordings whose term is over or whose destruction had begun, the longest due first, the held ones last.

    Those under a hold are among them: the worker answers *held*, and the clock asks again later.
    """
    begun = recordings.c.state == "destroying"
    over = recordings.c.state.in_(("retained", "due", "restricted", "quarantined", "held")) & (
        recordings.c.expires_at <= now
    )
    query = (
        select(recordings.c.id, recordings.c.expires_at, recordings.c.state)
        .where(recordings.c.org == org, begun if begun_only else begun | over)
        .order_by(recordings.c.state == "held", recordings.c.expires_at, recordings.c.id)
        .limit(most)
    )
    async with database.transaction() as t:
        rows = (await t.execute(query)).all()
    return [Waiting(id=name, expires_at=expires, state=state) for name, expires, state in rows]


async def mark_due(database: Database, org: Org | str, recording: str, now: datetime) -> None:
    """Show that the term is over; changes nothing but what people see."""
    async with database.transaction() as t:
        await t.execute(
            update(recordings)
            .where(
                recordings.c.org == org,
                recordings.c.id == recording,
                recordings.c.state == "retained",
                recordings.c.expires_at <= now,
            )
            .values(state=RECORDING.after("retained", "expire"), reason="its term is over")
        )
