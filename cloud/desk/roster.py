"""The Kluis's list of officials, as the desk can see it and propose a new one.

It takes two people of the present list; their signatures, the ledger's entry and the list itself go to the Kluis,
which decides.
"""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.clock import Clock
from broker.wire.refusals import Code, refuse
from broker.wire.statements import Place, Statement, check_statement
from cloud.casework.proposed import Proposed, the_one_that_waits
from cloud.casework.roster import officials_of
from cloud.database.engine import Database
from cloud.desk.keys import SecurityKeys, registered_keys
from cloud.desk.rules.roster_change import Change, changes, next_roster
from cloud.kluis.client import KluisClient
from cloud.kluis.rules.roster import (
    EnrolledKey,
    Official,
    Roster,
    read_document,
    read_roster,
    write_roster,
)
from cloud.ledger.log import Ledger


@dataclass(kw_only=True)
class RosterProposal(Proposed):
    """A new list that waits for two signatures, and how it differs from the one in force."""

    changes: tuple[Change, ...]
    version: int


class RosterOffice:
    """Reads the Kluis's list, proposes a new one from the register, and hands it in when two have signed."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        kluis: KluisClient,
        keys: SecurityKeys,
        *,
        org: str,
        clock: Clock,
    ) -> None:
        self._database, self._ledger, self._kluis, self._keys = database, ledger, kluis, keys
        self._org, self._clock = org, clock
        self._proposal: RosterProposal | None = None
        self._turn = asyncio.Lock()

    async def in_force(self) -> Roster:
        """Return the Kluis's list; raise Refused (UNAVAILABLE, BAD_SIGNATURE)."""
        public = await self._kluis.public()
        documents = await self._kluis.documents()
        key = Ed25519PublicKey.from_public_bytes(public.signing_key)
        return read_roster(read_document(documents.roster, key, kind="roster"))

    async def from_register(self) -> tuple[Official, ...]:
        """Return everybody whom the register gives a role or a key."""
        return await officials_in_register(self._database, self._org)

    async def pending(self) -> tuple[Change, ...]:
        """Return how the register differs from the Kluis's list."""
        old = await self.in_force()
        return changes(old, next_roster(old, await self.from_register()))

    def proposal(self) -> RosterProposal | None:
        """Return what is waiting for signatures."""
        return self._proposal

    async def propose(self, official: str) -> RosterProposal:
        """Write down the list that the register would make now; an earlier proposal is dropped."""
        old = await self.in_force()
        new = next_roster(old, await self.from_register())
        told = changes(old, new)
        if not told:
            raise refuse(Code.CONFLICT, "list of officials", expected="a difference", got="none")
        self._proposal = RosterProposal(
            id=secrets.token_hex(16),
            document=write_roster(new),
            changes=told,
            version=new.version,
            made_by=official,
            made_at=self._clock(),
        )
        return self._proposal

    async def sign(self, proposal: str, statement: Statement) -> bool:
        """Take one signature; with the second the list goes to the Kluis. Return whether it is in force now.

        Raises Refused: NOT_FOUND (another proposal took its place), BAD_SIGNATURE, CONFLICT (signed before), or what
        the Kluis says.
        """
        async with self._turn:
            waiting = the_one_that_waits(self._proposal, proposal)
            waiting.check_new(statement)
            check_on_list(await self.in_force(), statement, challenge=waiting.challenge, place=self._keys.place)
            waiting.statements.append(statement)
            if len(waiting.statements) < 2:
                return False
            self._proposal = None  # whatever the Kluis says: signatures are given for one attempt
            digest = hashlib.sha256(waiting.document).hexdigest()
            entry = await self._ledger.append(
                "roster.changed",
                subject=self._org,
                actor=statement.official,
                at=self._clock(),
                facts={"sha256": digest, "version": waiting.version, "signers": list(waiting.signers)},
            )
            await self._kluis.change(
                "roster", waiting.document, statements=waiting.statements, entry=entry.raw, proof=entry.proof
            )
            return True


def check_on_list(roster: Roster, statement: Statement, *, challenge: bytes, place: Place) -> None:
    """Raise Refused unless a key on the Kluis's list signed this: said early what the Kluis would say later."""
    check_statement(statement, credentials=roster.find(statement.official).keys(), challenge=challenge, place=place)


async def officials_in_register(database: Database, org: str) -> tuple[Official, ...]:
    """Return everybody whom the register gives a role, with the keys that count: for a founding or a change."""
    keys: dict[str, list[EnrolledKey]] = {}
    for each in await registered_keys(database, org):
        keys.setdefault(each.official, []).append(EnrolledKey(id=each.id, kind="webauthn", public_key=each.public_key))
    return tuple(
        msgspec.structs.replace(official, credentials=tuple(keys.get(official.id, ())))
        for official in await officials_of(database, org)
        if official.appointments or official.substitutions or official.id in keys
    )
