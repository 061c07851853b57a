"""Cameras that join, renew and leave: their own keys, the word of the coordinator, the certificate of the authority.

What a new camera asks lies in memory only: it asks again every few seconds while it is in a bay. That it was confirmed
is the row with its key. So nothing can be half done: whatever a crash cut off, the camera asks again and the
coordinator types the same code again. A camera that leaves is struck off in the ledger, the register, the authority's
registry (brokers put it out within a second) and the broker's kept messages, in that order; a start does what is left.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select

from broker.clock import Clock
from broker.identities import Authority, Identity, IdentityError
from broker.rules.access import Role
from broker.wire.enrolment import Asked, Welcome, read_renewal, read_request, tidy_code
from broker.wire.ids import DeviceId, Org, camera_key_id, parse_device
from broker.wire.policy import Act
from broker.wire.refusals import Code, refuse
from cloud.casework.devices import ChangeReason, Devices
from cloud.casework.policies import Policies
from cloud.casework.seams import Hub, Ledger
from cloud.database.engine import Database
from cloud.database.tables import cameras
from cloud.rules.enrolment import judge_enrolment, judge_renewal
from cloud.rules.rights import judge_back_office
from cloud.rules.verdicts import Verdict

LOG: Final = logging.getLogger(__name__)

MOST_WAITING: Final = 64
"""New cameras that wait at the same time: more than any station has bays."""

ASKED_AGAIN_S: Final = 60
"""A camera that did not ask for so long is no longer in its bay."""


class Fleet(Protocol):
    """What enrolment asks of the fleet."""

    async def refresh(self, org: str) -> None:
        """See the register as it is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whose word a camera of this municipality believes, for its life. Keys are raw Ed25519."""

    oin: str
    receipt_key: bytes
    kluis_key: bytes
    command_key: bytes
    keylist: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """A camera in a bay that shows a code and waits for the coordinator. `key` is how its footage will name it."""

    key: str
    dock: DeviceId
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A camera that may speak from now on."""

    camera: DeviceId
    key: str
    certificate_until: datetime
    verdict: Verdict


@dataclass(slots=True, kw_only=True)
class _Waiting:
    asked: Asked
    dock: DeviceId
    since: datetime
    seen: datetime
    answer: bytes | None = None


class Enrolments(Devices):
    """The cameras of one municipality, from the dock to the certificate and back."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        policies: Policies,
        clock: Clock,
        hub: Hub,
        *,
        org: Org,
        authority: Authority,
        trust: Callable[[], Awaitable[Trust]],
        fleet: Fleet | None = None,
        on_leave: Callable[[DeviceId], None] = lambda _camera: None,
    ) -> None:
        """`trust` is asked for each camera that joins; `on_leave` hears of each one that left the registry."""
        super().__init__(database, ledger, policies, clock, hub)
        self._org = org
        self._authority = authority
        self._trust = trust
        self._fleet = fleet
        self._on_leave = on_leave
        self._waiting: dict[str, _Waiting] = {}
        self._renewed: dict[DeviceId, bytes] = {}
        self._turn = asyncio.Lock()

    # --- joining --------------------------------------------------------------------------------------------------

    def waiting(self) -> tuple[Newcomer, ...]:
        """Return the cameras that wait for a coordinator, those that came first in front."""
        self._forget_gone()
        return tuple(
            Newcomer(key=_key_of(each.asked), dock=each.dock, since=each.since)
            for each in sorted(self._waiting.values(), key=lambda each: each.since)
            if each.answer is None
        )

    async def ask(self, letter: bytes, *, dock: DeviceId) -> bytes | None:
        """Take in what a dock brings from a new camera; return the answer once a coordinator has confirmed it.

        Raises Refused (MALFORMED, TOO_LARGE, BAD_SIGNATURE, TOO_MANY).
        """
        asked, now = read_request(letter), self.clock()
        check_csr(asked.request.csr)
        self._forget_gone()
        known = self._waiting.get(asked.name)
        if known is None:
            if len(self._waiting) >= MOST_WAITING:
                raise refuse(Code.TOO_MANY, "enrolment", expected=f"at most {MOST_WAITING} at a time", got="one more")
            self._waiting[asked.name] = _Waiting(asked=asked, dock=dock, since=now, seen=now)
            LOG.info("enrolment[%s]: a new camera with key %s waits in %s", self._org, _key_of(asked), dock)
            self.hub.publish(self._org, "newcomer", {"key": _key_of(asked), "dock": dock})
            return None
        known.seen, known.dock = now, dock
        return known.answer

    async def confirm(
        self, code: str, *, camera: str, by: str, reason: ChangeReason, team: str | None = None, key: str | None = None
    ) -> Joined:
        """Let the camera that shows this code join under this name. The coordinator's act, with a reason.

        `key`: the one the coordinator chose, as `Newcomer.key` names it; then the code must be that camera's.
        Confirming the same camera again is welcome. Raises Refused: NOT_ALLOWED with the verdict (wrong person, code,
        name), MALFORMED, CONFLICT, LEDGER_UNWRITABLE; then nothing joined.
        """
        name, typed = parse_device(camera), tidy_code(code)
        policy = await self._policy(self._org)
        right = judge_back_office(policy, await self.person(self._org, by), Act.DEVICE_ADD)
        await self._check(self._org, right, who=by, what="device.add")
        async with self._turn:
            self._forget_gone()
            found = await self._who_shows(typed, key)
            verdict = await self._judge(found, name)
            await self._check(self._org, verdict, who=by, what="device.add")
            assert found is not None  # the verdict says so
            trust = await self._trust()
            if (await self._state_of(name)) is None:
                public_key = found.asked.request.public_key
                await self.add_camera(self._org, name, by=by, public_key=public_key, reason=reason, team=team)
            certificate = await asyncio.to_thread(self._authority.sign_csr, name, Role.CAMERA, found.asked.request.csr)
            welcome = await self._welcome(name, certificate, trust)
            found.answer = await asyncio.to_thread(found.asked.answer, welcome, code=typed)
        self.hub.publish(self._org, "newcomer", {"camera": name})  # nobody else needs to look at it any more
        await self._refresh()
        until = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
        LOG.info("enrolment[%s]: %s joined, key %s", self._org, name, _key_of(found.asked))
        return Joined(camera=name, key=_key_of(found.asked), certificate_until=until, verdict=verdict)

    async def _who_shows(self, code: str, key: str | None) -> _Waiting | None:
        for each in list(self._waiting.values()):
            if key in (None, _key_of(each.asked)) and await asyncio.to_thread(each.asked.is_shown, code):
                return each
        return None

    async def _judge(self, found: _Waiting | None, name: DeviceId) -> Verdict:
        key_is_of = None
        if found is not None:
            async with self.database.transaction() as t:
                query = select(cameras.c.id).where(
                    cameras.c.org == self._org, cameras.c.key_id == camera_key_id(found.asked.request.public_key)
                )
                key_is_of = (await t.execute(query)).scalar_one_or_none()
        return judge_enrolment(
            found=found is not None,
            shown_for=timedelta(0) if found is None else self.clock() - found.since,
            name_is=await self._state_of(name),
            key_is_of=key_is_of,
            name=name,
            name_revoked=self._is_revoked(name),
        )

    async def _welcome(self, camera: DeviceId, certificate: bytes, trust: Trust) -> Welcome:
        return Welcome(
            org=self._org,
            camera=camera,
            oin=trust.oin,
            receipt_key=trust.receipt_key,
            kluis_key=trust.kluis_key,
            command_key=trust.command_key,
            keylist=trust.keylist,
            ca=(await asyncio.to_thread(self._authority.ca.read_bytes)).decode(),
            certificate=certificate.decode(),
        )

    def _forget_gone(self) -> None:
        now = self.clock()
        self._waiting = {
            name: each
            for name, each in self._waiting.items()
            if abs(now - each.seen) <= timedelta(seconds=ASKED_AGAIN_S)
        }

    # --- renewing -------------------------------------------------------------------------------------------------

    async def renew(self, letter: bytes, *, dock: DeviceId) -> bytes:
        """Return a new certificate (PEM) for a camera that signed this wish with its enrolled key.

        The same wish again gets the same answer while that is fresh: an answer may be lost on the way. Raises Refused
        (MALFORMED, BAD_SIGNATURE, WRONG_TENANT, UNKNOWN_IDENTITY).
        """
        renewing = read_renewal(letter)
        if renewing.renewal.org != self._org:
            raise refuse(Code.WRONG_TENANT, "renewal", expected=f"a camera of {self._org}", got=renewing.renewal.org)
        camera = renewing.camera
        async with self.database.transaction() as t:
            query = select(cameras).where(cameras.c.org == self._org, cameras.c.id == camera)
            row = (await t.execute(query)).one_or_none()
        if row is not None:
            renewing.check(Ed25519PublicKey.from_public_bytes(row.public_key))
        wanted = check_csr(renewing.renewal.csr)
        async with self._turn:
            fresh = self._fresh(camera)
            verdict = judge_renewal(
                state=None if row is None else row.state,
                revoked=self._is_revoked(camera),
                renewed_already=fresh is not None and _certified(fresh) != wanted,
            )
            if not verdict:
                await self.record_denial(self._org, who=camera, what="certificate.renew", why=verdict.because)
                raise refuse(Code.UNKNOWN_IDENTITY, f"camera {camera}", expected="an enrolled one", got=verdict.because)
            if fresh is None:
                fresh = await asyncio.to_thread(self._authority.sign_csr, camera, Role.CAMERA, renewing.renewal.csr)
                self._renewed[camera] = fresh
                LOG.info("enrolment[%s]: %s has a new certificate, by %s", self._org, camera, dock)
        return fresh

    def _fresh(self, camera: DeviceId) -> bytes | None:
        """The certificate that was made here last, unless it is due itself. By the machine's time, as TLS is."""
        made = self._renewed.get(camera)
        return made if made is not None and not self._authority.is_due(made) else None

    # --- leaving --------------------------------------------------------------------------------------------------

    async def leave(self, camera: str, *, by: str, reason: ChangeReason) -> None:
        """Put a camera out for ever: lost (`loss`), replaced or surplus. It is off the broker within two seconds.

        Its name is never used again. Raises Refused: NOT_ALLOWED, MALFORMED, CONFLICT, LEDGER_UNWRITABLE; then nothing
        happened.
        """
        name = parse_device(camera)
        async with self._turn:
            state = await self._state_of(name)
            if state != "enrolled":
                raise refuse(Code.CONFLICT, f"camera {name}", expected="an enrolled camera", got=state or "none")
            await self.remove_camera(self._org, name, by=by, reason=reason)
            await self._put_out(name)
        await self._refresh()

    async def finish(self) -> tuple[DeviceId, ...]:
        """Put out what a crash left half done: cameras that left and whose certificate still counts. At the start."""
        async with self.database.transaction() as t:
            query = select(cameras.c.id).where(cameras.c.org == self._org, cameras.c.state != "enrolled")
            left = [DeviceId(camera) for camera in (await t.execute(query)).scalars()]
        known = {identity.id for identity in self._authority.registry.current()}
        half = tuple(camera for camera in left if camera in known)
        for camera in half:
            await self._put_out(camera)
        return half

    async def _put_out(self, camera: DeviceId) -> None:
        self._renewed.pop(camera, None)
        try:
            await asyncio.to_thread(self._authority.revoke, camera)
        except IdentityError as unknown:  # it never had a certificate: nothing to revoke
            LOG.warning("enrolment[%s]: %s", self._org, unknown)
        self._on_leave(camera)

    # --- what is seen ---------------------------------------------------------------------------------------------

    async def identities(self) -> Mapping[str, Identity]:
        """Return everybody who ever got a certificate, with when it ends. Names of devices and services only."""
        return (await asyncio.to_thread(lambda: self._authority.registry)).identities

    # --- what they share ------------------------------------------------------------------------------------------

    async def _state_of(self, camera: DeviceId) -> str | None:
        async with self.database.transaction() as t:
            query = select(cameras.c.state).where(cameras.c.org == self._org, cameras.c.id == camera)
            found: str | None = (await t.execute(query)).scalar_one_or_none()
        return found

    def _is_revoked(self, camera: DeviceId) -> bool:
        known = self._authority.registry.identities.get(camera)
        return known is not None and (known.revoked_at is not None or known.role is not Role.CAMERA)

    async def _refresh(self) -> None:
        if self._fleet is not None:
            await self._fleet.refresh(self._org)


def _key_of(asked: Asked) -> str:
    return camera_key_id(asked.request.public_key).hex()


def check_csr(csr: bytes) -> bytes:
    """Return the public key that the request is for; raise Refused for what the authority would not sign."""
    try:
        request = x509.load_pem_x509_csr(csr)
        public = request.public_key()
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "certificate request", expected="PKCS 10 in PEM", got=cause) from cause
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise refuse(Code.MALFORMED, "certificate request", expected="a P-256 key", got=type(public).__name__)
    if not request.is_signature_valid:
        raise refuse(Code.BAD_SIGNATURE, "certificate request", expected="the signature of its own key", got="another")
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _certified(pem: bytes) -> bytes:
    key = x509.load_pem_x509_certificate(pem).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
