"""Steps 1 and 2: whether the bundle is whole, and by whose keys it is judged."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.wire.bundle import (
    APPROVED,
    CHECKPOINT,
    GROWTH,
    LOOSE,
    MANIFEST,
    README,
    RELEASED,
    REQUEST,
    REQUESTED,
    ROSTER,
    STATEMENTS,
    Part,
)
from broker.wire.tlog import (
    read_verifier_key,
)
from cloud.verifier.case import Case, counted
from cloud.verifier.verdicts import Said, Stop, Verdict, holds, not_shown, tampered

_RECORDING_FILES: Final = re.compile(
    r"head\.voh|ends\.bin|end\.voe|keys\.bin|footage\.mp4|destroyed\.json|\d{8}\.vos|"
    r"plan\.json|footage\.vtt|"
    r"files/\d{8}\.[a-z0-9]{1,8}|letters/\d{8}\.json|opened/\d{8}\.[a-z0-9]{1,8}|"
    r"(?:enrolled|received|admitted|destroying)\.(?:json|proof)"
)
_OTHER_FILES: Final = frozenset(
    {README, REQUEST, STATEMENTS, ROSTER, CHECKPOINT, GROWTH}
    | {f"{name}.{ending}" for name in (REQUESTED, APPROVED, RELEASED) for ending in ("json", "proof")}
)


def check_contents(case: Case) -> Said:
    """Every file that is listed is here with the bytes it was listed with, and nothing else is here."""
    manifest, archive = case.bundle.manifest, case.bundle.archive
    there = {member.name for member in archive.members} - LOOSE
    for name in sorted(there ^ set(manifest.files)):
        state = (
            ("not listed", "niet genoemd") if name in there else ("listed but not here", "genoemd maar niet aanwezig")
        )
        raise tampered(f"{name} is {state[0]}", f"{name} is {state[1]}", where=case.whole(MANIFEST))
    here = [name for name in sorted(LOOSE - {MANIFEST}) if name in archive]
    if here and len(here) < len(LOOSE) - 1:
        raise case.malformed(here[0], "one of three files of the hand-over")
    parts = {str(part.recording): part for part in manifest.parts}
    if len(parts) < len(manifest.parts) or not parts:
        raise case.malformed(MANIFEST, "no recording, or one twice")
    for name in sorted(there):
        if name not in _OTHER_FILES and not _belongs(name, parts):
            raise tampered(
                f"{name} does not belong in a bundle", f"{name} hoort niet in een bundel", where=case.whole(name)
            )
    for name, listed in manifest.files.items():
        with case.reading(name):
            digest = hashlib.sha256()
            for chunk in archive.chunks(name):
                digest.update(chunk)
        if (archive.member(name).size, digest.hexdigest()) != (listed.size, listed.sha256):
            raise tampered(
                f"{name} has other bytes than the list of contents says",
                f"{name} heeft andere bytes dan de inhoudsopgave zegt",
                where=case.whole(name),
            )
    return holds(
        f"{counted(len(there), 'file', 'files')}, each with the hash of the list of contents, and nothing else",
        f"{counted(len(there), 'bestand', 'bestanden')}, elk met de hash uit de inhoudsopgave, en verder niets",
    )


def _belongs(name: str, parts: Mapping[str, Part]) -> bool:
    folder, _, rest = name.partition("/")
    recording, _, file = rest.partition("/")
    return folder == "recordings" and recording in parts and bool(_RECORDING_FILES.fullmatch(file))


def check_whom_to_believe(case: Case) -> Said:
    """The keys by which everything else is judged: given by the reader, or only claimed by the bundle."""
    manifest, trust = case.bundle.manifest, case.trust
    if trust.ledger is not None and trust.ledger.strip() != manifest.ledger_key:
        raise Stop(
            Verdict.UNKNOWN_KEY,
            f"the bundle is of another ledger than the one you name: {manifest.ledger_key}",
            f"de bundel hoort bij een ander logboek dan u noemt: {manifest.ledger_key}",
            where=case.whole(MANIFEST),
        )
    if trust.kluis is not None and trust.kluis != manifest.kluis_key:
        raise Stop(
            Verdict.UNKNOWN_KEY,
            f"the bundle is of another Kluis than the one you name: {manifest.kluis_key.hex()}",
            f"de bundel hoort bij een andere Kluis dan u noemt: {manifest.kluis_key.hex()}",
            where=case.whole(MANIFEST),
        )
    with case.reading(MANIFEST):
        case.ledger_origin, case.ledger_key = read_verifier_key(manifest.ledger_key)
    try:
        case.kluis_key = Ed25519PublicKey.from_public_bytes(manifest.kluis_key)
    except ValueError as cause:
        raise case.malformed(MANIFEST, "the Kluis's key") from cause
    keys = f"{manifest.ledger_key}, Kluis {manifest.kluis_key.hex()}"
    if trust.ledger is None or trust.kluis is None:
        return not_shown(
            f"the bundle names its own keys; compare them with your letter: {keys}",
            f"de bundel noemt zelf zijn sleutels; vergelijk ze met uw brief: {keys}",
        )
    return holds(f"the keys are those you gave: {keys}", f"de sleutels zijn die u gaf: {keys}")
