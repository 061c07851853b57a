"""Files of another maker's system: byte for byte what was sealed at the door, and what their sender said of them.

What is shown: these bytes came in by that door then, and are unchanged since. Not shown: who made them. A mark of
*signed video* is told as it was found and never judged: that takes the maker's own tool.
"""

import hashlib
import json

from broker.wire.locked_clip import IV_BYTES, open_clip
from broker.wire.recording import Kind, SegmentFacts
from broker.wire.refusals import Refused
from cloud.verifier.case import Case, Recording, counted
from cloud.verifier.verdicts import tampered

Lines = list[tuple[str, str]]
"""What was found, in English and in Dutch."""


def take(recording: Recording, facts: SegmentFacts, plaintext: bytes) -> None:
    """Remember what an opened segment holds; to be called in the order of the segments."""
    waiting = next((first for first in recording.files if first not in recording.letter_of), None)
    if facts.kind is Kind.FILE:
        if waiting is None:
            waiting = facts.sequence
            recording.files[waiting] = hashlib.sha256()
        recording.files[waiting].update(plaintext)
    elif facts.kind is Kind.LETTER:
        recording.letters[facts.sequence] = plaintext
        if waiting is not None:
            recording.letter_of[waiting] = facts.sequence


def check_handed(case: Case, recording: Recording) -> Lines:
    """Return what is shown of a recording's files; raise Stop where one is not what was sealed."""
    folder = f"recordings/{recording.part.recording}/"
    marks: set[str] = set()
    files = opened = 0
    for member in case.bundle.archive.members:
        kind, _, name = member.name.removeprefix(folder).partition("/")
        if not member.name.startswith(folder) or not name:
            continue
        sequence, _, ending = name.partition(".")
        if kind == "letters":
            _same(case, member.name, hashlib.sha256(recording.letters.get(int(sequence), b"")).digest())
        elif kind == "files":
            files += 1
            mark = _check_file(case, recording, member.name, int(sequence))
            marks |= {mark} if mark else set()
        elif kind == "opened" and ending != "key":
            opened += 1
            _check_opened(case, recording, member.name, int(sequence))
    if not files:
        return []
    lines = [
        (
            f"{counted(files, 'file', 'files')} of another maker, as sealed on arrival; by whom is the sender's word",
            f"{counted(files, 'bestand', 'bestanden')} van een ander, verzegeld bij aankomst; wie, zegt de afzender",
        )
    ]
    if opened:
        lines.append(
            (
                f"{opened} of them encrypted by the camera, and opened with the key that is here",
                f"{opened} daarvan door de camera versleuteld, en geopend met de bijgevoegde sleutel",
            )
        )
    if marks:
        named = ", ".join(sorted(marks))
        lines.append(
            (
                f"marks of signed video were found ({named}) and not checked: use the maker's own tool",
                f"kenmerken van ondertekende video ({named}) gevonden, niet nagegaan: dat kan de maker",
            )
        )
    return lines


def _check_file(case: Case, recording: Recording, name: str, first: int) -> str:
    """Return which mark of signed video its letter says was found in it, or nothing."""
    digest = recording.files.get(first)
    if digest is None:
        raise tampered(
            f"{name} begins at no segment of a file", f"{name} hoort bij geen segment", where=case.whole(name)
        )
    _same(case, name, digest.digest())
    letter = recording.letters.get(recording.letter_of.get(first, -1))
    if letter is None:
        return ""
    try:
        said = json.loads(letter)
        if said["sha256"] != digest.hexdigest():
            raise tampered(
                f"{name} is not what its letter says", f"{name} is niet wat de brief erbij zegt", where=case.whole(name)
            )
        return str(said.get("signed_video") or "")
    except (ValueError, TypeError, KeyError, RecursionError) as cause:
        raise case.malformed(name, "a file whose letter is none") from cause


def _check_opened(case: Case, recording: Recording, name: str, first: int) -> None:
    folder = f"recordings/{recording.part.recording}/"
    locked = next((m.name for m in case.bundle.archive.members if m.name.startswith(f"{folder}files/{first:08d}.")), "")
    key = case.bundle.optional(f"{folder}opened/{first:08d}.key")
    if not locked or key is None:
        raise tampered(
            f"{name} is here without the file or the key that it was opened with",
            f"{name} is bijgevoegd zonder het bestand of de sleutel waarmee het geopend is",
            where=case.whole(name),
        )
    digest = hashlib.sha256()
    try:
        for clear in open_clip(case.bundle.archive.chunks(locked), key[:-IV_BYTES], key[-IV_BYTES:]):
            digest.update(clear)
    except Refused as refused:
        raise tampered(
            f"the key beside {name} does not open {locked}",
            f"de sleutel bij {name} opent {locked} niet",
            where=case.whole(name),
        ) from refused
    _same(case, name, digest.digest())


def _same(case: Case, name: str, expected: bytes) -> None:
    digest = hashlib.sha256()
    for chunk in case.bundle.archive.chunks(name):
        digest.update(chunk)
    if digest.digest() != expected:
        raise tampered(
            f"{name} is not what the sealed segments hold",
            f"{name} is niet wat de verzegelde segmenten bevatten",
            where=case.whole(name),
        )
