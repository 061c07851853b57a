"""What the self-check says: the moments at which a light changes, and that each verdict tells what to do."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from cloud.rules import self_check as rules
from cloud.rules.self_check import Check, Finding, Light, worst

NOW = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
GIB = 1024**3


def ledger(**facts: Any) -> Finding:
    plain: dict[str, Any] = {"size": 9, "verified_at": NOW, "verified_size": 9, "intact": True, "now": NOW}
    return rules.judge_ledger(**{**plain, **facts})


def destruction(late: int, hours: float) -> Finding:
    return rules.judge_destruction(last_at=None, late=late, oldest=NOW - timedelta(hours=hours), now=NOW)


def policy(**facts: Any) -> Finding:
    plain: dict[str, Any] = {"in_force": 2, "kluis": 2, "valid_until": date(2026, 11, 22), "today": NOW.date()}
    return rules.judge_policy(**{**plain, **facts})


def storage(**facts: Any) -> Finding:
    plain: dict[str, Any] = {
        "free_bytes": 50 * GIB,
        "total_bytes": 100 * GIB,
        "reserve_bytes": GIB,
        "written_s": 0.01,
        "written_ago": timedelta(minutes=5),
    }
    return rules.judge_storage(**{**plain, **facts})


def clock(behind: float = 0.0, cameras: int = 50, ahead: float = 0.0) -> Finding:
    return rules.judge_clock(behind_ledger_s=behind, cameras=cameras, cameras_ahead_s=ahead)


def broker(hearing: bool = True, **services: str) -> Finding:
    return rules.judge_broker(hearing=hearing, services=services)


def outside(seen_days: float | None, *, asked_days: float = 30, **facts: Any) -> Finding:
    seen_at = None if seen_days is None else NOW - timedelta(days=seen_days)
    eye = rules.Eye(every=timedelta(hours=1), since=NOW - timedelta(days=asked_days), seen_at=seen_at, **facts)
    stamps = rules.Eye(every=timedelta(days=1), since=NOW, seen_at=NOW - timedelta(days=2.9))
    return rules.judge_witness({rules.WITNESS: eye, rules.TIMESTAMPS: stamps}, now=NOW)


CASES: list[tuple[str, Finding, Light]] = [
    ("a night's work", ledger(verified_at=NOW - timedelta(hours=35)), Light.GREEN),
    ("a missed night", ledger(verified_at=NOW - timedelta(hours=37)), Light.ORANGE),
    ("never yet", ledger(verified_at=None), Light.ORANGE),
    ("a changed ledger, however long ago", ledger(intact=False, verified_at=NOW - timedelta(days=9)), Light.RED),
    ("nothing late", destruction(0, 99), Light.GREEN),
    ("late for as long as one look takes", destruction(3, 1), Light.GREEN),
    ("hours late", destruction(1, 2), Light.ORANGE),
    ("a day late", destruction(1, 25), Light.RED),
    ("nothing astray", rules.judge_strays(count=0, oldest=None, now=NOW), Light.GREEN),
    ("an upload of a whole shift", rules.judge_strays(count=9, oldest=NOW - timedelta(hours=11), now=NOW), Light.GREEN),
    ("the rest never came", rules.judge_strays(count=1, oldest=NOW - timedelta(hours=13), now=NOW), Light.ORANGE),
    ("the Kluis there", rules.judge_kluis(answers=True), Light.GREEN),
    ("the Kluis away", rules.judge_kluis(answers=False), Light.RED),
    ("the last day of a policy", policy(), Light.GREEN),
    ("a policy that ended yesterday", policy(valid_until=date(2026, 11, 21)), Light.RED),
    ("the Kluis on another version", policy(kluis=1), Light.RED),
    ("nobody knows what the Kluis follows", policy(kluis=None), Light.ORANGE),
    ("room", storage(), Light.GREEN),
    ("little room", storage(free_bytes=15 * GIB), Light.ORANGE),
    ("less than the reserve", storage(free_bytes=GIB - 1), Light.RED),
    ("no write succeeds", storage(written_s=None), Light.RED),
    ("no write was tried lately", storage(written_ago=timedelta(minutes=21)), Light.RED),
    ("a slow write", storage(written_s=2.1), Light.ORANGE),
    ("cameras heard", broker(svc="online"), Light.GREEN),
    ("cameras not heard", broker(hearing=False), Light.RED),
    ("a service away", broker(svc="lost"), Light.ORANGE),
    ("a screen open", rules.judge_alerting(screens=1, channels={}), Light.GREEN),
    ("nobody looks", rules.judge_alerting(screens=0, channels={}), Light.ORANGE),
    ("nobody looks, and another way works", rules.judge_alerting(screens=0, channels={"sms": True}), Light.GREEN),
    ("another way is broken", rules.judge_alerting(screens=9, channels={"sms": False}), Light.RED),
    ("certificates renewed", rules.judge_certificates({"cam-01": 21, "dock-01": 88}), Light.GREEN),
    ("one not renewed", rules.judge_certificates({"cam-01": 20, "dock-01": 88}), Light.ORANGE),
    ("one about to end", rules.judge_certificates({"cam-01": 6}), Light.RED),
    ("clocks agree", clock(5.0, ahead=-5.0), Light.GREEN),
    ("behind the ledger", clock(6.0), Light.ORANGE),
    ("cameras a minute away", clock(ahead=-61.0), Light.RED),
    ("one camera says nothing of our clock", clock(cameras=2, ahead=99.0), Light.GREEN),
    ("no provider needed", rules.judge_identity(provider=None, answers=True), Light.GREEN),
    ("the provider answers", rules.judge_identity(provider="https://login", answers=True), Light.GREEN),
    ("the provider is away", rules.judge_identity(provider="https://login", answers=False), Light.RED),
    ("a witness and a stamp, as often as they are asked", outside(0.9), Light.GREEN),
    ("a witness that is silent for a day", outside(1.1), Light.RED),
    ("a witness that has just been asked for the first time", outside(None, asked_days=0.1), Light.ORANGE),
    ("a witness that never answered", outside(None), Light.RED),
    ("a witness that does not sign what it is shown", outside(0.1, refuses=True), Light.RED),
    ("nobody outside is asked", rules.judge_witness({}, now=NOW), Light.ORANGE),
]


@pytest.mark.parametrize(("finding", "light"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_light_and_what_to_do_about_it(finding: Finding, light: Light) -> None:
    assert finding.light is light
    assert finding.because
    assert finding.waarom
    if light is Light.RED:  # whoever is woken by it must know what to do
        assert finding.do
        assert finding.doe


def test_every_check_has_every_light_it_can_have_in_this_table() -> None:
    assert {case[1].check for case in CASES} == set(Check)


def test_the_whole_is_as_bad_as_its_worst_part() -> None:
    assert worst((ledger(), destruction(1, 2), storage())) is Light.ORANGE
    assert worst((ledger(), destruction(1, 2), storage(written_s=None))) is Light.RED
    assert worst((ledger(),)) is Light.GREEN
