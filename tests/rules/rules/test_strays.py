"""What becomes of segments whose recording was never handed in."""

from datetime import UTC, datetime, timedelta

import pytest

from broker.wire.policy import read_policy
from cloud.rules.retention import expires_at
from cloud.rules.strays import Erase, Left, PutApart, Wait, judge
from tests.adapters.intake.town import POLICIES

NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
HEUSDEN = read_policy((POLICIES / "heusden.toml").read_text())
PATIENCE = timedelta(hours=HEUSDEN.device.dock_within_h)


def left(*, arrived: timedelta, state: str | None = None) -> Left:
    return Left(last_arrived_at=NOW - arrived, ended_at=NOW - arrived - timedelta(hours=1), state=state)


def test_as_long_as_a_camera_may_take_to_come_to_a_dock_the_rest_is_waited_for() -> None:
    assert isinstance(judge(left(arrived=PATIENCE - timedelta(seconds=1)), policy=HEUSDEN, now=NOW), Wait)
    assert isinstance(judge(left(arrived=PATIENCE), policy=HEUSDEN, now=NOW), PutApart)


@pytest.mark.rule("R-09")
@pytest.mark.parametrize("state", [None, "announced", "lost"])
def test_what_is_left_is_kept_no_longer_than_any_footage(state: str | None) -> None:
    what = left(arrived=PATIENCE, state=state)
    verdict = judge(what, policy=HEUSDEN, now=NOW)
    assert isinstance(verdict, PutApart)
    assert verdict.expires_at == expires_at(HEUSDEN, what.ended_at)


def test_a_camera_with_a_clock_in_the_future_does_not_keep_it_longer() -> None:
    what = Left(last_arrived_at=NOW - PATIENCE, ended_at=NOW + timedelta(days=900), state=None)
    verdict = judge(what, policy=HEUSDEN, now=NOW)
    assert isinstance(verdict, PutApart)
    assert verdict.expires_at == expires_at(HEUSDEN, NOW)


@pytest.mark.parametrize(
    ("state", "verdict"), [("destroyed", Erase), ("destroying", Wait), ("retained", Wait), ("held", Wait)]
)
def test_it_goes_with_its_recording_and_never_before_it(state: str, verdict: type) -> None:
    assert isinstance(judge(left(arrived=PATIENCE, state=state), policy=HEUSDEN, now=NOW), verdict)
