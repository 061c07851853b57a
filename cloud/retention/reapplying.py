"""After an old backup was put back: destroys again whatever the ledger says was destroyed, before anybody can ask.

The ledger is the one store that is never put back: it only grows, and others have seen how far it had come. So it
decides. Database, vault and Kluis are each brought up to it, in the order of destruction: the key, the register, the
bytes. On a day without a restore this finds nothing to do and changes nothing.

A segment whose recording an old database does not know yet is left where it is: with its key destroyed it is noise.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import select, update

from broker.clock import Clock
from broker.wire.ids import Org, RecordingId, parse_recording
from cloud.database.engine import Database
from cloud.database.tables import recordings, segments
from cloud.kluis.messages import Certificates, Item
from cloud.ledger.finding import entries_of
from cloud.ledger.log import Checkpoint
from cloud.retention.seams import Eraser
from cloud.retention.worker import RetentionWorker

LOG: Final = logging.getLogger(__name__)

OLDEST_BACKUP: Final = timedelta(days=90)
"""How old a backup of the vault may be for its bytes to be looked for: longer than one is kept."""

_ORDER: Final = frozenset({"retention.destroying"})
_GONE: Final = frozenset({"destroyed", "final"})


class Ledger(Protocol):
    """The log, to read."""

    def checkpoint(self) -> Checkpoint:
        """Return how far it has come."""

    async def read(self, first: int, last: int) -> tuple[tuple[int, bytes], ...]:
        """Return entries."""

    async def prove(self, index: int) -> bytes:
        """Return the proof of one."""


class Kluis(Protocol):
    """The key vault, as far as this goes."""

    async def inventory(self) -> tuple[Item, ...]:
        """Return what it holds and what it destroyed."""

    async def certificates(self, recording: RecordingId) -> Certificates:
        """Return the certificates of a destruction."""

    async def destroy(self, recording: RecordingId, *, entry: bytes, proof: bytes) -> bytes:
        """Destroy the key on this order of the ledger; return the certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What had come back, and is gone again."""

    keys: int = 0
    records: int = 0
    segments: int = 0

    def __bool__(self) -> bool:
        """Whether anything had come back."""
        return bool(self.keys or self.records or self.segments)


@dataclass(frozen=True, slots=True)
class _Order:
    index: int
    raw: bytes
    at: datetime


async def reapply(
    *,
    org: Org | str,
    database: Database,
    ledger: Ledger,
    kluis: Kluis,
    eraser: Eraser,
    worker: RetentionWorker,
    clock: Clock,
) -> Again:
    """Bring every store up to the ledger's destructions; raise Refused (UNAVAILABLE) when the Kluis does not answer."""
    orders = await _orders(ledger)
    if not orders:
        return Again()
    keys = await _destroy_keys(orders, ledger, kluis)
    records = await _mark_records(orders, org, database, kluis)
    erased = await _erase(orders, org, database, eraser, clock())
    if records:
        await worker.resume(org)
    again = Again(keys=keys, records=records, segments=erased)
    if again:
        LOG.warning("an old backup was put back: %s destroyed again", again)
    return again


async def _orders(ledger: Ledger) -> dict[str, _Order]:
    """Return the first order to destroy each recording."""
    found: dict[str, _Order] = {}
    async for index, raw, entry in entries_of(ledger.read, ledger.checkpoint().size, _ORDER):
        found.setdefault(entry.subject, _Order(index, raw, entry.at))
    return found


async def _destroy_keys(orders: Mapping[str, _Order], ledger: Ledger, kluis: Kluis) -> int:
    gone = {item.recording for item in await kluis.inventory() if item.state in _GONE}
    again = 0
    for recording, order in orders.items():
        if recording not in gone:
            await kluis.destroy(parse_recording(recording), entry=order.raw, proof=await ledger.prove(order.index))
            again += 1
    return again


async def _mark_records(orders: Mapping[str, _Order], org: Org | str, database: Database, kluis: Kluis) -> int:
    """Put records that came back on the way out; no hold stops that: the key was gone when the hold was placed."""
    async with database.transaction() as t:
        query = select(recordings.c.id).where(
            recordings.c.org == org, recordings.c.state.not_in(("destroyed", "destroying"))
        )
        back = [name for name in (await t.execute(query)).scalars() if name in orders]
    for recording in back:
        certificate = (await kluis.certificates(parse_recording(recording))).executed
        async with database.transaction() as t:
            await t.execute(
                update(recordings)
                .where(recordings.c.org == org, recordings.c.id == recording)
                .values(
                    state="destroying",
                    destroying_at=orders[recording].at,
                    certificate=certificate,
                    reason="destroyed before; a backup was put back",
                )
            )
    return len(back)


async def _erase(
    orders: Mapping[str, _Order], org: Org | str, database: Database, eraser: Eraser, now: datetime
) -> int:
    """Erase bytes that came back with the vault alone; what `_mark_records` found, the worker erases."""
    erased = 0
    for recording, order in orders.items():
        if now - order.at > OLDEST_BACKUP:
            continue
        async with database.transaction() as t:
            query = select(segments.c.digest).join(recordings, recordings.c.id == segments.c.recording)
            names = query.where(recordings.c.org == org, recordings.c.id == recording)
            digests = (await t.execute(names)).scalars().all()
        for digest in digests:
            erased += await eraser.erase(bytes.fromhex(digest))
    return erased
