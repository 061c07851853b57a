"""Which holds stand on a recording: the one query that placing, releasing and destroying all use.

A hold names a recording, or an incident. One on an incident covers every recording of it, also those that come late,
but for recordings that the same case holds by name: those end one by one (consent of the public prosecution is given
per recording).

What was made unrecognisable of a recording for one case is kept by that case's holds on the original, and by nothing
else: so it never outlives the original.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.wire.ids import Org
from cloud.database.tables import case_subjects, cases, derivatives, holds, recordings
from cloud.rules.holds import OPEN, is_open
from cloud.rules.lifecycles import RECORDING
from cloud.rules.retention import Stored, state_without_holds


def stands(now: datetime) -> ColumnElement[bool]:
    """Whether a hold stops destruction now, as `cloud.rules.holds.is_open` has it."""
    lapsed = and_(holds.c.state == "provisional", holds.c.lapses_at.is_not(None), holds.c.lapses_at <= now)
    return and_(holds.c.state.in_(OPEN), ~lapsed)


async def holds_on(
    t: AsyncConnection, org: Org | str, recording: str, incident: str | None, now: datetime
) -> Sequence[Row[Any]]:
    """Return the open holds on this recording, oldest first, each with the kind and number of its case."""
    named = holds.alias("named")
    by_name_in_same_case = exists().where(
        named.c.org == org, named.c.case_id == holds.c.case_id, named.c.recording == recording
    )
    covers = holds.c.recording == recording
    if incident is not None:
        covers = or_(covers, and_(holds.c.incident == incident, holds.c.recording.is_(None), ~by_name_in_same_case))
    query = (
        select(holds, cases.c.kind, cases.c.number)
        .join(cases, cases.c.id == holds.c.case_id)
        .where(
            holds.c.org == org,
            covers,
            stands(now),
        )
        .order_by(holds.c.placed_at, cases.c.number, holds.c.id)
    )
    standing = (await t.execute(query)).all()
    if standing or incident is not None:
        return standing  # nothing that was made of another has a hold or an incident of its own
    origin = (await t.execute(_origins(org).where(derivatives.c.recording == recording))).one_or_none()
    if origin is None:
        return standing
    on_original = await holds_on(t, org, origin.original, origin.incident, now)
    return [hold for hold in on_original if hold.case_id == origin.case_id]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Every open hold of a municipality, read once: for lists. Decisions about one recording ask `holds_on`."""

    by_recording: Mapping[str, tuple[tuple[str, str], ...]]  # recording -> (case id, case number)
    by_incident: Mapping[str, tuple[tuple[str, str], ...]]
    named: frozenset[tuple[str, str]]  # (case id, recording), whatever became of the hold

    def on(self, recording: str, incident: str | None) -> tuple[str, ...]:
        """Return the numbers of the cases that hold this recording, oldest first."""
        found = list(self.by_recording.get(recording, ()))
        if incident is not None:
            covering = self.by_incident.get(incident, ())
            found += [each for each in covering if (each[0], recording) not in self.named]
        return tuple(sorted(number for _, number in found))


async def all_standing(t: AsyncConnection, org: Org | str, now: datetime) -> Standing:
    """Return every open hold of this municipality."""
    query = (
        select(holds.c.case_id, holds.c.recording, holds.c.incident, holds.c.state, holds.c.lapses_at, cases.c.number)
        .join(cases, cases.c.id == holds.c.case_id)
        .where(holds.c.org == org)
        .order_by(holds.c.placed_at)
    )
    by_recording: dict[str, list[tuple[str, str]]] = {}
    by_incident: dict[str, list[tuple[str, str]]] = {}
    named = set()
    for case, recording, incident, state, lapses_at, number in (await t.execute(query)).all():
        if recording is not None:
            named.add((case, recording))
        if not is_open(state, lapses_at, now):
            continue
        if recording is not None:
            by_recording.setdefault(recording, []).append((case, number))
        else:
            by_incident.setdefault(incident, []).append((case, number))
    for made, original, case, incident in (await t.execute(_origins(org))).all():
        covering = [each for each in by_incident.get(incident or "", ()) if (each[0], original) not in named]
        by_recording[made] = [each for each in (*by_recording.get(original, ()), *covering) if each[0] == case]
    return Standing(
        by_recording={name: tuple(held) for name, held in by_recording.items()},
        by_incident={name: tuple(held) for name, held in by_incident.items()},
        named=frozenset(named),
    )


async def lock_recording(t: AsyncConnection, org: Org | str, recording: str) -> Row[Any] | None:
    """Return the recording's row, locked until this transaction ends: whoever commits first, wins."""
    query = select(recordings).where(recordings.c.org == org, recordings.c.id == recording).with_for_update()
    return (await t.execute(query)).one_or_none()


async def recompute_state(
    t: AsyncConnection, org: Org | str, recording: str, *, now: datetime, because: str
) -> str | None:
    """Bring the state of a locked recording in line with its holds; return it, or None when it is not here."""
    row = await lock_recording(t, org, recording)
    if row is None:
        return None
    standing = await holds_on(t, org, recording, row.incident, now)
    state = row.state
    if standing and state in ("retained", "due"):
        state = "held"
    elif not standing:
        state = state_without_holds(Stored(state=state, expires_at=row.expires_at, open_holds=0), now)
    if state != row.state:
        await t.execute(
            update(recordings)
            .where(recordings.c.org == org, recordings.c.id == recording, recordings.c.state == row.state)
            .values(state=state, reason=because)
        )
    return str(state)


async def covered_by(t: AsyncConnection, org: Org | str, hold: Row[Any]) -> list[str]:
    """Return the recordings that are here and that this hold covers, and what was made of them for its case."""
    if hold.recording is not None:
        named = [str(hold.recording)]
    else:
        query = select(recordings.c.id).where(recordings.c.org == org, recordings.c.incident == hold.incident)
        named = [row.id for row in await t.execute(query.order_by(recordings.c.id))]
    made = _origins(org).where(derivatives.c.case_id == hold.case_id, derivatives.c.original.in_(named))
    return [*named, *sorted(row.recording for row in await t.execute(made))]


async def hold_by_name(t: AsyncConnection, hold: Row[Any], recording: str, *, identity: str) -> None:
    """Let a case that holds an incident hold one recording of it by name, as long and since the same day."""
    await t.execute(
        insert(holds).values(
            id=identity,
            org=hold.org,
            case_id=hold.case_id,
            recording=recording,
            state=hold.state,
            reason=hold.reason,
            placed_at=hold.placed_at,
            placed_by=hold.placed_by,
            lapses_at=hold.lapses_at,
        )
    )
    named = select(case_subjects.c.id).where(
        case_subjects.c.case_id == hold.case_id, case_subjects.c.recording == recording
    )
    if (await t.execute(named.limit(1))).first() is None:
        await t.execute(insert(case_subjects).values(case_id=hold.case_id, recording=recording))


async def begin_destruction(t: AsyncConnection, org: Org | str, row: Row[Any], *, now: datetime, because: str) -> None:
    """Set a locked recording that nothing holds on its way: nothing leads back. What was made of it goes next.

    Raises IllegalMove for one that is not here.
    """
    # One that is still *held* here lost its last hold by time alone: it passes through *due*.
    before = "due" if row.state == "held" else row.state
    await t.execute(
        update(recordings)
        .where(recordings.c.org == org, recordings.c.id == row.id, recordings.c.state == row.state)
        .values(state=RECORDING.after(before, "destroy"), destroying_at=now, reason=because)
    )
    await _take_along(t, org, str(row.id), now=now)


async def _take_along(t: AsyncConnection, org: Org | str, original: str, *, now: datetime) -> None:
    """End the term of what was made of a recording that is being destroyed: it goes next."""
    made = select(derivatives.c.recording).where(derivatives.c.org == org, derivatives.c.original == original)
    await t.execute(
        update(recordings)
        .where(recordings.c.org == org, recordings.c.id.in_(made), recordings.c.expires_at > now)
        .values(expires_at=now)
    )


def _origins(org: Org | str) -> Any:
    """What was made of which recording, for which case; with the original's incident."""
    return (
        select(derivatives.c.recording, derivatives.c.original, derivatives.c.case_id, recordings.c.incident)
        .join(recordings, recordings.c.id == derivatives.c.original)
        .where(derivatives.c.org == org)
    )
