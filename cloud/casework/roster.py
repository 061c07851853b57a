"""Carries what the register says of people over to the Kluis's own list, which believes no register.

A change of roles or a substitution stands in the register at once. It opens footage only when the Kluis's list says so
too: the amended list is signed by two officials who gain nothing by it, entered in the ledger, and handed to the Kluis,
which looks at all of that itself. What did not get through goes along with the next change.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import select

from broker.clock import Clock
from broker.wire.approvals import change_challenge, sign_in_software, software_credential
from broker.wire.ids import Org
from broker.wire.refusals import Code, Refused, refuse
from broker.wire.statements import Statement
from cloud.casework.seams import Ledger
from cloud.database.engine import Database
from cloud.database.tables import appointments, officials, substitutions
from cloud.kluis.messages import Documents, KluisPublic
from cloud.kluis.rules.roster import (
    Appointment,
    EnrolledKey,
    Official,
    Roster,
    Substitution,
    amended,
    check_change,
    read_document,
    read_roster,
    write_roster,
)
from cloud.ledger.log import LedgerUnwritable


class Kluis(Protocol):
    """The Kluis, as far as its list of officials goes."""

    async def public(self) -> KluisPublic:
        """Return its keys."""

    async def documents(self) -> Documents:
        """Return the list in force, signed by the Kluis."""

    async def change(
        self,
        kind: Literal["roster", "policy"],
        document: bytes,
        *,
        statements: Sequence[Statement],
        entry: bytes,
        proof: bytes,
    ) -> None:
        """Put a new list in force; raise Refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """The Kluis's list as the register would have it. `document` is what two officials sign."""

    old: Roster
    new: Roster
    changed: tuple[str, ...]

    @property
    def document(self) -> bytes:
        """The new list as canonical JSON."""
        return write_roster(self.new)

    @property
    def challenge(self) -> bytes:
        """The 32 bytes that both sign."""
        return change_challenge(self.document)

    def may_sign(self, official: str, now: datetime) -> bool:
        """Whether this official may: on the list, in office now, and gaining nothing."""
        try:
            signer = self.old.find(official)
            check_change(self.old, self.new, (signer,))
        except Refused:
            return False
        person = signer.at(now)
        return person.employed and bool((person.roles - {"officer"}) or person.substitutes)


class KluisRoster:
    """Prepares amendments of one municipality's list and puts them in force."""

    def __init__(self, database: Database, ledger: Ledger, kluis: Kluis, *, org: Org | str, clock: Clock) -> None:
        self._database, self._ledger, self._kluis = database, ledger, kluis
        self._org, self._clock = org, clock

    async def in_force(self) -> Roster:
        """Return the Kluis's list; raise Refused (UNAVAILABLE, BAD_SIGNATURE)."""
        public, documents = await self._kluis.public(), await self._kluis.documents()
        key = Ed25519PublicKey.from_public_bytes(public.signing_key)
        return read_roster(read_document(documents.roster, key, kind="roster"))

    async def amendment(self, keys: Mapping[str, Sequence[EnrolledKey]] | None = None) -> Amendment | None:
        """Return the list that the register would make, or None when nothing differs.

        Roles, substitutions and employment are the register's; who is the same human being, and the keys of whoever is
        on the list, are the list's own. `keys` are for those who come on it now.
        """
        old = await self.in_force()
        known = {each.id: each for each in old.officials}
        changed = []
        for each in await officials_of(self._database, self._org):
            before = known.get(each.id)
            if before is None and not (each.appointments or each.substitutions):
                continue
            credentials = before.credentials if before else tuple((keys or {}).get(each.id, ()))
            wanted = Official(
                id=each.id,
                person=before.person if before else each.person,
                department=each.department,
                employed_from=each.employed_from,
                employed_until=each.employed_until,
                appointments=each.appointments,
                substitutions=each.substitutions,
                credentials=credentials,
            )
            if wanted != before:
                changed.append(wanted)
        if not changed:
            return None
        return Amendment(old=old, new=amended(old, *changed), changed=tuple(each.id for each in changed))

    async def put_in_force(self, amendment: Amendment, statements: Sequence[Statement]) -> None:
        """Enter it in the ledger, then hand it to the Kluis; raise Refused with what either says."""
        facts = {
            "sha256": hashlib.sha256(amendment.document).hexdigest(),
            "version": amendment.new.version,
            "signers": [each.official for each in statements],
            "changed": list(amendment.changed),
        }
        try:
            entry = await self._ledger.append(
                "roster.changed", subject=str(self._org), actor=statements[-1].official, at=self._clock(), facts=facts
            )
        except LedgerUnwritable as cause:
            raise refuse(Code.LEDGER_UNWRITABLE, "list of officials", expected="an entry", got=cause) from cause
        await self._kluis.change(
            "roster", amendment.document, statements=statements, entry=entry.raw, proof=entry.proof
        )


class SoftwareRoster:
    """Demonstration only: carries every change over at once, signed with the software keys of two officials."""

    def __init__(self, roster: KluisRoster, keys: Mapping[str, Ed25519PrivateKey], *, clock: Clock) -> None:
        self._roster, self._keys, self._clock = roster, keys, clock

    async def carry_over(self, *, by: str) -> tuple[str, ...]:
        """Bring the Kluis's list in line with the register; return whose account changed.

        Whoever made the change signs first, if that person may. Raises Refused (NOT_ALLOWED) when no two may sign, or
        what the Kluis says; the register stands, and the next call tries again.
        """
        amendment = await self._roster.amendment({name: (_enrolled(key),) for name, key in self._keys.items()})
        if amendment is None:
            return ()
        now = self._clock()
        able = [
            name for name in sorted(self._keys, key=lambda name: (name != by, name)) if amendment.may_sign(name, now)
        ]
        if len(able) < 2:
            raise refuse(
                Code.NOT_ALLOWED, "list of officials", expected="two in office who gain nothing", got=able or "nobody"
            )
        statements = [sign_in_software(name, self._keys[name], amendment.challenge) for name in able[:2]]
        await self._roster.put_in_force(amendment, statements)
        return amendment.changed


async def officials_of(database: Database, org: Org | str) -> tuple[Official, ...]:
    """Return everybody in the register, with roles and substitutions in their periods, without keys."""
    async with database.transaction() as t:
        people = (await t.execute(select(officials).where(officials.c.org == org).order_by(officials.c.id))).all()
        held = (
            await t.execute(select(appointments).where(appointments.c.org == org).order_by(appointments.c.id))
        ).all()
        stand_ins = (
            await t.execute(select(substitutions).where(substitutions.c.org == org).order_by(substitutions.c.id))
        ).all()
    roles: dict[str, list[Appointment]] = {}
    for row in held:
        roles.setdefault(row.official, []).append(
            Appointment(role=row.role, from_at=row.from_at, until_at=row.until_at)
        )
    seconds: dict[str, list[Substitution]] = {}
    for row in stand_ins:
        seconds.setdefault(row.substitute, []).append(
            Substitution(
                role=row.role, replaced=row.replaced, from_at=row.from_at, until_at=row.ended_at or row.until_at
            )
        )
    return tuple(
        Official(
            id=row.id,
            department=row.department,
            employed_from=row.employed_from,
            employed_until=row.employed_until,
            appointments=tuple(roles.get(row.id, ())),
            substitutions=tuple(seconds.get(row.id, ())),
        )
        for row in people
    )


def _enrolled(key: Ed25519PrivateKey) -> EnrolledKey:
    credential = software_credential(key.public_key())
    return EnrolledKey(id=credential.id, kind=credential.kind, public_key=credential.public_key)
