"""The ledger: every act, its proof, the signed promise about all of them, and who was refused what."""

from base64 import b64encode
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from broker.wire.entries import LedgerEntry, read_entry
from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Given, Group, Instant, Listed, Nothing, Raw, Shown, door, operation
from cloud.api.paging import Paged, cursor_of, cut, read_cursor
from cloud.desk.pages.ledger import first_broken
from cloud.desk.rules.doors import Door
from cloud.rules.programs import Scope

LEDGER: Final = Group(
    name="logboek", purpose="Iedereen die toezicht houdt kan nagaan wie wat deed, en dat er niets is weggehaald."
)
SEES: Final = door(Door.LEDGER)

READ_AT_ONCE: Final = 1000
MOST: Final = 20_000
"""Entries that one call searches through; the cursor goes on from there."""

HIGHEST: Final = 2**53
Number = Annotated[int, msgspec.Meta(ge=0, le=HIGHEST)]
Size = Annotated[int, msgspec.Meta(ge=1, le=HIGHEST)]


class EntryShown(Shown):
    """One entry. `private` is the commitment to what people said; `raw` the leaf's bytes, which the proof is about."""

    number: int
    at: Instant
    kind: str
    subject: str
    actor: str
    facts: dict[str, Any]
    private: str | None
    raw: str


class EntriesShown(Shown):
    """A page of entries, newest first."""

    items: tuple[EntryShown, ...]


class CheckpointShown(Shown):
    """The newest promise: C2SP signed note. `key`: raw Ed25519, base64."""

    size: int
    root: str
    origin: str
    key: str
    note: str


class GrowthShown(Shown):
    """The proof that the larger tree only added to the smaller (RFC 6962 2.1.2), hashes in hexadecimal."""

    hashes: tuple[str, ...]


class CheckShown(Shown):
    """What a check of every entry found; `broken`: the first entry that is not what was promised."""

    at: Instant
    size: int
    root: str
    broken: int | None


class DenialShown(Shown):
    """Somebody was refused something: who, what, why."""

    id: int
    at: Instant
    who: str
    what: str
    because: str


class DenialsShown(Shown):
    """A page of denials, newest first."""

    items: tuple[DenialShown, ...]


class EntryPath(Given):
    """Which entry."""

    number: Number


class EntriesAsked(Paged):
    """Which entries."""

    kind: Annotated[str, msgspec.Meta(max_length=40)] = ""
    subject: Annotated[str, msgspec.Meta(max_length=80)] = ""
    actor: Annotated[str, msgspec.Meta(max_length=80)] = ""


class GrowthAsked(Given):
    """From which size to which."""

    first: Size
    second: Size


@operation("GET", "/logregels", "Alle handelingen", group=LEDGER, program=Scope.LEDGER, roles=SEES, paged=True,
           gives=EntriesShown)  # fmt: skip
async def entries(call: Call, query: EntriesAsked) -> Listed:
    """Return entries, newest first. A page may be short while there is a next: one call searches 20,000 entries."""
    ledger = call.town.ledger
    size = ledger.checkpoint().size
    after = read_cursor(query.cursor, tuple[Number])
    upto = size if after is None else min(after[0], size)
    lowest, found = max(0, upto - MOST), list[EntryShown]()
    while upto > lowest:
        first = max(lowest, upto - READ_AT_ONCE)
        for number, raw in reversed(await ledger.read(first, upto)):
            entry = read_entry(raw)
            if _fits(entry, query):
                found.append(_shown(number, raw, entry))
                if len(found) == query.limit:
                    return Listed(EntriesShown(items=tuple(found)), cursor_of((number,)) if number else None)
        upto = first
    return Listed(EntriesShown(items=tuple(found)), cursor_of((lowest,)) if lowest else None)


@operation("GET", "/logregels/{nummer}", "Eén handeling", group=LEDGER, program=Scope.LEDGER, roles=SEES)
async def entry(call: Call, path: EntryPath) -> EntryShown:
    """Return one entry."""
    ((number, raw),) = await _known(call, path)
    return _shown(number, raw, read_entry(raw))


@operation("GET", "/logregels/{nummer}/bewijs", "Het bewijs dat een handeling erin staat", group=LEDGER,
           program=Scope.LEDGER, roles=SEES, media="text/plain")  # fmt: skip
async def proof(call: Call, path: EntryPath) -> Raw:
    """Return the proof (C2SP tlog-proof) with the signed checkpoint: check it without us."""
    await _known(call, path)
    return Raw(await call.town.ledger.prove(path.number))


@operation("GET", "/controlepunt", "De nieuwste ondertekende belofte", group=LEDGER, program=Scope.LEDGER, roles=SEES)
async def checkpoint(call: Call) -> CheckpointShown:
    """Return the newest checkpoint: keep it, and ask later whether the ledger only grew since."""
    ledger = call.town.ledger
    newest = ledger.checkpoint()
    return CheckpointShown(
        size=newest.size,
        root=newest.root.hex(),
        origin=ledger.origin,
        key=b64encode(ledger.key.public_bytes_raw()).decode(),
        note=newest.note.decode(),
    )


@operation("GET", "/groeibewijzen", "Het bewijs dat er alleen bij kwam", group=LEDGER, program=Scope.LEDGER, roles=SEES)
async def growth(call: Call, query: GrowthAsked) -> GrowthShown:
    """Return the proof that the tree of `tot` entries only added to that of `vanaf` entries."""
    size = call.town.ledger.checkpoint().size
    if not query.first <= query.second <= size:
        raise refuse(
            Code.MALFORMED,
            "growth",
            expected=f"sizes that rise to {size} at most",
            got=f"{query.first}, {query.second}",
        )
    hashes = await call.town.ledger.prove_growth(query.first, query.second)
    return GrowthShown(hashes=tuple(each.hex() for each in hashes))


@operation("POST", "/logboekcontroles", "Alles nu laten controleren", group=LEDGER, roles=SEES)
async def check(call: Call, body: Nothing) -> CheckShown:  # noqa: ARG001 - says it all
    """Check every entry against the signed checkpoint, here and now."""
    newest = call.town.ledger.checkpoint()
    broken = await first_broken(call.town.ledger, newest.size)
    return CheckShown(at=call.town.now(), size=newest.size, root=newest.root.hex(), broken=broken)


@operation("GET", "/weigeringen", "Wie wat niet mocht", group=LEDGER, roles=SEES, paged=True, gives=DenialsShown)
async def denials(call: Call, query: Paged) -> Listed:
    """Return every denial, newest first."""
    after = read_cursor(query.cursor, tuple[datetime, Number])
    rows = await call.town.casework.denials(call.org, before=after, most=query.limit + 1)
    found, following = cut(rows, query, lambda row: (row.at, row.id))
    shown = tuple(DenialShown(id=row.id, at=row.at, who=row.who, what=row.what, because=row.why) for row in found)
    return Listed(DenialsShown(items=shown), following)


async def _known(call: Call, path: EntryPath) -> tuple[tuple[int, bytes], ...]:
    size = call.town.ledger.checkpoint().size
    if path.number >= size:
        raise refuse(Code.NOT_FOUND, "entry", expected=f"a number below {size}", got=path.number)
    return await call.town.ledger.read(path.number, path.number + 1)


def _fits(entry: LedgerEntry, query: EntriesAsked) -> bool:
    wanted = ((query.kind, entry.kind), (query.subject, entry.subject), (query.actor, entry.actor))
    return all(not asked or asked == there for asked, there in wanted)


def _shown(number: int, raw: bytes, entry: LedgerEntry) -> EntryShown:
    return EntryShown(
        number=number,
        at=entry.at,
        kind=entry.kind,
        subject=entry.subject,
        actor=entry.actor,
        facts=dict(entry.facts),
        private=entry.private,
        raw=raw.decode(),
    )


OPERATIONS: Final = (entries, entry, proof, checkpoint, growth, check, denials)
