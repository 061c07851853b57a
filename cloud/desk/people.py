"""People by their pseudonym: name, roles and team at this moment."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import or_, select

from cloud.database.engine import Database
from cloud.database.tables import appointments, officials, substitutions
from cloud.desk.rules.sign_in import held_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Someone:
    """One person as the desk shows them. `substitutes` names, per role held for another, whom they stand in for."""

    id: str
    name: str
    roles: frozenset[str]
    substitutes: Mapping[str, str]
    function: str | None
    department: str | None
    team: str | None


def as_allowed(someone: Someone, allowed: frozenset[str] | None) -> Someone:
    """Return this person with the roles that count in a session whose groups allow these; None: all."""
    return replace(someone, roles=held_now(someone.roles, standing_in=someone.substitutes.keys(), allowed=allowed))


class People:
    """Who is who, read from the register of officials."""

    def __init__(self, database: Database, org: str) -> None:
        self._database = database
        self._org = org

    async def find(self, official: str, now: datetime) -> Someone | None:
        """Return this person with the roles held at `now`, or None when not employed (any more)."""
        return (await self.all(now)).get(official)

    async def names(self) -> Mapping[str, str]:
        """Return everybody's name by pseudonym, also of those who left."""
        async with self._database.transaction() as transaction:
            rows = await transaction.execute(
                select(officials.c.id, officials.c.display_name).where(officials.c.org == self._org)
            )
            return {row.id: row.display_name for row in rows}

    async def all(self, now: datetime) -> Mapping[str, Someone]:
        """Return everybody employed at `now`, by pseudonym, in order of pseudonym."""
        async with self._database.transaction() as transaction:
            people = (
                await transaction.execute(
                    select(officials)
                    .where(
                        officials.c.org == self._org,
                        officials.c.employed_from <= now,
                        or_(officials.c.employed_until.is_(None), officials.c.employed_until > now),
                    )
                    .order_by(officials.c.id)
                )
            ).all()
            held = (
                await transaction.execute(
                    select(appointments.c.official, appointments.c.role).where(
                        appointments.c.org == self._org,
                        appointments.c.from_at <= now,
                        or_(appointments.c.until_at.is_(None), appointments.c.until_at > now),
                    )
                )
            ).all()
            stand_ins = (
                await transaction.execute(
                    select(substitutions.c.substitute, substitutions.c.role, substitutions.c.replaced).where(
                        substitutions.c.org == self._org,
                        substitutions.c.from_at <= now,
                        substitutions.c.until_at > now,
                        substitutions.c.ended_at.is_(None),
                    )
                )
            ).all()
        roles: dict[str, set[str]] = {}
        replaced: dict[str, dict[str, str]] = {}
        for holder in held:
            roles.setdefault(holder.official, set()).add(holder.role)
        for stand_in in stand_ins:
            roles.setdefault(stand_in.substitute, set()).add(stand_in.role)
            replaced.setdefault(stand_in.substitute, {})[stand_in.role] = stand_in.replaced
        return {
            row.id: Someone(
                id=row.id,
                name=row.display_name,
                roles=frozenset(roles.get(row.id, set()) | ({"officer"} if row.function else set())),
                substitutes=replaced.get(row.id, {}),
                function=row.function,
                department=row.department,
                team=row.team,
            )
            for row in people
        }
