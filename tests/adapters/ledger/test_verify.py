"""Every byte of a ledger counts: whichever is changed, verification names the first broken entry."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.entries import write_entry
from broker.wire.tlog import COSIGNATURE, cosign, verifier_key
from cloud.kluis.command import orders_to_destroy
from cloud.ledger.command import main
from cloud.ledger.tiles import CHECKPOINT, LedgerBroken, TileLog, pack_bundle, unpack_bundle
from cloud.ledger.verify import Verification, verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "ledger.example/town"
NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def entry(n: int) -> bytes:
    return write_entry("hold.placed", subject=f"case-{n}", actor="o-1", at=NOW, facts={"n": n})


def make(folder: Path, size: int) -> TileLog:
    log = TileLog.create(folder, origin=ORIGIN, key=KEY)
    if size:
        log.append([entry(n) for n in range(size)])
    return log


def verified(folder: Path) -> Verification:
    return verify(folder, origin=ORIGIN, key=KEY.public_key())


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    log = make(tmp_path / "ledger", 6)
    log.append([entry(6)])
    log.close()
    return tmp_path / "ledger"


@pytest.mark.rule("T-37", "H-46")
def test_every_changed_byte_of_a_small_ledger_is_found(tmp_path: Path) -> None:
    ledger = tmp_path
    log = make(ledger, 2)
    log.append([entry(2)])
    log.close()
    assert verified(ledger).intact
    changed = 0
    for path in [each for each in ledger.rglob("*") if each.is_file() and each.name != ".lock"]:
        content = path.read_bytes()
        for at in range(len(content)):
            for mask in (0x01, 0x80):
                path.write_bytes(content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :])
                assert not verified(ledger).intact, (path, at, mask)
                changed += 1
        path.write_bytes(content)
    assert changed > 1500


@pytest.mark.rule("T-37", "H-46")
def test_a_changed_byte_of_an_entry_names_that_entry(ledger: Path) -> None:
    bundle = ledger / "tile/entries/000.p/7"
    content = bundle.read_bytes()
    at = 0
    for index, raw in enumerate(unpack_bundle(content)):
        for within in range(2 + len(raw)):
            place = at + within
            bundle.write_bytes(content[:place] + bytes([content[place] ^ 0x04]) + content[place + 1 :])
            first = verified(ledger).first
            assert first is not None
            assert first.index == index, (place, first)
        at += 2 + len(raw)


def test_a_changed_hash_is_told_from_a_changed_entry(ledger: Path) -> None:
    tile = ledger / "tile/0/000.p/7"
    content = bytearray(tile.read_bytes())
    content[3 * 32] ^= 1
    tile.write_bytes(content)
    first = verified(ledger).first
    assert first is not None
    assert (first.where, first.index) == ("tile/0/000.p/7", 3)
    assert "the entry itself is as promised" in first.what


def test_a_deleted_or_inserted_byte_is_found(ledger: Path) -> None:
    bundle = ledger / "tile/entries/000.p/7"
    content = bundle.read_bytes()
    for at in range(0, len(content), 7):
        for damaged in (content[:at] + content[at + 1 :], content[:at] + b"\0" + content[at:], content[:at]):
            bundle.write_bytes(damaged)
            assert not verified(ledger).intact


def test_a_removed_file_is_found(ledger: Path) -> None:
    for path in [each for each in ledger.rglob("*") if each.is_file() and each.name not in {".lock", "6"}]:
        content = path.read_bytes()
        path.unlink()
        assert not verified(ledger).intact, path
        path.write_bytes(content)


def test_an_entry_and_its_hash_rewritten_together_do_not_fit_the_signed_root(ledger: Path) -> None:
    """Whoever owns the disk but not the key: writes a whole new ledger, and keeps the old promise."""
    rewritten = [entry(n if n != 2 else 99) for n in range(7)]
    other = TileLog.create(ledger.parent / "other", origin=ORIGIN, key=Ed25519PrivateKey.generate())
    other.append(rewritten)
    other.close()
    promise = (ledger / CHECKPOINT).read_bytes()
    shutil.rmtree(ledger)
    shutil.copytree(ledger.parent / "other", ledger)
    (ledger / CHECKPOINT).write_bytes(promise)
    found = verified(ledger)
    assert not found.intact
    assert "rewritten together" in found.problems[0].what
    with pytest.raises(LedgerBroken):
        TileLog.open(ledger, origin=ORIGIN, key=KEY)


@pytest.mark.rule("H-46")
def test_whoever_holds_the_key_cannot_rewrite_what_somebody_saw(tmp_path: Path) -> None:
    log = make(tmp_path / "honest", 5)
    kept = log.checkpoint.note
    log.close()
    forged = TileLog.create(tmp_path / "forged", origin=ORIGIN, key=KEY)
    forged.append([entry(n if n != 2 else 99) for n in range(8)])
    forged.close()
    assert verified(tmp_path / "forged").intact, "alone it looks right"
    found = verify(tmp_path / "forged", origin=ORIGIN, key=KEY.public_key(), seen=[kept])
    assert [problem.what for problem in found.problems] == ["the first 5 entries are not those that were promised then"]


def test_a_ledger_put_back_to_an_earlier_day_is_found(tmp_path: Path) -> None:
    log = make(tmp_path / "ledger", 3)
    shutil.copytree(tmp_path / "ledger", tmp_path / "backup")
    log.append([entry(3)])
    kept = log.checkpoint.note
    log.close()
    found = verify(tmp_path / "backup", origin=ORIGIN, key=KEY.public_key(), seen=[kept])
    assert found.first is not None
    assert (found.first.index, "shrunk" in found.first.what) == (3, True)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 700])
def test_a_ledger_of_any_size_is_intact(tmp_path: Path, size: int) -> None:
    make(tmp_path, size).close()
    found = verified(tmp_path)
    assert (found.intact, found.size, found.notes) == (True, size, ())


def test_upper_tiles_are_checked(tmp_path: Path) -> None:
    make(tmp_path, 600).close()
    tile = tmp_path / "tile/1/000.p/2"
    content = bytearray(tile.read_bytes())
    content[40] ^= 1
    tile.write_bytes(content)
    first = verified(tmp_path).first
    assert first is not None
    assert (first.where, first.index) == ("tile/1/000.p/2", 256)


def test_what_a_crash_left_is_a_note_and_no_problem(ledger: Path) -> None:
    (ledger / "tile/entries/000.p/9").write_bytes(b"torn")
    (ledger / "notes.txt").write_text("somebody's")
    found = verified(ledger)
    assert found.intact
    assert len(found.notes) == 2


@pytest.mark.parametrize("turn", range(8))
def test_a_ledger_that_is_being_written_is_intact_whenever_somebody_looks(tmp_path: Path, turn: int) -> None:
    log = make(tmp_path, 250)

    def write() -> None:
        for n in range(250, 290):
            log.append([entry(n)])

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(write)
        while not writing.done():
            found = verified(tmp_path)
            assert found.intact, found.problems
            assert len(list(orders_to_destroy(tmp_path))) == 0
            assert main(["show", str(tmp_path), "--subject", "nobody"]) == 0
        writing.result()
    log.close()


def test_a_witness_that_was_asked_for_must_have_cosigned(ledger: Path) -> None:
    witness = Ed25519PrivateKey.generate()
    asked = {"witness.example/w": witness.public_key()}
    assert not verify(ledger, origin=ORIGIN, key=KEY.public_key(), witnesses=asked).intact
    log = TileLog.open(ledger, origin=ORIGIN, key=KEY)
    log.replace_note(cosign(log.checkpoint.note, name="witness.example/w", key=witness, posix_s=1_790_000_000))
    log.close()
    assert verify(ledger, origin=ORIGIN, key=KEY.public_key(), witnesses=asked).intact
    assert main(["verify", str(ledger), "--key", verifier_key(ORIGIN, KEY.public_key()), "--witness",
                 verifier_key("witness.example/w", witness.public_key(), kind=COSIGNATURE)]) == 0  # fmt: skip


@pytest.mark.rule("T-37")
def test_the_command_says_in_words_and_by_exit_code(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = verifier_key(ORIGIN, KEY.public_key())
    assert main(["verify", str(ledger), "--key", key]) == 0
    assert "intact: 7 entries of ledger.example/town" in capsys.readouterr().out
    entries = list(unpack_bundle((ledger / "tile/entries/000.p/7").read_bytes()))
    entries[4] = entries[4].replace(b"case-4", b"case-5")
    (ledger / "tile/entries/000.p/7").write_bytes(pack_bundle(entries))
    assert main(["verify", str(ledger), "--key", key]) == 1
    assert "NOT INTACT: tile/entries/000.p/7 (entry 4)" in capsys.readouterr().out
    assert main(["verify", str(ledger), "--key", key, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["first_broken_entry"] == 4
    assert main(["verify", str(ledger), "--key", "no+key+here"]) == 2


def test_the_command_shows_entries_by_subject_and_kind(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(ledger), "--subject", "case-3", "--kind", "hold.placed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["3"]
