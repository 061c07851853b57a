"""The statements by which the fleet reads and writes the database; each runs in the caller's transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, Table, and_, bindparam, delete, func, insert, not_, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.wire.events import TYPES, Activation, CameraState, CommandResult, Deactivation, Event, device_of
from broker.wire.ids import DeviceId, Org
from cloud.database import tables
from cloud.database.paging import older_than
from cloud.rules.alerts import Alert, AlertKind
from cloud.rules.fleet import CameraCard, Shift, card_data, card_from

TYPE_OF = {said: name for name, said in TYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PressRow:
    """One activation as the database has it. `late`: it was history when it came in."""

    recording: UUID
    org: Org
    camera: DeviceId
    official: str | None
    activated_at: datetime
    pre_record_s: float
    place: str | None
    latitude: float | None
    longitude: float | None
    received_at: datetime
    late: bool
    ended_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    escalated_at: datetime | None
    ledger_entry: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAlert:
    """An alert, and when it was raised and cleared (None: it is still true)."""

    alert: Alert
    raised_at: datetime
    cleared_at: datetime | None


async def insert_new(t: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]], *key: str) -> set[Any]:
    """Insert these rows in one statement, but those whose key is there; return the keys (tuples) that were new."""
    if not rows:
        return set()
    form = postgresql.insert if t.dialect.name == "postgresql" else sqlite.insert
    statement = form(table).on_conflict_do_nothing().returning(*(table.c[name] for name in key))
    return {tuple(row) for row in (await t.execute(statement, rows)).all()}


async def remember_events(
    t: AsyncConnection, said: Sequence[tuple[Event, bytes]], *, org: Org, at: datetime
) -> set[tuple[str, str]]:
    """Write these events down; return (`source`, `id`) of those that were not there already."""
    rows = [
        {
            "source": event.source,
            "id": str(event.id),
            "org": org,
            "device": device_of(event.source)[2],
            "session": event.session,
            "sequence": event.sequence,
            "type": TYPE_OF[type(event.said)],
            "happened_at": event.time,
            "received_at": at,
            "raw": raw,
        }
        for event, raw in said
    ]
    return await insert_new(t, tables.events, rows, "source", "id")


async def event_bytes(t: AsyncConnection, event: Event) -> bytes | None:
    """Return what came first under this event's (`source`, `id`), or None."""
    query = select(tables.events.c.raw).where(
        tables.events.c.source == event.source, tables.events.c.id == str(event.id)
    )
    found: bytes | None = (await t.execute(query)).scalar_one_or_none()
    return found


async def sequences(t: AsyncConnection, source: str, session: str, *, org: Org, device: str) -> Sequence[int]:
    """Return the numbers of all events (not states) that arrived of one boot of one source."""
    query = select(tables.events.c.sequence).where(
        tables.events.c.org == org,
        tables.events.c.device == device,
        tables.events.c.session == session,
        tables.events.c.source == source,
        tables.events.c.type != TYPE_OF[CameraState],
    )
    return (await t.execute(query)).scalars().all()


async def history(
    t: AsyncConnection, org: Org, device: str, *, most: int
) -> Sequence[Row[str, datetime, datetime, bytes]]:
    """Return session, happened_at, received_at and raw of a device's newest events, newest first."""
    events = tables.events.c
    query = (
        select(events.session, events.happened_at, events.received_at, events.raw)
        .where(events.org == org, events.device == device)
        .order_by(events.received_at.desc(), events.id.desc())
        .limit(most)
    )
    return (await t.execute(query)).all()


async def enrolled_cameras(t: AsyncConnection, org: Org) -> dict[DeviceId, str | None]:
    """Return the team of each camera that may speak."""
    query = select(tables.cameras.c.id, tables.cameras.c.team).where(
        tables.cameras.c.org == org, tables.cameras.c.state == "enrolled"
    )
    return {DeviceId(camera): team for camera, team in (await t.execute(query)).all()}


async def camera_left(t: AsyncConnection, org: Org, camera: DeviceId) -> bool:
    """Whether this camera was ours and is no more."""
    query = select(tables.cameras.c.state).where(tables.cameras.c.org == org, tables.cameras.c.id == camera)
    return (await t.execute(query)).scalar_one_or_none() in ("revoked", "lost", "removed")


async def enrolled_docks(t: AsyncConnection, org: Org) -> dict[DeviceId, str]:
    """Return the station of each dock that may speak."""
    query = select(tables.docks.c.id, tables.docks.c.station).where(
        tables.docks.c.org == org, tables.docks.c.state == "enrolled"
    )
    return {DeviceId(dock): station for dock, station in (await t.execute(query)).all()}


async def newest_shifts(t: AsyncConnection, org: Org, now: datetime) -> dict[DeviceId, Shift]:
    """Return each camera's newest shift that has begun."""
    shifts = tables.shifts.c
    newest = (
        select(shifts.camera, func.max(shifts.starts_at).label("starts_at"))
        .where(shifts.org == org, shifts.starts_at <= now)
        .group_by(shifts.camera)
        .subquery()
    )
    query = (
        select(shifts.camera, shifts.official, shifts.starts_at, shifts.ends_at)
        .join(newest, and_(newest.c.camera == shifts.camera, newest.c.starts_at == shifts.starts_at))
        .where(shifts.org == org)
    )
    return {
        DeviceId(camera): Shift(officer=official, starts_at=starts, ends_at=ends)
        for camera, official, starts, ends in (await t.execute(query)).all()
    }


async def wearers(t: AsyncConnection, org: Org, at: Mapping[DeviceId, datetime]) -> dict[DeviceId, str]:
    """Return who wore each of these cameras at its moment; without those of whom the roster does not say."""
    if not at:
        return {}
    shifts = tables.shifts.c
    query = (
        select(shifts.camera, shifts.official, shifts.starts_at, shifts.ends_at)
        .where(
            shifts.org == org,
            shifts.camera.in_(at),
            shifts.starts_at <= max(at.values()),
            or_(shifts.ends_at.is_(None), shifts.ends_at > min(at.values())),
        )
        .order_by(shifts.starts_at)
    )
    return {
        DeviceId(camera): official  # the latest that began counts
        for camera, official, starts, ends in (await t.execute(query)).all()
        if starts <= at[DeviceId(camera)] and (ends is None or ends > at[DeviceId(camera)])
    }


async def keep_cards(t: AsyncConnection, cards: Sequence[CameraCard], *, at: datetime) -> None:
    """Write these cards in place of what was known of their cameras: one statement, however many there are."""
    if not cards:
        return
    form = postgresql.insert if t.dialect.name == "postgresql" else sqlite.insert
    statement = form(tables.camera_states)
    statement = statement.on_conflict_do_update(
        index_elements=["org", "camera"],
        set_={"seen_at": statement.excluded.seen_at, "state": statement.excluded.state},
    )
    rows = [
        {"org": card.org, "camera": card.camera, "seen_at": card.last_seen_at or at, "state": card_data(card)}
        for card in cards
    ]
    await t.execute(statement, rows)


async def kept_cards(t: AsyncConnection, org: Org) -> dict[DeviceId, CameraCard]:
    """Return the cards as last written."""
    query = select(tables.camera_states.c.camera, tables.camera_states.c.state).where(tables.camera_states.c.org == org)
    return {DeviceId(camera): card_from(state) for camera, state in (await t.execute(query)).all()}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPress:
    """An activation to be written. `late`: it was history when it came in."""

    said: Activation
    camera: DeviceId
    official: str | None
    late: bool


async def add_presses(t: AsyncConnection, new: Sequence[NewPress], *, org: Org, received_at: datetime) -> set[str]:
    """Write these activations; return the recordings that had none yet."""
    rows = [
        {
            "recording": str(each.said.recording),
            "org": org,
            "camera": each.camera,
            "official": each.official,
            "activated_at": each.said.activated_at,
            "pre_record_s": each.said.pre_record_s,
            "place": None if each.said.place is None else each.said.place.name,
            "latitude": None if each.said.place is None else each.said.place.latitude,
            "longitude": None if each.said.place is None else each.said.place.longitude,
            "received_at": received_at,
            "late": each.late,
        }
        for each in new
    ]
    return {recording for (recording,) in await insert_new(t, tables.activations, rows, "recording")}


async def end_presses(t: AsyncConnection, ended: Sequence[tuple[DeviceId, Deactivation]], *, org: Org) -> None:
    """Write when these cameras' recordings ended; the first word on each stays."""
    if not ended:
        return
    presses = tables.activations.c
    statement = (
        update(tables.activations)
        .where(
            presses.recording == bindparam("of"),
            presses.org == org,
            presses.camera == bindparam("by"),
            presses.ended_at.is_(None),
        )
        .values(ended_at=bindparam("then"))
    )
    rows = [{"of": str(said.recording), "by": camera, "then": said.ended_at} for camera, said in ended]
    await t.execute(statement, rows)


async def presses_of(t: AsyncConnection, recordings: Iterable[UUID | str]) -> dict[UUID, PressRow]:
    """Return the activations of these recordings."""
    names = [str(each) for each in recordings]
    if not names:
        return {}
    query = select(tables.activations).where(tables.activations.c.recording.in_(names))
    return {press.recording: press for press in map(_press, (await t.execute(query)).all())}


async def press(t: AsyncConnection, recording: UUID) -> PressRow | None:
    """Return one activation."""
    query = select(tables.activations).where(tables.activations.c.recording == str(recording))
    row = (await t.execute(query)).one_or_none()
    return None if row is None else _press(row)


async def presses(
    t: AsyncConnection,
    org: Org,
    *,
    most: int,
    open_only: bool = False,
    camera: str | None = None,
    before: tuple[datetime, str] | None = None,
) -> tuple[PressRow, ...]:
    """Return activations (after the key `before`), newest first; with `open_only` those that nobody acknowledged."""
    columns = tables.activations.c
    query = select(tables.activations).where(columns.org == org)
    if before is not None:
        query = query.where(older_than(before, columns.activated_at, columns.recording))
    if open_only:
        query = query.where(columns.acknowledged_at.is_(None))
    if camera is not None:
        query = query.where(columns.camera == camera)
    query = query.order_by(columns.activated_at.desc(), columns.recording.desc()).limit(most)
    return tuple(_press(row) for row in (await t.execute(query)).all())


class PressState(StrEnum):
    """What a list of activations can be about."""

    WAITING = "waiting"  # nobody said: I have seen this
    RECORDING = "recording"
    ESCALATED = "escalated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Which activations: each of `words` is in its camera, its place or the name of who wore the camera."""

    words: tuple[str, ...] = ()
    state: PressState | None = None


async def count_presses(t: AsyncConnection, org: Org, sought: Sought) -> int:
    """Return how many activations fit."""
    found: int = (await t.execute(_sought(select(func.count()), org, sought))).scalar_one()
    return found


async def fitting_presses(
    t: AsyncConnection, org: Org, sought: Sought, *, skip: int, most: int
) -> tuple[PressRow, ...]:
    """Return activations that fit: first those that wait for somebody, each newest first."""
    columns = tables.activations.c
    order = (columns.acknowledged_at.is_not(None), columns.activated_at.desc(), columns.recording.desc())
    query = _sought(select(tables.activations), org, sought).order_by(*order).offset(skip).limit(most)
    return tuple(_press(row) for row in (await t.execute(query)).all())


def _sought(query: Select[Any], org: Org, sought: Sought) -> Select[Any]:
    columns, people = tables.activations.c, tables.officials.c
    query = query.select_from(tables.activations).where(columns.org == org)
    match sought.state:
        case PressState.WAITING:
            query = query.where(columns.acknowledged_at.is_(None))
        case PressState.RECORDING:
            query = query.where(columns.ended_at.is_(None))
        case PressState.ESCALATED:
            query = query.where(columns.escalated_at.is_not(None))
        case None:
            pass
    for word in sought.words:
        named = select(people.id).where(people.org == org, people.display_name.icontains(word, autoescape=True))
        said = [each.icontains(word, autoescape=True) for each in (columns.camera, columns.place)]
        query = query.where(or_(columns.official.in_(named), *said))
    return query


async def presses_without_entry(t: AsyncConnection, org: Org) -> tuple[PressRow, ...]:
    """Return the activations that the ledger does not have yet, oldest first."""
    columns = tables.activations.c
    query = (
        select(tables.activations)
        .where(columns.org == org, columns.ledger_entry.is_(None))
        .order_by(columns.received_at)
    )
    return tuple(_press(row) for row in (await t.execute(query)).all())


async def mark_presses(t: AsyncConnection, entries: Sequence[tuple[UUID, int]]) -> None:
    """Write where in the ledger these activations stand."""
    presses = tables.activations.c
    statement = (
        update(tables.activations)
        .where(presses.recording == bindparam("of"), presses.ledger_entry.is_(None))
        .values(ledger_entry=bindparam("at"))
    )
    await t.execute(statement, [{"of": str(recording), "at": entry} for recording, entry in entries])


async def acknowledge_press(t: AsyncConnection, recording: UUID, *, official: str, at: datetime) -> bool:
    """Write who saw it; return False when somebody else was first."""
    columns = tables.activations.c
    done = await t.execute(
        update(tables.activations)
        .where(columns.recording == str(recording), columns.acknowledged_at.is_(None))
        .values(acknowledged_at=at, acknowledged_by=official)
    )
    return done.rowcount == 1


async def escalate_press(t: AsyncConnection, recording: str, *, at: datetime) -> None:
    """Write when the next role was warned; the first time stays."""
    columns = tables.activations.c
    await t.execute(
        update(tables.activations)
        .where(columns.recording == recording, columns.escalated_at.is_(None))
        .values(escalated_at=at)
    )


async def recording_states(t: AsyncConnection, recordings: Sequence[UUID]) -> dict[UUID, str]:
    """Return the state of those recordings that have arrived."""
    if not recordings:
        return {}
    names = [str(each) for each in recordings]
    query = select(tables.recordings.c.id, tables.recordings.c.state).where(tables.recordings.c.id.in_(names))
    return {UUID(name): state for name, state in (await t.execute(query)).all()}


async def stops(t: AsyncConnection, org: Org, boots: Sequence[tuple[DeviceId, str]]) -> Sequence[tuple[str, bytes]]:
    """Return device and bytes of every *stopped* of these boots of cameras."""
    if not boots:
        return ()
    events = tables.events.c
    query = select(events.device, events.raw).where(
        events.org == org,
        events.type == TYPE_OF[Deactivation],
        or_(*(and_(events.device == camera, events.session == session) for camera, session in boots)),
    )
    return [(device, raw) for device, raw in (await t.execute(query)).all()]


async def answer_command(t: AsyncConnection, said: CommandResult, *, org: Org, camera: str, at: datetime) -> None:
    """Write what became of an order to this camera; the first answer stays."""
    columns = tables.commands.c
    await t.execute(
        update(tables.commands)
        .where(
            columns.id == str(said.command),
            columns.org == org,
            columns.camera == camera,
            columns.answered_at.is_(None),
        )
        .values(answered_at=at, done=said.done, answer=said.reason)
    )


async def add_command(
    t: AsyncConnection,
    *,
    command: UUID,
    org: Org,
    camera: str,
    order: str,
    given_by: str,
    issued_at: datetime,
    expires_at: datetime,
) -> int:
    """Write an order down under the camera's next counter, and return the counter."""
    columns = tables.commands.c
    query = select(func.max(columns.counter)).where(columns.org == org, columns.camera == camera)
    counter = int((await t.execute(query)).scalar_one_or_none() or 0) + 1
    await t.execute(
        insert(tables.commands).values(
            id=str(command),
            org=org,
            camera=camera,
            counter=counter,
            order=order,
            given_by=given_by,
            issued_at=issued_at,
            expires_at=expires_at,
        )
    )
    return counter


async def somebody_holds(t: AsyncConnection, org: Org, role: str, now: datetime) -> bool:
    """Whether anybody who holds this role, or stands in for it, is present."""
    appointments, officials, stand_ins = tables.appointments.c, tables.officials.c, tables.substitutions.c
    present = and_(
        officials.employed_from <= now,
        or_(officials.employed_until.is_(None), officials.employed_until > now),
        or_(officials.absent_until.is_(None), officials.absent_until <= now),
    )
    appointed = (
        select(officials.id)
        .join(tables.appointments, and_(appointments.org == officials.org, appointments.official == officials.id))
        .where(
            appointments.org == org,
            appointments.role == role,
            appointments.from_at <= now,
            or_(appointments.until_at.is_(None), appointments.until_at > now),
            present,
        )
        .limit(1)
    )
    standing_in = (
        select(officials.id)
        .join(tables.substitutions, and_(stand_ins.org == officials.org, stand_ins.substitute == officials.id))
        .where(
            stand_ins.org == org,
            stand_ins.role == role,
            stand_ins.from_at <= now,
            stand_ins.until_at > now,
            stand_ins.ended_at.is_(None),
            present,
        )
        .limit(1)
    )
    for query in (appointed, standing_in):
        if (await t.execute(query)).first() is not None:
            return True
    return False


async def forget_history(t: AsyncConnection, org: Org, *, before: datetime, boots: Mapping[DeviceId, str]) -> None:
    """Erase events that came, and alerts that were over, before this moment; of these boots only what is over too.

    The presses of a camera stay as long as footage of it is kept: recordings rest on them.
    """
    events, alerts, kept = tables.events.c, tables.alerts.c, tables.recordings.c
    rests_on_it = and_(
        events.type.like("nl.bodycams.activatie.%"),
        events.device.in_(select(kept.camera).where(kept.org == org, kept.state != "destroyed")),
    )
    old = select(events.device, events.session).where(events.org == org, events.received_at < before).distinct()
    for device, session in (await t.execute(old)).all():
        if boots.get(DeviceId(device)) == session:
            continue
        await t.execute(
            delete(tables.events).where(
                events.org == org,
                events.device == device,
                events.session == session,
                events.received_at < before,
                not_(rests_on_it),
            )
        )
    await t.execute(delete(tables.alerts).where(alerts.org == org, alerts.cleared_at < before))


async def raise_alerts(t: AsyncConnection, alerts: Iterable[Alert], *, at: datetime) -> None:
    """Write new alerts."""
    rows = [
        {
            "org": alert.org,
            "kind": alert.kind.value,
            "about": alert.about,
            "camera": alert.camera,
            "role": alert.role,
            "since": alert.since,
            "because": alert.because,
            "waarom": alert.waarom,
            "raised_at": at,
        }
        for alert in alerts
    ]
    if rows:
        await t.execute(insert(tables.alerts), rows)


async def clear_alerts(t: AsyncConnection, alerts: Iterable[Alert], *, at: datetime) -> None:
    """Write that these alerts are over."""
    columns = tables.alerts.c
    for alert in alerts:
        await t.execute(
            update(tables.alerts)
            .where(
                columns.org == alert.org,
                columns.kind == alert.kind.value,
                columns.about == alert.about,
                columns.cleared_at.is_(None),
            )
            .values(cleared_at=at)
        )


async def open_alerts(t: AsyncConnection, org: Org) -> tuple[Alert, ...]:
    """Return the alerts that are not over."""
    query = select(tables.alerts).where(tables.alerts.c.org == org, tables.alerts.c.cleared_at.is_(None))
    return tuple(_alert(row) for row in (await t.execute(query)).all())


async def past_alerts(t: AsyncConnection, org: Org, *, camera: str | None, most: int) -> tuple[PastAlert, ...]:
    """Return the newest alerts, over or not, newest first."""
    query = select(tables.alerts).where(tables.alerts.c.org == org)
    if camera is not None:
        query = query.where(tables.alerts.c.camera == camera)
    rows = (await t.execute(query.order_by(tables.alerts.c.id.desc()).limit(most))).all()
    return tuple(PastAlert(alert=_alert(row), raised_at=row.raised_at, cleared_at=row.cleared_at) for row in rows)


async def deny(t: AsyncConnection, *, org: str, at: datetime, who: str, what: str, why: str) -> None:
    """Write a refusal down."""
    await t.execute(insert(tables.denials).values(org=org[:40], at=at, who=who[:40], what=what, why=why))


def _press(row: Row[Any]) -> PressRow:
    return PressRow(
        recording=UUID(row.recording),
        org=Org(row.org),
        camera=DeviceId(row.camera),
        official=row.official,
        activated_at=row.activated_at,
        pre_record_s=row.pre_record_s,
        place=row.place,
        latitude=row.latitude,
        longitude=row.longitude,
        received_at=row.received_at,
        late=row.late,
        ended_at=row.ended_at,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
        escalated_at=row.escalated_at,
        ledger_entry=row.ledger_entry,
    )


def _alert(row: Row[Any]) -> Alert:
    return Alert(
        org=Org(row.org),
        kind=AlertKind(row.kind),
        about=row.about,
        camera=DeviceId(row.camera),
        role=row.role,
        since=row.since,
        because=row.because,
        waarom=row.waarom,
    )
