"""Destroys what is due, in an order that survives a crash at any point.

1. claim: one transaction sets *destroying* after looking at the holds itself;
2. the ledger gets `retention.destroying`, with its proof;
3. the Kluis destroys the key on that proof and certifies it: from here on no copy anywhere can be read;
4. the vault erases the bytes;
5. the ledger gets `retention.destroyed`, the database the certificate and the state *destroyed*;
6. the outcome is published and the message acknowledged.

Every step can be repeated. Nothing leads back out of *destroying*: a start finishes first what a crash left there.
"""

import hashlib
import logging
from collections.abc import Callable
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from broker.client import Connection
from broker.clock import Clock
from broker.wire import topics
from broker.wire.events import Event, RetentionDue, RetentionOutcome, decode, device_of
from broker.wire.ids import Org, RecordingId, parse_recording
from broker.wire.policy import Policy, Scope
from broker.wire.refusals import Refused
from cloud.casework.policies import Policies
from cloud.casework.seams import Hub
from cloud.database.engine import Database
from cloud.ledger.log import Entry, LedgerUnwritable
from cloud.ledger.once import Appends, Once
from cloud.retention.claims import Claimed, claim, finish, remember_certificate, to_look_at
from cloud.retention.forgetting import forget_drafts, forget_letters, forget_marks, forget_people, forget_plan
from cloud.retention.seams import Eraser, Kluis
from cloud.rules.retention import Keep

LOG: Final = logging.getLogger(__name__)

ACTOR: Final = "svc-retention"
"""Who destroys when a term is over, in the ledger."""

RESUME_AT_ONCE: Final = 1_000
"""Begun destructions that one start finishes in one go; the expiry clock names the rest."""


class RetentionWorker:
    """Looks at recordings whose term is over. `handle` answers one event and never raises for what can be retried."""

    def __init__(
        self,
        database: Database,
        ledger: Appends[Entry],
        kluis: Kluis,
        eraser: Eraser,
        policies: Policies,
        clock: Clock,
        hub: Hub,
    ) -> None:
        self._database = database
        self._once = Once(ledger)
        self._kluis = kluis
        self._eraser = eraser
        self._policies = policies
        self._clock = clock
        self._hub = hub

    async def handle(self, event: Event) -> RetentionOutcome:
        """Do what this event of the expiry topic asks, if the truth in the database says so."""
        if not isinstance(event.said, RetentionDue):
            raise TypeError(f"retention: expected a RetentionDue, got {type(event.said).__name__}")
        org, _, _ = device_of(event.source)
        return await self.look_at(org, parse_recording(str(event.said.recording)))

    async def look_at(self, org: Org | str, recording: RecordingId) -> RetentionOutcome:
        """Destroy this recording, or say why not. ``failed`` means: ask again later, nothing was lost."""
        try:
            taken = await claim(self._database, org, str(recording), self._clock())
            if isinstance(taken, Keep):
                return self._tell(org, recording, "held" if taken.held else "not-due", taken.because)
            await self._destroy(taken, recording)
        except (Refused, LedgerUnwritable, SQLAlchemyError, OSError) as cause:
            LOG.warning("retention: recording %s waits: %s", recording, cause)
            return self._tell(org, recording, "failed", f"{type(cause).__name__}: it will be tried again")
        return self._tell(org, recording, "destroyed", taken.because)

    async def resume(self, org: Org | str) -> int:
        """Finish every destruction that was begun before this start; return how many are done now.

        A database that is away changes nothing: the expiry clock names them again.
        """
        done = 0
        try:
            begun = await to_look_at(self._database, org, self._clock(), most=RESUME_AT_ONCE, begun_only=True)
        except (SQLAlchemyError, OSError) as cause:
            LOG.warning("retention: what was begun in %s waits: %s", org, cause)
            return 0
        for row in begun:
            outcome = await self.look_at(org, parse_recording(row.id))
            done += outcome.outcome == "destroyed"
        return done

    async def run(self, connection: Connection, *, org: Org, say: Callable[[RetentionOutcome], bytes]) -> None:
        """Work through the expiry topic on this connection: each message is acknowledged when its work is done.

        A message that is no event of ours is acknowledged with a warning: it would come for ever. `say` makes the
        event that carries an outcome.
        """
        await self.resume(org)
        async for message in connection.messages():
            try:
                outcome = await self.handle(decode(message.payload))
            except (Refused, ValueError, TypeError) as cause:
                LOG.warning("retention: not understood on %s: %s", message.topic, cause)
            else:
                await connection.publish(topics.retention_outcome(org, outcome.outcome), say(outcome))
            connection.ack(message)

    async def _destroy(self, taken: Claimed, recording: RecordingId) -> None:
        policy = await self._policies.version(taken.org, taken.policy_version)
        certificate = taken.certificate
        if certificate is None:
            facts = {
                "rule": rule_of(policy, taken),
                "policy": policy.policy.id,
                "policy_version": policy.version,
                "expired_at": taken.expires_at.isoformat(),
                "segments": len(taken.digests),
            }
            async with self._once.entered(
                "retention.destroying", subject=taken.recording, actor=ACTOR, at=self._clock(), facts=facts
            ) as order:
                certificate = await self._kluis.destroy(recording, entry=order.raw, proof=order.proof)
                await remember_certificate(self._database, taken, certificate)
        erased = 0
        for digest in taken.digests:
            erased += await self._eraser.erase(bytes.fromhex(digest))
        gone = {"segments": len(taken.digests), "certificate_sha256": hashlib.sha256(certificate).hexdigest()}
        async with self._once.entered(
            "retention.destroyed", subject=taken.recording, actor=ACTOR, at=self._clock(), facts=gone
        ):
            await forget_letters(self._database, taken.org, taken.recording)
            await forget_marks(self._database, taken.org, taken.recording)
            await forget_plan(self._database, taken.recording)
            await forget_drafts(self._database, taken.org, taken.recording)
            if policy.retention.scope is Scope.FOOTAGE_AND_METADATA:
                await forget_people(self._database, taken.org, taken.recording)
            await finish(self._database, taken, self._clock())
        LOG.info("retention: recording %s destroyed, %d segments erased now", taken.recording, erased)

    def _tell(self, org: Org | str, recording: RecordingId, outcome: str, because: str) -> RetentionOutcome:
        self._hub.publish(str(org), "retention", {"recording": str(recording), "outcome": outcome})
        match outcome:
            case "destroyed":
                return RetentionOutcome(recording=recording, outcome="destroyed", reason=because)
            case "held":
                return RetentionOutcome(recording=recording, outcome="held", reason=because)
            case "not-due":
                return RetentionOutcome(recording=recording, outcome="not-due", reason=because)
            case _:
                return RetentionOutcome(recording=recording, outcome="failed", reason=because)


def rule_of(policy: Policy, taken: Claimed) -> str:
    """Return, in a few closed words, by which rule a recording goes: for the ledger and the certificate."""
    if taken.because == "destroyed by hand":
        return f"manual, policy {policy.policy.id} version {policy.version}"
    told = policy.retention
    return f"{told.days} {told.unit.value} ({told.bound.value}), policy {policy.policy.id} version {policy.version}"
