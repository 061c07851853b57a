"""The review of rights: who holds which role since when, looked at by somebody who may change it, and written down."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import rfc8785
from sqlalchemy import func, insert, or_, select

from broker.wire.ids import Org
from broker.wire.refusals import Code, refuse
from cloud.casework.office import Office
from cloud.database.tables import appointments, officials, policies, rights_reviews
from cloud.rules.reviews import Due, Review, next_reviews
from cloud.rules.rights import judge_role


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One right: somebody holds a role, given by somebody, from then until then (None: no end)."""

    official: str
    name: str
    role: str
    from_at: datetime
    until_at: datetime | None
    given_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A review that was done. `rights`: how many were looked at."""

    review: Review
    by: str
    at: datetime
    rights: int
    remark: str


class Reviews(Office):
    """The reviews of one or more municipalities."""

    async def rights(self, org: Org | str) -> tuple[Held, ...]:
        """Return every role that somebody who works here holds now, by name."""
        now = self.clock()
        query = (
            select(appointments, officials.c.display_name)
            .join(officials, (officials.c.org == appointments.c.org) & (officials.c.id == appointments.c.official))
            .where(
                appointments.c.org == org,
                appointments.c.from_at <= now,
                or_(appointments.c.until_at.is_(None), appointments.c.until_at > now),
                officials.c.employed_from <= now,
                or_(officials.c.employed_until.is_(None), officials.c.employed_until > now),
            )
            .order_by(officials.c.display_name, appointments.c.role)
        )
        async with self.database.transaction() as t:
            rows = (await t.execute(query)).all()
        return tuple(
            Held(
                official=row.official,
                name=row.display_name,
                role=row.role,
                from_at=row.from_at,
                until_at=row.until_at,
                given_by=row.appointed_by,
            )
            for row in rows
        )

    async def reviewed(self, org: Org | str) -> tuple[Reviewed, ...]:
        """Return the reviews that were done, newest first."""
        query = select(rights_reviews).where(rights_reviews.c.org == org).order_by(rights_reviews.c.at.desc())
        async with self.database.transaction() as t:
            rows = (await t.execute(query)).all()
        return tuple(
            Reviewed(review=Review(row.review), by=row.by, at=row.at, rights=row.rights, remark=row.remark)
            for row in rows
        )

    async def reviews_due(self, org: Org | str) -> tuple[Due, ...]:
        """Return when each review is due."""
        now = self.clock()
        async with self.database.transaction() as t:
            began = select(func.min(policies.c.adopted_at)).where(policies.c.org == org)
            first: datetime | None = (await t.execute(began)).scalar_one_or_none()
        done = [(each.review, each.at) for each in await self.reviewed(org)]
        return next_reviews(done, began=first or now, now=now)

    async def review(self, org: Org | str, *, by: str, review: Review, seen: str, remark: str = "") -> None:
        """Write down that this person looked at every right. `seen`: `digest_of` the list that was shown.

        Raises Refused: NOT_ALLOWED, CONFLICT (rights changed since: look again), LEDGER_UNWRITABLE.
        """
        now, policy = self.clock(), await self._policy(org)
        person = await self.person(org, by, now)
        verdict = judge_role(policy, person, policy.casework.appoint, "review rights", "rechten nalopen")
        await self._check(org, verdict, who=by, what="rights.review")
        held = await self.rights(org)
        digest = digest_of(held)
        if seen != digest:
            raise refuse(Code.CONFLICT, "rights", expected="those that were shown", got="others by now; look again")
        await self._write_ahead(
            org,
            "rights.reviewed",
            subject=str(org),
            actor=by,
            facts={"review": review.value, "rights": len(held), "sha256": digest},
            private=remark or None,
        )
        async with self.database.transaction() as t:
            await t.execute(
                insert(rights_reviews).values(
                    org=org, review=review.value, by=by, at=now, rights=len(held), sha256=digest, remark=remark
                )
            )


def digest_of(held: tuple[Held, ...]) -> str:
    """Return what names this list of rights: SHA-256 over its canonical JSON, names of people aside."""
    rows = [
        [each.official, each.role, each.from_at.isoformat(), each.until_at.isoformat() if each.until_at else None]
        for each in held
    ]
    return hashlib.sha256(rfc8785.dumps(sorted(rows, key=str))).hexdigest()
