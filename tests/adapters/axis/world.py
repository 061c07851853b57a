"""A town with its door for Axis docks open, and a dock that speaks their dialect. Everything else is intake's town."""

import asyncio
import hashlib
import io
import json
import secrets
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector, web
from cryptography.hazmat.primitives import padding as symmetric
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA1
from sqlalchemy import select

from broker.wire.ids import RecordingId, parse_recording
from broker.wire.keylist import KeyList, sign_keylist
from broker.wire.policy import Policy, Via
from broker.wire.recording import (
    Kind,
    Recipient,
    open_data_key,
    open_segment,
    read_head,
    segment_keys,
    unwrap_share,
)
from cloud.database.tables import cameras, outside_objects, outside_parts, recordings, segments
from cloud.intake.axis.door import AXIS_DOOR, Category, axis, axis_tls
from cloud.intake.axis.tokens import Account
from cloud.intake.outside import Door, Outside
from cloud.intake.unpacking import unpack
from tests.adapters.intake.town import KLUIS_KEYS, NOW, FakeKluis, OnePolicy, Town, policy_of
from tests.ports import free_port

SERIAL = "B8A44F3024BB"
USER = "o-7"
PRESSED_AT = NOW - timedelta(hours=3)
CONTAINER = f"{USER}_{SERIAL}_{PRESSED_AT:%Y%m%dT%H%M%SZ}"


class SealingKluis(FakeKluis):
    """Says to which keys to seal, and can open what was sealed to them."""

    def __init__(self) -> None:
        super().__init__()
        self.key = Ed25519PrivateKey.generate()

    async def keylist(self) -> bytes:
        parties = (Recipient(key_id=KLUIS_KEYS.key_id, public_key=KLUIS_KEYS.public_key),)
        week = timedelta(weeks=1)
        return sign_keylist(
            KeyList(
                org="heusden",
                epoch=1,
                recipients=parties,
                valid_from=NOW - week,
                valid_until=NOW + week,
                issued_at=NOW,
            ),
            self.key,
        )

    def data_key(self, head: bytes, camera: Ed25519PublicKey) -> bytes:
        read = read_head(head, camera)
        return open_data_key(read, (unwrap_share(read, 0, KLUIS_KEYS),))


class Versions(OnePolicy):
    """One policy under every version number."""

    async def version(self, _org: str, _version: int) -> Policy:
        return self.policy


def open_policy(*via: Via) -> Policy:
    policy = policy_of()
    doors = (Via.DOCK, *via)
    return replace(policy, ingest=replace(policy.ingest, via=doors, manual_import=Via.IMPORT in doors))


async def open_outside(town: Town, doors: Sequence[Door] = (AXIS_DOOR,)) -> Outside:
    kluis = town.kluis
    assert isinstance(kluis, SealingKluis)
    return await Outside.open(
        town.folder / "outside",
        org=town.org,
        database=town.database,
        vault=town.vault,
        kluis=kluis,
        kluis_key=kluis.key.public_key(),
        ledger=town.ledger,
        policies=town.policies,
        clock=town.clock,
        hub=town.hub,
        key=town.receipt_key,
        doors=doors,
    )


def prepare(town: Town, *via: Via) -> Town:
    town.kluis = SealingKluis()
    town.policies = Versions(open_policy(*via))
    return town


@dataclass
class AxisTown:
    town: Town
    outside: Outside
    url: str
    account: Account
    key: str
    ca: Path

    @asynccontextmanager
    async def dock(self) -> AsyncIterator["Dock"]:
        tls = ssl.create_default_context(cafile=self.ca)
        async with ClientSession(connector=TCPConnector(ssl=tls), auto_decompress=False) as session:
            dock = Dock(session, self.url)
            await dock.sign_in(self.account.user, self.key)
            yield dock
        await asyncio.sleep(0)

    async def recordings(self) -> list[Any]:
        async with self.town.database.transaction() as t:
            return list((await t.execute(select(recordings).order_by(recordings.c.received_at))).all())

    async def parts(self) -> list[Any]:
        async with self.town.database.transaction() as t:
            return list((await t.execute(select(outside_parts))).all())

    async def objects(self, recording: str | None = None) -> list[Any]:
        query = select(outside_objects).order_by(outside_objects.c.first)
        if recording is not None:
            query = query.where(outside_objects.c.recording == recording)
        async with self.town.database.transaction() as t:
            return list((await t.execute(query)).all())

    async def opened(self, recording: str) -> list[bytes]:
        """What the segments of a recording hold, opened with the key from custody."""
        name: RecordingId = parse_recording(recording)
        async with self.town.database.transaction() as t:
            rows = (
                await t.execute(select(segments).where(segments.c.recording == recording).order_by(segments.c.sequence))
            ).all()
            row = (await t.execute(select(recordings.c.camera).where(recordings.c.id == recording))).one()
            key = (await t.execute(select(cameras.c.public_key).where(cameras.c.id == row.camera))).scalar_one()
        kluis = self.town.kluis
        assert isinstance(kluis, SealingKluis)
        data_key = kluis.data_key(kluis.taken[name], Ed25519PublicKey.from_public_bytes(key))
        keys = segment_keys(data_key, name, 0, len(rows) - 1)
        return [
            open_segment(await self.town.vault.read(bytes.fromhex(line.digest)), key)
            for line, key in zip(rows, keys, strict=True)
        ]

    async def file(self, recording: str, name: str) -> bytes:
        """One file of a recording as the dock sent it, by what the recording itself says."""
        query = select(segments.c.kind).where(segments.c.recording == recording).order_by(segments.c.sequence)
        async with self.town.database.transaction() as t:
            kinds = [Kind(kind) for kind in (await t.execute(query)).scalars()]
        opened = await self.opened(recording)
        (row,) = [each for each in await self.objects(recording) if each.name == name]
        (found,) = [each for each in unpack(zip(kinds, opened, strict=True)) if each.name == name]
        assert found.content == b"".join(opened[row.first : row.last])
        assert found.sha256 == row.sha256
        return found.content


@asynccontextmanager
async def serving(town: Town, *, port: int | None = None) -> AsyncIterator[AxisTown]:
    outside = await open_outside(town)
    account, key = Account.new("axis")
    port = port or free_port()
    url = f"https://127.0.0.1:{port}"
    app = axis(
        org=town.org,
        outside=outside,
        accounts=(account,),
        public_url=url,
        clock=town.clock,
        categories=(Category(id="1", name="Aanhouding"),),
    )
    runner = web.AppRunner(app, access_log=None, handle_signals=False, lingering_time=0.1)
    await runner.setup()
    tls = axis_tls(certificate=town.server.certificate, key=town.server.key)
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
    try:
        yield AxisTown(town=town, outside=outside, url=url, account=account, key=key, ca=town.authority.ca)
    finally:
        await runner.cleanup()


@dataclass
class Dock:
    """An Axis system controller, as far as its dialect goes."""

    session: ClientSession
    url: str
    storage: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    async def sign_in(self, user: str, key: str) -> int:
        headers = {"X-Auth-User": user, "X-Auth-Key": key}
        async with self.session.get(f"{self.url}/auth/v1.0", headers=headers) as answer:
            if answer.status == 200:
                self.storage = answer.headers["X-Storage-Url"]
                self.headers = {"X-Auth-Token": answer.headers["X-Auth-Token"]}
            return answer.status

    async def say(
        self, method: str, path: str, *, body: Any = None, meta: dict[str, str] | None = None, **headers: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        kind = "Object" if "/" in path else "Container"
        said = {f"X-{kind}-Meta-{name}": value for name, value in (meta or {}).items()}
        sent = self.headers | said | {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            body = io.BytesIO(body)
        async with self.session.request(method, f"{self.storage}/{path}", data=body, headers=sent) as answer:
            return answer.status, answer.headers, await answer.read()

    async def put(self, path: str, body: Any = b"", *, meta: dict[str, str] | None = None, **headers: str) -> int:
        status, _, _ = await self.say("PUT", path, body=body, meta=meta, **headers)
        return status

    async def introduce(self) -> None:
        for container in ("System", "Users", "Devices"):
            assert await self.put(container) in (201, 202)
        assert await self.put(f"Users/{USER}", meta={"Name": "Noor%20de%20Vries", "Active": "True"}) == 201
        assert await self.put(f"Devices/{SERIAL}", meta={"Name": "cam%207", "Active": "True", "Model": "W120"}) == 201

    async def begin(self, container: str = CONTAINER, **meta: str) -> int:
        return await self.put(container, meta=begun(**meta))

    async def complete(self, container: str = CONTAINER, **meta: str) -> int:
        status, _, _ = await self.say("POST", container, meta={"Status": "Complete", **_stop(), **meta})
        return status


def begun(**meta: str) -> dict[str, str]:
    return {
        "ContainerName": CONTAINER,
        "BWCSerialNumber": SERIAL,
        "SCUSerialNumber": "ACCC8E01",
        "UserID": USER,
        "TriggerOn": "Button",
        "TriggerOnTime": str(int(PRESSED_AT.timestamp())),
        "StartTime": str(int((PRESSED_AT - timedelta(seconds=30)).timestamp())),
        "Status": "Transferring",
        **meta,
    }


def _stop() -> dict[str, str]:
    return {"StopTime": str(int((PRESSED_AT + timedelta(minutes=2)).timestamp()))}


def clip_meta(minutes: int = 2) -> dict[str, str]:
    return {
        "StartTime": str(int((PRESSED_AT - timedelta(seconds=30)).timestamp())),
        "StopTimeISO": (PRESSED_AT + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z"),
        "ContainerType": "mp4",
    }


def lock(clip: bytes, key: RSAPublicKey) -> tuple[bytes, bytes]:
    """Encrypt as an Axis camera does: return (clip, key file)."""
    aes, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    padder, cipher = symmetric.PKCS7(128).padder(), Cipher(algorithms.AES(aes), modes.CBC(iv)).encryptor()
    locked = cipher.update(padder.update(clip) + padder.finalize()) + cipher.finalize()
    wrapped = key.encrypt(aes, padding.OAEP(mgf=padding.MGF1(SHA1()), algorithm=SHA1(), label=None))
    envelope = {
        "PublicKeyId": "k-1",
        "WrappedContentKey": {"EncryptedKey": b64encode(wrapped).decode(), "Algorithm": "RSA-OAEP"},
        "ContentEncryptionIV": b64encode(iv).decode(),
    }
    return locked, json.dumps(envelope, indent=1).encode()


def md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
