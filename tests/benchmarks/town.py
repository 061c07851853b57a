"""A town for measuring: identities of very many cameras, its database, its broker and its cloud as processes."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert

from broker.clock import system_clock
from broker.durable import replace
from broker.identities import LEAF_DAYS, Authority, Identity, Registry
from broker.rules.access import Role
from broker.wire.ids import DeviceId, Org
from cloud.database import tables
from cloud.database.engine import Database
from cloud.ledger.log import Ledger

ORG = Org("heusden")
POLICY = Path(__file__).parents[2] / "deploy" / "policy" / "heusden.toml"


class Wholesale(Authority):
    """Issues very many certificates: the registry is written once, at the end."""

    def issue_cameras(self, names: list[str], folder: Path) -> None:
        """Write ``<name>.pem`` with key and certificate of each; one key for all, which costs the broker the same."""
        folder.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._many: dict[str, Identity] | None = dict(self.registry.identities)
        try:
            for name in names:
                pem = self._certify(
                    DeviceId(name),
                    Role.CAMERA,
                    key.public_key(),
                    server_names=(),
                    valid_from=system_clock() - timedelta(minutes=5),
                    valid_for=timedelta(days=LEAF_DAYS),
                )
                (folder / f"{name}.pem").write_bytes(private + pem)
            made = Registry(org=self.org, identities=self._many)
        finally:
            self._many = None
        replace(self.folder / "registry.json", msgspec.json.encode(made))

    def _remember(self, identity: Identity) -> None:
        if getattr(self, "_many", None) is None:
            super()._remember(identity)
        else:
            assert self._many is not None
            self._many[identity.id] = identity

    def _alone(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


@dataclass
class Process:
    """A part of the town that reports in lines of JSON."""

    process: asyncio.subprocess.Process
    last: dict[str, Any] = field(default_factory=dict)
    slowest_ack_s: float = 0.0

    @property
    def pid(self) -> int:
        return self.process.pid

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            with suppress(json.JSONDecodeError):
                self.last = json.loads(line)
                self.slowest_ack_s = max(self.slowest_ack_s, self.last.get("slowest_ack_s", 0.0))


@asynccontextmanager
async def part(module: str, *arguments: str) -> AsyncIterator[Process]:
    """Run one part; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    running = Process(process)
    reading = asyncio.create_task(running.read())
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def found(folder: Path, names: list[str]) -> Wholesale:
    """Make a town of these cameras in an empty folder."""
    Authority.create(folder / "pki", ORG)
    authority = Wholesale(folder / "pki")
    authority.issue("svc-fleet", Role.FLEET)
    authority.issue_cameras(names, folder / "swarm")
    database = Database(f"sqlite+aiosqlite:///{folder / 'town.sqlite'}")
    await database.create()
    now = system_clock()
    async with database.transaction() as t:
        await t.execute(
            insert(tables.policies).values(
                org=ORG,
                version=1,
                adopted_at=now - timedelta(days=9),
                document=POLICY.read_text(),
                sha256="0" * 64,
            )
        )
        rows = [
            {
                "org": ORG,
                "id": name,
                "public_key": number.to_bytes(32, "big"),
                "key_id": number.to_bytes(16, "big"),
                "state": "enrolled",
                "team": "centrum",
                "enrolled_at": now - timedelta(days=9),
            }
            for number, name in enumerate(names)
        ]
        await t.execute(insert(tables.cameras), rows)
    await database.close()
    key = Ed25519PrivateKey.generate()
    (folder / "ledger.key").write_bytes(key.private_bytes_raw())
    await Ledger.create(folder / "ledger", origin="test/ledger", key=key).close()
    return authority
