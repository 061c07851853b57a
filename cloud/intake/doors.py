"""Who stands at the receiver's door: an enrolled dock of this municipality, or nobody.

The TLS layer has checked that the municipality's own authority signed the certificate. Here the certificate must also
say that its holder is a dock of this municipality, and the register must know that dock today.
"""

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import insert, select

from broker.clock import Clock
from broker.wire.ids import DeviceId, NotAnIdentifier, Org, parse_device
from broker.wire.refusals import Code, Refused, refuse
from cloud.database.engine import Database
from cloud.database.tables import denials, docks

LOG: Final = logging.getLogger(__name__)

REGISTER_FRESH_S: Final = 2.0
"""How long an answer of the register is believed: a dock that is struck off is out within this time."""

DENIAL_EVERY_S: Final = 60.0
"""The same denial is written at most this often: whoever is refused cannot fill our disk by trying."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a client certificate says of its holder."""

    device: DeviceId
    org: str
    role: str
    certificate_sha256: str


_READ: Final = WeakKeyDictionary[object, Claim]()
"""What was read of a connection, as long as that lasts: its certificate stays the same, the register is asked anew."""


class Door:
    """Lets enrolled docks in."""

    def __init__(self, *, org: Org, database: Database, clock: Clock) -> None:
        self._org = org
        self._database = database
        self._clock = clock
        self._known: dict[Claim, float] = {}
        self._denied: dict[tuple[str, str], float] = {}

    async def dock(self, transport: asyncio.BaseTransport | None, what: str) -> DeviceId:
        """Return which dock this is; raise Refused (UNKNOWN_IDENTITY, WRONG_TENANT) and remember the denial.

        `what` is what it wants to do, for whoever reads of the denial.
        """
        claim = None
        try:
            claim = read_claim(transport)
            if self._known.get(claim, -1.0) <= _now_s():
                await self.look_up(claim)
        except Refused as refused:
            who = "unknown" if claim is None else claim.device
            await self._remember(who, what, refused, at_s=_now_s())
            raise
        return claim.device

    async def look_up(self, claim: Claim) -> None:
        """Raise Refused (UNKNOWN_IDENTITY, WRONG_TENANT) unless this is a dock that the register knows right now."""
        if claim.org != self._org:
            raise refuse(Code.WRONG_TENANT, "dock", expected=f"a dock of {self._org}", got=f"one of {claim.org}")
        if claim.role != "dock":
            raise refuse(Code.UNKNOWN_IDENTITY, "dock", expected="a dock's certificate", got=f"a {claim.role}'s")
        async with self._database.transaction() as t:
            query = select(docks.c.state, docks.c.certificate_sha256)
            row = (await t.execute(query.where(docks.c.org == self._org, docks.c.id == claim.device))).one_or_none()
        if row is None or row.state != "enrolled":
            got = "unknown" if row is None else row.state
            raise refuse(Code.UNKNOWN_IDENTITY, f"dock {claim.device}", expected="an enrolled dock", got=got)
        if row.certificate_sha256 is not None and row.certificate_sha256 != claim.certificate_sha256:
            raise refuse(
                Code.UNKNOWN_IDENTITY,
                f"dock {claim.device}",
                expected=f"certificate {row.certificate_sha256}",
                got=claim.certificate_sha256,
            )
        at_s = _now_s()
        self._known = {known: until for known, until in self._known.items() if until > at_s}
        self._known[claim] = at_s + REGISTER_FRESH_S

    async def _remember(self, who: str, what: str, refused: Refused, *, at_s: float) -> None:
        why = str(refused)
        if self._denied.get((who, why), 0.0) > at_s:
            return
        self._denied = {denied: until for denied, until in self._denied.items() if until > at_s}
        self._denied[who, why] = at_s + DENIAL_EVERY_S
        LOG.warning("receiver: %s may not %s: %s", who, what, why)
        async with self._database.transaction() as t:
            row = {"org": self._org, "at": self._clock(), "who": who, "what": what[:200], "why": why}
            await t.execute(insert(denials).values(row))


def read_claim(transport: asyncio.BaseTransport | None) -> Claim:
    """Return what the client certificate of a connection says; raise Refused (UNKNOWN_IDENTITY) without one.

    Of a connection that came through another process of the receiver, what that process read (`cloud.intake.lanes`).
    """
    vouched = None if transport is None else transport.get_extra_info("claim")
    if isinstance(vouched, Claim):
        return vouched
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    if tls in _READ:
        return _READ[tls]
    der = None if tls is None else tls.getpeercert(binary_form=True)
    if tls is None or der is None:
        raise refuse(Code.UNKNOWN_IDENTITY, "dock", expected="a client certificate", got="none")
    claimed = _claim(tls.getpeercert(), hashlib.sha256(der).hexdigest())
    if claimed is None:
        raise refuse(Code.UNKNOWN_IDENTITY, "dock", expected="a certificate that names its holder", got="another")
    _READ[tls] = claimed
    return claimed


def _claim(certificate: Mapping[str, Any], sha256: str) -> Claim | None:
    """One common name and one URI that agree (spiffe://vier-ogen/<org>/<role>/<id>, see broker/identities.py)."""
    names = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    uris = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    match (names, [uri.split("/") for uri in uris]):
        case ([name], [["spiffe:", "", "vier-ogen", org, role, device]]) if device == name:
            try:
                return Claim(device=parse_device(device), org=org, role=role, certificate_sha256=sha256)
            except NotAnIdentifier:
                return None
        case _:
            return None


def server_tls(*, ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the receiver's TLS: 1.3, and only clients whom this municipality's own authority signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(ca)
    return context


def _now_s() -> float:
    return asyncio.get_running_loop().time()
