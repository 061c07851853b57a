"""Security keys at the desk: registering one, signing in with it, and looking at a signature before it goes further.

What the register of keys says lets people in to the desk. Footage asks the Kluis, which has a list of its own: whoever
edits the register gains pages, and not a single frame.
"""

import secrets
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import insert, select, update

from broker.clock import Clock
from broker.wire.refusals import Code, refuse
from broker.wire.statements import Credential, Place, Statement, check_statement
from cloud.casework.seams import Ledger
from cloud.database.engine import Database
from cloud.database.tables import security_keys
from cloud.desk.rules.ceremonies import NONCE_BYTES, enrolment_challenge, seat_challenge, sign_in_challenge
from cloud.kluis.enrolment import check_again, enrol

NONCE_LIVES_S: Final = 300.0
"""How long a page may wait for its person's key."""

MOST_NONCES: Final = 10_000
"""Open ceremonies at once; beyond it the oldest is forgotten, and its person tries again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One key in the register. `id` is the credential's, base64url."""

    id: str
    official: str
    public_key: bytes
    registered_at: datetime

    @property
    def credential(self) -> Credential:
        """The key as statements are checked with."""
        return Credential(id=self.id, kind="webauthn", public_key=self.public_key)


class Nonces:
    """Random numbers that were handed to a page: each works once, for what it was made for, and not for long."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, float]] = {}

    def make(self, what: str, *, now_s: float) -> str:
        """Return a new number, 64 hexadecimal digits, for this act."""
        while len(self._open) >= MOST_NONCES:
            del self._open[next(iter(self._open))]
        nonce = secrets.token_hex(NONCE_BYTES)
        self._open[nonce] = (what, now_s)
        return nonce

    def take(self, nonce: str, what: str, *, now_s: float) -> bytes:
        """Return the number's bytes, once; raise Refused (NOT_ALLOWED)."""
        made_for, made_s = self._open.pop(nonce, ("", 0.0))
        if made_for != what or now_s - made_s > NONCE_LIVES_S:
            raise refuse(Code.NOT_ALLOWED, "security key", expected="a page that was just opened", got="an old one")
        return bytes.fromhex(nonce)


class SecurityKeys:
    """The register of one municipality's security keys, and every ceremony at the desk."""

    def __init__(self, database: Database, ledger: Ledger, *, org: str, place: Place, clock: Clock) -> None:
        self._database, self._ledger, self._org, self._clock = database, ledger, org, clock
        self.place = place
        self.nonces = Nonces()

    async def of(self, official: str) -> tuple[Registered, ...]:
        """Return this person's keys that count, oldest first."""
        return tuple(each for each in await self.all() if each.official == official)

    async def all(self) -> tuple[Registered, ...]:
        """Return every key that counts, oldest first."""
        return await registered_keys(self._database, self._org)

    async def register(self, official: str, registration: str, *, nonce: str, now_s: float) -> Registered:
        """Put a key in the register that has just proven itself; raise Refused (NOT_ALLOWED, BAD_SIGNATURE, CONFLICT).

        The ledger has it first: nobody gets a key behind its owner's back.
        """
        challenge = enrolment_challenge(self.nonces.take(nonce, f"enrol {official}", now_s=now_s))
        credential = enrol(registration, challenge=challenge, place=self.place)
        if any(each.id == credential.id or each.public_key == credential.public_key for each in await self.all()):
            raise refuse(Code.CONFLICT, "security key", expected="a key that nobody has registered", got="a known one")
        now = self._clock()
        await self._ledger.append(
            "key.registered", subject=official, actor=official, at=now, facts={"credential": credential.id}
        )
        async with self._database.transaction() as t:
            await t.execute(
                insert(security_keys).values(
                    org=self._org,
                    id=credential.id,
                    official=official,
                    public_key=credential.public_key,
                    registered_at=now,
                    count=0,
                )
            )
        return Registered(id=credential.id, official=official, public_key=credential.public_key, registered_at=now)

    async def withdraw(self, official: str, key: str) -> None:
        """Let one's own key count no more at the desk, at once; raise Refused (NOT_FOUND).

        The Kluis's list changes by two officials: until then the key still signs there, but nobody gets in with it.
        """
        if all(each.id != key for each in await self.of(official)):
            raise refuse(Code.NOT_FOUND, "security key", expected="a key of your own", got="another")
        now = self._clock()
        await self._ledger.append("key.withdrawn", subject=official, actor=official, at=now, facts={"credential": key})
        async with self._database.transaction() as t:
            await t.execute(
                update(security_keys)
                .where(security_keys.c.org == self._org, security_keys.c.id == key)
                .values(withdrawn_at=now)
            )

    async def named(self, assertion: str) -> str | None:
        """Return whose key the assertion names, before anything is checked; raise Refused (MALFORMED)."""
        key = credential_named(assertion)
        return next((each.official for each in await self.all() if each.id == key), None)

    async def sign_in(self, assertion: str, *, nonce: str, now_s: float) -> str:
        """Return who signed in; raise Refused (NOT_ALLOWED, UNKNOWN_IDENTITY, BAD_SIGNATURE).

        The authenticator's count must have grown since the last time: a copy of a key shows here.
        """
        challenge = sign_in_challenge(self.nonces.take(nonce, "sign-in", now_s=now_s))
        named = credential_named(assertion)
        known = next((each for each in await self.all() if each.id == named), None)
        if known is None:
            raise refuse(Code.UNKNOWN_IDENTITY, "security key", expected="a registered key", got="an unknown one")
        await self._checked(statement_of(known.official, assertion), known, challenge)
        return known.official

    async def seat(self, official: str, assertion: str, *, room: str, nonce: str, now_s: float) -> None:
        """Return if this person signed to sit down in this room; raise Refused."""
        challenge = seat_challenge(self.nonces.take(nonce, f"seat {room} {official}", now_s=now_s), room)
        named = credential_named(assertion)
        known = next((each for each in await self.of(official) if each.id == named), None)
        if known is None:
            raise refuse(Code.UNKNOWN_IDENTITY, "security key", expected=f"a key of {official}", got="another")
        await self._checked(statement_of(official, assertion), known, challenge)

    async def _checked(self, statement: Statement, known: Registered, challenge: bytes) -> None:
        """Check with both verifiers and remember the count, in one transaction: two at once do not both pass."""
        check_statement(statement, credentials=(known.credential,), challenge=challenge, place=self.place)
        column = security_keys.c
        async with self._database.transaction() as t:
            seen = (
                await t.execute(select(column.count).where(column.org == self._org, column.id == known.id))
            ).scalar()
            count = check_again(
                statement, credential=known.credential, challenge=challenge, place=self.place, count=int(seen or 0)
            )
            await t.execute(
                update(security_keys).where(column.org == self._org, column.id == known.id).values(count=count)
            )


def statement_of(official: str, assertion: str) -> Statement:
    """Return the statement that a browser's assertion makes for this person; raise Refused (MALFORMED)."""
    return Statement(official=official, kind="webauthn", credential_id=credential_named(assertion), assertion=assertion)


class _Assertion(msgspec.Struct):
    id: str


def credential_named(assertion: str) -> str:
    """Return which key the assertion says it is of, base64url; raise Refused (MALFORMED). Nothing is checked yet."""
    try:
        named = msgspec.json.decode(assertion, type=_Assertion).id
        urlsafe_b64decode(named + "=" * (-len(named) % 4))
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "security key", expected="the browser's answer", got="something else") from cause
    return named


async def registered_keys(database: Database, org: str) -> tuple[Registered, ...]:
    """Return every key of this municipality's register that counts, oldest first."""
    query = select(security_keys).where(security_keys.c.org == org, security_keys.c.withdrawn_at.is_(None))
    async with database.transaction() as t:
        rows = (await t.execute(query.order_by(security_keys.c.registered_at, security_keys.c.id))).all()
    return tuple(
        Registered(id=row.id, official=row.official, public_key=bytes(row.public_key), registered_at=row.registered_at)
        for row in rows
    )
