"""The bundle that leaves the house: everything a stranger needs to check footage without us, in one zip.

Made so that `vierogen verify` answers without a network, a database or a key of ours. Stored, never compressed, in the
one spelling of `broker/wire/archive.py`. It holds footage in the clear: whoever hands it over encrypts the whole for
its recipient.

    recordings/<id>/head.voh                as the camera made it
    recordings/<id>/ends.bin                header, trailer and signature (288 bytes) of every segment, also of those
                                            left out: order, gaps and completeness of the whole show in them
    recordings/<id>/00000000.vos …          the segments of the range, and segment 0, which holds no footage
    recordings/<id>/end.voe                 absent: the recording is open
    recordings/<id>/keys.bin                for each segment of the range: sequence 4, key 32
    recordings/<id>/footage.mp4             the plaintexts of its video segments, one after the other; absent: none
    recordings/<id>/files/00000001.mp4      a file of another maker's system, byte for byte as it came; named after the
                                            first of its segments. What it was called and what was said of it:
    recordings/<id>/letters/00000004.json   the segment behind it, opened; the first and the last are about the whole
    recordings/<id>/opened/00000001.mp4     that file in the clear, where its camera had encrypted it
    recordings/<id>/opened/00000001.key     what opens it: its AES key, and the initial vector of 16 bytes
    recordings/<id>/plan.json               of film in which people were made unrecognisable: what is hidden where. Its
                                            hash is the fact plan_sha256 of recording.received; derivative_of there
                                            names the original, which is not here
    recordings/<id>/footage.vtt             the same in words, for who watches the film
    recordings/<id>/enrolled.json/.proof    ledger entry camera.enrolled: facts public_key (hex)
    recordings/<id>/received.json/.proof    ledger entry recording.received: facts head_sha256, last_hash
    recordings/<id>/admitted.json/.proof    ledger entry recording.admitted: two people declared where it comes from;
                                            facts recorder, pressed_at, press_reason, proposed_by, wrong
    recordings/<id>/destroying.json/.proof  ledger entry that ordered its key destroyed
    recordings/<id>/destroyed.json          the Kluis's certificate, executed or final
    leesmij.html                            for a citizen: plays the film, and says what it is
    release/request.json                    what two people signed
    release/statements.json                 their signatures
    release/roster.json                     the Kluis's signed list of officials and their keys
    release/requested.json/.proof           ledger entry viewing.requested: fact request_sha256
    release/approved.json/.proof            ledger entry viewing.approved: the same
    release/released.json/.proof            ledger entry viewing.released: the same
    ledger/checkpoint                       the newest signed checkpoint
    ledger/growth.json                      for each smaller size named in a proof or head: the consistency proof to it
    manifest.json                           canonical JSON, see `Manifest`: names, sizes and hashes of all files above
    disclosure.json/.proof                  ledger entry disclosure.made: fact manifest_sha256 names this very bundle
    disclosure.growth.json                  the consistency proof from ledger/checkpoint to the checkpoint of that proof

A `.proof` is a C2SP tlog-proof. Everything but head, ends and manifest may be absent; the verifier then says what is
not shown.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from broker.wire.archive import Archive, ArchiveWriter
from broker.wire.ids import Org, RecordingId, parse_org, parse_recording
from broker.wire.recording import (
    KEY_BYTES,
    SEGMENT_HEADER_BYTES,
    SEGMENT_TAIL_BYTES,
    SegmentFacts,
    checkpoint_in,
    claimed_version,
    unverified_segment_facts,
)
from broker.wire.recording import VERSION as HEAD_VERSION
from broker.wire.refusals import Code, Refused, refuse
from broker.wire.statements import Place, Statement
from broker.wire.tlog import read_proof

FORMAT: Final = "vier-ogen/bundle"
VERSION: Final = 1
ENDS_BYTES: Final = SEGMENT_HEADER_BYTES + SEGMENT_TAIL_BYTES

MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024  # 65 535 files at some 200 bytes
MAX_SMALL_BYTES: Final = 4 * 1024 * 1024  # any entry, proof, request, roster, certificate
MAX_ENDS_BYTES: Final = 200_000 * ENDS_BYTES  # more seconds than two days have
MAX_FOOTAGE_BYTES: Final = 2**32

MANIFEST: Final = "manifest.json"
REQUEST: Final = "release/request.json"
STATEMENTS: Final = "release/statements.json"
ROSTER: Final = "release/roster.json"
REQUESTED: Final = "release/requested"
APPROVED: Final = "release/approved"
RELEASED: Final = "release/released"
README: Final = "leesmij.html"
PLAN: Final = "plan.json"
CAPTIONS: Final = "footage.vtt"
CHECKPOINT: Final = "ledger/checkpoint"
GROWTH: Final = "ledger/growth.json"
DISCLOSURE: Final = "disclosure"
DISCLOSURE_GROWTH: Final = "disclosure.growth.json"
LOOSE: Final = frozenset({MANIFEST, f"{DISCLOSURE}.json", f"{DISCLOSURE}.proof", DISCLOSURE_GROWTH})
"""What the manifest cannot list: itself, and what comes after it."""

_KEY_RECORD_BYTES: Final = 4 + KEY_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenEntry:
    """A ledger entry's bytes and the proof (tlog-proof text) that it stands in the ledger."""

    entry: bytes
    proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which part of which recording the bundle holds: segments first..last, beside segment 0; last < first: none."""

    recording: RecordingId
    first: int
    last: int

    def holds(self, sequence: int) -> bool:
        """Whether this segment is in the part."""
        return self.first <= sequence <= self.last or (sequence == 0 and self.first <= self.last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What the manifest says of one file."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is in the bundle, and the keys it claims. Canonical JSON: sorted keys, no spaces, whole numbers only.

    `ledger_key` is a C2SP verifier key (name+hash+base64), `kluis_key` 32 raw bytes, `place` where WebAuthn took place.
    """

    org: Org
    ledger_key: str
    kluis_key: bytes
    place: Place | None
    parts: tuple[Part, ...]
    files: Mapping[str, Listed] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Who was allowed to see the footage: the request's own bytes, the signatures, and the ledger's entries."""

    request: bytes
    statements: tuple[Statement, ...]
    roster: bytes  # signed by the Kluis
    requested: ProvenEntry
    approved: ProvenEntry | None
    released: ProvenEntry | None = None


class BundleWriter:
    """Writes a bundle to a new, seekable file. Blocks. One recording after the other, then `finish`, then `close`."""

    def __init__(
        self, target: BinaryIO, *, org: Org, ledger_key: str, kluis_key: bytes, place: Place | None = None
    ) -> None:
        self._archive = ArchiveWriter(target)
        self._about: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "org": org,
            "ledger_key": ledger_key,
            "kluis_key": b64encode(kluis_key).decode(),
            "place": None if place is None else {"rp_id": place.rp_id, "origins": list(place.origins)},
        }
        self._parts: list[dict[str, Any]] = []
        self._files: dict[str, dict[str, Any]] = {}
        self._sizes: set[int] = set()
        self._finished = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the ledger that heads and proofs written so far name: `add_ledger` needs the growth from each."""
        return tuple(sorted(self._sizes - {0}))

    def add_recording(
        self,
        *,
        part: Part,
        head: bytes,
        ends: Sequence[bytes],
        end: bytes | None,
        segments: Iterable[bytes],
        keys: Mapping[int, bytes],
        enrolled: ProvenEntry | None,
        received: ProvenEntry | None = None,
        admitted: ProvenEntry | None = None,
        footage: Iterable[bytes] | None = None,
        handed: Iterable[tuple[str, bytes | Iterable[bytes]]] = (),
        destroying: ProvenEntry | None = None,
        certificate: bytes | None = None,
    ) -> None:
        """Write one recording. `segments` are read one by one: those of the part, each whole; `ends` are of all.

        `handed`: what came from another maker's system, or says what was made unrecognisable; each with its name in the
        recording's folder, in any order.
        """
        folder = f"recordings/{part.recording}"
        self._parts.append({"id": str(part.recording), "first": part.first, "last": part.last})
        self._add(f"{folder}/head.voh", head)
        self._sizes.add(checkpoint_in(head).size)
        self._add(f"{folder}/ends.bin", b"".join(ends))
        if end is not None:
            self._add(f"{folder}/end.voe", end)
        for raw in segments:
            self._add(f"{folder}/{unverified_segment_facts(raw).sequence:08d}.vos", raw)
        if keys:
            self._add(f"{folder}/keys.bin", b"".join(n.to_bytes(4, "big") + keys[n] for n in sorted(keys)))
        if footage is not None:
            self._add(f"{folder}/footage.mp4", footage)
        for name, content in handed:
            self._add(f"{folder}/{name}", content)
        self._add_entry(f"{folder}/enrolled", enrolled)
        self._add_entry(f"{folder}/received", received)
        self._add_entry(f"{folder}/admitted", admitted)
        self._add_entry(f"{folder}/destroying", destroying)
        if certificate is not None:
            self._add(f"{folder}/destroyed.json", certificate)

    def add_release(self, release: Release) -> None:
        """Write who was allowed to see it."""
        self._add(REQUEST, release.request)
        self._add(STATEMENTS, canonical_json([_said(each) for each in release.statements]))
        self._add(ROSTER, release.roster)
        self._add_entry(REQUESTED, release.requested)
        self._add_entry(APPROVED, release.approved)
        self._add_entry(RELEASED, release.released)

    def add_readme(self, page: bytes) -> None:
        """Write the page for who gets the bundle without knowing what it is."""
        self._add(README, page)

    def add_ledger(self, *, checkpoint: bytes, growth: Mapping[int, Sequence[bytes]]) -> None:
        """Write the newest checkpoint, and from each smaller size the proof that the ledger only grew to it."""
        self._add(CHECKPOINT, checkpoint)
        said = {str(size): [b64encode(node).decode() for node in path] for size, path in growth.items()}
        self._add(GROWTH, canonical_json(said))

    def finish(self) -> bytes:
        """Write the manifest and return its SHA-256: the fact `manifest_sha256` of the hand-over's ledger entry."""
        manifest = canonical_json({**self._about, "recordings": self._parts, "files": self._files})
        self._finished = True
        self._archive.add(MANIFEST, manifest)
        return hashlib.sha256(manifest).digest()

    def close(self, disclosure: ProvenEntry | None = None, *, growth: Sequence[bytes] = ()) -> None:
        """Write the hand-over's ledger entry, if there is one, and the directory.

        `growth` proves that the ledger only grew from the checkpoint in the bundle to that of the entry's proof.
        """
        if not self._finished:
            raise ValueError("bundle: finish before close")
        if disclosure is not None:
            self._archive.add(f"{DISCLOSURE}.json", disclosure.entry)
            self._archive.add(f"{DISCLOSURE}.proof", disclosure.proof)
            self._archive.add(DISCLOSURE_GROWTH, canonical_json([b64encode(node).decode() for node in growth]))
        self._archive.close()

    def _add(self, name: str, content: bytes | Iterable[bytes]) -> None:
        if self._finished:
            raise ValueError("bundle: the manifest is written already")
        digest = hashlib.sha256()
        member = self._archive.add(name, _hashed(content, digest.update))
        self._files[name] = {"size": member.size, "sha256": digest.hexdigest()}

    def _add_entry(self, name: str, proven: ProvenEntry | None) -> None:
        if proven is not None:
            self._add(f"{name}.json", proven.entry)
            self._add(f"{name}.proof", proven.proof)
            self._sizes.add(_size_in(proven.proof))


def _hashed(content: bytes | Iterable[bytes], update: Callable[[bytes], None]) -> Iterator[bytes]:
    for chunk in (content,) if isinstance(content, bytes) else content:
        update(chunk)
        yield chunk


class Bundle:
    """A bundle being read. Opening and every method raise Refused for what is not in the documented form."""

    def __init__(self, source: BinaryIO) -> None:
        self.archive = Archive(source)
        self.manifest_raw = self.archive.read(MANIFEST, at_most=MAX_MANIFEST_BYTES)
        self.manifest = read_manifest(self.manifest_raw)

    def small(self, name: str) -> bytes:
        """Return a file that cannot be large."""
        return self.archive.read(name, at_most=MAX_SMALL_BYTES)

    def optional(self, name: str) -> bytes | None:
        """Return a file that cannot be large, or None where it is absent."""
        return self.small(name) if name in self.archive else None

    def entry(self, name: str) -> ProvenEntry | None:
        """Return a ledger entry with its proof, or None where both are absent."""
        if f"{name}.json" not in self.archive and f"{name}.proof" not in self.archive:
            return None
        return ProvenEntry(entry=self.small(f"{name}.json"), proof=self.small(f"{name}.proof"))

    def file(self, part: Part, name: str) -> str:
        """Return the whole name of a recording's file."""
        return f"recordings/{part.recording}/{name}"

    def ends(self, part: Part) -> tuple[bytes, ...]:
        """Return header, trailer and signature of every segment of the recording, in the order they lie in."""
        raw = self.archive.read(self.file(part, "ends.bin"), at_most=MAX_ENDS_BYTES)
        if len(raw) % ENDS_BYTES:
            raise refuse(Code.MALFORMED, "ends.bin", expected=f"records of {ENDS_BYTES} bytes", got=len(raw))
        return tuple(raw[at : at + ENDS_BYTES] for at in range(0, len(raw), ENDS_BYTES))

    def keys(self, part: Part) -> dict[int, bytes]:
        """Return the released segment keys by sequence number."""
        raw = self.optional(self.file(part, "keys.bin")) or b""
        if len(raw) % _KEY_RECORD_BYTES:
            raise refuse(Code.MALFORMED, "keys.bin", expected=f"records of {_KEY_RECORD_BYTES} bytes", got=len(raw))
        records = [raw[at : at + _KEY_RECORD_BYTES] for at in range(0, len(raw), _KEY_RECORD_BYTES)]
        keys = {int.from_bytes(each[:4], "big"): each[4:] for each in records}
        if list(keys) != sorted(keys) or len(keys) != len(records):
            raise refuse(Code.MALFORMED, "keys.bin", expected="each sequence once, in order", got="another order")
        return keys

    def growth(self) -> dict[int, tuple[bytes, ...]]:
        """Return the ledger's consistency proofs by the smaller size."""
        raw = self.optional(GROWTH)
        if raw is None:
            return {}
        try:
            said = read_canonical_json(raw)
            return {int(size): _hashes(path) for size, path in said.items()}
        except (ValueError, TypeError, AttributeError) as cause:
            raise refuse(Code.MALFORMED, GROWTH, expected="hashes by size", got=cause) from cause

    def disclosure_growth(self) -> tuple[bytes, ...]:
        """Return the consistency proof from the bundle's checkpoint to that of the hand-over; empty where absent."""
        raw = self.optional(DISCLOSURE_GROWTH)
        try:
            return () if raw is None else _hashes(read_canonical_json(raw))
        except (ValueError, TypeError) as cause:
            raise refuse(Code.MALFORMED, DISCLOSURE_GROWTH, expected="hashes", got=cause) from cause

    def statements(self) -> tuple[Statement, ...]:
        """Return the signatures under the request."""
        raw = self.small(STATEMENTS)
        try:
            return tuple(_read_statement(each) for each in read_canonical_json(raw))
        except (ValueError, TypeError, KeyError) as cause:
            raise refuse(Code.MALFORMED, STATEMENTS, expected="signed statements", got=cause) from cause


def segment_name(facts: SegmentFacts) -> str:
    """Return a segment's file name."""
    return f"{facts.sequence:08d}.vos"


def read_manifest(raw: bytes) -> Manifest:
    """Return what the manifest says; Refused (MALFORMED) unless it is of version 1, in its one spelling."""
    try:
        said = read_canonical_json(raw)
        if said["format"] != FORMAT or said["version"] != VERSION:
            raise ValueError(f"{said['format']} version {said['version']}")
        place = said["place"]
        manifest = Manifest(
            org=parse_org(said["org"]),
            ledger_key=text(said["ledger_key"]),
            kluis_key=strict_base64(said["kluis_key"]),
            place=None
            if place is None
            else Place(rp_id=text(place["rp_id"]), origins=tuple(map(text, place["origins"]))),
            parts=tuple(_read_part(each) for each in said["recordings"]),
            files={name: Listed(size=each["size"], sha256=each["sha256"]) for name, each in said["files"].items()},
        )
        if set(said) != {"format", "version", "org", "ledger_key", "kluis_key", "place", "recordings", "files"}:
            raise ValueError(f"other fields: {sorted(said)}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, MANIFEST, expected=f"{FORMAT} version {VERSION}", got=repr(cause)) from cause
    return manifest


def newer_version(source: BinaryIO) -> int | None:
    """Return the version of a bundle, or of a head in it, that is newer than this reader; None otherwise."""
    try:
        archive = Archive(source)
        said = json.loads(archive.read(MANIFEST, at_most=MAX_MANIFEST_BYTES))
        if said.get("format") == FORMAT and isinstance(said.get("version"), int) and said["version"] > VERSION:
            return int(said["version"])
        heads = [each.name for each in archive.members if each.name.endswith("/head.voh")]
        versions = [claimed_version(archive.read(name, at_most=MAX_SMALL_BYTES)) for name in heads]
    except (Refused, ValueError, AttributeError, RecursionError):
        return None  # not a bundle at all, or damaged: for the steps to say
    return next((version for version in versions if version is not None and version > HEAD_VERSION), None)


def canonical_json(value: object) -> bytes:
    """Return the one spelling: sorted keys, no spaces, UTF-8; whole numbers only, so equal to RFC 8785."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_canonical_json(raw: bytes) -> Any:
    """Return the value; ValueError where it is spelt otherwise (also: a key twice, a number with a fraction)."""
    try:
        value = json.loads(raw, parse_float=_no_fraction, parse_constant=_no_fraction)
        again = canonical_json(value)
    except RecursionError as cause:
        raise ValueError("expected a flat document, got one nested without end") from cause
    if again != raw:
        raise ValueError("expected canonical JSON, got another spelling")
    return value


def _hashes(path: Sequence[str]) -> tuple[bytes, ...]:
    if not isinstance(path, list):
        raise TypeError(f"expected a list of hashes, got {type(path).__name__}")
    return tuple(map(strict_base64, path))


def _size_in(proof: bytes) -> int:
    """Return the size of the tree that a proof speaks of; Refused (MALFORMED). Nothing is checked."""
    try:
        return int(read_proof(proof).checkpoint.split(b"\n", 2)[1])
    except (ValueError, IndexError) as cause:
        raise refuse(Code.MALFORMED, "ledger proof", expected="a checkpoint with its size", got=cause) from cause


def strict_base64(said: str) -> bytes:
    """Return the bytes; ValueError or TypeError where another spelling would give the same ones."""
    raw = b64decode(said, validate=True)
    if b64encode(raw).decode() != said:
        raise ValueError(f"expected base64 in its one spelling, got {said[:80]!r}")
    return raw


def _no_fraction(text: str) -> float:
    raise ValueError(f"expected whole numbers, got {text}")


def _read_part(said: Mapping[str, Any]) -> Part:
    first, last = said["first"], said["last"]
    if not (isinstance(first, int) and isinstance(last, int)) or set(said) != {"id", "first", "last"}:
        raise ValueError(f"expected id, first and last, got {said}")
    return Part(recording=parse_recording(said["id"]), first=first, last=last)


def _read_place(said: Mapping[str, Any]) -> Place:
    return Place(rp_id=text(said["rp_id"]), origins=tuple(map(text, said["origins"])))


def _said(statement: Statement) -> dict[str, str]:
    return {
        "official": statement.official,
        "kind": statement.kind,
        "credential_id": statement.credential_id,
        "signature": b64encode(statement.signature).decode(),
        "assertion": statement.assertion,
    }


def _read_statement(said: Mapping[str, Any]) -> Statement:
    if said["kind"] not in ("software", "webauthn"):
        raise ValueError(f"expected software or webauthn, got {said['kind']!r}")
    unused = "assertion" if said["kind"] == "software" else "signature"
    if said[unused] or set(said) != {"official", "kind", "credential_id", "signature", "assertion"}:
        raise ValueError(f"expected no {unused} with {said['kind']}, and no other fields")
    return Statement(
        official=text(said["official"]),
        kind=said["kind"],
        credential_id=text(said["credential_id"]),
        signature=strict_base64(said["signature"]),
        assertion=text(said["assertion"]),
    )


def text(value: object) -> str:
    """Return a text that a document says; TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value
