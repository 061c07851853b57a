"""A sample of the strikes at every build; all of them are ``python -m tests.adapters.crash.strikes``."""

import subprocess
import sys

import pytest

from tests.adapters.crash.strikes import SKIPPED


@pytest.mark.slow
@pytest.mark.rule("R-06")
def test_camera_dock_and_receiver_struck_anywhere_lose_nothing_and_need_nobody() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.adapters.crash.strikes", "--quick"],
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert done.stdout.count("killed at call") == 3
