"""Which version of a policy has a say about footage: the one in force and the one of its day, whichever refuses."""

from datetime import UTC, datetime, timedelta

import pytest

from broker.wire.ids import RecordingId, fixed_at, uuid7
from broker.wire.policy import Policy
from cloud.rules.verdicts import Verdict, allow, deny
from cloud.rules.versions import judge_by_all, version_at
from tests.rules.rules.towns import changed, heusden

FIRST = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADOPTED = [(FIRST, 1), (FIRST + timedelta(days=10), 2), (FIRST + timedelta(days=20), 4)]


@pytest.mark.rule("E-18")
@pytest.mark.parametrize(
    ("after", "version"),
    [
        (timedelta(days=-5), 1),
        (timedelta(), 1),
        (timedelta(days=10, seconds=-1), 1),
        (timedelta(days=10), 2),
        (timedelta(days=15), 2),
        (timedelta(days=99), 4),
    ],
)
def test_footage_is_bound_to_the_version_of_its_day_and_older_footage_to_the_first(
    after: timedelta, version: int
) -> None:
    assert version_at(ADOPTED, FIRST + after) == version


@pytest.mark.rule("E-18")
@pytest.mark.parametrize(
    ("in_force", "bound", "refuses"), [(True, True, None), (True, False, 1), (False, True, 2), (False, False, 2)]
)
def test_both_versions_must_allow_it_and_the_refusal_names_the_one_that_does_not(
    in_force: bool, bound: bool, refuses: int | None
) -> None:
    policies = (changed("heusden", ("version = 1", "version = 2")), heusden())
    said = {2: in_force, 1: bound}

    def judge(policy: Policy) -> Verdict:
        return allow("yes", "ja") if said[policy.version] else deny("no", "nee")

    verdict = judge_by_all(policies, judge)
    assert verdict.allowed is (refuses is None)
    if refuses is not None:
        assert verdict == deny(f"version {refuses} of the policy: no", f"versie {refuses} van het beleid: nee")


def test_where_one_version_counts_nobody_is_told_of_versions() -> None:
    assert judge_by_all((heusden(),), lambda _: deny("no", "nee")) == deny("no", "nee")


@pytest.mark.parametrize("moment", [FIRST, datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
def test_a_recordings_id_tells_when_it_was_fixed(moment: datetime) -> None:
    assert fixed_at(RecordingId(uuid7(moment, bytes(10)))) == moment


def test_an_id_from_beyond_the_calendar_counts_as_its_end() -> None:
    late = RecordingId(type(uuid7(FIRST, bytes(10)))(bytes=b"\xff" * 6 + b"\x70\x00\x80" + bytes(7)))
    assert fixed_at(late).year == 9999
