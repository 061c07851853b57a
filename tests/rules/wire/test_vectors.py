"""The bytes under tests/vectors: what was sealed once still opens, and each named tampering is still found."""

import io
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.keys import commitment_of
from broker.wire.layout import read_head as _read_head
from broker.wire.layout import write_end, write_head, write_segment_header, write_segment_tail
from broker.wire.recording import (
    ChainState,
    SegmentFacts,
    check_chain,
    open_data_key,
    open_segment,
    read_end,
    read_head,
    read_segment,
    segment_keys,
    unwrap_share,
    xwing_from_seed,
)
from broker.wire.refusals import Refused
from cloud.verifier.verdicts import Verdict
from cloud.verifier.verify import Trust, verify
from tests.rules.wire.chunked import Chunked
from tests.vectors.generate import RECORDING, TAMPERED, bundles, described, read_folder, tamperings

RECORDINGS = ("one-share", "three-shares", "salvaged")


def _read(name: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    files = read_folder(RECORDING / name)
    return files, json.loads(files["keys.json"])


def _segments(files: dict[str, bytes]) -> list[bytes]:
    return [files[name] for name in sorted(files) if name.endswith(".vos")]


def _camera(secrets: dict[str, Any]) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secrets["camera_seed"]))


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_was_sealed_once_still_opens(name: str) -> None:
    files, secrets = _read(name)
    head = read_head(files["head.voh"], _camera(secrets).public_key())
    parties = [xwing_from_seed(bytes.fromhex(seed)) for seed in secrets["party_seeds"]]
    data_key = open_data_key(head, tuple(unwrap_share(head, i, keys) for i, keys in enumerate(parties)))
    assert data_key.hex() == secrets["data_key"]
    assert head.commitment.hex() == secrets["commitment"] == commitment_of(data_key, head.recording).hex()
    segments = _segments(files)
    keys = segment_keys(data_key, head.recording, 0, len(segments) - 1)
    assert [each.hex() for each in keys] == secrets["segment_keys"]
    opened = [open_segment(raw, each) for raw, each in zip(segments, keys, strict=True)]
    assert [sha256(each).hexdigest() for each in opened] == secrets["plaintext_sha256"]


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_was_sealed_once_is_still_whole(name: str) -> None:
    files, secrets = _read(name)
    public = _camera(secrets).public_key()
    facts = tuple(read_segment(raw, public) for raw in _segments(files))
    verdict = check_chain(read_head(files["head.voh"], public), facts, read_end(files["end.voe"], public))
    assert verdict.state is (ChainState.SALVAGED if name == "salvaged" else ChainState.INTACT)


@pytest.mark.parametrize("name", ["one-share", "three-shares"])
def test_only_salts_are_new_in_a_segment(name: str) -> None:
    """With the stored salt, header, ciphertext, trailer and signature come out byte for byte."""
    files, secrets = _read(name)
    camera = _camera(secrets)
    for raw, key in zip(_segments(files), secrets["segment_keys"], strict=True):
        facts = read_segment(raw, camera.public_key())
        header = _header(facts)
        ciphertext = Chunked(hashes.SHA512(), bytes.fromhex(key), header).seal(
            open_segment(raw, bytes.fromhex(key)), raw[160:184]
        )
        tail = write_segment_tail(header, ciphertext, ends_at=facts.ends_at, salvaged=False, key=camera)
        assert header + ciphertext + tail == raw


def _header(facts: SegmentFacts) -> bytes:
    return write_segment_header(
        sequence=facts.sequence,
        flags=facts.flags,
        kind=facts.kind,
        tenant=facts.tenant,
        camera=facts.camera,
        recording=facts.recording,
        boot=facts.boot,
        starts_at=facts.starts_at,
        monotonic_us=facts.monotonic_us,
        previous=facts.previous,
    )


@pytest.mark.parametrize("name", RECORDINGS)
def test_only_encapsulations_are_new_in_a_head_and_nothing_in_an_end_record(name: str) -> None:
    files, secrets = _read(name)
    camera = _camera(secrets)
    head = _read_head(files["head.voh"], camera.public_key())
    again = write_head(
        tenant=head.tenant,
        recording=head.recording,
        commitment=head.commitment,
        shares=head.shares,
        checkpoint=head.checkpoint,
        key=camera,
    )
    assert again == files["head.voh"]
    assert write_end(read_end(files["end.voe"], camera.public_key()), key=camera) == files["end.voe"]


def _kept() -> dict[str, Path]:
    return {path.name: path for path in sorted(TAMPERED.iterdir())}


@pytest.mark.parametrize("name", [name for name in _kept() if not name.startswith("bundle-")])
def test_a_named_tampering_is_still_found(name: str) -> None:
    base, secrets = _read("one-share")
    changed = read_folder(_kept()[name])
    said = json.loads(changed.pop("what.json"))
    files = {**base, **changed}
    assert _answer(files, said, secrets) == said["answer"], said["what"]


def _answer(files: dict[str, bytes], said: dict[str, Any], secrets: dict[str, Any]) -> str:
    public = _camera(secrets).public_key()
    order = said["order"] or sorted(name for name in files if name.endswith(".vos"))
    try:
        head = read_head(files["head.voh"], public)
        facts = tuple(read_segment(files[name], public) for name in order)
        end = read_end(files["end.voe"], public) if said["end"] else None
    except Refused as refused:
        return refused.refusal.code.name
    return check_chain(head, facts, end).state.value


def _letter() -> Trust:
    letter = json.loads((RECORDING / "bundle" / "letter.json").read_bytes())
    return Trust(ledger=letter["ledger_key"], kluis=bytes.fromhex(letter["kluis_key"]))


def test_the_kept_bundle_is_intact() -> None:
    report = verify(io.BytesIO((RECORDING / "bundle" / "bundle.zip").read_bytes()), _letter())
    assert report.verdict is Verdict.INTACT


@pytest.mark.parametrize("name", [name for name in _kept() if name.startswith("bundle-")])
def test_a_kept_forged_bundle_is_still_found(name: str) -> None:
    report = verify(io.BytesIO((_kept()[name] / "bundle.zip").read_bytes()), _letter())
    assert report.verdict is Verdict.TAMPERED


def test_the_kept_tamperings_are_those_that_the_script_makes() -> None:
    made = {
        name: {**each.changes, "what.json": described(each)}
        for name, each in tamperings(read_folder(RECORDING / "one-share")).items()
    }
    whole = (RECORDING / "bundle" / "bundle.zip").read_bytes()
    made |= {name: {"bundle.zip": raw} for name, raw in bundles(whole).items()}
    assert {name: read_folder(path) for name, path in _kept().items()} == made
