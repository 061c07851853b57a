"""The durable writers under test, each as a program that says a dot when it promises; and how each is checked.

``python -m tests.adapters.crash.writers NAME FOLDER COUNT`` does COUNT operations. Controls are writers that break the
rules on purpose: if the search does not catch them, it is the search that is broken.
"""

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tinydb import TinyDB

from broker.identities import Authority, IdentityError
from broker.rules.access import Role
from broker.wire.events import EventReceipt
from broker.wire.ids import DeviceId, Org, RecordingId
from broker.wire.recording import Checkpoint, Flag, Kind, Recipient, StopReason, read_segment, xwing_from_seed
from cloud.vault import shelf, store
from cloud.vault.shelf import Shelf
from cloud.vault.store import Vault, VaultEraser
from dock_agent.card_reader import DockedCard
from dock_agent.state import DockState
from edge.card import MemoryCard, Plain
from edge.outbox import Outbox, Waiting
from tests.adapters.intake.town import Camera, write_card

NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
PREFIXES = ("00", "01")
BOOT = "0199aaaa"
BUNDLED_BYTES = 4500  # a block and a rest
KEY = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x01")


def promise() -> None:
    os.write(1, b".")


SHRUNK = (
    (shelf, "_prefixes"),
    (shelf, "DISK_WRITE_BYTES"),
    (shelf, "DIRECT_FROM_BYTES"),
    (shelf, "sync_folder"),
    (shelf, "sync_everything"),
    (store, "PIECE_BYTES"),
    (os, "fsync"),
)
"""What the writers and those who judge them make smaller or worse, in the process they are in."""


@contextmanager
def full_size_afterwards() -> Iterator[None]:
    """Put it all back at the end: what comes next in this process has a vault of full size."""
    before = [(module, name, getattr(module, name)) for module, name in SHRUNK]
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def few_folders() -> None:
    """The same shelf with two folders instead of 256: as many kinds of states, and much faster to look at."""
    shelf._prefixes = lambda: iter(PREFIXES)


def name_of(number: int) -> bytes:
    return bytes([number % 2]) + hashlib.sha256(str(number).encode()).digest()[1:]


def content_of(number: int, size: int = 12_000) -> bytes:
    return hashlib.shake_256(f"content {number}".encode()).digest(size)


def uuid_of(number: int) -> RecordingId:
    return RecordingId(UUID(int=(number + 1 << 80) | 0x7000 << 64 | 0x8 << 60))


class Lost(Exception):  # noqa: N818 - what a search finds
    """Something that was promised is not there."""


class Unreadable(Exception):  # noqa: N818 - what a search finds
    """Something is there that is not whole, or nothing can be read at all."""


# --- the vault ------------------------------------------------------------------------------------------------------


def vault_folder(folder: Path) -> None:
    few_folders()
    Shelf.create(folder)


def vault_put(folder: Path, count: int) -> None:
    few_folders()
    kept = Shelf(folder)
    for number in range(count):
        kept.put(name_of(number), content_of(number))
        promise()


def vault_check(folder: Path, acknowledged: int, count: int) -> None:
    few_folders()
    vault = Shelf(folder)
    vault.recover()
    whole = {name_of(number): content_of(number) for number in range(count)}
    for digest in vault.digests():
        if vault.read(digest) != whole.get(digest):
            raise Unreadable(f"{digest.hex()[:8]} is not whole")
    missing = [number for number in range(acknowledged) if not vault.has(name_of(number))]
    if missing:
        raise Lost(f"{missing} were acknowledged")
    if any(path.name.startswith(".") for path in folder.rglob("*")):
        raise Unreadable("a leftover of the crash stays for ever")


def vault_stream(folder: Path, count: int) -> None:
    """Segments through the door that the receiver uses, in several pieces."""
    few_folders()
    store.PIECE_BYTES = 1024  # type: ignore[misc]
    shelf.DISK_WRITE_BYTES = 700  # type: ignore[misc]

    async def run() -> None:
        vault = Vault.open(folder, workers=1)
        for number in range(count):
            raw, digest = segment_of(number)
            async with vault.receive(digest, size=len(raw)) as incoming:
                for start in range(0, len(raw), 500):
                    await incoming.write(raw[start : start + 500])
                await incoming.keep(lambda *_: None)
            promise()
        vault.close()

    asyncio.run(run())


def vault_bundle(folder: Path, count: int) -> None:
    """Three segments at a time, as they come in a bundle, written past the page cache; each of them is a promise."""
    few_folders()
    shelf.DIRECT_FROM_BYTES = shelf.BLOCK_BYTES  # type: ignore[misc]
    kept = Shelf(folder)
    for start in range(0, count * 3, 3):
        kept.put_all([(name_of(number), content_of(number, BUNDLED_BYTES)) for number in range(start, start + 3)])
        promise()


def vault_bundle_check(folder: Path, acknowledged: int, count: int) -> None:
    few_folders()
    vault = Shelf(folder)
    vault.recover()
    whole = {name_of(number): content_of(number, BUNDLED_BYTES) for number in range(count * 3)}
    for digest in vault.digests():
        if vault.read(digest) != whole.get(digest):
            raise Unreadable(f"{digest.hex()[:8]} is not whole")
    missing = [number for number in range(acknowledged * 3) if not vault.has(name_of(number))]
    if missing:
        raise Lost(f"{missing} were acknowledged")


def bundle_without_sync(folder: Path, count: int) -> None:
    def nothing(folder: Path, *, opened_before: int | None = None) -> None:
        """Trust the last file and the first folder to take the others along."""

    shelf.sync_everything = nothing
    vault_bundle(folder, count)


def segment_of(number: int) -> tuple[bytes, bytes]:
    """Bytes of which header and tail hash to a name in one of the two folders."""
    for salt in range(100_000):
        raw = content_of(number * 1_000_000 + salt, 2600)
        digest = hashlib.sha256(raw[:160] + raw[-128:]).digest()
        if digest[0] < len(PREFIXES):
            return raw, digest
    raise AssertionError


def vault_stream_check(folder: Path, acknowledged: int, count: int) -> None:
    few_folders()
    vault = Shelf(folder)
    vault.recover()
    whole = {digest: raw for raw, digest in map(segment_of, range(count))}
    for digest in vault.digests():
        if vault.read(digest) != whole.get(digest):
            raise Unreadable(f"{digest.hex()[:8]} is not whole")
    missing = [digest for digest in list(whole)[:acknowledged] if not vault.has(digest)]
    if missing:
        raise Lost(f"{len(missing)} were acknowledged")


def vault_erase(folder: Path, count: int) -> None:
    """Everything is put in first (not promised here); each erasure is then a promise."""
    few_folders()
    kept = Shelf(folder)
    for number in range(count):
        kept.put(name_of(number), content_of(number, 700))
    eraser = VaultEraser(folder)
    for number in range(count):
        eraser._shelf.erase(name_of(number))
        promise()


def vault_erase_check(folder: Path, acknowledged: int, count: int) -> None:
    few_folders()
    vault = Shelf(folder)
    vault.recover()
    back = [number for number in range(acknowledged) if vault.has(name_of(number))]
    if back:
        raise Lost(f"{back} were erased, and came back")
    if any(
        vault.read(digest) != content_of(number, 700) for number in range(count) if vault.has(digest := name_of(number))
    ):
        raise Unreadable("what is there is not whole")


def vault_without_file_sync(folder: Path, count: int) -> None:
    real = os.fsync
    os.fsync = lambda fd: real(fd) if Path(f"/proc/self/fd/{fd}").is_dir() else None
    vault_put(folder, count)


def vault_without_folder_sync(folder: Path, count: int) -> None:
    def nothing(folder: Path) -> None:
        """Leave the names to chance."""

    setattr(shelf, "sync_folder", nothing)  # noqa: B010 - a name that shelf imports, not one of its own
    vault_put(folder, count)


# --- the dock -------------------------------------------------------------------------------------------------------


def dock_state(folder: Path, count: int) -> None:
    state = DockState(folder / "state.json")
    for number in range(count):
        state.remember_receipt(uuid_of(number), DeviceId("cam-01"), content_of(number, 600))
        promise()
    state.close()


def dock_state_check(folder: Path, acknowledged: int, count: int) -> None:
    try:
        state = DockState(folder / "state.json")
        found = [state.receipt(uuid_of(number)) for number in range(count)]
        state.close()
    except (ValueError, KeyError) as cause:
        raise Unreadable(str(cause)) from cause
    if any(found[number] != content_of(number, 600) for number in range(acknowledged)):
        raise Lost("a receipt that was remembered")
    if any(each not in {None, content_of(number, 600)} for number, each in enumerate(found)):
        raise Unreadable("a receipt that is not whole")


def stock_tinydb(folder: Path, count: int) -> None:
    """The control: the same through the storage that comes with TinyDB."""
    with TinyDB(folder / "state.json") as db:
        for number in range(count):
            db.insert({"number": number, "receipt": content_of(number, 600).hex()})
            promise()
        for _ in range(count // 2):
            db.remove(doc_ids=[min(row.doc_id for row in db)])


def stock_tinydb_check(folder: Path, acknowledged: int, count: int) -> None:
    try:
        path = folder / "state.json"
        rows = json.loads(path.read_bytes() or b"{}") if path.exists() else {}
    except ValueError as cause:
        raise Unreadable(str(cause)) from cause
    if acknowledged < count and len(rows.get("_default", {})) < acknowledged:
        raise Lost("a receipt that was remembered")


def empty_card(folder: Path) -> None:
    write_card(Camera(DeviceId("cam-01"), key=KEY), folder / "card")
    (folder / "bay").mkdir()


def dock_receipts(folder: Path, count: int) -> None:
    card = DockedCard(folder / "card")
    for number in range(count):
        card.hand_receipt(uuid_of(number % 3), content_of(number, 1500))  # also over an older one
        promise()


def dock_receipts_check(folder: Path, acknowledged: int, count: int) -> None:
    for slot in range(3):
        path = folder / "card" / "receipts" / f"{uuid_of(slot)}.receipt"
        mine = [number for number in range(count) if number % 3 == slot]
        promised = [number for number in mine if number < acknowledged]
        if not path.exists():
            if promised:
                raise Lost(f"receipt {promised[-1]}")
            continue
        whole = [number for number in mine if path.read_bytes() == content_of(number, 1500)]
        if not whole:
            raise Unreadable(f"receipt in slot {slot}")
        if promised and whole[0] < promised[-1]:
            raise Lost(f"receipt {promised[-1]}, an older one is there")


# --- the camera's card ----------------------------------------------------------------------------------------------


def card_of(folder: Path) -> MemoryCard:
    return MemoryCard(
        folder,
        org=Org("heusden"),
        camera=DeviceId("cam-01"),
        signing_key=KEY,
        receipt_key=KEY.public_key(),
        limit_bytes=10**9,
    )


def camera_card(folder: Path, count: int) -> None:
    """A recording of `count` segments; each is a promise once it is on the card."""
    keys = xwing_from_seed(bytes(32))
    card = card_of(folder)
    writing = card.begin(
        uuid_of(0),
        boot=bytes(16),
        recipients=(Recipient(key_id=keys.key_id, public_key=keys.public_key),),
        checkpoint=Checkpoint(size=0, root=bytes(32)),
    )
    for number in range(count):
        at = NOW + timedelta(seconds=number)
        plain = Plain(
            plaintext=content_of(number, 1800),
            kind=Kind.VIDEO,
            flags=Flag.NONE,
            starts_at=at,
            ends_at=at + timedelta(seconds=1),
            monotonic_us=number * 1_000_000,
        )
        writing.append([plain])
        promise()
    writing.finish(reason=StopReason.OFFICER, ended_at=NOW + timedelta(seconds=count))


def camera_card_check(folder: Path, acknowledged: int, count: int) -> None:
    card = card_of(folder)
    found = card.recover(now=NOW + timedelta(hours=1))
    names = card.recordings()
    if acknowledged and names != (uuid_of(0),):
        raise Lost("the recording")
    if found.strange:
        raise Unreadable(found.strange[0])
    if not names:
        return
    inside = DockedCard(folder).contents(names[0])  # as a dock will read it
    if len(inside.segments) < acknowledged:
        raise Lost(f"{len(inside.segments)} of {acknowledged} segments")
    for each in inside.segments:
        read_segment((card.folder_of(names[0]) / f"{each.sequence:08}.vos").read_bytes(), KEY.public_key())


def camera_outbox(folder: Path, count: int) -> None:
    """Each event is a promise; the cloud confirms every second one, and with it the one before."""
    outbox = Outbox(folder / "outbox")
    for number in range(1, count + 1):
        outbox.append(said(number))
        promise()
        if number % 2 == 0:
            outbox.confirm(EventReceipt(boot=BOOT, sequence=number))


def camera_outbox_check(folder: Path, acknowledged: int, count: int) -> None:
    outbox = Outbox(folder / "outbox")
    waiting = outbox.waiting()
    if any("cannot be read" in strange for strange in outbox.strange) or any(
        each != said(each.sequence) for each in waiting
    ):
        raise Unreadable(f"the outbox: {outbox.strange}")
    unconfirmed = set(range(acknowledged // 2 * 2 + 1, acknowledged + 1))
    if missing := unconfirmed - {each.sequence for each in waiting}:
        raise Lost(f"events {missing} that nobody confirmed")


def said(number: int) -> Waiting:
    payload = json.dumps({"number": number, "words": content_of(number, 300).hex()}).encode()
    return Waiting(boot=BOOT, sequence=number, topic="vo/v1/heusden/cam/cam-01/evt/activation", payload=payload)


# --- the broker's identities ----------------------------------------------------------------------------------------


def authority(folder: Path) -> None:
    Authority.create(folder / "pki", "heusden", clock=lambda: NOW)


def identities(folder: Path, count: int) -> None:
    """Certificates handed out, of which every third is then revoked."""
    pki = Authority.open(folder / "pki", clock=lambda: NOW)
    for number in range(count):
        pki.issue(f"cam-{number}", Role.CAMERA)
        promise()
        if number % 3 == 2:
            pki.revoke(f"cam-{number}")


def identities_check(folder: Path, acknowledged: int, count: int) -> None:
    try:
        pki = Authority.open(folder / "pki", clock=lambda: NOW)
        known = pki.registry.identities
        for number in range(acknowledged):
            files = pki.credentials(f"cam-{number}")
            certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
            key = serialization.load_pem_private_key(files.key.read_bytes(), None)
            if certificate.public_key() != key.public_key():
                raise Unreadable(f"cam-{number} has the key of another certificate")
            if known[f"cam-{number}"].serial != f"{certificate.serial_number:x}":
                raise Lost(f"the registry does not know the certificate of cam-{number}")
    except (OSError, KeyError, IdentityError) as cause:
        raise Lost(repr(cause)) from cause
    except ValueError as cause:
        raise Unreadable(str(cause)) from cause
    if any(number % 3 == 2 and known[f"cam-{number}"].revoked_at is None for number in range(acknowledged - 1)):
        raise Lost("a revocation")


@dataclass(frozen=True)
class Writer:
    """One writer: what is there before it, what it does, how a disk is judged, and whether it must fail."""

    write: Callable[[Path, int], None]
    check: Callable[[Path, int, int], None]
    before: Callable[[Path], None] | None = None
    control: bool = False
    whole_run: int = 40  # operations in the long search


WRITERS: dict[str, Writer] = {
    "vault: put": Writer(vault_put, vault_check, vault_folder, whole_run=110),
    "vault: stream": Writer(vault_stream, vault_stream_check, vault_folder, whole_run=60),
    "vault: bundle": Writer(vault_bundle, vault_bundle_check, vault_folder, whole_run=28),
    "vault: erase": Writer(vault_erase, vault_erase_check, vault_folder, whole_run=100),
    "dock: state": Writer(dock_state, dock_state_check, whole_run=60),
    "dock: receipts": Writer(dock_receipts, dock_receipts_check, empty_card, whole_run=120),
    "camera: card": Writer(camera_card, camera_card_check, whole_run=50),
    "camera: outbox": Writer(camera_outbox, camera_outbox_check, whole_run=60),
    "broker: identities": Writer(identities, identities_check, authority, whole_run=20),
    "control: vault without file sync": Writer(
        vault_without_file_sync, vault_check, vault_folder, control=True, whole_run=3
    ),
    "control: vault without folder sync": Writer(
        vault_without_folder_sync, vault_check, vault_folder, control=True, whole_run=3
    ),
    "control: bundle without its sync": Writer(
        bundle_without_sync, vault_bundle_check, vault_folder, control=True, whole_run=4
    ),
    "control: TinyDB as it comes": Writer(stock_tinydb, stock_tinydb_check, control=True, whole_run=20),
}


if __name__ == "__main__":
    WRITERS[sys.argv[1]].write(Path(sys.argv[2]), int(sys.argv[3]))
