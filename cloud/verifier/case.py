"""What the steps know while they run: the bundle, whom to believe, and what earlier steps have shown."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.wire.bundle import Bundle, Part
from broker.wire.recording import ChainVerdict, End, Head, SegmentFacts
from broker.wire.refusals import Refused
from broker.wire.tlog import Checkpoint
from cloud.verifier.verdicts import Where, tampered


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom the reader believes without the bundle's word: from the cover letter, the municipality's page, a witness.

    `ledger` is a C2SP verifier key (name+hash+base64), `kluis` a raw Ed25519 key, `cameras` raw Ed25519 keys. What is
    not given is taken from the bundle, and the report says so.
    """

    ledger: str | None = None
    kluis: bytes | None = None
    cameras: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A ledger entry that a step has shown to stand in the ledger."""

    kind: str
    at: datetime
    subject: str
    actor: str
    facts: Mapping[str, Any]
    index: int
    leaf_hash: bytes


@dataclass(slots=True, kw_only=True)
class Recording:
    """One recording of the bundle, filled step by step."""

    part: Part
    head: Head
    camera: Ed25519PublicKey
    facts: tuple[SegmentFacts, ...] = ()
    end: End | None = None
    chain: ChainVerdict | None = None
    opened: int = 0
    video: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    video_bytes: int = 0
    files: "dict[int, hashlib._Hash]" = field(default_factory=dict)  # by first segment: what was handed over by others
    letters: dict[int, bytes] = field(default_factory=dict)  # by segment
    letter_of: dict[int, int] = field(default_factory=dict)  # first segment of a file -> the letter behind it


@dataclass(slots=True, kw_only=True)
class Case:
    """The bundle and everything shown so far."""

    bundle: Bundle
    trust: Trust
    ledger_origin: str = ""
    ledger_key: Ed25519PublicKey | None = None
    kluis_key: Ed25519PublicKey | None = None
    newest: Checkpoint | None = None
    handed_over: Checkpoint | None = None
    entries: dict[str, Proven] = field(default_factory=dict)
    grown_from: dict[int, bytes] = field(default_factory=dict)  # size -> root, each shown to be of the same ledger
    recordings: list[Recording] = field(default_factory=list)
    software_keys: bool = False
    one_person: bool = False
    declared: int = 0  # recordings whose origin is two people's word

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Whatever is refused in here stops the steps: this file is not what it should be."""
        try:
            yield
        except Refused as refused:
            raise tampered(
                f"{name}: {refused.refusal.what}: expected {refused.refusal.expected}, got {refused.refusal.got}",
                f"{name} klopt niet: {refused.refusal.what}: verwacht {refused.refusal.expected}, "
                f"gevonden {refused.refusal.got}",
                where=self.whole(name),
            ) from refused

    def whole(self, name: str) -> Where:
        """Return all bytes of a file in the bundle."""
        size = self.bundle.archive.member(name).size if name in self.bundle.archive else 0
        return Where(file=name, first=0, last=max(0, size - 1))

    def json(self, name: str, raw: bytes) -> dict[str, Any]:
        """Return a JSON object, or stop: the file is not one."""
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError) as cause:
            raise self.malformed(name, cause) from cause
        if not isinstance(value, dict):
            raise self.malformed(name, type(value).__name__)
        return value

    def expect(self, name: str, what: str, expected: object, got: object) -> None:
        """Stop unless this file says what it must."""
        if got != expected:
            raise tampered(
                f"{name}: {what}: expected {expected}, got {got}",
                f"{name}: {what}: verwacht {expected}, gevonden {got}",
                where=self.whole(name),
            )

    def malformed(self, name: str, got: object) -> Exception:
        """Return what to raise where a file is not of the documented form."""
        return tampered(
            f"{name} is not of the documented form: {got}",
            f"{name} heeft niet de beschreven vorm: {got}",
            where=self.whole(name),
        )


def moment(text: object) -> datetime:
    """Return a time that a document says; TypeError or ValueError where it is none, or has no zone."""
    if not isinstance(text, str):
        raise TypeError(f"expected a time, got {type(text).__name__}")
    said = datetime.fromisoformat(text)
    if said.tzinfo is None:
        raise ValueError(f"expected a time with its zone, got {text}")
    return said


def counted(number: int, one: str, more: str) -> str:
    """Return the number with the word that goes with it."""
    return f"{number} {one if number == 1 else more}"
