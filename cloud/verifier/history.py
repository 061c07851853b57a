"""Steps 3, 7 and 12: what stands in the ledger about these recordings and this bundle."""

import hashlib

from broker.wire.bundle import (
    CHECKPOINT,
    DISCLOSURE,
    DISCLOSURE_GROWTH,
    GROWTH,
    text,
)
from broker.wire.recording import (
    checkpoint_in,
)
from broker.wire.tlog import (
    Checkpoint,
    check_consistency,
    check_proof,
    leaf_hash,
    read_checkpoint,
    read_proof,
)
from cloud.verifier.case import Case, Proven, Recording, moment
from cloud.verifier.verdicts import Said, holds, not_shown, tampered

_NOT_SIMPLY_IN = {
    "recording.quarantined": ("kept apart", "apart gehouden"),
    "recording.restricted": ("restricted", "beperkt"),
}
"""What became of an arrival that is no plain recording, by the kind of its entry, in English and Dutch."""

_IN_DUTCH = {
    "a delivery without footage": "een levering zonder beelden",
    "encrypted by the camera, and a key did not come": "door de camera versleuteld, en een sleutel kwam niet mee",
    "it was made in a forbidden place": "gemaakt op een verboden plaats",
    "it was signed by an unknown camera": "getekend door een onbekende camera",
    "its format is newer than this software": "het formaat is nieuwer dan de software",
    "its signatures do not hold": "de handtekeningen kloppen niet",
    "more than allowed was kept from before the press": "meer vooropname bewaard dan mag",
    "no policy was in force when it was made": "er gold geen beleid toen het werd gemaakt",
    "nobody pressed the button": "niemand heeft de knop ingedrukt",
    "the camera is not enrolled": "de camera is niet ingeschreven",
    "the camera system itself rejected it": "het camerasysteem zelf keurde het af",
    "the key to which it was sealed is destroyed": "de sleutel waarmee het is verzegeld, is vernietigd",
}
"""Reasons that an entry of arrival gives, in Dutch; another is told as it stands there."""


def check_ledger(case: Case) -> Said:
    """Every entry in the bundle stands in that ledger, and between all moments shown it only grew."""
    assert case.ledger_key is not None
    seen: dict[int, bytes] = {}
    for member in case.bundle.archive.members:
        if member.name.endswith(".proof"):
            _check_entry(case, member.name.removesuffix(".proof"), seen)
        elif (
            member.name.endswith(".json")
            and _has_proof(member.name)
            and f"{member.name[:-5]}.proof" not in case.bundle.archive
        ):
            raise tampered(
                f"{member.name} comes without its proof",
                f"bij {member.name} ontbreekt het bewijs",
                where=case.whole(member.name),
            )
    raw = case.bundle.optional(CHECKPOINT)
    if raw is None:
        if not case.entries:
            return not_shown("no entry of the ledger is here", "er is geen regel uit het logboek bij")
        return not_shown(
            f"{len(case.entries)} entries stand in the ledger; that it only grew is not shown",
            f"{len(case.entries)} regels staan in het logboek; dat het alleen groeide is niet getoond",
        )
    with case.reading(CHECKPOINT):
        case.newest = read_checkpoint(raw, origin=case.ledger_origin, key=case.ledger_key)
    _check_growth(case, seen)
    return holds(
        f"{len(case.entries)} entries stand in ledger {case.ledger_origin}, which only grew to {case.newest.size}",
        f"{len(case.entries)} regels staan in logboek {case.ledger_origin}, dat alleen groeide tot {case.newest.size}",
    )


def _has_proof(name: str) -> bool:
    file = name.rpartition("/")[2]
    return file in {
        f"{each}.json"
        for each in ("enrolled", "received", "admitted", "destroying", "requested", "approved", "released")
    } or (name == f"{DISCLOSURE}.json")


def _check_entry(case: Case, name: str, seen: dict[int, bytes]) -> None:
    assert case.ledger_key is not None
    with case.reading(f"{name}.json"):
        raw = case.bundle.small(f"{name}.json")
    with case.reading(f"{name}.proof"):
        proof = case.bundle.small(f"{name}.proof")
        checkpoint = check_proof(proof, leaf=raw, origin=case.ledger_origin, key=case.ledger_key)
        index = read_proof(proof).index
    if name == DISCLOSURE:
        case.handed_over = checkpoint  # later than the bundle's own checkpoint: its growth is shown apart
    else:
        _same_root(case, seen, checkpoint.size, checkpoint.root, f"{name}.proof")
    said = case.json(f"{name}.json", raw)
    try:
        case.entries[name] = Proven(
            kind=text(said["kind"]),
            at=moment(said["at"]),
            subject=text(said["subject"]),
            actor=text(said["actor"]),
            facts=dict(said["facts"]),
            index=index,
            leaf_hash=leaf_hash(raw),
        )
    except (KeyError, TypeError, ValueError) as cause:
        raise case.malformed(f"{name}.json", cause) from cause


def _check_growth(case: Case, seen: dict[int, bytes]) -> None:
    """Each smaller checkpoint, also those that cameras took along, is a beginning of the newest."""
    assert case.newest is not None
    for part in case.bundle.manifest.parts:
        name = case.bundle.file(part, "head.voh")
        with case.reading(name):
            undocked = checkpoint_in(case.bundle.small(name))
        if undocked.size:
            _same_root(case, seen, undocked.size, undocked.root, name)
    with case.reading(GROWTH):
        growth = case.bundle.growth()
    newest = case.newest
    case.expect(GROWTH, "sizes", sorted(seen), sorted(growth))
    for size, path in growth.items():
        with case.reading(GROWTH):
            check_consistency(first=size, first_root=seen[size], second=newest.size, second_root=newest.root, path=path)
        case.grown_from[size] = seen[size]
    if case.handed_over is not None:
        _check_hand_over_growth(case, newest, case.handed_over)


def _check_hand_over_growth(case: Case, newest: Checkpoint, handed_over: Checkpoint) -> None:
    older, newer = sorted((newest, handed_over), key=lambda each: each.size)
    with case.reading(DISCLOSURE_GROWTH):
        check_consistency(
            first=older.size,
            first_root=older.root,
            second=newer.size,
            second_root=newer.root,
            path=case.bundle.disclosure_growth(),
        )


def _same_root(case: Case, seen: dict[int, bytes], size: int, root: bytes, name: str) -> None:
    if seen.setdefault(size, root) != root:
        raise tampered(
            f"two histories of the ledger: {name} names another root for size {size}",
            f"twee versies van het logboek: {name} noemt een andere wortel bij omvang {size}",
            where=case.whole(name),
        )


def check_receipt(case: Case) -> Said:
    """The ledger says that exactly this recording came in, and when."""
    received = []
    apart, terzijde = "", ""
    for recording in case.recordings:
        entry = case.entries.get(case.bundle.file(recording.part, "received"))
        if entry is None:
            continue
        name = case.bundle.file(recording.part, "received.json")
        last = recording.facts[-1].digest if recording.facts else recording.head.sha256
        expected = {"head_sha256": recording.head.sha256.hex(), "last_hash": last.hex()}
        case.expect(name, "recording", str(recording.part.recording), entry.subject)
        if entry.kind not in {"recording.received", "recording.quarantined", "recording.restricted"}:
            raise case.malformed(name, entry.kind)
        for fact, value in expected.items():
            case.expect(name, fact, value, entry.facts.get(fact))
        received.append(entry.at)
        if entry.kind in _NOT_SIMPLY_IN:
            what, wat = _NOT_SIMPLY_IN[entry.kind]
            why, waarom = _why(entry)
            apart += f"; {entry.subject} was {what} on arrival: {why}"
            terzijde += f"; {entry.subject} is bij aankomst {wat}: {waarom}"
    declared, verklaard = _declared(case)
    if len(received) < len(case.recordings):
        missing = len(case.recordings) - len(received)
        return not_shown(
            f"of {missing} recordings the ledger's entry of arrival is not here{declared}",
            f"van {missing} opnamen is de regel van binnenkomst niet bijgevoegd{verklaard}",
        )
    moments = ", ".join(moment.isoformat() for moment in sorted(received))
    english, dutch = _derived(case)
    return holds(
        f"{'arrived' if apart else 'came in'}, in exactly this form, at {moments}{apart}{english}{declared}",
        f"{'aangekomen' if apart else 'binnengekomen'}, in precies deze vorm, op {moments}{terzijde}{dutch}{verklaard}",
    )


def _why(entry: Proven) -> tuple[str, str]:
    """Return why it was not simply taken in, as its entry says: the reason, or else what differed from the policy."""
    reason = str(entry.facts.get("reason") or "") or ", ".join(map(str, entry.facts.get("deviations") or ()))
    if not reason:
        return "the entry does not say why", "de regel zegt niet waarom"
    return reason, _IN_DUTCH.get(reason, reason)


def _declared(case: Case) -> tuple[str, str]:
    """Say of which recordings two people declared where they come from: no machine heard a button being pressed."""
    english, dutch = "", ""
    for recording in case.recordings:
        name = case.bundle.file(recording.part, "admitted")
        entry = case.entries.get(name)
        if entry is not None:
            case.expect(f"{name}.json", "kind", "recording.admitted", entry.kind)
            case.expect(f"{name}.json", "recording", str(recording.part.recording), entry.subject)
        elif not _came_declared(case, recording):
            continue
        case.declared += 1
        people = "" if entry is None else f" by {entry.facts.get('proposed_by')} and {entry.actor}"
        mensen = "" if entry is None else f" door {entry.facts.get('proposed_by')} en {entry.actor}"
        english += f"; the origin of {recording.part.recording} is declared{people}, not proven"
        dutch += f"; de herkomst van {recording.part.recording} is verklaard{mensen}, niet bewezen"
    return english, dutch


def _came_declared(case: Case, recording: Recording) -> bool:
    """Whether it was made of a recording whose origin was declared: its arrival says so."""
    entry = case.entries.get(case.bundle.file(recording.part, "received"))
    return entry is not None and "origin_declared" in (entry.facts.get("deviations") or ())


def _derived(case: Case) -> tuple[str, str]:
    """Say which recordings no camera made: they were made of another, with people made unrecognisable in it."""
    made = []
    for recording in case.recordings:
        entry = case.entries.get(case.bundle.file(recording.part, "received"))
        if entry is not None and entry.facts.get("derivative_of"):
            last = entry.facts.get("original_last_hash")
            of = entry.facts["derivative_of"]
            made.append((recording.part.recording, f"{of} ({last})" if last else of))
    english = "".join(f"; {name} is no original: people were made unrecognisable in {of}" for name, of in made)
    dutch = "".join(f"; {name} is geen origineel: mensen zijn onherkenbaar gemaakt in {of}" for name, of in made)
    return english, dutch


def check_hand_over(case: Case) -> Said:
    """The ledger says that exactly this bundle was handed over."""
    entry = case.entries.get(DISCLOSURE)
    if entry is None:
        return not_shown(
            "the ledger's entry of the hand-over is not here",
            "de regel van de verstrekking is niet bijgevoegd",
        )
    name = f"{DISCLOSURE}.json"
    case.expect(name, "kind", "disclosure.made", entry.kind)
    digest = hashlib.sha256(case.bundle.manifest_raw).hexdigest()
    case.expect(name, "manifest_sha256", digest, entry.facts.get("manifest_sha256"))
    return holds(
        f"handed over by {entry.actor} at {entry.at.isoformat()}, with exactly this list of contents",
        f"verstrekt door {entry.actor} op {entry.at.isoformat()}, met precies deze inhoudsopgave",
    )
