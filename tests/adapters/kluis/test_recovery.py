"""The envelopes: three of five bring the root back, two bring nothing, and the drill changes nothing."""

import io
import itertools
import json
import shutil
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.tlog import verifier_key
from cloud.kluis.command import main
from cloud.kluis.custody import Kluis
from cloud.kluis.founding import check_root, recover
from cloud.kluis.keys import SHARES_MADE, SHARES_NEEDED, Generations, KluisDamaged, Root, join_shares
from cloud.ledger.log import Ledger
from cloud.ledger.tiles import LedgerBroken
from tests.adapters.kluis.conftest import Town, build
from tests.rules.kluis.world import POLICIES, heusden


def test_any_three_of_five_envelopes_hold_the_root() -> None:
    root = Root.make()
    shares = root.shares()
    assert len(shares) == SHARES_MADE
    for some in itertools.combinations(shares, SHARES_NEEDED):
        assert join_shares(some) == root


def test_two_envelopes_or_a_misspelt_one_hold_nothing() -> None:
    shares = Root.make().shares()
    other = Root.make().shares()
    for wrong in (shares[:2], (*shares[:2], other[2]), (*shares[:2], shares[2].replace("a", "b", 1)), ()):
        with pytest.raises(KluisDamaged):
            join_shares(wrong)


def test_a_lost_root_comes_back_and_opens_what_was_kept(town: Town) -> None:
    footage = town.film()
    town.close()
    (town.folder / "root.key").unlink()
    with pytest.raises(FileNotFoundError):
        town.reopen()
    recover(town.folder, town.founded.shares[1:4], now=town.world.now)
    assert town.watch(footage) == [b"second 1", b"second 2", b"second 3"]
    assert '"kind":"kluis.recovered"' in town.journal(), "every use of the envelopes is written down"


def test_the_envelopes_of_another_kluis_are_refused_and_change_nothing(town: Town, tmp_path: Path) -> None:
    other = build(tmp_path / "other", heusden())
    town.close()
    (town.folder / "root.key").unlink()
    with pytest.raises(KluisDamaged):
        recover(town.folder, other.founded.shares[:3], now=town.world.now)
    assert not (town.folder / "root.key").exists()
    with pytest.raises(KluisDamaged):
        check_root(town.folder, join_shares(other.founded.shares[:3]))


def test_a_root_that_is_there_is_not_written_over(town: Town) -> None:
    town.close()
    with pytest.raises(FileExistsError):
        recover(town.folder, town.founded.shares[:3], now=town.world.now)


def test_another_root_beside_the_store_opens_nothing(town: Town) -> None:
    town.close()
    (town.folder / "root.key").write_bytes(Root.make().secret)
    with pytest.raises((KluisDamaged, LedgerBroken)):
        Kluis.open(town.folder)


def test_a_generation_that_is_destroyed_is_overwritten_and_gone(tmp_path: Path) -> None:
    generations = Generations(tmp_path, Root.make())
    generations.make(1)
    key = generations.key(1)
    generations.make(1)
    assert generations.key(1) == key, "one that a crash left behind is taken as it is"
    generations.destroy(1)
    generations.destroy(1)
    assert not generations.exists(1)
    with pytest.raises(KluisDamaged):
        generations.key(1)


def test_the_ceremony_the_drill_and_the_recovery_by_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = heusden()
    (tmp_path / "roster.json").write_bytes(msgspec.json.encode(world.officials))
    folder = tmp_path / "kluis"
    key = verifier_key(world.ledger.origin, Ed25519PrivateKey.generate().public_key())
    found = ["found", str(folder), "--org", "heusden", "--policy", str(POLICIES / "heusden.toml"), "--ledger", key,
             "--roster", str(tmp_path / "roster.json"), "--rp-id", "desk.example",
             "--desk-origin", "https://desk.example"]  # fmt: skip
    assert main(found) == 0
    lines = capsys.readouterr().out.splitlines()
    words = [line.split(". ", 1)[1] for line in lines if line[:1].isdigit()]
    assert len(words) == SHARES_MADE
    assert main(found) == 1, "a Kluis is founded once"
    capsys.readouterr()

    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(words[2:]) + "\n"))
    assert main(["drill", str(folder)]) == 0
    (folder / "root.key").unlink()
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(words[:2]) + "\n"))
    assert main(["recover", str(folder)]) == 1
    assert "3 envelopes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(words[:3]) + "\n"))
    assert main(["recover", str(folder)]) == 0
    Kluis.open(folder).close()


def test_a_roster_file_with_a_mistake_is_said_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "roster.json").write_text(json.dumps([{"id": "o-1", "naam": "Jan"}]))
    key = verifier_key("x", Ed25519PrivateKey.generate().public_key())
    roster, policy = str(tmp_path / "roster.json"), str(POLICIES / "heusden.toml")
    order = ["found", str(tmp_path / "k"), "--org", "heusden", "--policy", policy, "--ledger", key, "--roster", roster]
    assert main([*order, "--mode", "demonstration"]) == 1
    assert "roster" in capsys.readouterr().err
    assert not (tmp_path / "k").exists()


@pytest.mark.rule("T-10", "E-34")
async def test_after_a_restore_of_everything_the_ledgers_files_destroy_again(
    town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole Kluis of yesterday is put back; only the ledger knows what was destroyed since."""
    world = town.world
    ledger = Ledger.create(tmp_path / "ledger", origin=world.ledger.origin, key=world.ledger.key)
    gone, kept = town.film(), town.film()
    town.close()
    shutil.copytree(town.folder, tmp_path / "backup")
    order = await ledger.append(
        "retention.destroying", subject=str(gone.id), actor="svc-retention", at=world.now, facts={"rule": "days"}
    )
    town.kluis.destroy(gone.id, entry=order.raw, proof=order.proof, now=world.now)
    await ledger.append("retention.destroyed", subject=str(gone.id), actor="svc-retention", at=world.now, facts={})
    await ledger.close()
    town.close()
    shutil.rmtree(town.folder)
    shutil.copytree(tmp_path / "backup", town.folder)
    for again in (1, 0):
        assert main(["reapply", str(town.folder), str(tmp_path / "ledger")]) == 0
        assert f"1 recordings are destroyed, {again} of them again" in capsys.readouterr().out
    states = {item.recording: item.state for item in town.kluis.inventory()}
    assert states == {str(gone.id): "destroyed", str(kept.id): "held"}


async def test_a_forged_ledger_destroys_nothing(town: Town, tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "ledger", origin=town.world.ledger.origin, key=Ed25519PrivateKey.generate())
    footage = town.film()
    town.close()
    await ledger.append(
        "retention.destroying", subject=str(footage.id), actor="svc-retention", at=town.world.now, facts={}
    )
    await ledger.close()
    assert main(["reapply", str(town.folder), str(tmp_path / "ledger")]) == 1
    assert town.watch(footage)
