"""What was done of making a recording unrecognisable, kept until somebody goes on with it.

It says where faces are, so it is as personal as the footage: seen in an open room of the same case, never in a log, and
erased with the recording (cloud/retention/forgetting.py) or when the derivative is there.
"""

from typing import Any

import msgspec
from sqlalchemy import delete, insert, select

from broker.clock import Clock
from cloud.database.engine import Database
from cloud.database.tables import redaction_drafts
from cloud.redaction.work import Draft


class Drafts:
    """The drafts of one municipality."""

    def __init__(self, database: Database, clock: Clock, *, org: str) -> None:
        self._database, self._clock, self._org = database, clock, org

    async def read(self, case: str, recording: str) -> Draft | None:
        """Return the draft of this case on this recording, or None; one of another form counts as none."""
        query = select(redaction_drafts.c.draft).where(self._is(case, recording))
        async with self._database.transaction() as t:
            raw = (await t.execute(query)).scalar_one_or_none()
        if raw is None:
            return None
        try:
            return msgspec.msgpack.decode(raw, type=Draft)
        except msgspec.ValidationError:
            return None

    async def keep(self, case: str, recording: str, draft: Draft) -> None:
        """Keep this draft in the place of the one before."""
        raw = msgspec.msgpack.encode(draft)
        values = {"org": self._org, "case_id": case, "recording": recording, "draft": raw, "kept_at": self._clock()}
        async with self._database.transaction() as t:
            await t.execute(delete(redaction_drafts).where(self._is(case, recording)))
            await t.execute(insert(redaction_drafts).values(values))

    async def forget(self, case: str, recording: str) -> None:
        """Erase it."""
        async with self._database.transaction() as t:
            await t.execute(delete(redaction_drafts).where(self._is(case, recording)))

    def _is(self, case: str, recording: str) -> Any:
        table = redaction_drafts.c
        return (table.org == self._org) & (table.case_id == case) & (table.recording == recording)
