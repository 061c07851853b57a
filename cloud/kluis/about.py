"""What is fixed when a Kluis is founded, and where its roster and policy lie."""

import hashlib
from datetime import datetime
from pathlib import Path

import msgspec

from broker.wire.refusals import Refused
from cloud.kluis.keys import KluisDamaged, Root, write_secret
from cloud.kluis.rules.release import Mode
from cloud.kluis.rules.roster import read_document, sign_document


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Technical terms of one Kluis; none of them is a municipality's decision about footage.

    `upcoming_weeks`: keys in the list beyond this week's, so that a camera away from its dock still has a living one.
    `late_docking_days`: how long after its week an intake key lives; what docks later is unreadable by design.
    `rotate_hours`: how often the vault key gets a new generation. `backup_days`: how long a backup of the Kluis is
    kept, and so how long an old generation must live for one to be of use.
    """

    upcoming_weeks: int = 8
    late_docking_days: int = 28
    rotate_hours: int = 24
    backup_days: int = 7


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is fixed at the founding and never changes."""

    org: str
    mode: Mode
    ledger_origin: str
    ledger_key: bytes
    signing_key: bytes
    rp_id: str | None
    origins: tuple[str, ...]
    settings: Settings
    founded_at: datetime

    @property
    def journal_origin(self) -> str:
        """The name under which the Kluis's own journal signs its checkpoints."""
        return f"{self.ledger_origin}/kluis"


def document_path(folder: Path, kind: str, version: int) -> Path:
    """Return where this version of the roster or the policy lies."""
    return folder / "documents" / f"{kind}-{version:04d}.signed"


def write_document(folder: Path, root: Root, kind: str, version: int, document: bytes) -> None:
    """Write it durably; one that a crash left behind without an entry in the journal is written over."""
    path = document_path(folder, kind, version)
    path.unlink(missing_ok=True)
    write_secret(path, sign_document(document, root.signing_key, kind=kind))


def load_document(folder: Path, root: Root, kind: str, version: int, digest: object) -> bytes:
    """Return the document; raise KluisDamaged when it is missing, not ours, or not of this SHA-256 (None: any)."""
    try:
        document = read_document(
            document_path(folder, kind, version).read_bytes(), root.signing_key.public_key(), kind=kind
        )
    except (FileNotFoundError, Refused) as cause:
        raise KluisDamaged(f"{folder}: {kind} version {version} is missing or not ours: {cause}") from cause
    if digest is not None and hashlib.sha256(document).hexdigest() != digest:
        raise KluisDamaged(f"{folder}: {kind} version {version} is not the one that the journal names")
    return document
