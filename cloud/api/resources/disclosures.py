"""Handing over to police and public prosecution: from a case with a basis to a package that a stranger checks."""

import asyncio
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Created, Given, Group, Instant, Name, Nothing, Raw, Shown, Text, door, operation
from cloud.api.resources.rooms import RoomPath
from cloud.desk.pages.room import room_for, sign_with_software
from cloud.desk.rules.doors import Door
from cloud.desk.town import deny
from cloud.viewing.handover import HandOvers

DISCLOSURES: Final = Group(
    name="verstrekkingen",
    purpose="Politie of Openbaar Ministerie krijgt wat de wet verlangt, en niets anders; wie wat gaf staat vast.",
)
SEES: Final = door(Door.CASES)


class DisclosureShown(Shown):
    """One hand-over. `package_there`: it waits to be fetched, once."""

    id: UUID
    case: UUID
    state: str
    basis: str
    recipient: str
    recordings: tuple[UUID, ...]
    prepared_by: str
    prepared_at: Instant
    approved_by: str | None
    substitute_of: str | None
    delivered_at: Instant | None
    package_sha256: str | None
    receipt_at: Instant | None
    package_there: bool


class DisclosuresShown(Shown):
    """Hand-overs, newest first."""

    items: tuple[DisclosureShown, ...]


class AskedShown(Shown):
    """A hand-over that was asked for, and the room in which the second person signs."""

    disclosure: UUID
    room: UUID


class DisclosurePath(Given):
    """Which hand-over."""

    disclosure: UUID


class DisclosuresAsked(Given):
    """Which hand-overs."""

    case: UUID | None = None


class Goes(StrEnum):
    """To whom: police, public prosecution, or (where the policy gives a copy) who asked to see the footage."""

    POLICE = "police"
    OM = "om"
    DATA_SUBJECT = "data_subject"


class DisclosureGiven(Given):
    """To whom, what, why, and who signs as the second."""

    case: UUID
    recipient: Goes
    recordings: Annotated[tuple[UUID, ...], msgspec.Meta(min_length=1, max_length=200)]
    reason: Text
    second: Name | None = None


class ReceiptGiven(Given):
    """That they have it, since when, and their own words for it."""

    received_at: Instant
    receipt: Text


@operation("GET", "/verstrekkingen", "Alle verstrekkingen", group=DISCLOSURES, roles=SEES)
async def disclosures(call: Call, query: DisclosuresAsked) -> DisclosuresShown:
    """Return the hand-overs (of one case), newest first."""
    rows = await call.town.casework.disclosures(call.org, case=str(query.case) if query.case else None)
    return DisclosuresShown(items=tuple([await _shown(call, row) for row in rows]))


@operation("POST", "/verstrekkingen", "Een verstrekking vragen", group=DISCLOSURES, roles=SEES, created=True,
           gives=AskedShown, refuses=(Code.NOT_FOUND, Code.CONFLICT, Code.DESTROYED))  # fmt: skip
async def ask_disclosure(call: Call, body: DisclosureGiven) -> Created:
    """Record the hand-over and put it before the second person; each in the ledger first."""
    office = _office(call)
    made = await call.town.casework.prepare_disclosure(
        call.org,
        str(body.case),
        by=call.me.id,
        recipient=body.recipient,
        recordings=list(dict.fromkeys(str(each) for each in body.recordings)),
    )
    await call.town.casework.approve_disclosure(call.org, made, by=call.me.id)
    room = await office.ask(
        made, requester=call.me.id, second=body.second, reason=body.reason, policy=await call.town.policy()
    )
    if call.town.keys is None:
        await call.rooms.ask(room, sign_with_software(call.town, call.me.id, call.rooms.challenge(room)))
    return Created(AskedShown(disclosure=UUID(made), room=UUID(room.id)), f"/verstrekkingen/{made}")


@operation("GET", "/verstrekkingen/{verstrekking}", "Eén verstrekking", group=DISCLOSURES, roles=SEES,
           tagged=True)  # fmt: skip
async def disclosure(call: Call, path: DisclosurePath) -> DisclosureShown:
    """Return one hand-over, to who made it."""
    return await _shown(call, await _mine(call, path))


@operation("POST", "/kijkkamers/{kamer}/bewijspakketten", "Het bewijspakket maken", group=DISCLOSURES, roles=SEES,
           in_viewing_place=True, refuses=(Code.CONFLICT, Code.DESTROYED), created=True,
           gives=DisclosureShown)  # fmt: skip
async def pack(call: Call, path: RoomPath, body: Nothing) -> Created:  # noqa: ARG001 - says it all
    """Make the package of an approved hand-over: release, write, enter in the ledger. The room is over then."""
    room = room_for(call.rooms, str(path.room), call.me.id)
    if room is None or call.me.id != room.request.requester:
        await deny(call.request, "disclosure", "Alleen wie erom vroeg maakt het bewijspakket.")
        raise refuse(Code.NOT_ALLOWED, "package", expected="its requester", got=call.me.id)
    package = await _office(call).pack(room, by=call.me.id)
    row = await call.town.casework.disclosure(call.org, package.disclosure)
    return Created(await _shown(call, row), f"/verstrekkingen/{package.disclosure}")


@operation("POST", "/verstrekkingen/{verstrekking}/ophalingen", "Het bewijspakket ophalen, eenmalig",
           group=DISCLOSURES, roles=SEES, media="application/zip")  # fmt: skip
async def fetch(call: Call, path: DisclosurePath, body: Nothing) -> Raw:  # noqa: ARG001 - says it all
    """Give the package to who made it, once: it is gone here afterwards."""
    row = await _mine(call, path)
    package = await asyncio.to_thread(_office(call).take, row.id)
    return Raw(package, file_name=f"verstrekking-{row.id}.zip")


@operation("POST", "/verstrekkingen/{verstrekking}/ontvangstbevestigingen", "De ontvangst vastleggen",
           group=DISCLOSURES, roles=SEES, refuses=(Code.CONFLICT,), guarded_by=disclosure)  # fmt: skip
async def confirm_receipt(call: Call, path: DisclosurePath, body: ReceiptGiven) -> DisclosureShown:
    """Record that they have it: from this moment they are responsible for what they got."""
    row = await _mine(call, path)
    await call.town.casework.confirm_receipt(
        call.org, row.id, by=call.me.id, received_at=body.received_at, receipt=body.receipt
    )
    return await _shown(call, await _mine(call, path))


@operation("DELETE", "/verstrekkingen/{verstrekking}", "Een verstrekking intrekken", group=DISCLOSURES, roles=SEES,
           refuses=(Code.CONFLICT,), guarded_by=disclosure)  # fmt: skip
async def withdraw(call: Call, path: DisclosurePath) -> None:
    """Take a hand-over back that has not gone out; its record stays."""
    row = await _mine(call, path)
    await call.town.casework.withdraw_disclosure(call.org, row.id, by=call.me.id)


async def _mine(call: Call, path: DisclosurePath) -> Any:
    row = await call.town.casework.disclosure(call.org, str(path.disclosure))
    if row.prepared_by != call.me.id:
        await deny(call.request, "disclosure", "U heeft deze verstrekking niet gedaan.")
    return row


def _office(call: Call) -> HandOvers:
    if call.handovers is None:
        raise refuse(Code.NOT_FOUND, "hand-over", expected="a desk that hands over", got="another")
    return call.handovers


async def _shown(call: Call, row: Any) -> DisclosureShown:
    lies_there = call.handovers is not None and await asyncio.to_thread(call.handovers.find, row.id) is not None
    return DisclosureShown(
        id=UUID(row.id),
        case=UUID(row.case_id),
        state=row.state,
        basis=row.basis,
        recipient=row.recipient,
        recordings=tuple(UUID(each) for each in row.recordings),
        prepared_by=row.prepared_by,
        prepared_at=row.prepared_at,
        approved_by=row.approved_by,
        substitute_of=row.substitute_of,
        delivered_at=row.delivered_at,
        package_sha256=row.package_sha256,
        receipt_at=row.receipt_at,
        package_there=lies_there and row.prepared_by == call.me.id,
    )


OPERATIONS: Final = (
    disclosures,
    ask_disclosure,
    disclosure,
    pack,
    fetch,
    confirm_receipt,
    withdraw,
)
