"""The ledger to read: search, filter, carry away, and have it checked."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from sqlalchemy import select

from broker.wire.entries import LedgerEntry, read_entry
from broker.wire.refusals import Code, Refused
from broker.wire.tlog import check_proof
from cloud.database.tables import activations, cases, recordings
from cloud.desk.names import ledger_kinds, nobodies
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.rules.doors import Door
from cloud.desk.town import Town, deny, may_open, page, town_of, words_of
from cloud.ledger.log import Ledger
from cloud.ledger.tiles import TILE

PAGE: Final = 100
MOST: Final = 20_000
"""Entries searched through at once: a year of a town of fifty cameras."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One entry as the page shows it."""

    index: int
    entry: LedgerEntry
    raw: str


async def show(request: web.Request) -> web.StreamResponse:
    """The newest entries that match."""
    return await _show(request, checked=None)


async def verify(request: web.Request) -> web.StreamResponse:
    """Check every entry against the signed checkpoint, here and now."""
    town = town_of(request)
    if not may_open(request, Door.LEDGER):
        return await deny(request, "logboek", words_of(request)("Uw functie geeft geen toegang tot het logboek."))
    checkpoint = town.ledger.checkpoint()
    broken = await first_broken(town.ledger, checkpoint.size)
    return await _show(
        request,
        checked={"size": checkpoint.size, "root": checkpoint.root.hex(), "broken": broken, "at": town.now()},
    )


async def first_broken(ledger: Ledger, size: int) -> int | None:
    """Check each of the first `size` entries against its proof; return the first that is not what was promised.

    An entry that the disk does not give back at all is one of those.
    """
    for first in range(0, size, TILE):
        last = min(first + TILE, size)
        there = dict(await ledger.readable(first, last))
        for index in range(first, last):
            if index not in there:
                return index
            try:
                check_proof(await ledger.prove(index), leaf=there[index], origin=ledger.origin, key=ledger.key)
            except Refused:
                return index
    return None


async def carry_away(request: web.Request) -> web.StreamResponse:
    """The matching entries as a file: CSV for a spreadsheet, JSON lines for a machine."""
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.LEDGER):
        return await deny(request, "logboek", words("Uw functie geeft geen toegang tot het logboek."))
    lines = await _lines(town, request)
    if request.match_info["form"] == "json":
        text = "".join(f"{line.raw}\n" for line in lines)
        kind, name = "application/jsonl", "logboek.jsonl"
    else:
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(["nummer", "moment", "handeling", "onderwerp", "door", "feiten"])
        for line in lines:
            entry = line.entry
            row = [
                line.index,
                entry.at.isoformat(),
                entry.kind,
                entry.subject,
                entry.actor,
                json.dumps(dict(entry.facts)),
            ]
            writer.writerow([_harmless(str(cell)) for cell in row])
        text, kind, name = out.getvalue(), "text/csv", "logboek.csv"
    return web.Response(
        text=text,
        content_type=kind,
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


def _harmless(cell: str) -> str:
    """A cell that begins as a formula would be run by a spreadsheet."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


async def _show(request: web.Request, *, checked: dict[str, Any] | None) -> web.StreamResponse:
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.LEDGER):
        return await deny(request, "logboek", words("Uw functie geeft geen toegang tot het logboek."))
    lines = await _lines(town, request)
    broken = checked is not None and checked["broken"] is not None
    return await page(
        request,
        "ledger.html",
        status=Code.BAD_SIGNATURE.status if broken else 200,
        lines=lines[:PAGE],
        matching=len(lines),
        kinds=ledger_kinds(words),
        kind=request.query.get("handeling", ""),
        seek=request.query.get("zoek", ""),
        query=request.query_string,
        names=nobodies(words) | dict(await town.people.names()),
        subjects=await _subjects(request, {line.entry.subject for line in lines[:PAGE]}),
        checkpoint=town.ledger.checkpoint(),
        checked=checked,
        denials=(await town.casework.denials(town.org))[:25],
        **await waiting_alarms(request),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What an entry is about, as people call it, and where it is shown; no address for who may not open it."""

    called: str
    address: str | None


async def _subjects(request: web.Request, subjects: set[str]) -> Mapping[str, About]:
    """Return what these subjects are called: recordings, presses, cases, people; others are in nobody's register."""
    town, words = town_of(request), words_of(request)
    times = select(recordings.c.id, recordings.c.camera, recordings.c.started_at).where(
        recordings.c.org == town.org, recordings.c.id.in_(subjects)
    )
    presses = select(activations.c.recording, activations.c.camera, activations.c.activated_at).where(
        activations.c.org == town.org, activations.c.recording.in_(subjects)
    )
    numbers = select(cases.c.id, cases.c.number).where(cases.c.org == town.org, cases.c.id.in_(subjects))
    async with town.database.transaction() as transaction:
        filmed = (await transaction.execute(times)).all()
        pressed = (await transaction.execute(presses)).all()
        numbered = (await transaction.execute(numbers)).all()
    names = await town.people.names()
    to_recordings, to_cases = may_open(request, Door.RECORDINGS), may_open(request, Door.CASES)
    return (
        {each: About(called=names[each], address=None) for each in subjects if each in names}
        | {
            row.recording: About(called=f"{row.camera}, {words.moment(row.activated_at)}", address=None)
            for row in pressed
        }
        | {
            row.id: About(
                called=f"{row.camera}, {words.moment(row.started_at)}",
                address=f"/opnamen/{row.id}" if to_recordings else None,
            )
            for row in filmed
        }
        | {
            row.id: About(
                called=words("dossier {number}", number=row.number),
                address=f"/dossiers/{row.id}" if to_cases else None,
            )
            for row in numbered
        }
    )


async def _lines(town: Town, request: web.Request) -> list[Line]:
    kind, seek = request.query.get("handeling", ""), request.query.get("zoek", "").strip().casefold()
    size, names = town.ledger.checkpoint().size, await town.people.names()
    found = []
    for first in range(max(0, size - MOST), size, TILE):
        for index, raw in await town.ledger.readable(first, min(first + TILE, size)):
            try:
                entry, text = read_entry(raw), raw.decode()
            except (Refused, UnicodeDecodeError):
                continue  # not an entry: the check of the ledger names it
            sought = f"{text} {names.get(entry.actor, '')}".casefold()
            if (not kind or entry.kind == kind) and (not seek or seek in sought):
                found.append(Line(index=index, entry=entry, raw=text))
    found.reverse()
    return found


ROUTES: Final = (
    web.get("/logboek", show),
    web.post("/logboek/controleren", verify),
    web.get("/logboek/bestand.{form:csv|json}", carry_away),
)
