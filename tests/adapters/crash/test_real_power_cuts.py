"""A small cut of the power under load; the whole table is ``python -m tests.adapters.crash.power_cut``."""

import pytest

from broker.wire.ids import DeviceId
from tests.adapters.crash.loop import NoLoop
from tests.adapters.crash.power_cut import Arm, arms, cut
from tests.adapters.intake.town import Camera
from tests.benchmarks.upload import KIB


@pytest.mark.slow
@pytest.mark.rule("R-06")
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("arm", arms(peers=False), ids=lambda arm: arm.name)
def test_what_was_acknowledged_is_there_after_the_power_went_and_a_careless_receiver_loses_it(
    arm: Arm, kind: str
) -> None:
    camera = Camera(DeviceId("cam-01"))
    made = camera.record(seconds=2000, pre_record_s=0, bytes_each=64 * KIB)
    load = [(digest.hex(), raw) for digest, raw in zip(made.digests[1:], made.segments[1:], strict=True)]
    try:
        outcome = cut(arm, camera, load, kind=kind, after_s=1.0)
    except NoLoop as why:
        pytest.skip(str(why))
    assert outcome.acknowledged > 0
    assert outcome.wrong == 0
    assert bool(outcome.lost) == arm.control
