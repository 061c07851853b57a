"""How a Kluis begins, and how its root comes back from paper. Both are commands, never a side effect."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.durable import sync_folder
from broker.wire.approvals import Place
from broker.wire.entries import write_entry
from broker.wire.ids import parse_org
from broker.wire.policy import read_policy
from cloud.kluis.about import About, Settings, write_document
from cloud.kluis.custody import Kluis
from cloud.kluis.keys import Generations, KluisDamaged, Root, join_shares, write_secret
from cloud.kluis.memory import ACTOR
from cloud.kluis.rules.release import Mode
from cloud.kluis.rules.roster import Official, plain_roster, write_roster
from cloud.kluis.store import Store, written
from cloud.ledger.tiles import TileLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """What the founding gives back, once. The shares are words for five sealed envelopes and are kept nowhere."""

    signing_key: bytes
    journal_origin: str
    journal_key: bytes
    keylist: bytes
    shares: tuple[str, ...] = field(repr=False)


def found(
    folder: Path,
    *,
    org: str,
    policy_toml: str,
    roster: Sequence[Official | Mapping[str, Any]],
    ledger_origin: str,
    ledger_key: Ed25519PublicKey | bytes,
    mode: str,
    now: datetime,
    place: Place | None = None,
    settings: Settings | None = None,
) -> Founded:
    """Make a Kluis in this folder and return what must be written down; raise FileExistsError when there is one.

    `ledger_key` is the ledger's public key (object or 32 raw bytes), `place` the desk's WebAuthn relying party:
    required in mode "standard", where nothing but security keys opens footage.
    """
    about = About(
        org=parse_org(org),
        mode=Mode(mode),
        ledger_origin=ledger_origin,
        ledger_key=ledger_key if isinstance(ledger_key, bytes) else ledger_key.public_bytes_raw(),
        signing_key=(root := Root.make()).signing_key.public_key().public_bytes_raw(),
        rp_id=place.rp_id if place else None,
        origins=place.origins if place else (),
        settings=settings or Settings(),
        founded_at=now,
    )
    if about.mode is Mode.STANDARD and place is None:
        raise ValueError("kluis: expected the desk's relying party in mode standard, got none")
    policy = read_policy(policy_toml)
    if policy.org != about.org:
        raise ValueError(f"kluis: expected the policy of {about.org}, got one of {policy.org}")
    first_roster = write_roster(plain_roster(about.org, roster))

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    write_secret(folder / "root.key", root.secret)
    for name in ("generations", "documents"):
        (folder / name).mkdir(mode=0o700)
    sync_folder(folder)
    Generations(folder / "generations", root).make(1)
    write_document(folder, root, "policy", policy.version, policy_toml.encode())
    write_document(folder, root, "roster", 1, first_roster)
    journal = TileLog.create(folder / "journal", origin=about.journal_origin, key=root.journal_key)
    try:
        facts = {"mode": about.mode.value, "policy_version": policy.version, "roster_version": 1}
        journal.append([write_entry("kluis.founded", subject=about.org, actor=ACTOR, at=now, facts=facts)])
    finally:
        journal.close()
    store = Store.create(folder / "store.sqlite")
    try:
        with store.transaction():
            store.remember("about", msgspec.json.encode(about))
            store.remember("applied", b"1")
            store.do("INSERT INTO generations VALUES (1, ?, NULL, NULL, NULL)", written(now))
    finally:
        store.close()
    sync_folder(folder)
    with contextlib.closing(Kluis.open(folder)) as kluis:
        keylist = kluis.keylist(now)
        return Founded(
            signing_key=about.signing_key,
            journal_origin=about.journal_origin,
            journal_key=root.journal_key.public_key().public_bytes_raw(),
            keylist=keylist,
            shares=root.shares(),
        )


def recover(folder: Path, words: Sequence[str], *, now: datetime) -> None:
    """Put the root secret back from the envelopes; raise KluisDamaged when they hold another Kluis's root.

    Its use stands in the journal. Raises FileExistsError when the root is not lost.
    """
    root = join_shares(words)
    check_root(folder, root)
    write_secret(folder / "root.key", root.secret)
    with contextlib.closing(Kluis.open(folder)) as kluis:
        kluis.note("kluis.recovered", subject=kluis.org, at=now, facts={"envelopes": len(words)})


def check_root(folder: Path, root: Root) -> None:
    """Raise KluisDamaged unless this root is the one of the Kluis in this folder: the drill with real envelopes."""
    with contextlib.closing(Store.open(folder / "store.sqlite")) as store:
        about = msgspec.json.decode(store.recall("about"), type=About)
    if root.signing_key.public_key().public_bytes_raw() != about.signing_key:
        raise KluisDamaged(f"{folder}: expected the envelopes of this Kluis, got those of another")
