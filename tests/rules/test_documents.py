"""What the pages say is what the code and the tests say."""

import re
from pathlib import Path

from tests.diagrams import drawn, standing

ROOT = Path(__file__).parents[2]
RULES = (
    {f"R-{n:02}" for n in range(1, 27)}
    | {f"H-{n:02}" for n in range(1, 74)}
    | {f"E-{n:02}" for n in range(1, 50)}
    | {"E-04a", "E-04b", "E-04c"}
    | {f"T-{n:02}" for n in range(1, 46)}
)
"""Rotterdam's 26 sentences, Heusden's 73, the edge cases, the acceptance tests."""


def named_by_tests() -> set[str]:
    found: set[str] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        for marker in re.findall(r"mark\.rule\(([^)]*)\)", file.read_text(encoding="utf-8")):
            found.update(re.findall(r"[RHET]-\d\d[a-z]?", marker))
    return found


def left_to_people() -> dict[str, str]:
    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| ([RHE]-\d\d[a-z]?) \|[^|]*\|\s*([^|]+?)\s*\|$", page, re.MULTILINE))


def test_every_rule_is_named_by_a_test_or_left_to_people_with_a_reason() -> None:
    assert sorted(RULES - named_by_tests() - set(left_to_people())) == []


def test_what_is_left_to_people_is_a_rule_and_says_why() -> None:
    assert set(left_to_people()) <= RULES
    assert [rule for rule, reason in left_to_people().items() if len(reason) < 20] == []


def test_every_acceptance_test_is_named() -> None:
    assert {rule for rule in RULES if rule.startswith("T-")} <= named_by_tests()


def test_no_test_names_a_rule_that_does_not_exist() -> None:
    assert sorted(named_by_tests() - RULES) == []


def test_the_state_diagrams_are_drawn_from_the_tables() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert standing(page) == drawn(), "run: python -m tests.diagrams"
