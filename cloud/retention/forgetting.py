"""What else goes where a policy's term is for *data*, not only footage: words and places that point at people."""

from sqlalchemy import delete, update

from broker.wire.ids import Org
from cloud.database.engine import Database
from cloud.database.tables import activations, recordings, usage_reports


async def forget_people(database: Database, org: Org | str, recording: str) -> None:
    """Erase who, where and what was told of this recording; keep when, which camera, and that it was destroyed."""
    async with database.transaction() as t:
        await t.execute(
            update(recordings).where(recordings.c.org == org, recordings.c.id == recording).values(official=None)
        )
        await t.execute(
            update(activations)
            .where(activations.c.org == org, activations.c.recording == recording)
            .values(official=None, place=None, latitude=None, longitude=None, acknowledged_by=None)
        )
        await t.execute(delete(usage_reports).where(usage_reports.c.org == org, usage_reports.c.recording == recording))
