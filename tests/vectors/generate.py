"""Make the vectors anew: ``python -m tests.vectors.generate``. Then look at the difference before you commit it.

Fresh salts and encapsulations make other bytes each time; everything else follows from fixed seeds, and the tests check
that it does. What lies under `tampered/` is made from what lies under `recording/` and is the same each time.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from broker.wire.recording import (
    Flag,
    close_interrupted,
    read_end,
    salvage_segment,
    segment_keys,
)
from tests.rules.verifier.bundles import members_of, repacked, town
from tests.rules.verifier.forgeries import FORGERIES
from tests.rules.wire.recordings import Made, camera_key, ends_of, parties, record, seeded

FOLDER = Path(__file__).parent
RECORDING = FOLDER / "recording"
TAMPERED = FOLDER / "tampered"
Files = dict[str, bytes]

FOOTAGE = (b"ftyp moov", seeded("moof mdat 1", 60), seeded("moof mdat 2", 16_500), b"")
FLAGS = (Flag.NONE, Flag.PRE_RECORD, Flag.NONE, Flag.LAST)


@dataclass(frozen=True, kw_only=True)
class Tampering:
    """What was done, the files it changes beside `recording/one-share`, their order, and the answer.

    `answer` is the code of a refusal, or what `check_chain` says.
    """

    what: str
    changes: Files
    order: tuple[str, ...] = ()
    end: bool = True
    answer: str


def recordings() -> dict[str, Files]:
    """Return fresh recordings, by folder."""
    return {
        "one-share": _files(record(FOOTAGE, flags=FLAGS)),
        "three-shares": _files(record((b"ftyp moov", b"one"), name="three shares", shares=3)),
        "salvaged": _salvaged(),
    }


def _files(made: Made) -> Files:
    segments = {f"{n:08d}.vos": raw for n, raw in enumerate(made.segments)}
    return {"head.voh": made.head, **segments, "end.voe": made.end, "keys.json": _json(_secrets(made))}


def _secrets(made: Made) -> dict[str, Any]:
    keys = segment_keys(made.data_key, made.recording, 0, len(made.segments) - 1)
    return {
        "camera_seed": camera_key_seed().hex(),
        "camera_public_key": made.public.public_bytes_raw().hex(),
        "recording": str(made.recording),
        "tenant": made.tenant.hex(),
        "boot": b"first boot......".hex(),
        "party_seeds": [each.seed.hex() for each in made.parties],
        "data_key": made.data_key.hex(),
        "commitment": made.head[58:90].hex(),
        "segment_keys": [each.hex() for each in keys],
        "plaintext_sha256": [sha256(each).hexdigest() for each in made.plaintexts],
    }


def camera_key_seed() -> bytes:
    """The seed of the camera in all vectors."""
    return seeded("camera")


def _salvaged() -> Files:
    made = record((b"ftyp moov", seeded("cut", 20_000)), name="salvaged")
    cut = salvage_segment(made.segments[1][:18_000], signing_key=made.camera, ended_at=_ended_at(made))
    assert cut is not None
    tails = (ends_of(made.segments[0]), ends_of(cut))
    end = close_interrupted(head=made.head, tails=tails, signing_key=made.camera, ended_at=_ended_at(made))
    opened = (b"ftyp moov", seeded("cut", 20_000)[:16_384])
    secrets = {**_secrets(made), "plaintext_sha256": [sha256(each).hexdigest() for each in opened]}
    return {
        "head.voh": made.head,
        "00000000.vos": made.segments[0],
        "00000001.vos": cut,
        "end.voe": end,
        "keys.json": _json(secrets),
    }


def _ended_at(made: Made) -> datetime:
    return read_end(made.end, made.public).ended_at


def tamperings(base: Mapping[str, bytes]) -> dict[str, Tampering]:
    """Return every named tampering with the recording of these files (`recording/one-share`)."""
    head, end = base["head.voh"], base["end.voe"]
    segments = [base[f"{n:08d}.vos"] for n in range(4)]
    at = int.from_bytes(segments[1][80:88], "big")
    camera = camera_key()
    names = tuple(f"{n:08d}.vos" for n in range(4))

    def signed(raw: bytes) -> bytes:
        """What a thief of the camera's key can do."""
        return raw[:-64] + camera.sign(raw[:160] + raw[-128:-64])

    return {
        "head-bit-flipped": Tampering(
            what="one bit of the commitment in the head", changes={"head.voh": _flip(head, 60)}, answer="BAD_SIGNATURE"
        ),
        "head-of-a-newer-version": Tampering(
            what="the head says version 2", changes={"head.voh": _put(head, 8, b"\x02")}, answer="MALFORMED"
        ),
        "head-share-for-another-key": Tampering(
            what="the key id of the share is another party's",
            changes={"head.voh": _put(head, 91, parties(2)[1].key_id)},
            answer="BAD_SIGNATURE",
        ),
        "segment-ciphertext-flipped": Tampering(
            what="one bit of the footage", changes={names[1]: _flip(segments[1], 230)}, answer="DIGEST_DIFFERS"
        ),
        "segment-time-changed": Tampering(
            what="an hour later in the header",
            changes={names[1]: _put(segments[1], 80, (at + 3_600_000_000).to_bytes(8, "big"))},
            answer="BAD_SIGNATURE",
        ),
        "segment-called-salvaged": Tampering(
            what="the trailer says salvaged, to have a cut believed",
            changes={names[1]: _put(segments[1], len(segments[1]) - 119, b"\x02")},
            answer="BAD_SIGNATURE",
        ),
        "segment-cut-short": Tampering(
            what="the last 300 bytes are gone", changes={names[2]: segments[2][:-300]}, answer="MALFORMED"
        ),
        "segment-reserved-byte": Tampering(
            what="a reserved byte is set, and signed with the camera's own key",
            changes={names[1]: signed(_put(segments[1], 140, b"\x01"))},
            answer="MALFORMED",
        ),
        "segment-unknown-flag": Tampering(
            what="a flag that does not exist, signed with the camera's own key",
            changes={names[1]: signed(_put(segments[1], 10, b"\x80"))},
            answer="MALFORMED",
        ),
        "segment-missing": Tampering(
            what="segment 1 is left out", changes={}, order=(names[0], names[2], names[3]), answer="tampered"
        ),
        "segments-swapped": Tampering(
            what="segments 1 and 2 have changed places",
            changes={},
            order=(names[0], names[2], names[1], names[3]),
            answer="tampered",
        ),
        "segment-twice": Tampering(
            what="segment 2 is there twice", changes={}, order=(*names[:3], names[2], names[3]), answer="tampered"
        ),
        "segment-of-another-recording": Tampering(
            what="segment 1 is of another recording of the same camera",
            changes={names[1]: (RECORDING / "salvaged" / names[1]).read_bytes()},
            answer="tampered",
        ),
        "segment-of-another-boot": Tampering(
            what="segment 1 was made after a restart, signed with the camera's own key",
            changes={names[1]: signed(_put(segments[1], 64, b"second boot....."))},
            answer="tampered",
        ),
        "last-segments-missing": Tampering(
            what="the recording stops two segments early", changes={}, order=names[:2], answer="tampered"
        ),
        "end-missing": Tampering(what="the end record is left out", changes={}, end=False, answer="open"),
        "end-count-changed": Tampering(
            what="the end record counts two segments",
            changes={"end.voe": _put(end, 15, b"\x02")},
            answer="BAD_SIGNATURE",
        ),
        "end-of-another-recording": Tampering(
            what="the end record is of another recording",
            changes={"end.voe": (RECORDING / "salvaged" / "end.voe").read_bytes()},
            answer="tampered",
        ),
    }


BUNDLES = (
    "a byte of a ciphertext",
    "another film",
    "keys swapped",
    "the purpose changed",
    "the approval left out of the ledger",
    "the last segment cut off",
)
"""The forgeries that are kept as vectors too; all of them are in tests/rules/verifier/forgeries.py."""


def bundles(whole: bytes) -> dict[str, bytes]:
    """Return the forged bundles made from the whole one, by folder."""
    return {"bundle-" + name.replace(" ", "-"): repacked(FORGERIES[name][0](members_of(whole))) for name in BUNDLES}


def read_folder(folder: Path) -> Files:
    """Return all files of a folder by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def described(tampering: Tampering) -> bytes:
    """Return what.json of a tampering."""
    return _json(
        {"what": tampering.what, "order": list(tampering.order), "end": tampering.end, "answer": tampering.answer}
    )


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


def _flip(raw: bytes, at: int) -> bytes:
    return _put(raw, at, bytes([raw[at] ^ 1]))


def _put(raw: bytes, at: int, value: bytes) -> bytes:
    return raw[:at] + value + raw[at + len(value) :]


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)


def main() -> int:
    """Write everything under tests/vectors."""
    for name, files in recordings().items():
        _write(RECORDING / name, files)
    made = town()
    letter = {"ledger_key": made.ledger_key, "kluis_key": (made.trust.kluis or b"").hex()}
    _write(RECORDING / "bundle", {"bundle.zip": made.pack(), "letter.json": _json(letter)})
    for name, tampering in tamperings(read_folder(RECORDING / "one-share")).items():
        _write(TAMPERED / name, {**tampering.changes, "what.json": described(tampering)})
    for name, raw in bundles((RECORDING / "bundle" / "bundle.zip").read_bytes()).items():
        _write(TAMPERED / name, {"bundle.zip": raw})
    return 0


if __name__ == "__main__":
    sys.exit(main())
