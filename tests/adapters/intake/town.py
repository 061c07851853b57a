"""A town in a folder, for tests of intake and dock: authority, database, vault, ledger, cameras and their cards.

Everything is real but the Kluis and the list of policies, which are small fakes with the same promises.
"""

import asyncio
import random
import secrets
import sqlite3
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector, web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import insert, select, update

from broker.identities import Authority, Credentials
from broker.rules.access import Role
from broker.wire.card import sign_card
from broker.wire.ids import DeviceId, Org, RecordingId, camera_key_id, tenant_id, uuid7
from broker.wire.policy import Policy, read_policy
from broker.wire.recording import (
    Checkpoint,
    Flag,
    Kind,
    Recipient,
    Sealer,
    StopReason,
    read_head,
    segment_digest,
    xwing_from_seed,
)
from broker.wire.refusals import Code, refuse
from cloud.database.engine import Database
from cloud.database.tables import activations, cameras, docks, recordings
from cloud.intake.bodies import Limits
from cloud.intake.doors import server_tls
from cloud.intake.lanes import behind, lanes
from cloud.intake.receiver import INTAKE, receiver, serving
from cloud.intake.recordings import Intake
from cloud.ledger.log import Ledger
from cloud.vault.store import Vault
from tests.adapters.database.postgresql import address_of, switched

ORG = Org("heusden")
NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
KLUIS_KEYS = xwing_from_seed(bytes(32))
POLICIES = Path(__file__).parents[3] / "deploy" / "policy"


@dataclass
class FakeClock:
    """Shows what it is told."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


class FakeKluis:
    """Takes heads into custody, and knows what was destroyed."""

    def __init__(self) -> None:
        self.taken: dict[RecordingId, bytes] = {}
        self.destroyed: set[RecordingId] = set()
        self.lost_key = False

    async def intake(self, head: bytes, *, camera_public_key: bytes, end: bytes | None = None) -> None:
        read = read_head(head, Ed25519PublicKey.from_public_bytes(camera_public_key))
        if read.recording in self.destroyed:
            raise refuse(Code.DESTROYED, "recording", expected="one that is kept", got="destroyed")
        if self.lost_key:
            raise refuse(Code.NOT_FOUND, "intake key", expected="a key that lives", got="one that is destroyed")
        assert end is not None
        self.taken[read.recording] = head

    async def keylist(self) -> bytes:
        return b'{"keylist": {}, "signature": ""}'


class FakeHub:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, dict[str, Any]]] = []

    def publish(self, org: str, kind: str, data: dict[str, Any]) -> int:
        self.heard.append((org, kind, data))
        return len(self.heard)


class OnePolicy:
    """The same policy at any time."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    async def of(self, org: Org, at: datetime) -> Policy:
        assert org == ORG
        assert at.tzinfo is UTC
        return self.policy


def policy_of(name: str = "heusden") -> Policy:
    return read_policy((POLICIES / f"{name}.toml").read_text())


@dataclass(frozen=True, kw_only=True)
class Made:
    """A recording as a camera made it."""

    recording: RecordingId
    head: bytes
    segments: tuple[bytes, ...]
    end: bytes
    activated_at: datetime

    @property
    def digests(self) -> tuple[bytes, ...]:
        return tuple(segment_digest(raw) for raw in self.segments)

    def submission(self) -> dict[str, Any]:
        from base64 import b64encode

        return {
            "head": b64encode(self.head).decode(),
            "digests": [digest.hex() for digest in self.digests],
            "end": b64encode(self.end).decode(),
        }


def new_recording(at: datetime) -> RecordingId:
    return RecordingId(uuid7(at, secrets.token_bytes(10)))


@dataclass
class Camera:
    """A camera that makes recordings without being one."""

    id: DeviceId
    org: Org = ORG
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def record(
        self,
        *,
        pressed_at: datetime = NOW - timedelta(hours=2),
        seconds: int = 5,
        pre_record_s: int = 2,
        bytes_each: int = 20_000,
        recording: RecordingId | None = None,
        reason: StopReason = StopReason.OFFICER,
        filler: random.Random | None = None,
    ) -> Made:
        """One init segment, then `pre_record_s` + `seconds` segments of a second of noise."""
        name = recording or new_recording(pressed_at)
        started_at = pressed_at - timedelta(seconds=pre_record_s)
        head, sealer = Sealer.start(
            tenant=tenant_id(self.org),
            signing_key=self.key,
            recording=name,
            boot=bytes(16),
            data_key=secrets.token_bytes(32),
            recipients=(Recipient(key_id=KLUIS_KEYS.key_id, public_key=KLUIS_KEYS.public_key),),
            checkpoint=Checkpoint(size=0, root=bytes(32)),
        )
        noise = filler or random.Random(name.int)
        made = [
            sealer.seal(
                b"ftypmoov",
                kind=Kind.VIDEO,
                flags=Flag.NONE,
                starts_at=started_at,
                ends_at=started_at,
                monotonic_us=0,
            )
        ]
        count = pre_record_s + seconds
        for place in range(count):
            starts_at = started_at + timedelta(seconds=place)
            flags = Flag.PRE_RECORD if place < pre_record_s else Flag.NONE
            if place == count - 1:
                flags |= Flag.LAST
            made.append(
                sealer.seal(
                    noise.randbytes(bytes_each),
                    kind=Kind.VIDEO,
                    flags=flags,
                    starts_at=starts_at,
                    ends_at=starts_at + timedelta(seconds=1),
                    monotonic_us=place * 1_000_000,
                )
            )
        end = sealer.finish(reason=reason, ended_at=started_at + timedelta(seconds=count))
        return Made(recording=name, head=head, segments=tuple(made), end=end, activated_at=pressed_at)


def write_card(camera: Camera, folder: Path) -> Path:
    """Make an empty card of this camera; return its folder."""
    for inside in ("recordings", "receipts", "from-dock"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    (folder / "card.json").write_bytes(sign_card(camera.org, camera.id, camera.key))
    return folder


def put_on_card(made: Made, card: Path) -> Path:
    """Write a finished recording on a card; the end record last, as a camera does."""
    folder = card / "recordings" / str(made.recording)
    folder.mkdir()
    (folder / "head.voh").write_bytes(made.head)
    for sequence, raw in enumerate(made.segments):
        (folder / f"{sequence:08}.vos").write_bytes(raw)
    (folder / "end.voe").write_bytes(made.end)
    return folder


def holders(port: int) -> int:
    """How many sockets listen on this port: one for each process."""
    return sum(
        line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
    )


class Town:
    """What the tests look at and turn."""

    def __init__(self, folder: Path, *, org: Org = ORG, processes: int = 1) -> None:
        """Found a town in an empty folder, or open the one that is there; `processes` serve its receiver."""
        self.folder = folder
        again = (folder / "vault").exists()
        self.org = org
        self.clock = FakeClock()
        self.kluis = FakeKluis()
        self.hub = FakeHub()
        self.policies = OnePolicy(policy_of())
        self.authority = Authority.open(folder / "pki") if again else Authority.create(folder / "pki", org)
        self.receipt_key = _key(folder / "receipt.key")
        self.ledger_key = _key(folder / "ledger.key")
        origin = f"{org}.example/ledger"
        if again:
            self.server, self.dock = self.authority.credentials("svc-receiver"), self.authority.credentials("dock-01")
            self.ledger = Ledger.open(folder / "ledger", origin=origin, key=self.ledger_key)
        else:
            self.server = self.authority.issue_server("svc-receiver", Role.RECEIVER)
            self.dock = self.authority.issue("dock-01", Role.DOCK)
            self.ledger = Ledger.create(folder / "ledger", origin=origin, key=self.ledger_key)
            Vault.create(folder / "vault")
        self.processes = processes
        self.vault = Vault.open(folder / "vault", alone=processes == 1)
        self.database = Database(address_of(folder / "vierogen.sqlite"))
        self.port = 0
        self.fast = True
        self.app: web.Application | None = None

    async def open(self) -> None:
        file = self.folder / "vierogen.sqlite"
        if switched():
            await self.database.create()
        elif not file.exists() and _EMPTY:
            file.write_bytes(_EMPTY[0])
        else:
            await self.database.create()
            if not _EMPTY:
                _EMPTY.append(_copy_of(file))
        async with self.database.transaction() as t:
            there = (await t.execute(select(docks.c.id))).first()
        if there is None:
            await self.enrol_dock("dock-01")

    async def close(self) -> None:
        await self.database.close()
        await self.ledger.close()
        self.vault.close()

    @property
    def intake(self) -> Intake:
        assert self.app is not None
        return self.app[INTAKE]

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serving(self, *, port: int = 0, limits: Limits | None = None, tls: bool = True) -> AsyncIterator["Town"]:
        self.app = receiver(
            org=self.org,
            database=self.database,
            vault=self.vault,
            kluis=self.kluis,
            ledger=self.ledger,
            policies=self.policies,
            receipt_key=self.receipt_key,
            clock=self.clock,
            hub=self.hub,
            limits=limits,
        )
        runner = serving(self.app, fast=self.fast)
        await runner.setup()
        beside, secured = self.processes > 1, self.server_tls() if tls else None
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=secured, reuse_port=beside or None)
        await site.start()
        self.port = runner.addresses[0][1]
        async with AsyncExitStack() as stack:
            stack.push_async_callback(runner.cleanup)
            if beside:
                command = [sys.executable, "-m", "tests.adapters.intake.lane", str(self.folder), str(self.port)]
                await stack.enter_async_context(behind(self.app, runner, self.folder / "lanes"))
                await stack.enter_async_context(lanes(command, count=self.processes - 1, vault=self.vault))
            yield self

    def server_tls(self) -> ssl.SSLContext:
        return server_tls(ca=self.server.ca, certificate=self.server.certificate, key=self.server.key)

    def tls(self, credentials: Credentials | None = None, *, ca: Path | None = None) -> ssl.SSLContext:
        who = credentials or self.dock
        context = ssl.create_default_context(cafile=ca or who.ca)
        context.load_cert_chain(who.certificate, who.key)
        return context

    @asynccontextmanager
    async def as_dock(self, credentials: Credentials | None = None) -> AsyncIterator[ClientSession]:
        connector = TCPConnector(ssl=self.tls(credentials, ca=self.authority.ca))
        async with ClientSession(self.address, connector=connector) as session:
            yield session
        await asyncio.sleep(0)  # lets the transports of the connector close

    async def enrol_dock(self, dock: str, *, state: str = "enrolled", org: str | None = None) -> None:
        async with self.database.transaction() as t:
            row = {"org": org or self.org, "id": dock, "station": "town hall", "state": state}
            await t.execute(insert(docks).values(row))

    async def strike_dock(self, dock: str) -> None:
        async with self.database.transaction() as t:
            await t.execute(update(docks).where(docks.c.id == dock).values(state="revoked"))

    async def enrol(self, camera: Camera, *, state: str = "enrolled", at: datetime | None = None) -> Camera:
        async with self.database.transaction() as t:
            await t.execute(
                insert(cameras).values(
                    org=self.org,
                    id=camera.id,
                    public_key=camera.public,
                    key_id=camera_key_id(camera.public),
                    state=state,
                    enrolled_at=at or NOW - timedelta(days=365),
                )
            )
        return camera

    async def press(self, camera: Camera, made: Made, *, received_at: datetime | None = None) -> None:
        """The activation reached the cloud over MQTT."""
        async with self.database.transaction() as t:
            await t.execute(
                insert(activations).values(
                    recording=str(made.recording),
                    org=self.org,
                    camera=camera.id,
                    official="o-1",
                    activated_at=made.activated_at,
                    pre_record_s=2.0,
                    received_at=received_at or made.activated_at,
                    late=False,
                )
            )

    async def rows(self) -> list[Any]:
        async with self.database.transaction() as t:
            return list((await t.execute(select(recordings))).all())

    async def row(self, made: Made) -> Any:
        async with self.database.transaction() as t:
            query = select(recordings).where(recordings.c.id == str(made.recording))
            return (await t.execute(query)).one_or_none()

    async def kinds(self) -> list[str]:
        """The kinds of the entries in the ledger, in order."""
        import json

        entries = await self.ledger.read(0, self.ledger.checkpoint().size)
        return [json.loads(raw)["kind"] for _, raw in entries]


_EMPTY: list[bytes] = []
"""A database with empty tables, made once: making it takes longer than most tests."""


def _copy_of(file: Path) -> bytes:
    copy = file.with_name("empty.sqlite")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    content = copy.read_bytes()
    copy.unlink()
    return content


def _key(path: Path) -> Ed25519PrivateKey:
    if not path.exists():
        path.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


async def send(session: ClientSession, made: Made) -> list[int]:
    """Send every segment; return the statuses."""
    statuses = []
    for raw, digest in zip(made.segments, made.digests, strict=True):
        async with session.put(f"/v1/segments/{digest.hex()}", data=raw) as answer:
            statuses.append(answer.status)
    return statuses


async def submit(session: ClientSession, made: Made, **changed: Any) -> tuple[int, bytes]:
    """Hand in a recording; return status and body."""
    body = {**made.submission(), **changed}
    async with session.put(f"/v1/recordings/{made.recording}", json=body) as answer:
        return answer.status, await answer.read()
