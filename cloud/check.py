"""`vierogen check`: re-derives from what lies on disk that everything adds up, and names the first thing that does not.

Changes nothing, needs no running part, and may be run while the town runs: the database is read in one transaction of
a read-only connection, the ledger and the vault as files. What changed while it looked is looked at once more before
it counts. The order is that of trust: the ledger first, then what the database says, then every byte of footage, then
the Kluis.
"""

import argparse
import asyncio
import hashlib
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection, Row, create_engine, make_url, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from broker.sodium import SodiumKey
from broker.wire.certificates import read_certificate
from broker.wire.entries import LedgerEntry, read_entry
from broker.wire.events import TYPES, Activation, decode
from broker.wire.ids import CameraKeyId, Org, RecordingId, parse_recording, tenant_id
from broker.wire.recording import (
    ChainState,
    Checkpoint,
    End,
    Head,
    SegmentFacts,
    check_chain,
    read_end,
    read_segment,
    segment_digest,
)
from broker.wire.refusals import Refused
from cloud.config import CloudConfig, ConfigError, TownFolder, read_config
from cloud.database import tables
from cloud.kluis.client import KluisClient
from cloud.ledger import verify as ledger_verify
from cloud.ledger.tiles import TILE, read_bundle
from cloud.rules.adding_up import (
    KEPT,
    Books,
    Finding,
    HoldFacts,
    PressFacts,
    RecordingFacts,
    RoomFacts,
    gravest_first,
    judge_books,
)
from cloud.rules.apart import DECLARED
from cloud.vault.shelf import NoVault, Shelf

KLUIS_ANSWERS_S: Final = 5.0
TRIES: Final = 3
"""How often a ledger that is being written to is read before what does not fit counts."""

DAMAGED: Final = 0
"""`segments.kind` of bytes that were kept as they came because they do not verify; their name is their SHA-256."""

_RECORDING_IN_HEADER: Final = slice(48, 64)
"""Where a segment's header names its recording (broker/wire/layout.py)."""

_SHOWN: Final = 20
_ACTIVATION: Final = next(name for name, said in TYPES.items() if said is Activation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was looked at, what was counted, and what did not add up. Not `done`: could not be looked at."""

    what: str
    wat: str
    done: bool = True
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing grave was found."""
        return not any(finding.grave for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was looked at, in order."""

    org: str
    steps: tuple[Step, ...]

    @property
    def first(self) -> Finding | None:
        """The first thing that does not add up."""
        return next((finding for step in self.steps for finding in step.findings if finding.grave), None)

    @property
    def adds_up(self) -> bool:
        """Whether nothing that was looked at is wrong."""
        return self.first is None

    @property
    def exit_code(self) -> int:
        """0 when everything that was looked at adds up, 1 when something does not."""
        return 0 if self.adds_up else 1

    def lines(self) -> Iterator[str]:
        """The report for a terminal, Dutch and English."""
        for number, step in enumerate(self.steps, 1):
            mark = "–" if not step.done else "✓" if step.ok else "✗"
            yield f"{mark} {number}. {step.wat} / {step.what}"
            for finding in gravest_first(step.findings)[:_SHOWN]:
                yield f"     {'✗' if finding.grave else '·'} {finding}"
            if len(step.findings) > _SHOWN:
                yield f"     … {len(step.findings) - _SHOWN}"
        if self.first is None:
            skipped = [step for step in self.steps if not step.done]
            but = "; zie – voor wat niet kon worden nagekeken / see – for what could not be looked at"
            yield f"KLOPT: {self.org} is nagerekend{but if skipped else ''} / ADDS UP"
        else:
            yield f"KLOPT NIET / DOES NOT ADD UP: {self.first}"


async def check(town_folder: Path) -> Report:
    """Return what was found in this town. Raises ConfigError when the folder is no town's."""
    town = TownFolder(town_folder)
    config = read_config(town.config)
    ledger, entries = await asyncio.to_thread(_ledger, town, config)
    try:
        found = await _read_database(config, _read)
        if ledger.ok:
            found, database = await _database(config, found, entries, lambda: _ledger(town, config)[1])
        else:
            database = _not_compared(found)
    except (SQLAlchemyError, OSError) as cause:
        unreadable = Step(
            what="database not readable",
            wat="database niet leesbaar",
            findings=(Finding(about=config.database_url, what=str(cause), wat=str(cause)),),
        )
        return Report(org=config.org, steps=(ledger, unreadable))
    vault = await asyncio.to_thread(_vault, town, Org(config.org), found)
    kluis = await _kluis(town, found)
    steps = (ledger, database, *vault, kluis)
    if not all(step.ok for step in vault) or not kluis.ok:
        later = await _read_database(config, _read)
        steps = tuple(_still(step, found, later) for step in steps)
    return Report(org=config.org, steps=steps)


def main(argv: Sequence[str]) -> int:
    """Print the report of one town; return its exit code, 2 when the folder is no town's."""
    parser = argparse.ArgumentParser(prog="vierogen check", description=__doc__)
    parser.add_argument("town", type=Path, help="the town's folder")
    arguments = parser.parse_args(argv)
    try:
        report = asyncio.run(check(arguments.town.resolve()))
    except ConfigError as cause:
        sys.stderr.write(f"check: {cause}\n")
        return 2
    sys.stdout.write("\n".join(report.lines()) + "\n")
    return report.exit_code


# --- the ledger ---------------------------------------------------------------------------------------------------


def _ledger(town: TownFolder, config: CloudConfig) -> tuple[Step, tuple[LedgerEntry, ...]]:
    """Recompute the ledger; what does not fit is read again, since the town may be writing."""
    key = Ed25519PrivateKey.from_private_bytes(town.ledger_key.read_bytes()).public_key()
    result = ledger_verify.verify(town.ledger, origin=config.ledger_origin, key=key)
    entries: tuple[LedgerEntry, ...] = ()
    for _ in range(TRIES):
        try:
            entries = tuple(_entries(town.ledger, result.size)) if result.intact else ()
            if result.intact:
                break
        except (OSError, ValueError, Refused):
            pass  # a partial tile was replaced by a longer one while we read
        result = ledger_verify.verify(town.ledger, origin=config.ledger_origin, key=key)
    problem = result.first
    findings: tuple[Finding, ...] = ()
    if problem is not None:
        findings = (Finding(about=f"ledger, {problem.where}", what=problem.what, wat=_entry_of(problem)),)
    step = Step(
        what=f"ledger: {result.size} entries, each as promised, root {result.root.hex()[:16]}",
        wat=f"logboek: {result.size} regels, elk zoals beloofd",
        findings=findings,
    )
    return step, entries


def _entry_of(problem: ledger_verify.Problem) -> str:
    if problem.index is None:
        return "het logboek is niet wat is beloofd"
    return f"regel {problem.index} is de eerste die niet is wat is beloofd"


def _entries(folder: Path, size: int) -> Iterator[LedgerEntry]:
    for number in range(-(-size // TILE)):
        width = min(TILE, size - number * TILE)
        yield from (read_entry(raw) for raw in read_bundle(folder, number, width))


# --- the database -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the database says, read in one transaction."""

    books: Books
    recordings: Mapping[str, Row[Any]]
    segments: Mapping[str, Sequence[Row[Any]]]
    camera_keys: Mapping[str, bytes]
    events: int
    odd: tuple[Finding, ...]


async def _read_database(config: CloudConfig, read: "Callable[[Connection, str], _Found]") -> _Found:
    url = make_url(config.database_url)
    if url.get_backend_name() == "sqlite":
        return await asyncio.to_thread(_read_sqlite, Path(str(url.database)), config.org, read)
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="REPEATABLE READ")
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(read, config.org)
    finally:
        await engine.dispose()


def _read_sqlite(path: Path, org: str, read: "Callable[[Connection, str], _Found]") -> _Found:
    """Read without leaving a trace: a database at rest is opened as immutable, a running one read-only."""
    if not path.is_file():
        raise FileNotFoundError(f"database: expected {path}, found nothing")
    mode = "mode=ro" if path.with_name(path.name + "-wal").exists() else "immutable=1"
    engine = create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True), poolclass=NullPool
    )
    try:
        with engine.connect() as connection:
            connection.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]
            connection.exec_driver_sql("BEGIN")
            return read(connection, org)
    finally:
        engine.dispose()


def _read(connection: Connection, org: str) -> _Found:
    def rows(table: Any, *where: Any) -> Sequence[Row[Any]]:
        return connection.execute(select(table).where(table.c.org == org, *where)).all()

    odd: list[Finding] = []
    if connection.dialect.name == "sqlite":
        odd += _sqlite_says(connection)
    recordings = {row.id: row for row in rows(tables.recordings)}
    segments: dict[str, list[Any]] = {}
    columns = tables.segments.c
    for row in connection.execute(
        select(columns.recording, columns.sequence, columns.digest, columns.kind)
        .join(tables.recordings, tables.recordings.c.id == columns.recording)
        .where(tables.recordings.c.org == org)
        .order_by(columns.recording, columns.sequence)
    ):
        segments.setdefault(row.recording, []).append(row)
    started: dict[str, int] = {}
    events = 0
    for event in connection.execute(select(tables.events).where(tables.events.c.org == org)):
        events += 1
        _look_at_event(event, started, odd)
    policies = rows(tables.policies)
    odd += [
        Finding(about=f"policy version {row.version}", what="has another hash than its text", wat="tekst is veranderd")
        for row in policies
        if hashlib.sha256(row.document.encode()).hexdigest() != row.sha256
    ]
    books = Books(
        recordings={row.id: _recording_facts(row) for row in recordings.values()},
        presses={row.recording: _press_facts(row, started) for row in rows(tables.activations)},
        cases=frozenset(row.id for row in rows(tables.cases)),
        holds=tuple(_hold_facts(row) for row in rows(tables.holds)),
        rooms={row.id: _room_facts(row) for row in rows(tables.viewing_requests)},
        policies={row.version: row.sha256 for row in policies},
        cameras=frozenset(row.id for row in rows(tables.cameras)),
        reports=frozenset(row.id for row in rows(tables.usage_reports, tables.usage_reports.c.state == "submitted")),
    )
    odd += [
        Finding(
            about=f"activation {recording}",
            what="its press was stored and has no activation",
            wat="de druk op de knop is bewaard, maar heeft geen activering",
        )
        for recording in started
        if recording not in books.presses
    ]
    return _Found(
        books=books,
        recordings=recordings,
        segments=segments,
        camera_keys={row.id: bytes(row.public_key) for row in rows(tables.cameras)},
        events=events,
        odd=tuple(odd),
    )


def _sqlite_says(connection: Connection) -> Iterator[Finding]:
    for (said,) in connection.exec_driver_sql("PRAGMA integrity_check(5)").all():
        if said != "ok":
            yield Finding(about="database file", what=str(said), wat="het databasebestand is beschadigd")
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check").all():
        yield Finding(
            about=f"table {row[0]}", what=f"a row points at no {row[2]}", wat=f"een rij wijst naar geen {row[2]}"
        )


def _look_at_event(row: Row[Any], started: dict[str, int], odd: list[Finding]) -> None:
    about = f"event {row.id}"
    try:
        event = decode(row.raw)
    except Refused as cause:
        odd.append(Finding(about=about, what=f"is not what was stored: {cause}", wat="is niet wat is bewaard"))
        return
    said = (str(event.id), event.source, event.session, event.sequence)
    if said != (row.id, row.source, row.session, row.sequence):
        odd.append(Finding(about=about, what="says something else than its row", wat="zegt iets anders dan zijn rij"))
    if row.type == _ACTIVATION and isinstance(event.said, Activation):
        recording = str(event.said.recording)
        started[recording] = started.get(recording, 0) + 1


def _recording_facts(row: Row[Any]) -> RecordingFacts:
    certificate = row.certificate
    return RecordingFacts(
        id=row.id,
        state=row.state,
        incident=row.incident,
        head_sha256=row.head_sha256,
        has_receipt=row.receipt is not None,
        declared=DECLARED in row.deviations,
        destroying_at=row.destroying_at,
        certificate_sha256=None if certificate is None else hashlib.sha256(certificate).hexdigest(),
    )


def _press_facts(row: Row[Any], started: Mapping[str, int]) -> PressFacts:
    return PressFacts(
        recording=row.recording,
        camera=row.camera,
        ledger_entry=row.ledger_entry,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
        events=started.get(row.recording, 0),
    )


def _hold_facts(row: Row[Any]) -> HoldFacts:
    return HoldFacts(
        id=row.id,
        case=row.case_id,
        recording=row.recording,
        incident=row.incident,
        state=row.state,
        outcome=row.outcome,
        placed_at=row.placed_at,
        lapses_at=row.lapses_at,
        released_at=row.released_at,
    )


def _room_facts(row: Row[Any]) -> RoomFacts:
    return RoomFacts(
        id=row.id,
        requester=row.requester,
        second=row.second,
        approved=row.approved_at is not None,
        opened=row.opened_at is not None,
    )


async def _database(
    config: CloudConfig,
    found: _Found,
    entries: tuple[LedgerEntry, ...],
    read_ledger: Callable[[], tuple[LedgerEntry, ...]],
) -> tuple[_Found, Step]:
    """Compare database and ledger. The ledger was read first, so a row may be newer than it: then both again."""

    def judged(books: Books, ledger: tuple[LedgerEntry, ...]) -> tuple[Finding, ...]:
        return judge_books(replace(books, entries=ledger))

    findings = judged(found.books, entries)
    for _ in range(TRIES - 1):
        if not findings:
            break
        ledger = await asyncio.to_thread(read_ledger)
        again = await _read_database(config, _read)
        newer = judged(again.books, await asyncio.to_thread(read_ledger))
        stable = set(newer) & set(judged(again.books, ledger))
        found, findings = again, tuple(finding for finding in newer if finding in stable)
    books = found.books
    step = Step(
        what=(
            f"database: {len(books.recordings)} recordings, {len(books.presses)} activations, {found.events} events, "
            f"{len(books.cases)} cases, {len(books.holds)} holds, {len(books.rooms)} viewings agree with the ledger"
        ),
        wat=(
            f"database: {len(books.recordings)} opnamen, {len(books.presses)} activeringen, {found.events} "
            f"gebeurtenissen, {len(books.cases)} dossiers, {len(books.holds)} keer bewaarplicht en "
            f"{len(books.rooms)} kijksessies kloppen met het logboek"
        ),
        findings=(*found.odd, *findings),
    )
    return found, step


def _not_compared(found: _Found) -> Step:
    return Step(
        what="database: not compared with the ledger, which is broken",
        wat="database: niet vergeleken met het logboek, want dat is beschadigd",
        done=False,
        findings=found.odd,
    )


# --- the vault ----------------------------------------------------------------------------------------------------


def _vault(town: TownFolder, org: Org, found: _Found) -> tuple[Step, ...]:
    try:
        shelf = Shelf(town.vault)
    except NoVault as cause:
        nothing = Finding(about="vault", what=str(cause), wat="er is geen kluis voor beelden")
        if not any(row.state in KEPT for row in found.recordings.values()):
            return (Step(what="vault: none yet, and nothing that should be in it", wat="opslag: nog geen"),)
        return (Step(what="vault: not there", wat="opslag: niet gevonden", findings=(nothing,)),)
    kept = [row for row in found.recordings.values() if row.state in KEPT]
    count, findings = 0, list[Finding]()
    for row in kept:
        named = found.segments.get(row.id, ())
        count += len(named)
        findings += _look_at_recording(shelf, org, row, named, found.camera_keys.get(row.camera))
    whole = Step(
        what=f"footage: {len(kept)} recordings, {count} segments whole, signed and in order",
        wat=f"beelden: {len(kept)} opnamen, {count} segmenten heel, getekend en op volgorde",
        findings=tuple(findings),
    )
    return whole, _strays(shelf, found)


def _look_at_recording(
    shelf: Shelf, org: Org, row: Row[Any], named: Sequence[Row[Any]], raw_key: bytes | None
) -> Iterator[Finding]:
    """Read each byte of a recording; name the first segment that is not what it should be, then judge the whole."""
    about = f"recording {row.id}"
    if raw_key is None:
        yield Finding(about=about, what=f"camera {row.camera} is unknown", wat=f"camera {row.camera} is onbekend")
        return
    key, facts = SodiumKey(raw_key), list[SegmentFacts]()
    broken = row.chain == ChainState.TAMPERED or not row.head_sha256  # or only a part of it was ever handed in
    for segment in named:
        problem = _look_at_segment(shelf, row.id, segment, key, facts)
        if problem is not None:
            what, wat = problem
            yield Finding(about=f"{about}, segment {segment.sequence}", what=what, wat=wat)
            return
    if broken:
        return  # it came in broken, is quarantined for it, and is still as it came
    try:
        end = read_end(bytes(row.end_record), key) if row.end_record is not None else None
    except Refused as cause:
        yield Finding(about=about, what=f"its end record: {cause}", wat="de slotregel klopt niet")
        return
    yield from _judge_whole(org, row, facts, end, key=raw_key)


def _look_at_segment(
    shelf: Shelf, recording: str, segment: Row[Any], key: SodiumKey, facts: list[SegmentFacts]
) -> tuple[str, str] | None:
    digest = bytes.fromhex(segment.digest)
    try:
        raw = shelf.read(digest)
    except Refused:
        return f"is missing from the vault ({segment.digest[:16]}…)", "ontbreekt in de opslag"
    if segment.kind == DAMAGED:
        same = hashlib.sha256(raw).digest() == digest
        return None if same else ("is no longer the damaged bytes that came in", "is niet meer wat is binnengekomen")
    try:
        read = read_segment(raw, key)
    except Refused as cause:
        return f"was changed: {cause}", "is veranderd"
    if segment_digest(raw) != digest or (str(read.recording), read.sequence) != (recording, segment.sequence):
        return "holds another segment", "bevat een ander segment"
    facts.append(read)
    return None


def _judge_whole(
    org: Org, row: Row[Any], facts: Sequence[SegmentFacts], end: End | None, *, key: bytes
) -> Iterator[Finding]:
    head = Head(
        tenant=tenant_id(org),
        camera=CameraKeyId(hashlib.sha256(key).digest()[:16]),
        recording=parse_recording(row.id),
        commitment=bytes(32),
        shares=(),
        checkpoint=Checkpoint(size=0, root=bytes(32)),
        sha256=bytes.fromhex(row.head_sha256),
    )
    verdict = check_chain(head, tuple(facts), end)
    if verdict.state.value != row.chain:
        yield Finding(
            about=f"recording {row.id}",
            what=f"came in {row.chain} and is now {verdict.state.value}: {verdict.because}",
            wat=f"kwam binnen als '{row.chain}' en is nu '{verdict.state.value}': {verdict.waarom}",
        )


def _strays(shelf: Shelf, found: _Found) -> Step:
    """Every file must belong to a recording that is kept, or to one that is on its way in."""
    owners = {bytes.fromhex(segment.digest): name for name, rows in found.segments.items() for segment in rows}
    findings, underway = list[Finding](), 0
    digests = shelf.digests()
    for digest in digests:
        owner = owners.get(digest) or _claimed(shelf, digest)
        state = found.recordings[owner].state if owner is not None and owner in found.recordings else None
        if state == "destroyed":
            findings.append(
                Finding(
                    about=f"recording {owner}",
                    what=f"is destroyed, and bytes of it lie in the vault ({digest.hex()[:16]}…)",
                    wat=f"is vernietigd, maar er liggen nog bytes van in de opslag ({digest.hex()[:16]}…)",
                )
            )
        elif digest not in owners and state in KEPT:
            findings.append(
                Finding(
                    about=f"recording {owner}",
                    what=f"has a file in the vault that belongs to none of its segments ({digest.hex()[:16]}…)",
                    wat=f"heeft een bestand in de opslag dat bij geen segment hoort ({digest.hex()[:16]}…)",
                )
            )
        elif digest not in owners:
            underway += 1
    if underway:
        findings.append(
            Finding(
                about="vault",
                what=f"{underway} segments wait for the rest of their recordings",
                wat=f"{underway} segmenten wachten op de rest van hun opname",
                grave=False,
            )
        )
    return Step(
        what=f"vault: {len(digests)} files, none of them of a destroyed recording or of nobody",
        wat=f"opslag: {len(digests)} bestanden, geen daarvan van een vernietigde opname of van niemand",
        findings=tuple(findings),
    )


def _claimed(shelf: Shelf, digest: bytes) -> str | None:
    """Whose a file says it is; None for bytes that are no segment."""
    try:
        header, _ = shelf.read_ends(digest)
    except Refused:
        return None
    return str(UUID(bytes=header[_RECORDING_IN_HEADER])) if header.startswith(b"VOSEG1") else None


# --- the Kluis ----------------------------------------------------------------------------------------------------


async def _kluis(town: TownFolder, found: _Found) -> Step:
    """Ask the Kluis which keys it holds, when it runs; its own store is sealed and not for us to open."""
    if not town.kluis_socket.exists():
        return _not_asked("it is not running", "hij draait niet")
    client = KluisClient(town.kluis_socket)
    try:
        async with asyncio.timeout(KLUIS_ANSWERS_S):
            public, items = await client.public(), await client.inventory()
    except (OSError, TimeoutError, aiohttp.ClientError, Refused) as cause:
        return _not_asked(f"it does not answer ({type(cause).__name__})", "hij antwoordt niet")
    finally:
        await client.close()
    key = Ed25519PublicKey.from_public_bytes(public.signing_key)
    states = {item.recording: item.state for item in items}
    findings = [finding for row in found.recordings.values() for finding in _look_at_key(row, states.get(row.id), key)]
    findings += [
        Finding(
            about=f"recording {name}",
            what="has its key in the Kluis and no row here: on its way in, or cut off there",
            wat="heeft een sleutel in de Kluis en geen rij hier: onderweg, of daar afgebroken",
            grave=False,
        )
        for name, state in states.items()
        if state == "held" and name not in found.recordings
    ]
    return Step(
        what=f"Kluis: {len(items)} keys, held and destroyed as the database says",
        wat=f"Kluis: {len(items)} sleutels, bewaard en vernietigd zoals de database zegt",
        findings=tuple(findings),
    )


def _look_at_key(row: Row[Any], state: str | None, key: Ed25519PublicKey) -> Iterator[Finding]:
    about = f"recording {row.id}"
    if row.state in KEPT and state != "held" and "key_gone" not in row.deviations:
        yield Finding(
            about=about,
            what=f"is {row.state}, and its key is {state or 'not in the Kluis'}",
            wat=f"staat op {row.state}, maar de sleutel is er niet ({state or 'onbekend in de Kluis'})",
        )
    if row.state == "destroyed":
        if state in ("held", "unreadable"):
            yield Finding(
                about=about, what="is destroyed, and the Kluis still has its key", wat="is vernietigd, de sleutel niet"
            )
        if row.certificate is not None:
            try:
                certificate = read_certificate(bytes(row.certificate), key)
            except Refused as cause:
                yield Finding(about=about, what=f"its certificate: {cause}", wat="de verklaring is niet van deze Kluis")
                return
            if RecordingId(certificate.recording) != parse_recording(row.id):
                yield Finding(about=about, what="has another's certificate", wat="heeft de verklaring van een ander")


def _not_asked(why: str, waarom: str) -> Step:
    return Step(what=f"Kluis: not asked, {why}", wat=f"Kluis: niet nagekeken, {waarom}", done=False)


# --- while the town runs ------------------------------------------------------------------------------------------


def _still(step: Step, before: _Found, after: _Found) -> Step:
    """Leave out findings about recordings that moved on while we looked: destruction takes its bytes away."""
    names = set(before.recordings) | set(after.recordings)
    moved = {f"recording {name}" for name in names if _state(before, name) != _state(after, name)}
    left = tuple(finding for finding in step.findings if finding.about.split(",")[0] not in moved)
    return Step(what=step.what, wat=step.wat, done=step.done, findings=left)


def _state(found: _Found, recording: str) -> str | None:
    return found.recordings[recording].state if recording in found.recordings else None
