"""Destruction by people, before or after its day: never under a hold, and by two where the policy says so.

The act itself is the retention worker's: what is confirmed here stands in state *destroying* and only leads onward.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.wire.ids import Org
from broker.wire.policy import Act
from broker.wire.refusals import Code, refuse
from cloud.casework.holding import begin_destruction, holds_on, lock_recording
from cloud.casework.office import Office
from cloud.database.tables import proposals, recordings
from cloud.rules import lifecycles
from cloud.rules.rights import judge_back_office, judge_destruction, judge_role
from cloud.rules.verdicts import deny


class Destruction(Office):
    """Manual destruction, and decisions on what was restricted."""

    async def destroy_by_hand(self, org: Org | str, recording: str, *, by: str, ground: str) -> str:
        """Propose or confirm the destruction of one recording; return ``proposed`` or ``destroying``.

        Raises Denied: NOT_ALLOWED for who may not, UNDER_HOLD while anything holds it.
        """
        now, policy = self.clock(), await self._policy(org)
        async with self.database.transaction() as t:
            row = await self._there(t, org, recording)
            standing = await holds_on(t, org, recording, row.incident, now)
            asked = await self._open_proposal(t, org, recording)
        person = await self.person(org, by, now)
        verdict = judge_destruction(
            policy,
            person,
            state=row.state,
            open_holds=len(standing),
            expired=now >= row.expires_at,
            proposed_by=None if asked is None else asked.proposed_by,
        )
        if not verdict:
            code = Code.UNDER_HOLD if standing and "hold" in verdict.because else Code.NOT_ALLOWED
            raise await self._deny(org, who=by, what="recording.destroy", verdict=verdict, code=code)
        if policy.manual_delete.quorum > 1 and asked is None:
            await self._write_ahead(org, "destruction.proposed", subject=recording, actor=by, facts={}, private=ground)
            async with self.database.transaction() as t:
                await lock_recording(t, org, recording)  # one who proposes at a time
                if await self._open_proposal(t, org, recording) is not None:
                    raise refuse(Code.CONFLICT, "destruction", expected="no proposal yet", got="somebody's")
                await t.execute(
                    insert(proposals).values(
                        id=self._new_id(),
                        org=org,
                        act="destroy",
                        subject=recording,
                        ground=ground,
                        proposed_by=by,
                        proposed_at=now,
                        state="open",
                    )
                )
            self.hub.publish(str(org), "retention", {"recording": recording, "state": "proposed"})
            return "proposed"
        await self._write_ahead(
            org,
            "destruction.confirmed",
            subject=recording,
            actor=by,
            facts={"proposed_by": by if asked is None else asked.proposed_by},
            private=ground,
        )
        await self._claim(org, recording, by=by, asked=asked, now=now)
        self.hub.publish(str(org), "retention", {"recording": recording, "state": "destroying"})
        return "destroying"

    async def withdraw_destruction(self, org: Org | str, recording: str, *, by: str) -> None:
        """Take a proposal to destroy back: whoever may destroy. Raises Denied, Refused (CONFLICT: there is none)."""
        person, policy = await self.person(org, by), await self._policy(org)
        await self._check(org, judge_back_office(policy, person, Act.DESTROY), who=by, what="recording.destroy")
        async with self.database.transaction() as t:
            if await self._open_proposal(t, org, recording) is None:
                raise refuse(Code.CONFLICT, "destruction", expected="one that was proposed", got="none")
        await self._write_ahead(org, "destruction.withdrawn", subject=recording, actor=by, facts={})
        async with self.database.transaction() as t:
            done = await t.execute(
                update(proposals)
                .where(
                    proposals.c.org == org,
                    proposals.c.act == "destroy",
                    proposals.c.subject == recording,
                    proposals.c.state == "open",
                )
                .values(state="withdrawn")
            )
            if not done.rowcount:
                raise refuse(Code.CONFLICT, "destruction", expected="one that waits", got="one that was confirmed")

    async def proposed_destructions(self, org: Org | str) -> Sequence[Row[Any]]:
        """Return what waits for a second person: recording, ground, by whom, since when; oldest first."""
        query = select(proposals).where(
            proposals.c.org == org, proposals.c.act == "destroy", proposals.c.state == "open"
        )
        async with self.database.transaction() as t:
            return (await t.execute(query.order_by(proposals.c.proposed_at))).all()

    async def decide_restricted(self, org: Org | str, recording: str, *, by: str, keep: bool, ground: str) -> str:
        """Decide on footage that differs from the policy: let it into its term, or propose its destruction.

        Until then nobody sees any of it, nor the excess from before the press; its bytes stay as they are: evidence.
        """
        now, policy = self.clock(), await self._policy(org)
        person = await self.person(org, by, now)
        verdict = judge_role(policy, person, policy.casework.release, "decide on this", "hierover beslissen")
        await self._check(org, verdict, who=by, what="recording.decide")
        if not keep:
            return await self.destroy_by_hand(org, recording, by=by, ground=ground)
        async with self.database.transaction() as t:
            _check_restricted(await self._there(t, org, recording))
        await self._write_ahead(
            org, "recording.decided", subject=recording, actor=by, facts={"keep": True}, private=ground
        )
        async with self.database.transaction() as t:
            row = _check_restricted(await lock_recording(t, org, recording))
            standing = await holds_on(t, org, recording, row.incident, now)
            state = lifecycles.RECORDING.after("restricted", "decide_under_hold" if standing else "decide")
            await t.execute(
                update(recordings)
                .where(recordings.c.org == org, recordings.c.id == recording, recordings.c.state == "restricted")
                .values(state=state, reason="decided upon")
            )
        self.hub.publish(str(org), "recording", {"recording": recording, "state": state})
        return state

    async def _there(self, t: AsyncConnection, org: Org | str, recording: str) -> Row[Any]:
        query = select(recordings).where(recordings.c.org == org, recordings.c.id == recording)
        row = (await t.execute(query)).one_or_none()
        if row is None:
            raise refuse(Code.NOT_FOUND, "recording", expected=f"a recording of {org}", got=recording)
        return row

    async def _open_proposal(self, t: AsyncConnection, org: Org | str, recording: str) -> Row[Any] | None:
        query = select(proposals).where(
            proposals.c.org == org,
            proposals.c.act == "destroy",
            proposals.c.subject == recording,
            proposals.c.state == "open",
        )
        return (await t.execute(query)).one_or_none()

    async def _claim(self, org: Org | str, recording: str, *, by: str, asked: Row[Any] | None, now: datetime) -> None:
        """Set it on its way in one transaction that looks at the holds once more: a hold that came first wins."""
        held = False
        async with self.database.transaction() as t:
            row = await lock_recording(t, org, recording)
            held = row is not None and bool(await holds_on(t, org, recording, row.incident, now))
            if row is not None and not held and row.state not in ("destroying", "destroyed"):
                if asked is not None:
                    confirmed = await t.execute(
                        update(proposals)
                        .where(proposals.c.id == asked.id, proposals.c.state == "open")
                        .values(state="confirmed", confirmed_by=by, confirmed_at=now)
                    )
                    if confirmed.rowcount != 1:
                        raise refuse(Code.CONFLICT, "destruction", expected="a proposal", got="one that was withdrawn")
                await begin_destruction(t, org, row, now=now, because="destroyed by hand")
        if held:
            verdict = deny("a hold stands on this recording", "op deze opname staat bewaarplicht")
            raise await self._deny(org, who=by, what="recording.destroy", verdict=verdict, code=Code.UNDER_HOLD)


def _check_restricted(row: Row[Any] | None) -> Row[Any]:
    if row is None or row.state != "restricted":
        got = "nothing" if row is None else row.state
        raise refuse(Code.CONFLICT, "recording", expected="a restricted recording", got=got)
    return row
