"""Who comes in by the municipality's sign-in, as what, and how often one may fail."""

from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from cloud.desk.attempts import MOST_REMEMBERED, PER_ACCOUNT, PER_PLACE, WINDOW_S, Attempts, place_of_address
from cloud.desk.rules.sign_in import (
    OpenId,
    SignIn,
    granted,
    held_now,
    is_safe,
    judge_strength,
    official_in,
    problem_with,
)

SETTINGS = OpenId(
    issuer="https://id.example",
    client_id="vier-ogen",
    official_claim="employee",
    secret_file="open-id.secret",
    groups_claim="realm_access.groups",
    groups={"toezicht": ("officer", "coordinator"), "beheer": ("app_admin",)},
    acr=("two",),
    amr=("mfa", "hwk"),
)


@pytest.mark.parametrize(
    ("claims", "strong"),
    [
        ({"acr": "two"}, True),
        ({"amr": ["pwd", "mfa"]}, True),
        ({"acr": "one", "amr": ["hwk"]}, True),
        ({"acr": "one", "amr": ["pwd"]}, False),
        ({"amr": "mfa"}, False),  # a string is no list of methods
        ({"amr": [["mfa"], {"mfa": 1}]}, False),
        ({}, False),
    ],
)
def test_only_a_second_factor_that_the_settings_name_counts(claims: dict[str, Any], strong: bool) -> None:
    assert bool(judge_strength(claims, SETTINGS)) is strong


def test_a_group_takes_a_role_away_and_never_gives_one() -> None:
    said = {"realm_access": {"groups": ["toezicht", "beheer", "iets anders", 7]}}
    allowed = granted(said, SETTINGS)
    assert allowed == frozenset({"officer", "coordinator", "app_admin"})
    assert held_now({"coordinator", "dpo"}, standing_in=set(), allowed=allowed) == {"coordinator"}
    assert held_now({"coordinator", "dpo"}, standing_in={"dpo"}, allowed=allowed) == {"coordinator", "dpo"}
    assert held_now(set(), standing_in=set(), allowed=allowed) == frozenset()
    nothings: tuple[dict[str, Any], ...] = (
        {},
        {"realm_access": 7},
        {"realm_access": {"groups": None}},
        {"realm_access": {"groups": []}},
    )
    for nothing in nothings:
        assert granted(nothing, SETTINGS) == frozenset()
    without = msgspec.structs.replace(SETTINGS, groups={}, groups_claim="")
    assert granted(said, without) is None
    assert held_now({"dpo"}, standing_in=set(), allowed=None) == {"dpo"}


def test_a_person_is_named_by_one_claim_of_text_and_by_nothing_else() -> None:
    assert official_in({"employee": "o-101"}, SETTINGS) == "o-101"
    for said in ({}, {"employee": ""}, {"employee": ["o-101"]}, {"employee": "x" * 41}, {"sub": "o-101"}):
        assert official_in(said, SETTINGS) is None
    dotted = msgspec.structs.replace(SETTINGS, official_claim="https://x.example/id")
    assert official_in({"https://x.example/id": "o-101"}, dotted) == "o-101"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"issuer": "http://id.example"}, "issuer"),
        ({"secret_file": ""}, "secret_file or key_file"),
        ({"key_file": "x.pem"}, "secret_file or key_file"),
        ({"acr": (), "amr": ()}, "second factor"),
        ({"algorithms": ("HS256",)}, "algorithms"),
        ({"algorithms": ("none",)}, "algorithms"),
        ({"algorithms": ()}, "algorithms"),
        ({"scopes": ("profile",)}, "scopes"),
        ({"groups": {}}, "groups"),
    ],
)
def test_settings_that_weaken_the_sign_in_are_refused(change: dict[str, Any], named: str) -> None:
    assert problem_with(SignIn(open_id=SETTINGS), mode="standard") is None
    wrong = problem_with(SignIn(open_id=msgspec.structs.replace(SETTINGS, **change)), mode="standard")
    assert wrong is not None
    assert named in wrong


def test_a_session_has_an_end_and_a_demonstration_a_list() -> None:
    assert problem_with(SignIn(), mode="demonstration") is None
    for wrong in (SignIn(idle_minutes=0), SignIn(absolute_hours=25), SignIn(absolute_hours=0)):
        assert problem_with(wrong, mode="standard") is not None
    assert problem_with(SignIn(open_id=SETTINGS), mode="demonstration") is not None


def test_secrets_go_by_https_or_stay_within_the_machine() -> None:
    assert is_safe("https://id.example/token")
    assert is_safe("http://127.0.0.1:8080/token")
    for address in ("http://id.example/", "ftp://id.example/", "https://", "//id.example", "", "javascript:1"):
        assert not is_safe(address)


def test_whoever_fails_too_often_waits_and_nobody_else_does() -> None:
    attempts = Attempts()
    for n in range(PER_ACCOUNT):
        assert attempts.wait_s(place="a", account="o-101", now_s=n) == 0.0
        attempts.failed(place="a", account="o-101", now_s=float(n))
    assert attempts.wait_s(place="b", account="o-101", now_s=10.0) == WINDOW_S - 10
    assert attempts.wait_s(place="a", account="o-102", now_s=10.0) == 0.0
    assert attempts.wait_s(place="a", now_s=10.0) == 0.0
    assert attempts.wait_s(place="a", account="o-101", now_s=WINDOW_S) == 0.0, "the oldest counts no more"
    for n in range(PER_PLACE):
        attempts.failed(place="c", now_s=float(n))
    assert attempts.wait_s(place="c", account="o-103", now_s=60.0) == WINDOW_S - 60
    assert attempts.wait_s(place="a", account="o-103", now_s=60.0) == 0.0


def test_whoever_fails_from_everywhere_fills_no_memory() -> None:
    attempts = Attempts()
    for n in range(MOST_REMEMBERED + 500):
        attempts.failed(place=str(n), account=None, now_s=0.0)
    assert len(attempts) == MOST_REMEMBERED


def test_one_subscriber_is_one_place() -> None:
    assert place_of_address(ip_address("2001:db8::1")) == place_of_address(ip_address("2001:db8::2:3"))
    assert place_of_address(ip_address("2001:db8:0:1::1")) != place_of_address(ip_address("2001:db8::1"))
    assert place_of_address(ip_address("192.0.2.1")) != place_of_address(ip_address("192.0.2.2"))
    assert place_of_address(ip_address("::ffff:192.0.2.1")) != place_of_address(ip_address("::ffff:192.0.2.2"))
