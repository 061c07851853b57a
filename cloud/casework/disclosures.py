"""Handing over to police and public prosecution: on a basis, by whom the policy says, until they confirm receipt."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from broker.wire.ids import Org
from broker.wire.policy import CaseKind, Recipient
from broker.wire.refusals import Code, refuse
from cloud.casework.cases import Case, Cases
from cloud.casework.seams import Entry
from cloud.database.tables import disclosures
from cloud.rules import lifecycles
from cloud.rules.rights import HandOver, judge_disclosure, judge_role
from cloud.rules.seats import Person
from cloud.rules.versions import judge_by_all


class Disclosures(Cases):
    """Hand-overs. The record stays when the footage is gone."""

    async def prepare_disclosure(
        self, org: Org | str, case: str, *, by: str, recipient: Recipient | str, recordings: Sequence[str]
    ) -> str:
        """Start a hand-over on the basis of this case; return its id. Nothing leaves yet."""
        now, policy = self.clock(), await self._policy(org)
        there = await self.case(org, case)
        person = await self.person(org, by, now)
        hand_over = _hand_over(there, basis=there.kind, recipient=str(recipient))
        await self._judge_hand_over(org, person, hand_over, recordings, what="disclosure.prepare")
        outside = [each for each in recordings if each not in there.recordings]
        if outside or not recordings:
            raise refuse(Code.CONFLICT, "disclosure", expected="recordings of this case", got=outside or "none")
        identity = self._new_id()
        await self._write_ahead(
            org, "disclosure.prepared", subject=case, actor=by,
            facts={"disclosure": identity, "recipient": str(recipient), "recordings": list(recordings)},
        )  # fmt: skip
        async with self.database.transaction() as t:
            await t.execute(
                insert(disclosures).values(
                    id=identity,
                    org=org,
                    case_id=case,
                    state="prepared",
                    basis=there.kind.value,
                    recipient=str(recipient),
                    recordings=list(recordings),
                    prepared_by=by,
                    prepared_at=now,
                    substitute_of=person.substitutes.get(policy.disclosure.by)
                    if policy.disclosure.by not in person.roles
                    else None,
                )
            )
        return identity

    async def approve_disclosure(self, org: Org | str, disclosure: str, *, by: str) -> None:
        """Let it go out. The rule is applied again: a right that ended in between is no right."""
        now = self.clock()
        row = await self.disclosure(org, disclosure)
        there = await self.case(org, row.case_id)
        hand_over = _hand_over(there, basis=CaseKind(row.basis), recipient=row.recipient)
        person = await self.person(org, by, now)
        await self._judge_hand_over(org, person, hand_over, row.recordings, what="disclosure.approve")
        await self._move(org, row, "approve", by=by, kind="disclosure.approved", values={"approved_by": by})

    async def deliver_disclosure(self, org: Org | str, disclosure: str, *, by: str, package_sha256: str) -> Entry:
        """Record that the package with this hash goes out; the ledger says so first, and its entry goes along.

        `package_sha256` is the hash of the package's manifest, which names every byte in it (broker/wire/bundle.py).
        """
        row = await self.disclosure(org, disclosure)
        now = self.clock()
        there = await self.case(org, row.case_id)
        hand_over = _hand_over(there, basis=CaseKind(row.basis), recipient=row.recipient)
        person = await self.person(org, by, now)
        await self._judge_hand_over(org, person, hand_over, row.recordings, what="disclosure.deliver")
        values = {"delivered_at": now, "package_sha256": package_sha256}
        return await self._move(
            org, row, "deliver", by=by, kind="disclosure.made", values=values, facts={"manifest_sha256": package_sha256}
        )

    async def confirm_receipt(
        self, org: Org | str, disclosure: str, *, by: str, received_at: datetime, receipt: str
    ) -> None:
        """Record that they have it: from this moment they are responsible for what they got.

        Whoever prepared it, or may hand over now.
        """
        row = await self._mine(org, disclosure, by=by, what="disclosure.receipt")
        values = {"receipt_at": received_at, "receipt": receipt}
        await self._move(org, row, "confirm_receipt", by=by, kind="disclosure.received", values=values, private=receipt)

    async def withdraw_disclosure(self, org: Org | str, disclosure: str, *, by: str) -> None:
        """Take a hand-over back that has not gone out. Whoever prepared it, or may hand over now."""
        row = await self._mine(org, disclosure, by=by, what="disclosure.withdraw")
        await self._move(org, row, "withdraw", by=by, kind="disclosure.withdrawn", values={})

    async def disclosure(self, org: Org | str, disclosure: str) -> Row[Any]:
        """Return one hand-over of this municipality, or raise Refused (NOT_FOUND)."""
        query = select(disclosures).where(disclosures.c.org == org, disclosures.c.id == disclosure)
        async with self.database.transaction() as t:
            row = (await t.execute(query)).one_or_none()
        if row is None:
            raise refuse(Code.NOT_FOUND, "disclosure", expected=f"one of {org}", got=disclosure)
        return row

    async def disclosures(self, org: Org | str, *, case: str | None = None) -> Sequence[Row[Any]]:
        """Return the hand-overs of this municipality (of one case), newest first."""
        query = select(disclosures).where(disclosures.c.org == org).order_by(disclosures.c.prepared_at.desc())
        if case is not None:
            query = query.where(disclosures.c.case_id == case)
        async with self.database.transaction() as t:
            return (await t.execute(query)).all()

    async def _mine(self, org: Org | str, disclosure: str, *, by: str, what: str) -> Row[Any]:
        row, policy = await self.disclosure(org, disclosure), await self._policy(org)
        person = await self.person(org, by)
        if not (person.employed and row.prepared_by == by):
            verdict = judge_role(policy, person, (policy.disclosure.by,), "hand over", "beelden verstrekken")
            await self._check(org, verdict, who=by, what=what)
        return row

    async def _judge_hand_over(
        self, org: Org | str, person: Person, hand_over: HandOver, about: Sequence[str], *, what: str
    ) -> None:
        """Raise Denied unless each policy that binds these recordings lets this person hand them over."""
        policies = await self.policies.binding(org, about)
        verdict = judge_by_all(policies, lambda policy: judge_disclosure(policy, person, hand_over))
        await self._check(org, verdict, who=person.id, what=what)

    async def _move(
        self,
        org: Org | str,
        row: Row[Any],
        event: str,
        *,
        by: str,
        kind: str,
        values: dict[str, Any],
        facts: dict[str, Any] | None = None,
        private: str | None = None,
    ) -> Entry:
        verdict = lifecycles.DISCLOSURE.judge(row.state, event)
        if not verdict:
            raise refuse(Code.CONFLICT, "disclosure", expected=verdict.because, got=row.state)
        told = {"disclosure": row.id, "recipient": row.recipient, **(facts or {})}
        entry = await self._write_ahead(org, kind, subject=row.case_id, actor=by, facts=told, private=private)
        state = lifecycles.DISCLOSURE.after(row.state, event)
        async with self.database.transaction() as t:
            done = await t.execute(
                update(disclosures)
                .where(disclosures.c.id == row.id, disclosures.c.state == row.state)
                .values(state=state, **values)
            )
            if done.rowcount != 1:
                raise refuse(Code.CONFLICT, "disclosure", expected=row.state, got="another state")
        self.hub.publish(str(org), "case", {"case": row.case_id, "disclosure": row.id, "state": state})
        return entry


def _hand_over(there: Case, *, basis: CaseKind, recipient: str) -> HandOver:
    """Return what the rule asks about: this case as it is now, and what was first said of the hand-over."""
    return HandOver(
        case_kind=there.kind,
        case_open=there.is_open,
        basis=basis,
        recipient=recipient,
        demand_facts={name: str(value) for name, value in there.facts.items()},
    )
