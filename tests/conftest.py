"""The long modules first, so that both cores end at the same time; and no example fails because a machine is busy."""

import os
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

SECONDS = {"slow": 15.0, "browser": 7.0, "footage": 25.0}
"""What a test with this mark takes, about. A limit of its own of more than a test's usual one says that it is long."""

ANY_TEST_S = 0.2
USUAL_LIMIT_S = 180.0
LONG_LIMIT_S = 1200
"""A machine with twenty other things to do takes twenty times as long: nothing is wrong with a long test yet."""


MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 8 * 1024**3
"""A whole run leaves half a gigabyte, and three are kept."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep the modules with the fewest tests from coming last (they are the longest), and the folders in memory.

    A town is thousands of syncs, each of which waits for a disk; what a disk may do to us stands in adapters/crash.
    """
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the module that takes longest first; within a module the order stays."""
    takes = defaultdict[str, float](float)
    for item in items:
        takes[_module(item)] += _seconds(item)
    items.sort(key=lambda item: -takes[_module(item)])
    for item in items:
        if item.get_closest_marker("timeout") is None and any(item.get_closest_marker(mark) for mark in SECONDS):
            item.add_marker(pytest.mark.timeout(LONG_LIMIT_S))


def _module(item: pytest.Item) -> str:
    return item.nodeid.split("::", 1)[0]


def _seconds(item: pytest.Item) -> float:
    limit = item.get_closest_marker("timeout")
    longest = float(limit.args[0]) if limit is not None and limit.args else 0.0
    marked = max((SECONDS.get(mark.name, ANY_TEST_S) for mark in item.iter_markers()), default=ANY_TEST_S)
    return max(marked, longest / 4 if longest > USUAL_LIMIT_S else 0.0)
