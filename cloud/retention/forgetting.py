"""What else goes where a policy's term is for *data*, not only footage: words and places that point at people."""

from uuid import uuid4

from sqlalchemy import delete, insert, select, update

from broker.wire.ids import Org
from cloud.database.engine import Database
from cloud.database.tables import (
    activations,
    decisions_apart,
    derivatives,
    outside_containers,
    outside_objects,
    recordings,
    redaction_drafts,
    usage_reports,
    viewing_marks,
)
from cloud.rules.statistics import without_person


async def forget_people(database: Database, org: Org | str, recording: str) -> None:
    """Erase who, where and what was told of this recording; keep when, which camera, and that it was destroyed.

    Of a report nothing remains but what is counted: a row of its own, of nobody and of no recording.
    """
    async with database.transaction() as t:
        await t.execute(
            update(recordings).where(recordings.c.org == org, recordings.c.id == recording).values(official=None)
        )
        await t.execute(
            update(activations)
            .where(activations.c.org == org, activations.c.recording == recording)
            .values(official=None, place=None, latitude=None, longitude=None, acknowledged_by=None)
        )
        await t.execute(
            update(decisions_apart)
            .where(decisions_apart.c.org == org, decisions_apart.c.recording == recording)
            .values(official=None, camera=None, ground="", confirmed_ground="")
        )
        about = (usage_reports.c.org == org) & (usage_reports.c.recording == recording)
        submitted = select(usage_reports).where(about, usage_reports.c.submitted_at.is_not(None))
        for row in (await t.execute(submitted)).all():
            counted = without_person(row.answers, submitted_at=row.submitted_at, due_at=row.due_at)
            await t.execute(
                insert(usage_reports).values(
                    id=str(uuid4()), org=org, official="", state="counted", notified=[], **counted
                )
            )
        await t.execute(delete(usage_reports).where(about))


async def forget_plan(database: Database, recording: str) -> None:
    """Erase what was hidden where in a derivative; its hash stays."""
    async with database.transaction() as t:
        await t.execute(update(derivatives).where(derivatives.c.recording == recording).values(plan={}))


async def forget_drafts(database: Database, org: Org | str, recording: str) -> None:
    """Erase what was done of making it unrecognisable: where faces are."""
    mine = (redaction_drafts.c.org == org) & (redaction_drafts.c.recording == recording)
    async with database.transaction() as t:
        await t.execute(delete(redaction_drafts).where(mine))


async def forget_letters(database: Database, org: Org | str, recording: str) -> None:
    """Erase what another maker's system wrote beside this footage; the hashes stay, so that it is never stored again.

    The container's own letter goes when the last of its recordings does.
    """
    mine = outside_objects.c.recording == recording
    async with database.transaction() as t:
        container = (await t.execute(select(outside_objects.c.container).where(mine).limit(1))).scalar_one_or_none()
        if container is None:
            return  # one of our own cameras made it
        await t.execute(update(outside_objects).where(mine).values(letter={}))
        rest = select(outside_objects.c.recording).join(recordings, recordings.c.id == outside_objects.c.recording)
        rest = rest.where(
            outside_objects.c.org == org,
            outside_objects.c.container == container,
            recordings.c.id != recording,
            recordings.c.state != "destroyed",
        )
        if (await t.execute(rest.limit(1))).first() is None:
            await t.execute(
                update(outside_containers)
                .where(outside_containers.c.org == org, outside_containers.c.name == container)
                .values(letter={})
            )


async def forget_marks(database: Database, org: Org | str, recording: str) -> None:
    """Erase what was noted at places in this footage: the words are about what was to be seen."""
    async with database.transaction() as t:
        await t.execute(delete(viewing_marks).where(viewing_marks.c.org == org, viewing_marks.c.recording == recording))
