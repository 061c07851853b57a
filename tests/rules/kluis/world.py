"""A town in memory: officials with keys, a ledger, requests. No files, no clock."""

import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.approvals import (
    Place,
    Range,
    Statement,
    ViewingRequest,
    approval_challenge,
    canonical,
    request_challenge,
    request_sha256,
    sign_in_software,
    software_credential,
)
from broker.wire.entries import write_entry
from broker.wire.ids import Org, RecordingId, tenant_id, uuid7
from broker.wire.keylist import KeyList
from broker.wire.policy import Policy, read_policy
from broker.wire.recording import Checkpoint, Flag, Kind, Sealer, StopReason, xwing_from_seed
from broker.wire.tlog import Proof, Tree, leaf_hash, sign_checkpoint, write_proof
from cloud.kluis.rules.release import Mode, Trust
from cloud.kluis.rules.roster import Appointment, EnrolledKey, Official, Roster, Substitution
from tests.rules.kluis.security_key import SecurityKey

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)
PLACE = Place(rp_id="desk.example", origins=("https://desk.example",))
POLICIES = Path(__file__).parents[3] / "deploy" / "policy"


@dataclass(kw_only=True)
class Submission:
    """What is handed to the Kluis with a request."""

    statements: tuple[Statement, ...]
    entries: tuple[bytes, ...]
    proofs: tuple[bytes, ...]

    def arguments(self) -> dict[str, Any]:
        return {"statements": self.statements, "entries": self.entries, "proofs": self.proofs}


@dataclass(kw_only=True)
class Footage:
    """One recording of one camera."""

    id: RecordingId
    camera: bytes
    head: bytes
    end: bytes
    segments: tuple[bytes, ...]


@dataclass
class MemoryLedger:
    """A ledger that proves, without a disk."""

    origin: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    tree: Tree = field(default_factory=Tree)

    def log(self, kind: str, *, subject: str, actor: str, at: datetime, facts: dict[str, Any]) -> tuple[bytes, bytes]:
        raw = write_entry(kind, subject=subject, actor=actor, at=at, facts=facts)
        self.tree.append(leaf_hash(raw))
        size = self.tree.size
        note = sign_checkpoint(origin=self.origin, size=size, root=self.tree.root(), key=self.key).note
        return raw, write_proof(Proof(index=size - 1, path=self.tree.inclusion(size - 1), checkpoint=note))


class World:
    """One municipality. `now` is the time everybody sees."""

    def __init__(self, org: str = "heusden", *, mode: Mode = Mode.DEMONSTRATION) -> None:
        self.org, self.mode, self.now = org, mode, NOW
        self.policy_toml = (POLICIES / f"{org}.toml").read_text()
        self.policy: Policy = read_policy(self.policy_toml)
        self.ledger = MemoryLedger(f"ledger.example/{org}")
        self.software: dict[str, Ed25519PrivateKey] = {}
        self.security: dict[str, SecurityKey] = {}
        self.officials: list[Official] = []
        self.session = xwing_from_seed(secrets.token_bytes(32))

    def add(
        self,
        official: str,
        *roles: str,
        person: str = "",
        department: str | None = "Bedrijfsvoering",
        until: datetime | None = None,
        substitutes: dict[str, str] | None = None,
    ) -> "World":
        self.software[official] = Ed25519PrivateKey.generate()
        self.security[official] = SecurityKey(PLACE)
        keys = (software_credential(self.software[official].public_key()), self.security[official].credential)
        self.officials.append(
            Official(
                id=official,
                person=person,
                department=department,
                employed_from=LONG_AGO,
                employed_until=until,
                appointments=tuple(Appointment(role=role, from_at=LONG_AGO) for role in roles),
                substitutions=tuple(
                    Substitution(role=role, replaced=replaced, from_at=LONG_AGO, until_at=NOW + timedelta(days=9))
                    for role, replaced in (substitutes or {}).items()
                ),
                credentials=tuple(EnrolledKey(id=key.id, kind=key.kind, public_key=key.public_key) for key in keys),
            )
        )
        return self

    @property
    def roster(self) -> Roster:
        return Roster(org=self.org, version=1, officials=tuple(self.officials))

    @property
    def trust(self) -> Trust:
        return Trust(
            org=self.org,
            mode=self.mode,
            policy=self.policy,
            roster=self.roster,
            ledger_origin=self.ledger.origin,
            ledger_key=self.ledger.key.public_key(),
            place=PLACE,
        )

    def request(self, *recordings: Range, **changes: Any) -> bytes:
        usual = ViewingRequest(
            id=str(UUID(bytes=secrets.token_bytes(16), version=4)),
            org=self.org,
            recordings=recordings or (Range(id=str(self.recording_id()), first=1, last=3),),
            from_at=self.now - timedelta(hours=2),
            until_at=self.now - timedelta(hours=1),
            purpose="complaint",
            case="case-7",
            case_kind="complaint",
            requester="o-cluster",
            second="o-secretary",
            session_key=b64encode(self.session.public_key).decode(),
            issued_at=self.now,
            not_after=self.now + timedelta(minutes=10),
            policy_version=1,
        )
        return canonical(msgspec.structs.replace(usual, **changes))

    def sign(self, official: str, challenge: bytes) -> Statement:
        if self.mode is Mode.STANDARD:
            return self.security[official].sign(official, challenge)
        return sign_in_software(official, self.software[official], challenge)

    def submit(self, raw: bytes, *, requester: str = "o-cluster", second: str | None = "o-secretary") -> Submission:
        """Sign and log as honest people do."""
        facts = {"request_sha256": request_sha256(raw).hex()}
        statements = [self.sign(requester, request_challenge(raw))]
        logged = [self.ledger.log("viewing.requested", subject="case-7", actor=requester, at=self.now, facts=facts)]
        if second is not None:
            statements.append(self.sign(second, approval_challenge(raw)))
            logged.append(self.ledger.log("viewing.approved", subject="case-7", actor=second, at=self.now, facts=facts))
        return Submission(
            statements=tuple(statements),
            entries=tuple(entry for entry, _ in logged),
            proofs=tuple(proof for _, proof in logged),
        )

    def order(self, recording: RecordingId, *, rule: str = "retention.days") -> tuple[bytes, bytes]:
        """The ledger's order to destroy."""
        return self.ledger.log(
            "retention.destroying", subject=str(recording), actor="svc-retention", at=self.now, facts={"rule": rule}
        )

    def recording_id(self) -> RecordingId:
        return RecordingId(uuid7(self.now, secrets.token_bytes(10)))

    def film(
        self,
        keylist: KeyList,
        *,
        seconds: int = 5,
        files: Sequence[bytes] = (),
        recording: RecordingId | None = None,
        data_key: bytes | None = None,
        org: str | None = None,
        shares: int = 1,
    ) -> Footage:
        """A camera seals a short recording, and files behind it, to the key list."""
        camera, recording = Ed25519PrivateKey.generate(), recording or self.recording_id()
        head, sealer = Sealer.start(
            tenant=tenant_id(Org(org or self.org)),
            signing_key=camera,
            recording=recording,
            boot=secrets.token_bytes(16),
            data_key=data_key or secrets.token_bytes(32),
            recipients=keylist.recipients_at(self.now) * shares,
            checkpoint=Checkpoint(size=0, root=bytes(32)),
        )
        segments = tuple(
            sealer.seal(
                content,
                kind=Kind.VIDEO if n < seconds else Kind.FILE,
                flags=Flag.NONE,
                starts_at=self.now,
                ends_at=self.now,
                monotonic_us=n,
            )
            for n, content in enumerate([*(f"second {n}".encode() for n in range(seconds)), *files])
        )
        end = sealer.finish(reason=StopReason.OFFICER, ended_at=self.now)
        return Footage(
            id=recording, camera=camera.public_key().public_bytes_raw(), head=head, end=end, segments=segments
        )


def heusden(mode: Mode = Mode.DEMONSTRATION) -> World:
    """The officials that the policy's seats need, and some more."""
    return (
        World("heusden", mode=mode)
        .add("o-cluster", "cluster_manager")
        .add("o-secretary", "municipal_secretary")
        .add("o-privacy", "privacy_officer")
        .add("o-coordinator", "coordinator")
        .add("o-safety", "safety_coordinator")
        .add("h-1", "officer", department="Veiligheid en Handhaving")
        .add("h-2", "officer", department="Veiligheid en Handhaving")
    )


def rotterdam() -> World:
    """Two authorised viewers of another department; the policy asks for one person."""
    return (
        World("rotterdam")
        .add("v-1", "authorised_viewer")
        .add("v-2", "authorised_viewer")
        .add("h-1", "officer", department="Toezicht en Handhaving")
    )
