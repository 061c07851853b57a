"""A new version of the policy, from the file that somebody hands in to the version that is in force.

Two people put it into force, each with an own key. The Kluis gets it before the register does: it decides under which
policy footage opens. A register that did not hear of it any more (its process died in between) follows the Kluis.
"""

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.wire.ids import Org
from broker.wire.policy import Policy, PolicyError, read_policy
from broker.wire.refusals import Code, refuse
from broker.wire.statements import Place, Statement, check_statement
from cloud.casework.office import Office
from cloud.casework.proposed import Proposed, the_one_that_waits
from cloud.casework.roster import Kluis
from cloud.casework.seams import Entry
from cloud.kluis.rules.roster import Official, Roster, read_document, read_roster
from cloud.rules.policy_change import judge_confirmation, judge_moment, judge_proposal
from cloud.rules.terms import day_of
from cloud.rules.verdicts import deny


@dataclass(kw_only=True)
class PolicyProposal(Proposed):
    """A version that waits for two signatures: the file as it was handed in."""

    policy: Policy = field(repr=False)


class PolicyOffice(Office):
    """Takes a version in, has it signed by two, and carries it to ledger, Kluis and register."""

    def __init__(self, office: Office, kluis: Kluis, *, org: Org | str, place: Place | None = None) -> None:
        """`place` is the desk's own address, where people sign with security keys."""
        super().__init__(office.database, office.ledger, office.policies, office.clock, office.hub)
        self._kluis, self._org, self._place = kluis, org, place
        self._proposal: PolicyProposal | None = None
        self._turn = asyncio.Lock()

    def proposal(self) -> PolicyProposal | None:
        """Return what waits for signatures."""
        return self._proposal

    async def propose(self, document: str, *, by: str) -> PolicyProposal:
        """Write down which version is to follow; an earlier proposal is dropped.

        Raises Denied (may not, or its day has not come), Refused: MALFORMED with what is wrong in the file, CONFLICT
        when it is not the next version, WRONG_TENANT when it is another municipality's.
        """
        await self.follow()
        person, policy = await self.person(self._org, by), await self._policy(self._org)
        await self._check(self._org, judge_proposal(policy, person), who=by, what="policy.propose")
        new = self._read(document)
        if new.org != str(self._org):
            raise refuse(Code.WRONG_TENANT, "policy", expected=str(self._org), got=new.org)
        await self.policies.next_version(document)
        moment = judge_moment(new, day_of(self.clock()))
        await self._check(self._org, moment, who=by, what="policy.propose")
        self._proposal = PolicyProposal(
            id=secrets.token_hex(16),
            document=document.encode(),
            policy=new,
            made_by=by,
            made_at=self.clock(),
        )
        return self._proposal

    async def withdraw(self, proposal: str, *, by: str) -> None:
        """Take one's own proposal back, or let another's fall as somebody who may confirm it."""
        async with self._turn:
            waiting = the_one_that_waits(self._proposal, proposal)
            if by != waiting.made_by:
                await self._may_confirm(waiting, by)
            self._proposal = None

    async def sign(self, proposal: str, statement: Statement) -> Policy | None:
        """Take one signature, the proposer's first; with the second it comes into force: return it then.

        Raises Denied, or Refused: NOT_FOUND (another proposal took its place), BAD_SIGNATURE, CONFLICT, UNAVAILABLE,
        LEDGER_UNWRITABLE, or what the Kluis says. A failed attempt asks for new signatures.
        """
        async with self._turn:
            waiting = the_one_that_waits(self._proposal, proposal)
            signer = await self._signer(waiting, statement)
            if not waiting.statements:
                if statement.official != waiting.made_by:
                    raise refuse(Code.CONFLICT, "policy", expected="the proposer's signature first", got="another's")
                waiting.statements.append(statement)
                return None
            await self._may_confirm(waiting, statement.official)
            first = (await self._roster()).find(waiting.made_by)
            if first.human == signer.human:
                verdict = deny("the second person is another person", "de tweede persoon is een ander")
                raise await self._deny(self._org, who=statement.official, what="policy.adopt", verdict=verdict)
            self._proposal = None  # whatever comes of it: signatures are given for one attempt
            waiting.statements.append(statement)
            return await self._adopt(waiting)

    async def follow(self) -> bool:
        """Take over the version that the Kluis has and the register does not know yet; return whether there was one.

        Raises Refused (UNAVAILABLE, BAD_SIGNATURE).
        """
        document = await self._document("policy")
        held = read_policy(document.decode())
        newest = await self.policies.current(self._org)
        if held.version <= newest.version:
            return False
        await self.policies.put_in_force(document.decode(), at=self.clock(), hub=self.hub)
        return True

    async def _adopt(self, waiting: PolicyProposal) -> Policy:
        async def carry(entry: Entry) -> None:
            await self._kluis.change(
                "policy", waiting.document, statements=waiting.statements, entry=entry.raw, proof=entry.proof
            )

        return await self.policies.adopt(
            waiting.document.decode(),
            by=waiting.signers[-1],
            ledger=self.ledger,
            clock=self.clock,
            hub=self.hub,
            signers=waiting.signers,
            carry=carry,
        )

    async def _signer(self, waiting: PolicyProposal, statement: Statement) -> Official:
        """Return who signed, by the Kluis's own list: said early what the Kluis would say later."""
        waiting.check_new(statement)
        official = (await self._roster()).find(statement.official)
        check_statement(statement, credentials=official.keys(), challenge=waiting.challenge, place=self._place)
        return official

    async def _may_confirm(self, waiting: PolicyProposal, by: str) -> None:
        person, policy = await self.person(self._org, by), await self.policies.current(self._org)
        verdict = judge_confirmation(policy, person, proposed_by=waiting.made_by)
        await self._check(self._org, verdict, who=by, what="policy.adopt")

    async def _roster(self) -> Roster:
        return read_roster(await self._document("roster"))

    async def _document(self, kind: Literal["roster", "policy"]) -> bytes:
        public, documents = await self._kluis.public(), await self._kluis.documents()
        key = Ed25519PublicKey.from_public_bytes(public.signing_key)
        return read_document(documents.roster if kind == "roster" else documents.policy, key, kind=kind)

    @staticmethod
    def _read(document: str) -> Policy:
        try:
            return read_policy(document)
        except PolicyError as cause:
            problems = "; ".join(cause.problems[:8])
            raise refuse(Code.MALFORMED, "policy", expected="a policy file", got=problems) from cause
