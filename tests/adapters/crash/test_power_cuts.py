"""A small search at every build; the whole one is ``python -m tests.adapters.crash.torture``."""

import shutil

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
    assert found.states > 15


@needs_strace
@pytest.mark.parametrize("name", [name for name, writer in WRITERS.items() if writer.control])
def test_the_search_catches_a_writer_that_breaks_the_rules(name: str) -> None:
    assert search(name, 2).failures > 0
