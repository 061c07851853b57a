"""THREATS.md promises nothing that no test shows."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PROMISES = (ROOT / "THREATS.md").read_text(encoding="utf-8")
_NAMED = sorted(set(re.findall(r"`(test_[a-z0-9_]+)`", _PROMISES)))


def _tests() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return {name for source in sources for name in re.findall(r"def (test_[a-z0-9_]+)\(", source)}


def test_every_test_that_threats_names_exists() -> None:
    assert len(_NAMED) > 30
    assert not set(_NAMED) - _tests()


def test_every_cannot_names_a_test() -> None:
    sentences = re.findall(r"\*Cannot\*.*?(?=\*Cannot\*|\n\n)", _PROMISES, re.DOTALL)
    assert len(sentences) > 20
    assert [each for each in sentences if "`test_" not in each and "as with" not in each] == []


@pytest.mark.parametrize(
    "part", ["camera", "dock", "broker", "receiver", "vault", "desk", "database", "Kluis", "ledger"]
)
def test_every_part_has_its_place(part: str) -> None:
    headings = [line for line in _PROMISES.splitlines() if line.startswith("###")]
    assert any(part.lower() in line.lower() for line in headings)
