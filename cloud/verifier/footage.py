"""Steps 9 and 10: the released keys open exactly these segments, and the film is exactly what they open."""

import hashlib
from collections.abc import Iterator

from broker.wire.recording import (
    MAX_SEGMENT_BYTES,
    Kind,
    SegmentFacts,
    open_segment,
)
from broker.wire.refusals import Refused
from cloud.verifier.case import Case, Recording, counted
from cloud.verifier.derived import check_derived
from cloud.verifier.handed import Lines, check_handed, take
from cloud.verifier.verdicts import Said, Where, holds, not_shown, tampered


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
        f"{counted(opened, 'segment', 'segments')} opened, each with the one key that fits",
        f"{counted(opened, 'segment', 'segmenten')} geopend, elk met de ene passende sleutel",
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
    else:
        take(recording, facts, plaintext)


def check_footage(case: Case) -> Said:
    """The film file is exactly what the camera's bytes decrypt to."""
    films, handed = 0, [check_handed(case, recording) for recording in case.recordings]
    derived: list[Lines] = []
    for recording in case.recordings:
        name = case.bundle.file(recording.part, "footage.mp4")
        if name not in case.bundle.archive:
            derived.append(check_derived(case, recording, None))
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
        derived.append(check_derived(case, recording, digest.hexdigest()))
    lines = [each for found in (*handed, *derived) for each in found]
    if not films and not lines:
        return not_shown("no film file is here", "er is geen filmbestand bijgevoegd")
    if films:
        lines.insert(
            0,
            (
                f"{counted(films, 'film', 'films')}, exactly the decryption",
                f"{counted(films, 'film', 'films')}, precies de ontsleuteling",
            ),
        )
    return holds("; ".join(english for english, _ in lines), "; ".join(dutch for _, dutch in lines))


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
