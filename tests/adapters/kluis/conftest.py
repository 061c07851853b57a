"""A founded Kluis on disk, and the town around it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.wire.approvals import Range, request_sha256, split_keys
from broker.wire.ids import RecordingId
from broker.wire.keylist import KeyList, read_keylist
from broker.wire.recording import open_sealed, open_segment
from cloud.kluis.about import Settings
from cloud.kluis.custody import Kluis
from cloud.kluis.founding import Founded, found
from cloud.kluis.messages import Released
from cloud.kluis.rules.release import Mode
from tests.rules.kluis.world import PLACE, Footage, World, heusden


@dataclass
class Town:
    """A world, its Kluis's folder, and the open Kluis."""

    world: World
    folder: Path
    founded: Founded
    opened: list[Kluis] = field(default_factory=list)

    @property
    def kluis(self) -> Kluis:
        if not self.opened:
            self.opened.append(Kluis.open(self.folder))
        return self.opened[0]

    def close(self) -> None:
        while self.opened:
            self.opened.pop().close()

    def reopen(self) -> Kluis:
        self.close()
        return self.kluis

    @property
    def key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.founded.signing_key)

    def keylist(self) -> KeyList:
        return read_keylist(self.kluis.keylist(self.world.now), self.key)

    def film(self, **options: Any) -> Footage:
        """Record and hand in."""
        footage = self.world.film(self.keylist(), **options)
        self.take(footage)
        return footage

    def take(self, footage: Footage) -> None:
        self.kluis.intake(footage.head, camera_public_key=footage.camera, end=footage.end, now=self.world.now)

    def ask(self, footage: Footage, *, first: int = 1, last: int = 3, **changes: Any) -> tuple[bytes, Released]:
        raw = self.world.request(Range(id=str(footage.id), first=first, last=last), **changes)
        return raw, self.kluis.release(raw, **self.world.submit(raw).arguments(), now=self.world.now)

    def watch(self, footage: Footage, *, first: int = 1, last: int = 3) -> list[bytes]:
        raw, released = self.ask(footage, first=first, last=last)
        sealed = released.recordings[0].sealed
        keys = split_keys(open_sealed(self.world.session, sealed, info=request_sha256(raw)), first=first, last=last)
        return [open_segment(footage.segments[n], keys[n]) for n in range(first, last + 1)]

    def destroy(self, recording: RecordingId) -> bytes:
        entry, proof = self.world.order(recording)
        return self.kluis.destroy(recording, entry=entry, proof=proof, now=self.world.now)

    def journal(self) -> str:
        return "\n".join(raw.decode() for raw in self.kluis.journal(0, 10_000))


def build(folder: Path, world: World, *, settings: Settings | None = None) -> Town:
    founded = found(
        folder,
        org=world.org,
        policy_toml=world.policy_toml,
        roster=world.officials,
        ledger_origin=world.ledger.origin,
        ledger_key=world.ledger.key.public_key(),
        mode=world.mode.value,
        now=world.now,
        place=PLACE,
        settings=settings,
    )
    return Town(world, folder, founded)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with contextlib.closing(build(tmp_path / "kluis", heusden())) as town:
        yield town


@pytest.fixture
def standard(tmp_path: Path) -> Iterator[Town]:
    """The same with security keys."""
    with contextlib.closing(build(tmp_path / "kluis", heusden(Mode.STANDARD))) as town:
        yield town
