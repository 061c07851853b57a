"""Docking stations that come and go. Their key is made at the station and stays there; here its request is signed."""

import asyncio
import hashlib
import logging
from typing import Final

from sqlalchemy import insert, select, update

from broker.clock import Clock
from broker.identities import Authority, IdentityError
from broker.rules.access import Role
from broker.wire.ids import DeviceId, Org, parse_device
from broker.wire.policy import Act
from broker.wire.refusals import Code, refuse
from cloud.casework.devices import REASONS, ChangeReason
from cloud.casework.office import Office
from cloud.casework.policies import Policies
from cloud.casework.seams import Hub, Ledger
from cloud.database.engine import Database
from cloud.database.tables import docks
from cloud.fleet.enrolment import Fleet, check_csr
from cloud.rules.rights import judge_back_office

LOG: Final = logging.getLogger(__name__)


class Docks(Office):
    """The stations of one municipality."""

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
        fleet: Fleet | None = None,
    ) -> None:
        super().__init__(database, ledger, policies, clock, hub)
        self._org = org
        self._authority = authority
        self._fleet = fleet

    async def add(self, dock: str, *, station: str, csr: bytes, by: str) -> bytes:
        """Let a station in under this name; return its certificate (PEM) for the key that is in the request (PEM).

        Raises Refused: NOT_ALLOWED, MALFORMED, BAD_SIGNATURE, CONFLICT (the name is taken), LEDGER_UNWRITABLE.
        """
        name = await self._may(dock, Act.DEVICE_ADD, by=by, what="dock.add")
        if not station:
            raise refuse(Code.MALFORMED, "station", expected="where it stands", got="nothing")
        check_csr(csr)
        if await self._state_of(name) is not None or name in self._authority.registry.identities:
            raise refuse(Code.CONFLICT, f"dock {name}", expected="a new name", got="one that was used before")
        await self._write_ahead(self._org, "dock.enrolled", subject=name, actor=by, facts={})
        async with self.database.transaction() as t:
            await t.execute(insert(docks).values(org=self._org, id=name, station=station, state="enrolled"))
        certificate = await asyncio.to_thread(self._authority.sign_csr, name, Role.DOCK, csr)
        await self._refresh()
        return certificate

    async def certify(self, dock: str, *, csr: bytes, by: str) -> bytes:
        """Return a new certificate (PEM) for a station that is in: its old one ends, or never reached it."""
        name = await self._may(dock, Act.DEVICE_ADD, by=by, what="dock.certify")
        key = hashlib.sha256(check_csr(csr)).hexdigest()
        if await self._state_of(name) != "enrolled":
            raise refuse(Code.CONFLICT, f"dock {name}", expected="an enrolled dock", got="another")
        await self._write_ahead(self._org, "dock.certified", subject=name, actor=by, facts={"key_sha256": key})
        return await asyncio.to_thread(self._authority.sign_csr, name, Role.DOCK, csr)

    async def remove(self, dock: str, *, by: str, reason: ChangeReason) -> None:
        """Put a station out for ever. Its name is never used again; raise Refused (NOT_ALLOWED, CONFLICT)."""
        name = await self._may(dock, Act.DEVICE_REMOVE, by=by, what="dock.remove")
        if reason not in REASONS:
            raise refuse(Code.MALFORMED, "reason", expected=" | ".join(REASONS), got=reason)
        if await self._state_of(name) != "enrolled":
            raise refuse(Code.CONFLICT, f"dock {name}", expected="an enrolled dock", got="another")
        await self._write_ahead(self._org, "dock.revoked", subject=name, actor=by, facts={"reason": reason})
        async with self.database.transaction() as t:
            state = "lost" if reason == "loss" else "removed"
            await t.execute(update(docks).where(docks.c.org == self._org, docks.c.id == name).values(state=state))
        try:
            await asyncio.to_thread(self._authority.revoke, name)
        except IdentityError as unknown:  # another maker's, with a certificate of another authority
            LOG.warning("docks[%s]: %s", self._org, unknown)
        await self._refresh()

    async def _may(self, dock: str, act: Act, *, by: str, what: str) -> DeviceId:
        verdict = judge_back_office(await self._policy(self._org), await self.person(self._org, by), act)
        await self._check(self._org, verdict, who=by, what=what)
        return parse_device(dock)

    async def _state_of(self, dock: str) -> str | None:
        async with self.database.transaction() as t:
            query = select(docks.c.state).where(docks.c.org == self._org, docks.c.id == dock)
            found: str | None = (await t.execute(query)).scalar_one_or_none()
        return found

    async def _refresh(self) -> None:
        if self._fleet is not None:
            await self._fleet.refresh(self._org)
        self.hub.publish(self._org, "device", {})
