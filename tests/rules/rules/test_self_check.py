"""What the self-check says: the moments at which a light changes, and that each verdict tells what to do."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
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


def silent_outside(witness_days: float, stamps_days: float) -> Finding:
    eyes = {
        name: rules.Eye(every=timedelta(hours=1), since=NOW - timedelta(days=99), seen_at=NOW - timedelta(days=days))
        for name, days in ((rules.WITNESS, witness_days), (rules.TIMESTAMPS, stamps_days))
    }
    return rules.judge_witness(eyes, now=NOW)


DAY = timedelta(days=1)

CASES: list[tuple[str, Finding, Light]] = [
    ("a night's work", ledger(verified_at=NOW - timedelta(hours=36)), Light.GREEN),
    ("a missed night", ledger(verified_at=NOW - timedelta(hours=36, seconds=1)), Light.ORANGE),
    ("never yet", ledger(verified_at=None), Light.ORANGE),
    ("never yet, and so nothing known of it", ledger(verified_at=None, intact=False), Light.ORANGE),
    ("a changed ledger, however long ago", ledger(intact=False, verified_at=NOW - timedelta(days=9)), Light.RED),
    ("nothing late", destruction(0, 99), Light.GREEN),
    ("late for as long as one look takes", destruction(3, 1), Light.GREEN),
    ("hours late", destruction(1, 2), Light.ORANGE),
    ("a whole day late", destruction(1, 24), Light.ORANGE),
    ("more than a day late", destruction(1, 24.1), Light.RED),
    (
        "nothing destroyed yet",
        rules.judge_destruction(last_at=NOW, late=0, oldest=None, now=NOW),
        Light.GREEN,
    ),
    ("nothing astray", rules.judge_strays(count=0, oldest=None, now=NOW), Light.GREEN),
    ("nothing astray any more", rules.judge_strays(count=0, oldest=NOW - DAY, now=NOW), Light.GREEN),
    ("an upload of a whole shift", rules.judge_strays(count=9, oldest=NOW - DAY / 2, now=NOW), Light.GREEN),
    ("the rest never came", rules.judge_strays(count=1, oldest=NOW - timedelta(hours=13), now=NOW), Light.ORANGE),
    ("the Kluis there", rules.judge_kluis(answers=True), Light.GREEN),
    ("the Kluis away", rules.judge_kluis(answers=False), Light.RED),
    ("the last day of a policy", policy(), Light.GREEN),
    ("a policy without an end", policy(valid_until=None), Light.GREEN),
    ("a policy that ended yesterday", policy(valid_until=date(2026, 11, 21)), Light.RED),
    ("the Kluis on another version", policy(kluis=1), Light.RED),
    ("nobody knows what the Kluis follows", policy(kluis=None), Light.ORANGE),
    ("room", storage(), Light.GREEN),
    ("just enough room", storage(free_bytes=16 * GIB), Light.GREEN),
    ("little room", storage(free_bytes=16 * GIB - 1), Light.ORANGE),
    ("nothing but the reserve", storage(free_bytes=GIB), Light.ORANGE),
    ("less than the reserve", storage(free_bytes=GIB - 1), Light.RED),
    ("no write succeeds", storage(written_s=None), Light.RED),
    ("no write was tried", storage(written_ago=None), Light.RED),
    ("a write a while ago", storage(written_ago=timedelta(minutes=20)), Light.GREEN),
    ("no write was tried lately", storage(written_ago=timedelta(minutes=20, seconds=1)), Light.RED),
    ("a write that takes its time", storage(written_s=2.0), Light.GREEN),
    ("a slow write", storage(written_s=2.1), Light.ORANGE),
    ("cameras heard", broker(svc="online"), Light.GREEN),
    ("cameras not heard", broker(hearing=False), Light.RED),
    ("services away", broker(worker="lost", fleet="online", alerting="offline"), Light.ORANGE),
    ("a screen open", rules.judge_alerting(screens=1, channels={}), Light.GREEN),
    ("nobody looks", rules.judge_alerting(screens=0, channels={}), Light.ORANGE),
    (
        "nobody looks, and other ways work",
        rules.judge_alerting(screens=0, channels=dict.fromkeys("ba", True)),
        Light.GREEN,
    ),
    (
        "other ways are broken",
        rules.judge_alerting(screens=9, channels={"sms": False, "mail": False, "x": True}),
        Light.RED,
    ),
    ("certificates renewed", rules.judge_certificates({"cam-01": 21, "dock-01": 88}), Light.GREEN),
    ("no certificate in use", rules.judge_certificates({}), Light.GREEN),
    ("one not renewed", rules.judge_certificates({"cam-01": 20, "dock-01": 88}), Light.ORANGE),
    ("a week left", rules.judge_certificates({"cam-01": 7}), Light.ORANGE),
    ("one about to end", rules.judge_certificates({"cam-01": 6, "cam-02": 9}), Light.RED),
    ("a last day", rules.judge_certificates({"cam-01": 1}), Light.RED),
    ("today", rules.judge_certificates({"cam-01": 0}), Light.RED),
    ("ended", rules.judge_certificates({"cam-01": -1}), Light.RED),
    ("a whole fleet", rules.judge_certificates({f"c-{at:02}": 19 - at % 2 for at in range(22)}), Light.ORANGE),
    ("clocks agree", clock(5.0, ahead=-5.0), Light.GREEN),
    ("behind the ledger", clock(5.06), Light.ORANGE),
    ("a minute away", clock(60.0), Light.ORANGE),
    ("cameras a minute away", clock(ahead=-60.06), Light.RED),
    ("three cameras say something of our clock", clock(cameras=3, ahead=99.0), Light.RED),
    ("one camera says nothing of our clock", clock(cameras=2, ahead=99.0), Light.GREEN),
    ("no provider needed", rules.judge_identity(provider=None, answers=False), Light.GREEN),
    ("the provider answers", rules.judge_identity(provider="https://login", answers=True), Light.GREEN),
    ("the provider is away", rules.judge_identity(provider="https://login", answers=False), Light.RED),
    ("a witness and a stamp, as often as they are asked", outside(1.0), Light.GREEN),
    ("a witness that is silent for a day", outside(1.1), Light.RED),
    ("a witness that has just been asked for the first time", outside(None, asked_days=0.1), Light.ORANGE),
    ("a witness that never answered", outside(None), Light.RED),
    ("a witness that does not sign what it is shown", outside(0.1, refuses=True), Light.RED),
    ("nobody outside is asked", rules.judge_witness({}, now=NOW), Light.ORANGE),
    ("both silent, one longer", silent_outside(4, 9), Light.RED),
]


@pytest.mark.parametrize(("finding", "light"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_light_and_what_to_do_about_it(finding: Finding, light: Light) -> None:
    assert finding.light is light
    assert finding.because
    assert finding.waarom
    if light is Light.RED:  # whoever is woken by it must know what to do
        assert finding.do
        assert finding.doe


def test_what_each_light_says_is_this() -> None:
    """Wie een grens of een zin verandert, ziet hier wat er dan staat, in beide talen en voor de bewaking."""
    said = []
    for name, found, _ in CASES:
        facts = " ".join(f"{key}={value}" for key, value in found.facts.items())
        said += [f"{name}: {found.check} {found.light}", f"  {found.waarom}", f"  {found.because}", f"  {facts}"]
    assert "\n".join(said) + "\n" == (Path(__file__).parent / "lights.txt").read_text(encoding="utf-8")


def test_every_check_has_every_light_it_can_have_in_this_table() -> None:
    assert {case[1].check for case in CASES} == set(Check)


def test_the_whole_is_as_bad_as_its_worst_part() -> None:
    assert worst((ledger(), destruction(1, 2), storage())) is Light.ORANGE
    assert worst((ledger(), destruction(1, 2), storage(written_s=None))) is Light.RED
    assert worst((ledger(),)) is Light.GREEN
