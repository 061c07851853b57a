"""The policies a municipality adopted, by date. A version is kept byte for byte and never changed."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.clock import Clock
from broker.wire.ids import Org
from broker.wire.policy import Policy, PolicyError, read_policy
from broker.wire.refusals import Code, Refused, refuse
from cloud.casework.seams import Entry, Hub, Ledger
from cloud.database.engine import Database
from cloud.database.tables import policies, recordings
from cloud.ledger.log import LedgerUnwritable
from cloud.rules.retention import under_new_policy
from cloud.rules.versions import version_at

Carry = Callable[[Entry], Awaitable[None]]
"""Hands a version to whoever else must know it (the Kluis), with the ledger's entry that says so."""

_SETTLED: Final = ("destroying", "destroyed")


class Policies:
    """Answers which policy was in force. Reads each version once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read: dict[tuple[str, int], Policy] = {}

    async def of(self, org: Org | str, at: datetime) -> Policy:
        """Return the policy that was in force at this moment; the first one for anything older than it.

        Whether it had ended by then is for `cloud.rules.admission.in_force` to say: footage is not lost for that.
        Raises Refused (NOT_FOUND) when the municipality has no policy.
        """
        return await self._newest(org, at)

    async def current(self, org: Org | str) -> Policy:
        """Return the newest policy; raise Refused (NOT_FOUND) when there is none."""
        return await self._newest(org, None)

    async def version(self, org: Org | str, version: int) -> Policy:
        """Return exactly this version, or raise Refused (NOT_FOUND)."""
        async with self._database.transaction() as t:
            return await self.version_in(t, org, version)

    async def version_in(self, t: AsyncConnection, org: Org | str, version: int) -> Policy:
        """Return the same within a transaction that is going on."""
        known = self._read.get((str(org), version))
        return known or self._parse(str(org), version, await _document(t, org, version))

    async def binding(self, org: Org | str, about: Iterable[str]) -> tuple[Policy, ...]:
        """Return each version that must allow what is done with these recordings (cloud/rules/versions.py).

        The one in force comes first, then those of the recordings' own days; raise Refused (NOT_FOUND).
        """
        current = await self.current(org)
        query = select(recordings.c.policy_version).where(recordings.c.org == org, recordings.c.id.in_(list(about)))
        async with self._database.transaction() as t:
            bound = set((await t.execute(query.distinct())).scalars())
        older = [await self.version(org, version) for version in sorted(bound - {current.version})]
        return (current, *older)

    async def document(self, org: Org | str, version: int) -> str:
        """Return the file of this version as it was adopted, or raise Refused (NOT_FOUND)."""
        async with self._database.transaction() as t:
            return await _document(t, org, version)

    async def adopt(
        self,
        document: str,
        *,
        by: str,
        ledger: Ledger,
        clock: Clock,
        hub: Hub | None = None,
        signers: Sequence[str] = (),
        carry: Carry | None = None,
    ) -> Policy:
        """Put a policy into force from now on: in the ledger, then with `carry` in the Kluis, then here.

        Raises PolicyError, or Refused: CONFLICT if it is not the next version, LEDGER_UNWRITABLE, or what the Kluis
        says; then the ledger tells that too and nothing is in force. Footage already there gets an earlier day where
        the new policy is stricter and says so; never a later one.
        """
        policy = await self.next_version(document)
        facts = {"version": policy.version, "sha256": hashlib.sha256(document.encode()).hexdigest()}
        try:
            entry = await ledger.append(
                "policy.adopted",
                subject=policy.policy.id,
                actor=by,
                at=clock(),
                facts={**facts, "signers": list(signers)} if signers else facts,
            )
            if carry is not None:
                await carry(entry)
        except LedgerUnwritable as cause:
            raise refuse(Code.LEDGER_UNWRITABLE, "policy", expected="an entry in the ledger", got=cause) from cause
        except Refused as refused:
            told = {**facts, "code": refused.refusal.code.name}
            await ledger.append("policy.refused", subject=policy.policy.id, actor="kluis", at=clock(), facts=told)
            raise
        await self.put_in_force(document, at=clock(), hub=hub)
        return policy

    async def next_version(self, document: str) -> Policy:
        """Return what this file says if it is the version that comes next; raise PolicyError, Refused (CONFLICT)."""
        policy = read_policy(document)
        newest = await self._newest_version(policy.org)
        if newest is not None and policy.version != newest + 1:
            raise refuse(Code.CONFLICT, f"policy of {policy.org}", expected=f"version {newest + 1}", got=policy.version)
        return policy

    async def put_in_force(self, document: str, *, at: datetime, hub: Hub | None = None) -> None:
        """Write a version down that ledger and Kluis have: from `at` on it counts. Doing it twice changes nothing."""
        policy, sha256 = read_policy(document), hashlib.sha256(document.encode()).hexdigest()
        async with self._database.transaction() as t:
            known = select(policies.c.version).where(policies.c.org == policy.org, policies.c.version == policy.version)
            if (await t.execute(known)).one_or_none() is not None:
                return
            await t.execute(
                insert(policies).values(
                    org=policy.org, version=policy.version, adopted_at=at, document=document, sha256=sha256
                )
            )
            there = select(recordings).where(recordings.c.org == policy.org, recordings.c.state.not_in(_SETTLED))
            for row in (await t.execute(there.with_for_update())).all():
                earlier = under_new_policy(
                    policy, expires=row.expires_at, ended_at=row.ended_at, received_at=row.received_at
                )
                if earlier < row.expires_at:
                    await t.execute(
                        update(recordings)
                        .where(recordings.c.org == policy.org, recordings.c.id == row.id)
                        .values(expires_at=earlier)
                    )
        if hub is not None:
            hub.publish(policy.org, "retention", {"policy": policy.version})

    async def brought_forward(self, new: Policy) -> int:
        """Return how many recordings that are here now would be destroyed earlier under this version."""
        query = select(recordings.c.expires_at, recordings.c.ended_at, recordings.c.received_at).where(
            recordings.c.org == new.org, recordings.c.state.not_in(_SETTLED)
        )
        async with self._database.transaction() as t:
            rows = (await t.execute(query)).all()
        return sum(
            under_new_policy(new, expires=expires, ended_at=ended_at, received_at=received_at) < expires
            for expires, ended_at, received_at in rows
        )

    async def versions(self, org: Org | str) -> Sequence[tuple[int, datetime, str]]:
        """Return every version: its number, from when it counts, and the hash of its file; newest first."""
        query = select(policies.c.version, policies.c.adopted_at, policies.c.sha256).where(policies.c.org == org)
        async with self._database.transaction() as t:
            rows = (await t.execute(query.order_by(policies.c.version.desc()))).all()
        return [(version, adopted_at, sha256) for version, adopted_at, sha256 in rows]

    async def _newest(self, org: Org | str, at: datetime | None) -> Policy:
        async with self._database.transaction() as t:
            query = select(policies.c.version, policies.c.adopted_at).where(policies.c.org == org)
            rows = (await t.execute(query.order_by(policies.c.version))).all()
        if not rows:
            raise refuse(Code.NOT_FOUND, f"policy of {org}", expected="a policy that was adopted", got="none")
        adopted = [(row.adopted_at, row.version) for row in rows]
        version = rows[-1].version if at is None else version_at(adopted, at)
        known = self._read.get((str(org), version))
        return known if known is not None else await self.version(org, version)

    async def _newest_version(self, org: Org) -> int | None:
        async with self._database.transaction() as t:
            query = select(policies.c.version).where(policies.c.org == org).order_by(policies.c.version.desc())
            return (await t.execute(query.limit(1))).scalar_one_or_none()

    def _parse(self, org: str, version: int, document: str) -> Policy:
        if (org, version) not in self._read:
            policy = read_policy(document)
            if policy.org != org:
                raise PolicyError([f"policy.org: expected {org!r}, got {policy.org!r}"])
            self._read[org, version] = policy
        return self._read[org, version]


async def _document(t: AsyncConnection, org: Org | str, version: int) -> str:
    query = select(policies.c.document).where(policies.c.org == org, policies.c.version == version)
    document: str | None = (await t.execute(query)).scalar_one_or_none()
    if document is None:
        raise refuse(Code.NOT_FOUND, f"policy of {org}", expected="a version that was adopted", got=version)
    return document
