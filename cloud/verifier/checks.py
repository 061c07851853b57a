"""The numbered steps. Each takes the case, adds what it has shown, and says so; a step that fails raises Stop."""

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.wire.bundle import (
    APPROVED,
    CHECKPOINT,
    DISCLOSURE,
    DISCLOSURE_GROWTH,
    GROWTH,
    LOOSE,
    MANIFEST,
    RELEASED,
    REQUEST,
    REQUESTED,
    ROSTER,
    STATEMENTS,
    Part,
    read_canonical_json,
)
from broker.wire.ids import camera_key_id, tenant_id
from broker.wire.recording import (
    MAX_SEGMENT_BYTES,
    SEGMENT_HEADER_BYTES,
    SEGMENT_TAIL_BYTES,
    Kind,
    SegmentFacts,
    check_chain,
    checkpoint_in,
    claimed_camera,
    open_segment,
    read_end,
    read_head,
    read_segment,
    read_segment_ends,
)
from broker.wire.refusals import Code, Refused
from broker.wire.statements import Credential, Statement, check_statement
from broker.wire.tlog import (
    Checkpoint,
    check_consistency,
    check_proof,
    leaf_hash,
    read_checkpoint,
    read_proof,
    read_verifier_key,
)
from cloud.verifier.case import Case, Proven, Recording
from cloud.verifier.verdicts import Outcome, Said, Stop, Verdict, Where, holds, not_shown, tampered

CLOCKS_DIFFER: Final = timedelta(seconds=60)
"""How far the clocks of desk, ledger and Kluis may differ; all are kept by NTP."""

_REQUEST_LABEL: Final = b"vo/request/v1\0"
_APPROVAL_LABEL: Final = b"vo/approve/v1\0"
_ROSTER_LABEL: Final = b"vier-ogen/kluis-document/v1\0roster\0"
_CERTIFICATE_LABEL: Final = b"vier-ogen/destruction/v1\0"

_RECORDING_FILES: Final = re.compile(
    r"head\.voh|ends\.bin|end\.voe|keys\.bin|footage\.mp4|destroyed\.json|\d{8}\.vos|"
    r"(?:enrolled|received|destroying)\.(?:json|proof)"
)
_OTHER_FILES: Final = frozenset(
    {REQUEST, STATEMENTS, ROSTER, CHECKPOINT, GROWTH}
    | {f"{name}.{ending}" for name in (REQUESTED, APPROVED, RELEASED) for ending in ("json", "proof")}
)


# --- 1 ------------------------------------------------------------------------------------------------------------


def check_contents(case: Case) -> Said:
    """Every file that is listed is here with the bytes it was listed with, and nothing else is here."""
    manifest, archive = case.bundle.manifest, case.bundle.archive
    there = {member.name for member in archive.members} - LOOSE
    for name in sorted(there ^ set(manifest.files)):
        state = (
            ("not listed", "niet genoemd") if name in there else ("listed but not here", "genoemd maar niet aanwezig")
        )
        raise tampered(f"{name} is {state[0]}", f"{name} is {state[1]}", where=case.whole(MANIFEST))
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
        f"{len(there)} files, each with the hash of the list of contents, and nothing else",
        f"{len(there)} bestanden, elk met de hash uit de inhoudsopgave, en verder niets",
    )


def _belongs(name: str, parts: Mapping[str, Part]) -> bool:
    folder, _, rest = name.partition("/")
    recording, _, file = rest.partition("/")
    return folder == "recordings" and recording in parts and bool(_RECORDING_FILES.fullmatch(file))


# --- 2 ------------------------------------------------------------------------------------------------------------


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


# --- 3 ------------------------------------------------------------------------------------------------------------


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
        f"{each}.json" for each in ("enrolled", "received", "destroying", "requested", "approved", "released")
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
            kind=said["kind"],
            at=_moment(said["at"]),
            subject=said["subject"],
            actor=said["actor"],
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
    for size in sorted(seen):
        with case.reading(GROWTH):
            path = growth.get(size, ())
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


# --- 4 ------------------------------------------------------------------------------------------------------------


def check_cameras(case: Case) -> Said:
    """Each recording's head is signed by a camera that the ledger says was enrolled."""
    for part in case.bundle.manifest.parts:
        name = case.bundle.file(part, "head.voh")
        with case.reading(name):
            raw = case.bundle.small(name)
            key = _camera_key(case, part, raw)
            head = read_head(raw, key)
        if head.recording != part.recording or head.tenant != tenant_id(case.bundle.manifest.org):
            raise tampered(
                f"{name} is of another recording or municipality",
                f"{name} hoort bij een andere opname of gemeente",
                where=Where(file=name, first=9, last=56),
            )
        case.recordings.append(Recording(part=part, head=head, camera=key))
    cameras = sorted({each.head.camera.hex() for each in case.recordings})
    return holds(
        f"{len(case.recordings)} recordings begun by camera {', '.join(cameras)}",
        f"{len(case.recordings)} opnamen, begonnen door camera {', '.join(cameras)}",
    )


def _camera_key(case: Case, part: Part, head: bytes) -> Ed25519PublicKey:
    claimed = claimed_camera(head)
    known = list(case.trust.cameras)
    enrolled = case.entries.get(case.bundle.file(part, "enrolled"))
    if enrolled is not None and enrolled.kind == "camera.enrolled":
        try:
            known.append(bytes.fromhex(enrolled.facts["public_key"]))
        except (KeyError, TypeError, ValueError) as cause:
            raise case.malformed(case.bundle.file(part, "enrolled.json"), cause) from cause
    for key in known:
        if len(key) == 32 and camera_key_id(key) == claimed:
            return Ed25519PublicKey.from_public_bytes(key)
    raise Stop(
        Verdict.UNKNOWN_KEY,
        f"nothing here says whose camera {claimed.hex()} is",
        f"niets zegt van wie camera {claimed.hex()} is",
        where=Where(file=case.bundle.file(part, "head.voh"), first=25, last=40),
    )


# --- 5 ------------------------------------------------------------------------------------------------------------


def check_segments(case: Case) -> Said:
    """Every byte of every segment is signed by that camera."""
    whole = listed = 0
    for recording in case.recordings:
        name = case.bundle.file(recording.part, "ends.bin")
        with case.reading(name):
            ends = case.bundle.ends(recording.part)
        recording.facts = tuple(_check_ends(recording, name, place, raw) for place, raw in enumerate(ends))
        present = [facts for facts in recording.facts if recording.part.holds(facts.sequence)]
        for facts in present:
            _check_whole_segment(case, recording, facts, ends)
        expected = {case.bundle.file(recording.part, f"{facts.sequence:08d}.vos") for facts in present}
        for member in case.bundle.archive.members:
            mine = member.name.startswith(f"recordings/{recording.part.recording}/") and member.name.endswith(".vos")
            if mine and member.name not in expected:
                raise tampered(
                    f"{member.name} is outside the range of the bundle",
                    f"{member.name} valt buiten het bereik van de bundel",
                    where=case.whole(member.name),
                )
        whole, listed = whole + len(present), listed + len(recording.facts)
    return holds(
        f"{whole} segments signed in every byte; of {listed} in all, the signed ends",
        f"{whole} segmenten in elke byte ondertekend; van alle {listed} de ondertekende uiteinden",
    )


def _check_ends(recording: Recording, name: str, place: int, raw: bytes) -> SegmentFacts:
    try:
        return read_segment_ends(raw[:SEGMENT_HEADER_BYTES], raw[SEGMENT_HEADER_BYTES:], recording.camera)
    except Refused as refused:
        raise _not_signed(
            f"{name}, segment {place}", refused, Where(file=name, first=place * 288, last=place * 288 + 287)
        ) from refused


def _check_whole_segment(case: Case, recording: Recording, facts: SegmentFacts, ends: Sequence[bytes]) -> None:
    name = case.bundle.file(recording.part, f"{facts.sequence:08d}.vos")
    if name not in case.bundle.archive:
        raise tampered(f"{name} is missing", f"{name} ontbreekt", where=case.whole(MANIFEST))
    with case.reading(name):
        raw = case.bundle.archive.read(name, at_most=MAX_SEGMENT_BYTES)
    try:
        read_segment(raw, recording.camera)
    except Refused as refused:
        raise _not_signed(name, refused, _damage(case, recording, facts, raw, refused)) from refused
    if facts.sequence >= len(ends) or raw[:SEGMENT_HEADER_BYTES] + raw[-SEGMENT_TAIL_BYTES:] != ends[facts.sequence]:
        raise tampered(
            f"{name} is another segment than the one listed in its place",
            f"{name} is een ander segment dan op zijn plaats genoemd staat",
            where=case.whole(name),
        )


def _damage(case: Case, recording: Recording, facts: SegmentFacts, raw: bytes, refused: Refused) -> Where:
    """Return as closely as can be told which bytes are not the camera's."""
    name = case.bundle.file(recording.part, f"{facts.sequence:08d}.vos")
    last = len(raw) - 1
    if refused.refusal.code is not Code.DIGEST_DIFFERS:
        return Where(file=name, first=0, last=last)
    ciphertext = Where(file=name, first=SEGMENT_HEADER_BYTES, last=last - SEGMENT_TAIL_BYTES)
    with case.reading(case.bundle.file(recording.part, "keys.bin")):
        key = case.bundle.keys(recording.part).get(facts.sequence)
    return ciphertext if key is None else _damaged_chunk(raw, key, ciphertext)


def _damaged_chunk(raw: bytes, key: bytes, ciphertext: Where) -> Where:
    """With the segment's key, the chunk of 16 KiB shows itself: each carries its own tag."""
    cipher = Cobblestone256Decryptor(key, raw[:SEGMENT_HEADER_BYTES])
    begin = ciphertext.first
    for size in (56, *[16_400] * (len(raw) // 16_400 + 1)):
        end = min(begin + size, ciphertext.last + 1)
        try:
            cipher.update(raw[begin:end])
            if end > ciphertext.last:
                cipher.finalize()
        except InvalidTag:
            return Where(file=ciphertext.file, first=begin, last=end - 1)
        begin = end
    return ciphertext


def _not_signed(name: str, refused: Refused, where: Where) -> Stop:
    found = refused.refusal
    return tampered(
        f"{name} is not what the camera signed: expected {found.expected}, got {found.got}",
        f"{name} is niet wat de camera ondertekende: verwacht {found.expected}, gevonden {found.got}",
        where=where,
    )


# --- 6 ------------------------------------------------------------------------------------------------------------


def check_order(case: Case) -> Said:
    """Nothing is missing, moved, doubled or foreign; what the camera itself says it missed is said."""
    worst, lines = Outcome.HOLDS, []
    for recording in case.recordings:
        end_name = case.bundle.file(recording.part, "end.voe")
        if end_name in case.bundle.archive:
            with case.reading(end_name):
                recording.end = read_end(case.bundle.small(end_name), recording.camera)
        recording.chain = check_chain(recording.head, recording.facts, recording.end)
        if recording.chain.state.value == Verdict.TAMPERED.word:
            name = case.bundle.file(recording.part, "ends.bin")
            raise tampered(recording.chain.because, recording.chain.waarom, where=case.whole(name))
        part = recording.part
        if part.first <= part.last and not 0 <= part.first <= part.last < len(recording.facts):
            raise tampered(
                f"segments {part.first} to {part.last} of {len(recording.facts)} cannot be",
                f"segmenten {part.first} tot {part.last} van {len(recording.facts)} bestaan niet",
                where=case.whole(MANIFEST),
            )
        if recording.end is None:
            worst = Outcome.NOT_SHOWN
        lines.append((f"{part.recording}: {recording.chain.because}", f"{part.recording}: {recording.chain.waarom}"))
    return Said(outcome=worst, english="; ".join(a for a, _ in lines), dutch="; ".join(b for _, b in lines))


# --- 7 ------------------------------------------------------------------------------------------------------------


def check_receipt(case: Case) -> Said:
    """The ledger says that exactly this recording came in, and when."""
    received = []
    for recording in case.recordings:
        entry = case.entries.get(case.bundle.file(recording.part, "received"))
        if entry is None:
            continue
        name = case.bundle.file(recording.part, "received.json")
        last = recording.facts[-1].digest if recording.facts else recording.head.sha256
        expected = {"head_sha256": recording.head.sha256.hex(), "last_hash": last.hex()}
        _expect(case, name, "recording", str(recording.part.recording), entry.subject)
        if entry.kind not in {"recording.received", "recording.quarantined", "recording.restricted"}:
            raise case.malformed(name, entry.kind)
        for fact, value in expected.items():
            _expect(case, name, fact, value, entry.facts.get(fact))
        received.append(entry.at)
    if len(received) < len(case.recordings):
        return not_shown(
            f"of {len(case.recordings) - len(received)} recordings the ledger's entry of arrival is not here",
            f"van {len(case.recordings) - len(received)} opnamen is de regel van binnenkomst niet bijgevoegd",
        )
    moments = ", ".join(moment.isoformat() for moment in sorted(received))
    return holds(f"came in, in exactly this form, at {moments}", f"binnengekomen, in precies deze vorm, op {moments}")


# --- 8 ------------------------------------------------------------------------------------------------------------


def check_approval(case: Case) -> Said:
    """Which two people asked and approved what, for which purpose, before it was released."""
    with case.reading(REQUEST):
        raw = case.bundle.optional(REQUEST)
    if raw is None:
        return not_shown("who was allowed to see this is not here", "wie dit mocht zien is niet bijgevoegd")
    try:
        request = read_canonical_json(raw)
        people = [request["requester"], *([] if request["second"] is None else [request["second"]])]
        issued_at, not_after = _moment(request["issued_at"]), _moment(request["not_after"])
        ranges = {each["id"]: (int(each["first"]), int(each["last"])) for each in request["recordings"]}
        purpose, about, org, version = request["purpose"], request["case"], request["org"], request["v"]
    except (KeyError, TypeError, ValueError, RecursionError) as cause:
        raise case.malformed(REQUEST, cause) from cause
    if (org, version) != (case.bundle.manifest.org, 1):
        raise case.malformed(REQUEST, f"a request of {org}, version {version}")
    _check_signatures(case, raw, people)
    _check_acts(case, hashlib.sha256(raw).hexdigest(), people, issued_at, not_after)
    for recording in case.recordings:
        part = recording.part
        asked = ranges.get(str(part.recording))
        if part.first <= part.last and (asked is None or not asked[0] <= part.first <= part.last <= asked[1]):
            raise tampered(
                f"{part.recording}: more is here than was asked for",
                f"{part.recording}: er is meer bijgevoegd dan gevraagd was",
                where=case.whole(REQUEST),
            )
    case.one_person = len(people) == 1
    if case.one_person:
        return holds(
            f"{people[0]} alone asked, purpose {purpose}, case {about}: the policy asked for one person",
            f"{people[0]} vroeg alleen, doel {purpose}, zaak {about}: het beleid vroeg één persoon",
        )
    return holds(
        f"{people[0]} asked, {people[1]} approved, purpose {purpose}, case {about}; both signed, and in the ledger",
        f"{people[0]} vroeg, {people[1]} keurde goed, doel {purpose}, zaak {about}; beiden tekenden, en in het logboek",
    )


def _check_signatures(case: Case, request: bytes, people: Sequence[str]) -> None:
    keys, humans = _roster(case)
    with case.reading(STATEMENTS):
        statements = case.bundle.statements()
    if len(statements) != len(people) or len({humans.get(each, each) for each in people}) != len(people):
        raise tampered(
            f"{len(people)} different people were to sign, {len(statements)} statements are here",
            f"{len(people)} verschillende mensen moesten tekenen, er zijn {len(statements)} verklaringen",
            where=case.whole(STATEMENTS),
        )
    for person, statement, label in zip(people, statements, (_REQUEST_LABEL, _APPROVAL_LABEL), strict=False):
        _expect(case, STATEMENTS, "signer", person, statement.official)
        _check_statement(case, statement, keys.get(person, ()), hashlib.sha256(label + request).digest())
    case.software_keys = any(each.kind == "software" for each in statements)


def _check_statement(case: Case, statement: Statement, keys: Sequence[Credential], challenge: bytes) -> None:
    with case.reading(STATEMENTS):
        try:
            check_statement(statement, credentials=keys, challenge=challenge, place=case.bundle.manifest.place)
        except ValueError as cause:
            raise case.malformed(STATEMENTS, cause) from cause


def _roster(case: Case) -> tuple[dict[str, tuple[Credential, ...]], dict[str, str]]:
    """Return the keys and the human being of each official, from the list that the Kluis signed."""
    assert case.kluis_key is not None
    with case.reading(ROSTER):
        raw = case.bundle.small(ROSTER)
    signed = case.json(ROSTER, raw)
    try:
        document = b64decode(signed["document"], validate=True)
        case.kluis_key.verify(b64decode(signed["signature"], validate=True), _ROSTER_LABEL + document)
        officials = case.json(ROSTER, document)["officials"]
        keys = {each["id"]: tuple(map(_credential, each["credentials"])) for each in officials}
        humans = {each["id"]: each["person"] or each["id"] for each in officials}
    except InvalidSignature as cause:
        raise tampered(
            "the list of officials is not signed by the Kluis",
            "de lijst van ambtenaren is niet door de Kluis ondertekend",
            where=case.whole(ROSTER),
        ) from cause
    except (KeyError, TypeError, ValueError) as cause:
        raise case.malformed(ROSTER, cause) from cause
    return keys, humans


def _credential(said: Mapping[str, Any]) -> Credential:
    return Credential(id=said["id"], kind=said["kind"], public_key=b64decode(said["public_key"], validate=True))


def _check_acts(
    case: Case, request_sha256: str, people: Sequence[str], issued_at: datetime, not_after: datetime
) -> None:
    """The entries name this very request, in order, while it counted."""
    named = ((REQUESTED, "viewing.requested", people[0]), (APPROVED, "viewing.approved", people[-1]))
    expected = [*named[: len(people)]]
    for name, kind, actor in expected:
        entry = case.entries.get(name)
        if entry is None:
            raise tampered(
                f"{name} is not in the ledger", f"{name} staat niet in het logboek", where=case.whole(REQUEST)
            )
        _expect(case, f"{name}.json", "kind", kind, entry.kind)
        _expect(case, f"{name}.json", "actor", actor, entry.actor)
        _expect(case, f"{name}.json", "request_sha256", request_sha256, entry.facts.get("request_sha256"))
        if not issued_at - CLOCKS_DIFFER <= entry.at <= not_after + CLOCKS_DIFFER:
            raise tampered(
                f"{name} was written at {entry.at.isoformat()}, outside the life of the request",
                f"{name} is geschreven op {entry.at.isoformat()}, buiten de looptijd van het verzoek",
                where=case.whole(f"{name}.json"),
            )
    released = case.entries.get(RELEASED)
    if released is not None:
        _expect(case, f"{RELEASED}.json", "kind", "viewing.released", released.kind)
        _expect(case, f"{RELEASED}.json", "request_sha256", request_sha256, released.facts.get("request_sha256"))
    order = [case.entries[name].index for name, _, _ in expected] + ([released.index] if released else [])
    if any(later <= earlier for earlier, later in pairwise(order)):
        raise tampered(
            "the ledger has request, approval and release in another order",
            "het logboek heeft verzoek, goedkeuring en vrijgave in een andere volgorde",
            where=case.whole(f"{expected[-1][0]}.json"),
        )


# --- 9 and 10 -----------------------------------------------------------------------------------------------------


def check_keys(case: Case) -> Said:
    """The released keys are the keys of exactly these segments: each ciphertext commits to its one key."""
    opened = 0
    for recording in case.recordings:
        name = case.bundle.file(recording.part, "keys.bin")
        with case.reading(name):
            keys = case.bundle.keys(recording.part)
        if not keys:
            continue
        present = [facts for facts in recording.facts if recording.part.holds(facts.sequence)]
        if set(keys) != {facts.sequence for facts in present}:
            raise tampered(
                f"{name} holds keys of other segments than are here",
                f"{name} bevat sleutels van andere segmenten dan hier staan",
                where=case.whole(name),
            )
        for place, facts in enumerate(present):
            _open(
                case,
                recording,
                facts,
                keys[facts.sequence],
                where=Where(file=name, first=place * 36, last=place * 36 + 35),
            )
        opened += recording.opened
    if not opened:
        return not_shown("no keys are here: the footage stays shut", "er zijn geen sleutels: de beelden blijven dicht")
    return holds(
        f"{opened} segments open with the keys that fit them alone",
        f"{opened} segmenten openen met de enige passende sleutel",
    )


def _open(case: Case, recording: Recording, facts: SegmentFacts, key: bytes, *, where: Where) -> None:
    segment = case.bundle.file(recording.part, f"{facts.sequence:08d}.vos")
    try:
        plaintext = open_segment(case.bundle.archive.read(segment, at_most=MAX_SEGMENT_BYTES), key)
    except Refused as refused:
        raise tampered(
            f"the key for {segment} does not open it", f"de sleutel van {segment} opent het niet", where=where
        ) from refused
    recording.opened += 1
    if facts.kind is Kind.VIDEO:
        recording.video.update(plaintext)
        recording.video_bytes += len(plaintext)


def check_footage(case: Case) -> Said:
    """The film file is exactly what the camera's bytes decrypt to."""
    films = 0
    for recording in case.recordings:
        name = case.bundle.file(recording.part, "footage.mp4")
        if name not in case.bundle.archive:
            continue
        if not recording.opened:
            raise tampered(
                f"{name} is here without the keys that would show where it comes from",
                f"{name} is bijgevoegd zonder de sleutels die tonen waar het vandaan komt",
                where=case.whole(name),
            )
        digest = hashlib.sha256()
        for chunk in case.bundle.archive.chunks(name):
            digest.update(chunk)
        if digest.digest() != recording.video.digest():
            raise tampered(
                f"{name} is not the decryption of the camera's bytes",
                f"{name} is niet de ontsleuteling van de bytes van de camera",
                where=_difference(case, recording, name),
            )
        films += 1
    if not films:
        return not_shown("no film file is here", "er is geen filmbestand bijgevoegd")
    return holds(f"{films} film files, exactly the decryption", f"{films} filmbestanden, precies de ontsleuteling")


def _difference(case: Case, recording: Recording, name: str) -> Where:
    """Return the first segment's worth of film that differs."""
    at, film = 0, _Stream(case.bundle.archive.chunks(name))
    keys = case.bundle.keys(recording.part)
    for facts in recording.facts:
        if recording.part.holds(facts.sequence) and facts.kind is Kind.VIDEO:
            segment = case.bundle.file(recording.part, f"{facts.sequence:08d}.vos")
            plain = open_segment(case.bundle.archive.read(segment, at_most=MAX_SEGMENT_BYTES), keys[facts.sequence])
            if film.take(len(plain)) != plain:
                return Where(file=name, first=at, last=max(at, at + len(plain) - 1))
            at += len(plain)
    return Where(file=name, first=at, last=max(at, case.bundle.archive.member(name).size - 1))


class _Stream:
    """Chunks of a file, taken in other sizes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, b""

    def take(self, size: int) -> bytes:
        while len(self._left) < size and (chunk := next(self._chunks, b"")):
            self._left += chunk
        taken, self._left = self._left[:size], self._left[size:]
        return taken


# --- 11 and 12 ----------------------------------------------------------------------------------------------------


def check_destruction(case: Case) -> Said:
    """The Kluis signed that the key is destroyed, by which rule, and the ledger ordered it before."""
    lines: list[tuple[str, str]] = []
    for recording in case.recordings:
        name = case.bundle.file(recording.part, "destroyed.json")
        with case.reading(name):
            raw = case.bundle.optional(name)
        if raw is not None:
            lines.append(_check_certificate(case, recording, name, raw))
    if not lines:
        return not_shown(
            "no recording here is said to be destroyed", "van geen opname hier is gezegd dat hij vernietigd is"
        )
    return holds("; ".join(a for a, _ in lines), "; ".join(b for _, b in lines))


def _check_certificate(case: Case, recording: Recording, name: str, raw: bytes) -> tuple[str, str]:
    assert case.kluis_key is not None
    said = _signed_certificate(case, name, raw)
    ordered = case.bundle.file(recording.part, "destroying")
    entry = case.entries.get(ordered)
    expected = {"recording": str(recording.part.recording), "org": case.bundle.manifest.org, "v": 1}
    if said.get("held"):
        expected |= {"commitment": recording.head.commitment.hex(), "head_sha256": recording.head.sha256.hex()}
    if entry is not None:
        expected |= {"entry_sha256": entry.leaf_hash.hex()}
        _expect(case, f"{ordered}.json", "recording", str(recording.part.recording), entry.subject)
    for field, value in expected.items():
        _expect(case, name, field, value, said.get(field))
    order = (
        ("ordered in the ledger before", "eerst bevolen in het logboek")
        if entry
        else (
            "the ledger's order is not here",
            "het bevel uit het logboek is niet bijgevoegd",
        )
    )
    state, rule, at = said.get("state"), said.get("rule"), said.get("executed_at")
    return (
        f"{recording.part.recording}: key destroyed ({state}) at {at} by rule {rule}; {order[0]}",
        f"{recording.part.recording}: sleutel vernietigd ({state}) op {at} volgens regel {rule}; {order[1]}",
    )


def _signed_certificate(case: Case, name: str, raw: bytes) -> dict[str, Any]:
    """Return what the Kluis signed: the certificate's own bytes, as they stand between the two fixed ends."""
    assert case.kluis_key is not None
    form = re.fullmatch(rb'\{"certificate":(\{.*\}),"signature":"([A-Za-z0-9+/=]{88})"\}', raw, re.DOTALL)
    if form is None:
        raise case.malformed(name, "no signed certificate")
    try:
        case.kluis_key.verify(b64decode(form[2], validate=True), _CERTIFICATE_LABEL + form[1])
    except (InvalidSignature, ValueError) as cause:
        raise tampered(
            f"{name} is not signed by the Kluis", f"{name} is niet door de Kluis ondertekend", where=case.whole(name)
        ) from cause
    return case.json(name, form[1])


def check_hand_over(case: Case) -> Said:
    """The ledger says that exactly this bundle was handed over."""
    entry = case.entries.get(DISCLOSURE)
    if entry is None:
        return not_shown(
            "the ledger's entry of the hand-over is not here",
            "de regel van de verstrekking is niet bijgevoegd",
        )
    name = f"{DISCLOSURE}.json"
    _expect(case, name, "kind", "disclosure.made", entry.kind)
    digest = hashlib.sha256(case.bundle.manifest_raw).hexdigest()
    _expect(case, name, "manifest_sha256", digest, entry.facts.get("manifest_sha256"))
    return holds(
        f"handed over by {entry.actor} at {entry.at.isoformat()}, with exactly this list of contents",
        f"verstrekt door {entry.actor} op {entry.at.isoformat()}, met precies deze inhoudsopgave",
    )


# --- helpers ------------------------------------------------------------------------------------------------------


def _expect(case: Case, name: str, what: str, expected: object, got: object) -> None:
    if got != expected:
        raise tampered(
            f"{name}: {what}: expected {expected}, got {got}",
            f"{name}: {what}: verwacht {expected}, gevonden {got}",
            where=case.whole(name),
        )


def _moment(text: object) -> datetime:
    if not isinstance(text, str):
        raise TypeError(f"expected a time, got {type(text).__name__}")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"expected a time with its zone, got {text}")
    return moment


Check = Callable[[Case], Said]

STEPS: Final[tuple[tuple[str, str, Check], ...]] = (
    (
        "Is everything here that is listed, and nothing else?",
        "Is alles er wat genoemd is, en verder niets?",
        check_contents,
    ),
    ("By whose keys is this judged?", "Met wiens sleutels wordt dit beoordeeld?", check_whom_to_believe),
    (
        "Does every entry stand in the ledger, and did it only grow?",
        "Staat elke regel in het logboek, en groeide dat alleen?",
        check_ledger,
    ),
    ("Which camera began the recordings?", "Welke camera begon de opnamen?", check_cameras),
    ("Is every byte signed by that camera?", "Is elke byte door die camera ondertekend?", check_segments),
    ("Are order and number complete?", "Kloppen volgorde en aantal?", check_order),
    ("Did it come in like this?", "Is het zo binnengekomen?", check_receipt),
    ("Who approved what, before the release?", "Wie keurde wat goed, vóór de vrijgave?", check_approval),
    ("Do the released keys fit?", "Passen de vrijgegeven sleutels?", check_keys),
    ("Is the film exactly the decryption?", "Is de film precies de ontsleuteling?", check_footage),
    ("Was the key destroyed, by which rule?", "Is de sleutel vernietigd, volgens welke regel?", check_destruction),
    ("Was exactly this bundle handed over?", "Is precies deze bundel verstrekt?", check_hand_over),
)
"""Question in English, question in Dutch, and the step itself."""
