"""A small town on a real database, with a ledger and a hub that remember what they were told."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from broker.wire.entries import Opening, write_entry
from broker.wire.ids import uuid7
from broker.wire.tlog import Checkpoint
from cloud.casework.casework import Casework
from cloud.casework.personnel import Personnel
from cloud.casework.policies import Policies
from cloud.database.engine import Database
from cloud.database.tables import (
    activations,
    appointments,
    officials,
    recordings,
    segments,
    shifts,
)
from cloud.ledger.log import Entry, LedgerUnwritable
from tests.adapters.database.postgresql import address_of, switched
from tests.rules.rules.towns import document

START = datetime(2026, 6, 1, 12, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

HEUSDEN_PEOPLE = {
    "po": ("privacy_officer",),
    "cm": ("cluster_manager",),
    "gs": ("municipal_secretary",),
    "vc": ("safety_coordinator",),
    "co": ("coordinator",),
    "jz": (),
    "fb": ("app_admin",),
    "boa1": (),
    "boa2": (),
}
ROTTERDAM_PEOPLE = {
    "v1": ("authorised_viewer",),
    "v2": ("authorised_viewer",),
    "v3": (),
    "po": ("privacy_officer",),
    "co": ("coordinator",),
    "fb": ("app_admin",),
    "boa1": (),
}


@dataclass
class MovableClock:
    """A clock that stands still until it is moved."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now


@dataclass
class RememberingLedger:
    """Keeps entries in memory; `away` makes it refuse, as a full disk does."""

    entries: list[tuple[str, str, str, dict[str, Any], str | None]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    away: bool = False

    async def append(
        self,
        kind: str,
        *,
        subject: str,
        actor: str,
        at: datetime,
        facts: Mapping[str, Any],
        private: str | None = None,
    ) -> Entry:
        if self.away:
            raise LedgerUnwritable(Path("ledger"), OSError("the test took it away"))
        opening = Opening(salt=bytes(32), text=private) if private is not None else None
        raw = write_entry(kind, subject=subject, actor=actor, at=at, facts=facts, private=opening)
        self.entries.append((kind, subject, actor, dict(facts), private))
        self.raw.append(raw)
        return Entry(index=len(self.entries) - 1, raw=raw, proof=b"proof", opening=opening)

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(origin="test", size=len(self.raw), root=bytes(32), note=b"")

    async def read(self, first: int, last: int) -> tuple[tuple[int, bytes], ...]:
        return tuple(enumerate(self.raw))[first:last]

    def kinds(self) -> list[str]:
        return [kind for kind, *_ in self.entries]


@dataclass
class RememberingHub:
    """Remembers what browsers would hear."""

    said: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def publish(self, org: str, kind: str, data: dict[str, Any]) -> int:
        self.said.append((org, kind, data))
        return len(self.said)


@dataclass
class Town:
    """One municipality and the means to put things into it."""

    org: str
    database: Database
    clock: MovableClock
    ledger: RememberingLedger
    hub: RememberingHub
    policies: Policies
    casework: Casework
    made: int = 0

    async def hire(self, people: Mapping[str, tuple[str, ...]]) -> None:
        async with self.database.transaction() as t:
            for name, roles in people.items():
                function = "boa" if name.startswith("boa") else None
                await t.execute(
                    insert(officials).values(
                        org=self.org,
                        id=name,
                        display_name=name.upper(),
                        function=function,
                        department="Juridische Zaken",
                        employed_from=LONG_AGO,
                    )
                )
                for role in roles:
                    await t.execute(
                        insert(appointments).values(
                            org=self.org, official=name, role=role, from_at=LONG_AGO, appointed_by="college"
                        )
                    )

    async def leave(self, official: str, *, by: str = "fb") -> None:
        """Today is somebody's last day, and it is over."""
        people = Personnel(self.database, self.ledger, self.policies, self.clock, self.hub, roster=self.casework.roster)
        await people.leave_at(self.org, by=by, official=official, at=self.clock())

    def name(self) -> str:
        self.made += 1
        seed = hashlib.sha256(f"{self.org}{self.made}".encode()).digest()[:10]
        return str(uuid7(self.clock() + timedelta(milliseconds=self.made), seed))

    async def press(self, *, officer: str = "boa1", camera: str = "cam-01", name: str | None = None) -> str:
        """The button of a camera was pressed; the footage is not here yet."""
        recording = name or self.name()
        async with self.database.transaction() as t:
            await t.execute(
                insert(activations).values(
                    recording=recording,
                    org=self.org,
                    camera=camera,
                    official=officer,
                    activated_at=self.clock(),
                    pre_record_s=30.0,
                    place="Markt",
                    received_at=self.clock(),
                )
            )
        return recording

    async def store(
        self,
        *,
        officer: str = "boa1",
        camera: str = "cam-01",
        ended_at: datetime | None = None,
        state: str = "retained",
        name: str | None = None,
        incident: str | None = None,
        digests: tuple[bytes, ...] = (b"\x01" * 32, b"\x02" * 32),
        days: int = 28,
    ) -> str:
        """Footage is here, ended at this moment (now, if None)."""
        recording = name or self.name()
        ended = ended_at or self.clock()
        async with self.database.transaction() as t:
            await t.execute(
                insert(recordings).values(
                    id=recording,
                    org=self.org,
                    camera=camera,
                    official=officer,
                    incident=incident,
                    policy_version=1,
                    state=state,
                    reason="its term runs",
                    started_at=ended - timedelta(minutes=5),
                    activated_at=ended - timedelta(minutes=4, seconds=30),
                    ended_at=ended,
                    expires_at=ended + timedelta(days=days),
                    pre_record_s=30.0,
                    segments=len(digests),
                    total_bytes=10,
                    chain="intact",
                    stop_reason="officer",
                    head_sha256="00" * 32,
                    last_hash="00" * 32,
                    dock="dock-01",
                    via="dock",
                    received_at=ended,
                    deviations=[],
                )
            )
            for at, digest in enumerate(digests):
                await t.execute(
                    insert(segments).values(
                        recording=recording,
                        sequence=at,
                        digest=hashlib.sha256(recording.encode() + digest).hexdigest(),
                        ciphertext_bytes=1,
                        starts_at=ended,
                        ends_at=ended,
                        flags=0,
                        kind=1,
                    )
                )
        return recording

    async def shift(self, officer: str, *, hours: float, camera: str = "cam-01") -> None:
        """A shift that began an hour ago."""
        async with self.database.transaction() as t:
            await t.execute(
                insert(shifts).values(
                    id=self.name(),
                    org=self.org,
                    official=officer,
                    camera=camera,
                    starts_at=self.clock() - timedelta(hours=1),
                    ends_at=self.clock() + timedelta(hours=hours),
                )
            )

    async def state(self, recording: str) -> str:
        async with self.database.transaction() as t:
            query = select(recordings.c.state).where(recordings.c.org == self.org, recordings.c.id == recording)
            return str((await t.execute(query)).scalar_one())

    def beside(self, org: str) -> "Town":
        """Another municipality in the same installation."""
        return Town(
            org=org,
            database=self.database,
            clock=self.clock,
            ledger=self.ledger,
            hub=self.hub,
            policies=self.policies,
            casework=self.casework,
        )


_FOUNDED: list[bytes] = []
"""The two towns as they are founded, made once: founding costs more than most tests."""


@asynccontextmanager
async def founded(folder: Path, *, url: str | None = None) -> AsyncIterator[tuple[Town, Town]]:
    """Two municipalities in one installation, each under the policy it ships with."""
    file = folder / "vierogen.sqlite"
    if url is None and not switched():
        if not _FOUNDED:
            async with _installation(address_of(file)) as (heusden, rotterdam):
                await _found(heusden, rotterdam)
            _FOUNDED.append(file.read_bytes())
        file.write_bytes(_FOUNDED[0])
        async with _installation(address_of(file)) as both:
            yield both
        return
    async with _installation(url or address_of(file)) as (heusden, rotterdam):
        await _found(heusden, rotterdam)
        yield heusden, rotterdam


@asynccontextmanager
async def _installation(url: str) -> AsyncIterator[tuple[Town, Town]]:
    database = Database(url)
    try:
        clock, ledger, hub, policies = MovableClock(), RememberingLedger(), RememberingHub(), Policies(database)
        casework = Casework(database, ledger, policies, clock, hub)
        heusden = Town("heusden", database, clock, ledger, hub, policies, casework)
        yield heusden, heusden.beside("rotterdam")
    finally:
        await database.close()


async def _found(*towns: Town) -> None:
    await towns[0].database.create()
    for town, people in zip(towns, (HEUSDEN_PEOPLE, ROTTERDAM_PEOPLE), strict=True):
        await town.policies.adopt(document(town.org), by="college", ledger=town.ledger, clock=town.clock)
        await town.hire(people)
    towns[0].ledger.entries.clear()
    towns[0].ledger.raw.clear()
