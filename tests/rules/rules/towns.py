"""The two towns' policies as they are shipped, and variants that only tests know."""

from functools import cache
from pathlib import Path

from broker.wire.policy import Policy, read_policy

FOLDER = Path(__file__).parents[3] / "deploy" / "policy"


def document(town: str) -> str:
    return (FOLDER / f"{town}.toml").read_text(encoding="utf-8")


@cache
def policy(town: str) -> Policy:
    return read_policy(document(town))


def heusden() -> Policy:
    return policy("heusden")


def rotterdam() -> Policy:
    return policy("rotterdam")


@cache
def changed(town: str, *changes: tuple[str, str]) -> Policy:
    """The town's file with each of these replaced once; the test fails when one of them is not there."""
    return read_policy(changed_text(town, *changes))


def changed_text(town: str, *changes: tuple[str, str]) -> str:
    text = document(town)
    for before, after in changes:
        assert text.count(before) >= 1, f"{before!r} does not stand in {town}.toml"
        text = text.replace(before, after, 1)
    return text


def noordwijk() -> Policy:
    """A town with fourteen days and a minute before the press (P-02, P-03)."""
    return changed(
        "heusden",
        ('org = "heusden"', 'org = "noordwijk"'),
        ("seconds = 30", "seconds = 60"),
        ("days = 28", "days = 14"),
    )


def heumen() -> Policy:
    """A town where recording runs on after the stop (P-04) and others are always made unrecognisable."""
    return changed(
        "heusden",
        ('org = "heusden"', 'org = "heumen"'),
        ("[post_record]", "[post_record] # P-04"),
        ("seconds = 0", "seconds = 120"),
        ('redaction = "if_needed"', 'redaction = "required"'),
    )
