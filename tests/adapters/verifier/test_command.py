"""`vierogen verify` and `verifier.pyz`, as somebody who has nothing of ours runs them."""

import hashlib
import json
import subprocess
import sys
import zipfile
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import pytest

from cloud.verifier.command import main
from cloud.verifier.single_file import build_zipapp, modules
from cloud.verifier.verdicts import Verdict
from tests.rules.verifier.bundles import Town, town

_ALONE = """\
import importlib.abc, runpy, sys

class OnlyCryptography(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {"broker", "cloud"} and not any("verifier.pyz" in each for each in (path or sys.path[:1])):
            raise ImportError(f"outside the single file: {name}")
        if top not in sys.stdlib_module_names | {"cryptography", "_cffi_backend", "broker", "cloud", "__main__"}:
            raise ImportError(f"more than cryptography: {name}")
        return None

sys.meta_path.insert(0, OnlyCryptography())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def made() -> Town:
    return town()


@pytest.fixture
def bundle(tmp_path: Path, made: Town) -> Path:
    path = tmp_path / "bundle.zip"
    path.write_bytes(made.pack())
    return path


def _letter(made: Town) -> list[str]:
    assert made.trust.kluis is not None
    return ["--ledger-key", made.ledger_key, "--kluis-key", b64encode(made.trust.kluis).decode()]


def test_any_zip_tool_opens_a_bundle(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        assert archive.testzip() is None
        assert {each.compress_type for each in archive.infolist()} == {zipfile.ZIP_STORED}
        assert b"initonetwo" in {archive.read(name) for name in archive.namelist()}


def test_a_whole_bundle_ends_well(bundle: Path, made: Town, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(bundle), *_letter(made)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("ONGESCHONDEN")
    assert "Wat niet te bewijzen is" in said
    assert hashlib.sha256(bundle.read_bytes()).hexdigest() in said


def test_it_speaks_english_too(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(bundle), "--language", "en"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("INTACT")
    assert "What cannot be proven" in said


def test_programs_get_json(bundle: Path, made: Town, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(bundle), "--json", *_letter(made)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "intact"
    assert [step["number"] for step in said["steps"]] == list(range(1, 13))
    assert said["cannot_be_proven"]


def test_a_damaged_bundle_names_step_and_bytes(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = bytearray(bundle.read_bytes())
    raw[len(raw) // 2] ^= 1
    bundle.write_bytes(raw)
    assert main([str(bundle), "--json"]) == Verdict.TAMPERED.exit_status
    (step,) = (each for each in json.loads(capsys.readouterr().out)["steps"] if each["outcome"] == "fails")
    assert step["number"] == 1
    assert step["where"]["first_byte"] <= step["where"]["last_byte"]


@pytest.mark.parametrize(
    "mistake",
    [
        ["no-such-file.zip"],
        [],
        ["x", "--ledger-key", "nonsense"],
        ["x", "--kluis-key", "AAAA"],
        ["x", "--kluis-key", "?"],
    ],
)
def test_a_wrong_call_is_not_a_verdict(mistake: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(mistake)
    except SystemExit as left:
        status = int(str(left.code))
    assert status == 2
    assert capsys.readouterr().err


def test_the_single_file_needs_nothing_but_cryptography(tmp_path: Path, bundle: Path, made: Town) -> None:
    single = tmp_path / "verifier.pyz"
    build_zipapp(single)
    alone = tmp_path / "alone.py"
    alone.write_text(_ALONE)
    run = subprocess.run(
        [sys.executable, "-I", str(alone), str(single), str(bundle), "--json", *_letter(made)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stderr == ""
    assert run.returncode == 0
    assert json.loads(run.stdout)["verdict"] == "intact"


def test_the_single_file_is_the_same_each_time_it_is_built(tmp_path: Path) -> None:
    digests = {build_zipapp(tmp_path / name) for name in ("one.pyz", "two.pyz")}
    assert digests == {hashlib.sha256((tmp_path / "one.pyz").read_bytes()).hexdigest()}


def test_the_single_file_holds_the_verifier_and_the_wire_alone() -> None:
    assert all(each.startswith(("cloud.verifier.", "broker.wire.")) for each in modules())
    assert {"broker.wire.entries", "broker.wire.approvals", "broker.wire.policy"}.isdisjoint(modules())
