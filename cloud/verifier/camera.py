"""Steps 4, 5 and 6: what the camera made: every byte signed, in order, complete."""

from collections.abc import Sequence

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.wire.bundle import (
    MANIFEST,
    Part,
)
from broker.wire.ids import camera_key_id, tenant_id
from broker.wire.recording import (
    MAX_SEGMENT_BYTES,
    SEGMENT_HEADER_BYTES,
    SEGMENT_TAIL_BYTES,
    SegmentFacts,
    check_chain,
    claimed_camera,
    read_end,
    read_head,
    read_segment,
    read_segment_ends,
)
from broker.wire.refusals import Code, Refused
from cloud.verifier.case import Case, Recording, counted
from cloud.verifier.verdicts import Outcome, Said, Stop, Verdict, Where, holds, tampered


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
        f"{counted(len(case.recordings), 'recording', 'recordings')} begun by camera {', '.join(cameras)}",
        f"{counted(len(case.recordings), 'opname', 'opnamen')}, begonnen door camera {', '.join(cameras)}",
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
        f"{counted(whole, 'segment', 'segments')} signed in every byte; of {listed} in all, the signed ends",
        f"{counted(whole, 'segment', 'segmenten')} in elke byte getekend; van alle {listed} de ondertekende uiteinden",
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
