"""A small search at every build; the whole one is ``python -m tests.adapters.crash.torture``."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.crash.torture import search
from tests.adapters.crash.writers import WRITERS

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs Debian's strace")


@needs_strace
@pytest.mark.rule("R-06")
@pytest.mark.parametrize("name", [name for name, writer in WRITERS.items() if not writer.control])
def test_no_power_cut_loses_what_was_promised_or_leaves_half_of_anything(name: str) -> None:
    found = search(name, 3)
    assert (found.failures, found.first) == (0, [])
    assert found.acknowledged == 3
    assert found.states > 20


@needs_strace
@pytest.mark.parametrize("name", [name for name, writer in WRITERS.items() if writer.control])
def test_the_search_catches_a_writer_that_breaks_the_rules(name: str) -> None:
    assert search(name, 2).failures > 0


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", ["fsync", "write", "linkat", "rename"])
@pytest.mark.parametrize("name", ["vault: put", "dock: state", "dock: receipts", "camera: card"])
def test_an_error_of_the_disk_is_never_taken_for_success(name: str, call: str, error: str, tmp_path: Path) -> None:
    """The n-th call fails; what was promised before, or in spite of it, is there and whole."""
    writer, happened = WRITERS[name], 0
    for number in (1, 3, 6):
        folder = tmp_path / str(number)
        folder.mkdir()
        if writer.before is not None:
            writer.before(folder)
        done = subprocess.run(
            [
                *("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"),
                *("-e", f"inject={call}:error={error}:when={number}"),
                *(sys.executable, "-m", "tests.adapters.crash.writers", name, str(folder), "6"),
            ],
            capture_output=True,
            check=False,
            timeout=60,
        )
        happened += done.returncode != 0
        writer.check(folder, done.stdout.count(b"."), 6)
    if call == "fsync":
        assert happened or name == "camera: card"  # the card writes it anew
