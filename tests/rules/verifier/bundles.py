"""Bundles made on the spot: a camera, a ledger, two people, a Kluis."""

import io
import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.approvals import (
    Range,
    ViewingRequest,
    approval_challenge,
    canonical,
    request_challenge,
    request_sha256,
)
from broker.wire.archive import Archive, ArchiveWriter
from broker.wire.bundle import LOOSE, BundleWriter, Part, ProvenEntry, Release, canonical_json
from broker.wire.certificates import Certificate, sign_certificate
from broker.wire.entries import write_entry
from broker.wire.ids import parse_org, tenant_id
from broker.wire.recording import Checkpoint, Flag, Sealer, StopReason, segment_digest, segment_keys
from broker.wire.statements import Statement, sign_in_software, software_credential
from broker.wire.tlog import Proof, Tree, leaf_hash, sign_checkpoint, verifier_key, write_proof
from cloud.kluis.rules.roster import EnrolledKey, Official, Roster, sign_document, write_roster
from cloud.verifier.verdicts import Report
from cloud.verifier.verify import Trust, verify
from tests.rules.wire.recordings import NOON, SECOND, camera_key, parties, recipients, recording_id, seal, seeded

ORG = parse_org("heusden")
ORIGIN = "heusden.example/ledger"
MINUTE = timedelta(minutes=1)
ASKED_AT = NOON + timedelta(days=1)


def key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seeded(name))


class Log:
    """A ledger in memory."""

    def __init__(self, name: str = "ledger") -> None:
        self.key = key(name)
        self.entries: list[bytes] = []
        self.tree = Tree()

    def append(self, kind: str, *, subject: str, actor: str = "system", at: datetime = NOON, **facts: Any) -> int:
        self.entries.append(write_entry(kind, subject=subject, actor=actor, at=at, facts=facts))
        self.tree.append(leaf_hash(self.entries[-1]))
        return len(self.entries) - 1

    @property
    def checkpoint(self) -> bytes:
        return sign_checkpoint(origin=ORIGIN, size=self.tree.size, root=self.tree.root(), key=self.key).note

    def proven(self, index: int) -> ProvenEntry:
        proof = Proof(index=index, path=self.tree.inclusion(index), checkpoint=self.checkpoint)
        return ProvenEntry(entry=self.entries[index], proof=write_proof(proof))

    def growth(self, sizes: Sequence[int]) -> dict[int, tuple[bytes, ...]]:
        return {size: self.tree.consistency(size) for size in sizes}


@dataclass(kw_only=True)
class Town:
    """What one bundle is made from; change a field and `pack` again."""

    log: Log = field(default_factory=Log)
    kluis: Ed25519PrivateKey = field(default_factory=lambda: key("kluis"))
    camera: Ed25519PrivateKey = field(default_factory=camera_key)
    part: Part
    head: bytes
    segments: tuple[bytes, ...]
    plaintexts: tuple[bytes, ...]
    end: bytes | None
    keys: dict[int, bytes]
    enrolled: ProvenEntry | None
    received: ProvenEntry | None
    release: Release | None
    footage: bytes | None
    destroying: ProvenEntry | None = None
    certificate: bytes | None = None
    admitted: ProvenEntry | None = None

    @property
    def ends(self) -> tuple[bytes, ...]:
        return tuple(raw[:160] + raw[-128:] for raw in self.segments)

    @property
    def ledger_key(self) -> str:
        return verifier_key(ORIGIN, self.log.key.public_key())

    @property
    def trust(self) -> Trust:
        return Trust(ledger=self.ledger_key, kluis=self.kluis.public_key().public_bytes_raw())

    def pack(self, *, disclose: bool = True, ledger: bool = True) -> bytes:
        target = io.BytesIO()
        writer = BundleWriter(
            target, org=ORG, ledger_key=self.ledger_key, kluis_key=self.kluis.public_key().public_bytes_raw()
        )
        writer.add_recording(
            part=self.part,
            head=self.head,
            ends=self.ends,
            end=self.end,
            segments=[raw for n, raw in enumerate(self.segments) if self.part.holds(n)],
            keys=self.keys,
            enrolled=self.enrolled,
            received=self.received,
            admitted=self.admitted,
            footage=None if self.footage is None else [self.footage],
            destroying=self.destroying,
            certificate=self.certificate,
        )
        if self.release is not None:
            writer.add_release(self.release)
        if ledger:
            writer.add_ledger(checkpoint=self.log.checkpoint, growth=self.log.growth(writer.sizes))
        digest = writer.finish()
        disclosure: ProvenEntry | None = None
        growth: tuple[bytes, ...] = ()
        if disclose:
            index = self.log.append(
                "disclosure.made",
                subject="case-7",
                actor="o-privacy",
                at=ASKED_AT + MINUTE,
                manifest_sha256=digest.hex(),
            )
            disclosure, growth = self.log.proven(index), self.log.tree.consistency(index)
            self.log.entries.pop()
            self.log.tree.forget_after(index)
        writer.close(disclosure, growth=growth)
        return target.getvalue()


def town(
    plaintexts: tuple[bytes, ...] = (b"init", b"one", b"two", b"three"),
    *,
    first: int = 1,
    last: int = 2,
    flags: tuple[Flag, ...] = (),
    two_people: bool = True,
    size_at_undocking: int = 1,
) -> Town:
    """Make a town with one recording, a viewing of segments first..last, and everything that belongs to it."""
    log, camera, name = Log(), camera_key(), str(recording_id())
    log.append("policy.adopted", subject=ORG)
    enrolled = log.append("camera.enrolled", subject="cam-01", public_key=camera.public_key().public_bytes_raw().hex())
    data_key = seeded("data key")
    head, sealer = Sealer.start(
        tenant=tenant_id(ORG),
        signing_key=camera,
        recording=recording_id(),
        boot=b"first boot......",
        data_key=data_key,
        recipients=recipients(parties(1)),
        checkpoint=Checkpoint(size=size_at_undocking, root=log.tree.root(size_at_undocking)),
    )
    said = flags or (Flag.NONE,) * len(plaintexts)
    segments = tuple(seal(sealer, text, flags=flag) for text, flag in zip(plaintexts, said, strict=True))
    end = sealer.finish(reason=StopReason.OFFICER, ended_at=NOON + len(plaintexts) * SECOND)
    received = log.append("recording.received", subject=name, **received_facts(head, segments))
    part = Part(recording=recording_id(), first=first, last=last)
    held = {0, *range(first, last + 1)}
    keys = {n: segment_keys(data_key, recording_id(), n, n)[0] for n in sorted(held)}
    release = make_release(log, first=first, last=last, two_people=two_people)
    return Town(
        log=log,
        part=part,
        head=head,
        segments=segments,
        plaintexts=plaintexts,
        end=end,
        keys=keys,
        enrolled=log.proven(enrolled),
        received=log.proven(received),
        release=release,
        footage=b"".join(plaintexts[n] for n in sorted(held)),
    )


def received_facts(head: bytes, segments: Sequence[bytes]) -> dict[str, Any]:
    last = segment_digest(segments[-1]) if segments else sha256(head).digest()
    return {"head_sha256": sha256(head).hexdigest(), "last_hash": last.hex(), "segments": len(segments)}


def make_request(*, first: int, last: int, two_people: bool = True) -> ViewingRequest:
    return ViewingRequest(
        id="01a1f2b0-0000-7000-8000-000000000001",
        org=ORG,
        recordings=(Range(id=str(recording_id()), first=first, last=last),),
        from_at=NOON,
        until_at=NOON + MINUTE,
        purpose="aggression",
        case="case-7",
        case_kind="aggression",
        requester="o-asks",
        second="o-agrees" if two_people else None,
        session_key=b64encode(parties(2)[1].public_key).decode(),
        issued_at=ASKED_AT,
        not_after=ASKED_AT + 15 * MINUTE,
        policy_version=1,
    )


def roster(*officials: str, person: Mapping[str, str] | None = None) -> Roster:
    return Roster(
        org=ORG,
        version=1,
        officials=tuple(
            Official(
                id=each,
                person=(person or {}).get(each, ""),
                employed_from=NOON,
                credentials=(_enrolled(each),),
            )
            for each in officials
        ),
    )


def _enrolled(official: str) -> EnrolledKey:
    credential = software_credential(key(official).public_key())
    return EnrolledKey(id=credential.id, kind=credential.kind, public_key=credential.public_key)


def signed_roster(people: Roster) -> bytes:
    return sign_document(write_roster(people), key("kluis"), kind="roster")


def make_release(
    log: Log,
    *,
    first: int,
    last: int,
    two_people: bool = True,
    people: Roster | None = None,
    change: Callable[[Statement], Statement] = lambda statement: statement,
    asked_at: datetime = ASKED_AT,
    order: Sequence[str] = ("viewing.requested", "viewing.approved"),
) -> Release:
    """Write a request in the ledger as the two people do, and return what the bundle says of it."""
    raw = canonical(make_request(first=first, last=last, two_people=two_people))
    digest = request_sha256(raw).hex()
    actors = {"viewing.requested": "o-asks", "viewing.approved": "o-agrees"}
    indexes = {
        kind: log.append(kind, subject="case-7", actor=actors[kind], at=asked_at, request_sha256=digest)
        for kind in order
    }
    statements = [sign_in_software("o-asks", key("o-asks"), request_challenge(raw))]
    if two_people:
        statements.append(sign_in_software("o-agrees", key("o-agrees"), approval_challenge(raw)))
    return Release(
        request=raw,
        statements=tuple(map(change, statements)),
        roster=signed_roster(people or roster("o-asks", "o-agrees", "o-privacy")),
        requested=log.proven(indexes["viewing.requested"]),
        approved=log.proven(indexes["viewing.approved"]) if two_people else None,
    )


def destroyed(made: Town, *, commitment: str | None = None) -> Town:
    """Return the town after the term: nothing of the footage left, but order and certificate."""
    index = made.log.append(
        "retention.destroying", subject=str(made.part.recording), at=NOON + timedelta(days=28), rule="term"
    )
    proven = made.log.proven(index)
    certificate = Certificate(
        org=ORG,
        recording=made.part.recording,
        state="executed",
        held=True,
        commitment=commitment or made.head[58:90].hex(),
        head_sha256=received_facts(made.head, ())["head_sha256"],
        rule="term",
        entry_sha256=leaf_hash(proven.entry).hex(),
        executed_at=NOON + timedelta(days=28),
        generation=3,
        final_after=NOON + timedelta(days=36),
    )
    return replace(
        made,
        part=Part(recording=made.part.recording, first=0, last=-1),
        keys={},
        footage=None,
        release=None,
        destroying=proven,
        certificate=sign_certificate(certificate, made.kluis),
    )


def judged(raw: bytes, trust: Trust | None = None) -> Report:
    """Verify these bytes."""
    return verify(io.BytesIO(raw), trust or Trust())


def members_of(raw: bytes) -> dict[str, bytes]:
    """Take a bundle apart."""
    archive = Archive(io.BytesIO(raw))
    return {member.name: archive.read(member.name, at_most=2**30) for member in archive.members}


def repacked(members: Mapping[str, bytes]) -> bytes:
    """Put a bundle together again as a skilled forger would: checksums and list of contents fit the new bytes."""
    manifest = json.loads(members["manifest.json"])
    manifest["files"] = {
        name: {"size": len(content), "sha256": sha256(content).hexdigest()}
        for name, content in members.items()
        if name not in LOOSE
    }
    return packed({**members, "manifest.json": canonical_json(manifest)})


def packed(members: Mapping[str, bytes]) -> bytes:
    """Put these very members in an archive."""
    target = io.BytesIO()
    writer = ArchiveWriter(target)
    for name, content in members.items():
        writer.add(name, content)
    writer.close()
    return target.getvalue()
