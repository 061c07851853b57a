"""People who come and go. A right ends on the day its holder leaves, also when nobody thinks of it that day."""

import re
from datetime import datetime
from typing import Final

from sqlalchemy import insert, select, update

from broker.wire.ids import Org
from broker.wire.refusals import Code, refuse
from cloud.casework.staff import Staff
from cloud.database.tables import officials
from cloud.rules.rights import judge_role

PSEUDONYM: Final = re.compile(r"[a-z]-[0-9]{3,6}")
"""As a person stands in the ledger: ``h-017``. Never a name."""


class Personnel(Staff):
    """The register of people, with their first and their last day."""

    async def hire(
        self,
        org: Org | str,
        *,
        by: str,
        official: str,
        name: str,
        function: str | None,
        department: str | None,
        team: str | None,
    ) -> None:
        """Enter somebody in the register from now on, without any role; raise Denied, MALFORMED, CONFLICT.

        `function` (of the policy's wearers) makes somebody an officer; None: somebody of the office.
        """
        now, policy = self.clock(), await self._policy(org)
        person = await self.person(org, by, now)
        verdict = judge_role(policy, person, policy.casework.appoint, "enter people", "mensen inschrijven")
        await self._check(org, verdict, who=by, what="official.hire")
        if not PSEUDONYM.fullmatch(official):
            raise refuse(Code.MALFORMED, "pseudonym", expected="a letter and a number, such as h-051", got=official)
        if not name:
            raise refuse(Code.MALFORMED, "name", expected="a name", got="nothing")
        if function is not None and function not in policy.wearers.functions:
            raise refuse(Code.MALFORMED, "function", expected=", ".join(policy.wearers.functions), got=function)
        await self._check_new(org, official)
        await self._write_ahead(org, "roster.changed", subject=official, actor=by, facts={"change": "joined"})
        async with self.database.transaction() as t:
            await t.execute(
                insert(officials).values(
                    org=org,
                    id=official,
                    display_name=name,
                    function=function,
                    department=department,
                    team=team,
                    employed_from=now,
                )
            )

    async def leave_at(self, org: Org | str, *, by: str, official: str, at: datetime) -> None:
        """Say when somebody leaves: from that moment no right is left. In the past or now: at once.

        Raises Denied, NOT_FOUND, LEDGER_UNWRITABLE.
        """
        now, policy = self.clock(), await self._policy(org)
        person = await self.person(org, by, now)
        verdict = judge_role(policy, person, policy.casework.appoint, "let people go", "mensen uitschrijven")
        await self._check(org, verdict, who=by, what="official.leave")
        ends = max(at, now)
        async with self.database.transaction() as t:
            there = select(officials.c.id).where(officials.c.org == org, officials.c.id == official)
            if (await t.execute(there)).one_or_none() is None:
                raise refuse(Code.NOT_FOUND, "official", expected=f"somebody of {org}", got=official)
        await self._write_ahead(
            org, "roster.changed", subject=official, actor=by, facts={"change": "leaves", "at": ends.isoformat()}
        )
        async with self.database.transaction() as t:
            await t.execute(
                update(officials).where(officials.c.org == org, officials.c.id == official).values(employed_until=ends)
            )
        await self._tell_the_kluis(by)

    async def _check_new(self, org: Org | str, official: str) -> None:
        async with self.database.transaction() as t:
            there = select(officials.c.id).where(officials.c.org == org, officials.c.id == official)
            if (await t.execute(there)).one_or_none() is not None:
                raise refuse(Code.CONFLICT, f"official {official}", expected="a new pseudonym", got="one that is taken")
