"""What a skilled forger does to a bundle, and at which step it shows."""

import json
from collections.abc import Callable

from broker.wire.bundle import canonical_json
from tests.rules.wire.recordings import record, recording_id

Forge = Callable[[dict[str, bytes]], dict[str, bytes]]
FOLDER = f"recordings/{recording_id()}"


def swap(name: str, content: bytes) -> Forge:
    return lambda members: {**members, name: content}


def drop(*names: str) -> Forge:
    return lambda members: {name: content for name, content in members.items() if name not in names}


def flip(name: str, at: int) -> Forge:
    def forge(members: dict[str, bytes]) -> dict[str, bytes]:
        raw = bytearray(members[name])
        raw[at] ^= 1
        return {**members, name: bytes(raw)}

    return forge


def _other_segment(members: dict[str, bytes]) -> dict[str, bytes]:
    return {**members, f"{FOLDER}/00000001.vos": members[f"{FOLDER}/00000002.vos"]}


def _shortened(members: dict[str, bytes]) -> dict[str, bytes]:
    return {**members, f"{FOLDER}/ends.bin": members[f"{FOLDER}/ends.bin"][:-288]}


def _swapped_ends(members: dict[str, bytes]) -> dict[str, bytes]:
    raw = members[f"{FOLDER}/ends.bin"]
    return {**members, f"{FOLDER}/ends.bin": raw[:288] + raw[576:864] + raw[288:576] + raw[864:]}


def _swapped_keys(members: dict[str, bytes]) -> dict[str, bytes]:
    raw = members[f"{FOLDER}/keys.bin"]
    return {**members, f"{FOLDER}/keys.bin": raw[:4] + raw[40:72] + raw[36:40] + raw[4:36] + raw[72:]}


def _swapped_statements(members: dict[str, bytes]) -> dict[str, bytes]:
    first, second = json.loads(members["release/statements.json"])
    return {**members, "release/statements.json": canonical_json([second, first])}


def _one_person_twice(members: dict[str, bytes]) -> dict[str, bytes]:
    first, _ = json.loads(members["release/statements.json"])
    return {**members, "release/statements.json": canonical_json([first, first])}


def _request_for_less(members: dict[str, bytes]) -> dict[str, bytes]:
    request = json.loads(members["release/request.json"])
    request["purpose"] = "training"
    return {**members, "release/request.json": canonical_json(request)}


FORGERIES: dict[str, tuple[Forge, int]] = {
    "a file that nobody listed": (swap("recordings/extra.txt", b"hello"), 1),
    "a byte of a ciphertext": (flip(f"{FOLDER}/00000001.vos", 170), 5),
    "a byte of a segment's header": (flip(f"{FOLDER}/00000001.vos", 85), 5),
    "a segment in another's place": (_other_segment, 5),
    "a segment of the range left out": (drop(f"{FOLDER}/00000002.vos"), 5),
    "the last segment cut off": (_shortened, 6),
    "two segments swapped": (_swapped_ends, 5),
    "the head of another recording": (swap(f"{FOLDER}/head.voh", record(name="another").head), 3),
    "the end of another recording": (swap(f"{FOLDER}/end.voe", record(name="another").end), 6),
    "a byte of the end record": (flip(f"{FOLDER}/end.voe", 12), 6),
    "another film": (swap(f"{FOLDER}/footage.mp4", b"a deep fake"), 10),
    "a byte of the film": (flip(f"{FOLDER}/footage.mp4", 5), 10),
    "keys swapped": (_swapped_keys, 9),
    "a byte of a key": (flip(f"{FOLDER}/keys.bin", 20), 9),
    "the entry of arrival changed": (flip(f"{FOLDER}/received.json", 20), 3),
    "a proof left out": (drop(f"{FOLDER}/received.proof"), 3),
    "the purpose changed": (_request_for_less, 8),
    "signatures swapped": (_swapped_statements, 8),
    "one person in both seats": (_one_person_twice, 8),
    "the approval left out of the ledger": (drop("release/approved.json", "release/approved.proof"), 8),
    "no signatures": (drop("release/statements.json"), 8),
    "no list of officials": (drop("release/roster.json"), 8),
}
