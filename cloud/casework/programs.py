"""Accounts of programs: asked for, confirmed by somebody else, one token each, counted, ended.

A token is shown once, to who asked for the account; here only its hash is kept. An account's name is never used again,
so whatever stands in the ledger under it was done with that one token.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.wire.ids import Org
from broker.wire.refusals import Code, refuse
from cloud.casework.office import Office
from cloud.database.tables import program_uses, programs
from cloud.rules.programs import Scope, Standing, judge_asking, judge_confirming, judge_ending, problem_with
from cloud.rules.verdicts import deny

BEGINS: Final = "vierogen_"
"""What a token begins with: who searches files for leaked secrets finds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How often a program did one operation, how often it was refused, and when last."""

    operation: str
    times: int
    refused: int
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One account, with what was done with it."""

    id: str
    purpose: str
    scopes: frozenset[Scope]
    networks: tuple[str, ...]
    asked_by: str
    asked_at: datetime
    until_at: datetime
    confirmed_by: str | None
    confirmed_at: datetime | None
    issued_at: datetime | None
    ended_by: str | None
    ended_at: datetime | None
    uses: tuple[Use, ...] = field(default=())

    @property
    def standing(self) -> Standing:
        """What the rule judges."""
        return Standing(
            confirmed=self.confirmed_at is not None,
            ended=self.ended_at is not None,
            until_at=self.until_at,
            networks=self.networks,
        )

    @property
    def last_used_at(self) -> datetime | None:
        """When it was last there."""
        return max((each.last_at for each in self.uses), default=None)


class Programs(Office):
    """The register of programs."""

    async def ask(
        self,
        org: Org | str,
        *,
        by: str,
        account: str,
        purpose: str,
        scopes: Sequence[Scope],
        networks: Sequence[str],
        until_at: datetime,
    ) -> Program:
        """Ask for an account, which counts for nothing until it is confirmed and its token is fetched.

        Raises Denied, MALFORMED, CONFLICT (the name was used before), LEDGER_UNWRITABLE.
        """
        now, policy = self.clock(), await self._policy(org)
        verdict = judge_asking(policy, await self.person(org, by, now))
        await self._check(org, verdict, who=by, what="program.ask")
        wrong = problem_with(account, purpose=purpose, scopes=scopes, networks=networks, until_at=until_at, now=now)
        if wrong is not None:
            what, expected, got = wrong
            raise refuse(Code.MALFORMED, what, expected=expected, got=got)
        if await self._row(org, account) is not None:
            raise refuse(Code.CONFLICT, f"account {account}", expected="a name that was never used", got="a used one")
        given = sorted(set(scopes))
        await self._write_ahead(
            org,
            "program.asked",
            subject=account,
            actor=by,
            facts={"scopes": given, "networks": list(networks), "until": until_at.isoformat()},
            private=purpose,
        )
        async with self.database.transaction() as t:
            await t.execute(
                insert(programs).values(
                    org=org,
                    id=account,
                    purpose=purpose,
                    scopes=given,
                    networks=list(networks),
                    asked_by=by,
                    asked_at=now,
                    until_at=until_at,
                )
            )
        return await self.program(org, account)

    async def confirm(self, org: Org | str, account: str, *, by: str) -> None:
        """Let a program in; raise Denied (never who asked), NOT_FOUND, CONFLICT, LEDGER_UNWRITABLE."""
        now, policy = self.clock(), await self._policy(org)
        there = await self.program(org, account)
        verdict = judge_confirming(policy, await self.person(org, by, now), asked_by=there.asked_by)
        await self._check(org, verdict, who=by, what="program.confirm")
        if there.confirmed_at is not None or there.ended_at is not None:
            raise refuse(Code.CONFLICT, f"account {account}", expected="one that waits", got="another")
        await self._write_ahead(org, "program.confirmed", subject=account, actor=by, facts={})
        await self._change(org, account, programs.c.confirmed_at.is_(None), confirmed_by=by, confirmed_at=now)

    async def issue(self, org: Org | str, account: str, *, by: str) -> str:
        """Return the token of a confirmed account, once, to who asked for it; raise Denied, NOT_FOUND, CONFLICT."""
        now, there = self.clock(), await self.program(org, account)
        if by != there.asked_by:
            verdict = deny("only who asked for the account gets its token", "alleen wie het account vroeg krijgt het")
            raise await self._deny(org, who=by, what="program.issue", verdict=verdict)
        verdict = judge_asking(await self._policy(org), await self.person(org, by, now))
        await self._check(org, verdict, who=by, what="program.issue")
        waits = there.confirmed_at is not None and there.issued_at is None and there.ended_at is None
        if not waits or there.until_at <= now:
            got = "one that was shown before" if there.issued_at else "another"
            raise refuse(Code.CONFLICT, "token", expected="a confirmed account whose token was not shown yet", got=got)
        token = BEGINS + secrets.token_urlsafe(32)
        await self._write_ahead(org, "program.issued", subject=account, actor=by, facts={})
        await self._change(org, account, programs.c.issued_at.is_(None), token_sha256=_hash(token), issued_at=now)
        return token

    async def end(self, org: Org | str, account: str, *, by: str) -> None:
        """End an account for ever: its next request is refused, its streams end. Raise Denied, NOT_FOUND, CONFLICT."""
        now, there = self.clock(), await self.program(org, account)
        verdict = judge_ending(await self._policy(org), await self.person(org, by, now))
        await self._check(org, verdict, who=by, what="program.end")
        if there.ended_at is not None:
            raise refuse(Code.CONFLICT, f"account {account}", expected="one that was not ended", got="an ended one")
        await self._write_ahead(org, "program.ended", subject=account, actor=by, facts={})
        await self._change(org, account, ended_by=by, ended_at=now)
        self.hub.publish(str(org), "program", {"program": account})  # what it follows ends with it

    async def program(self, org: Org | str, account: str) -> Program:
        """Return one account; raise Refused (NOT_FOUND)."""
        row = await self._row(org, account)
        if row is None:
            raise refuse(Code.NOT_FOUND, "account", expected=f"a program of {org}", got=account[:60])
        return _program(row, await self._uses(org))

    async def programs(self, org: Org | str) -> tuple[Program, ...]:
        """Return every account, also those that ended, by name."""
        uses = await self._uses(org)
        async with self.database.transaction() as t:
            rows = (await t.execute(select(programs).where(programs.c.org == org).order_by(programs.c.id))).all()
        return tuple(_program(row, uses) for row in rows)

    async def of_token(self, org: Org | str, token: str) -> Program | None:
        """Return whose token this is, whether it counts or not; None for one that nobody has."""
        query = select(programs).where(programs.c.org == org, programs.c.token_sha256 == _hash(token))
        async with self.database.transaction() as t:
            row = (await t.execute(query)).one_or_none()
        return None if row is None else _program(row, {})

    async def count(self, org: Org | str, account: str, operation: str, *, refused: bool) -> None:
        """Remember that a program asked this."""
        now, one = self.clock(), int(refused)
        row = (
            (program_uses.c.org == org) & (program_uses.c.program == account) & (program_uses.c.operation == operation)
        )
        more = {"times": program_uses.c.times + 1, "refused": program_uses.c.refused + one, "last_at": now}
        async with self.database.transaction() as t:
            if (await t.execute(update(program_uses).where(row).values(**more))).rowcount == 1:
                return
        first = {"org": org, "program": account, "operation": operation, "times": 1, "refused": one, "last_at": now}
        try:
            async with self.database.transaction() as t:
                await t.execute(insert(program_uses).values(**first))
        except IntegrityError:  # another request of the same program was the first
            async with self.database.transaction() as t:
                await t.execute(update(program_uses).where(row).values(**more))

    async def _change(self, org: Org | str, account: str, *still: Any, **values: Any) -> None:
        """Change an account that is still as it was judged; of two at once the second is refused (CONFLICT)."""
        async with self.database.transaction() as t:
            done = await t.execute(
                update(programs)
                .where(programs.c.org == org, programs.c.id == account, programs.c.ended_at.is_(None), *still)
                .values(**values)
            )
        if done.rowcount != 1:
            raise refuse(Code.CONFLICT, f"account {account}", expected="one that is as it was", got="another state")

    async def _row(self, org: Org | str, account: str) -> Row[Any] | None:
        async with self.database.transaction() as t:
            query = select(programs).where(programs.c.org == org, programs.c.id == account)
            return (await t.execute(query)).one_or_none()

    async def _uses(self, org: Org | str) -> Mapping[str, tuple[Use, ...]]:
        query = select(program_uses).where(program_uses.c.org == org).order_by(program_uses.c.operation)
        async with self.database.transaction() as t:
            rows = (await t.execute(query)).all()
        found: dict[str, tuple[Use, ...]] = {}
        for row in rows:
            use = Use(operation=row.operation, times=row.times, refused=row.refused, last_at=row.last_at)
            found[row.program] = (*found.get(row.program, ()), use)
        return found


def _program(row: Row[Any], uses: Mapping[str, tuple[Use, ...]]) -> Program:
    return Program(
        id=row.id,
        purpose=row.purpose,
        scopes=frozenset(Scope(each) for each in row.scopes),
        networks=tuple(row.networks),
        asked_by=row.asked_by,
        asked_at=row.asked_at,
        until_at=row.until_at,
        confirmed_by=row.confirmed_by,
        confirmed_at=row.confirmed_at,
        issued_at=row.issued_at,
        ended_by=row.ended_by,
        ended_at=row.ended_at,
        uses=uses.get(row.id, ()),
    )


def _hash(token: str) -> str:
    """A token is 256 random bits: one SHA-256 is enough, no guessing gets back."""
    return hashlib.sha256(token.encode()).hexdigest()
