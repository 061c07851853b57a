"""A change that two people sign before it counts: what they sign, and who did so far.

A proposal lives in the desk's process, as a room does: a restart forgets it, and nothing has happened.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from broker.wire.approvals import change_challenge
from broker.wire.refusals import Code, refuse
from broker.wire.statements import Statement


@dataclass(kw_only=True)
class Proposed:
    """A document that waits for two signatures. `document` is what is signed, byte for byte."""

    id: str
    document: bytes = field(repr=False)
    made_by: str
    made_at: datetime
    statements: list[Statement] = field(default_factory=list, repr=False)

    @property
    def signers(self) -> tuple[str, ...]:
        """Who signed so far."""
        return tuple(each.official for each in self.statements)

    @property
    def challenge(self) -> bytes:
        """The 32 bytes that both sign."""
        return change_challenge(self.document)

    def check_new(self, statement: Statement) -> None:
        """Raise Refused (CONFLICT) for a second signature of the same person."""
        if statement.official in self.signers:
            raise refuse(Code.CONFLICT, "signature", expected="one of somebody else", got="a second of the same")


AnyProposed = TypeVar("AnyProposed", bound=Proposed)


def the_one_that_waits(waiting: AnyProposed | None, named: str) -> AnyProposed:
    """Return it if that is the one that was named; raise Refused (NOT_FOUND) when another took its place."""
    if waiting is None or waiting.id != named:
        raise refuse(Code.NOT_FOUND, "proposal", expected="the one that waits", got="another")
    return waiting
