"""The table over all searches, also when somebody stops them half way."""

import pytest

from cloud.vault import shelf
from tests.adapters.crash.tally import Tally
from tests.adapters.crash.torture import STOPPED, Search, play
from tests.adapters.crash.writers import few_folders


def _shrinking(tally: Tally) -> None:
    few_folders()
    tally.points = len(list(shelf._prefixes()))


def _whole(tally: Tally) -> None:
    tally.states, tally.points = 120, 12


def _stopped(tally: Tally) -> None:
    tally.points = 7
    raise KeyboardInterrupt


def _broken(tally: Tally) -> None:
    raise OSError(28, "No space left on device")


def test_who_stops_the_searches_is_told_what_is_known_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    searches = [Search("disks", "all disks", _whole), Search("cuts", "each KiB", _stopped), Search("power", "", _whole)]
    assert play(searches, seed=0) == STOPPED
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["disks", "120", "12", "-", "0", "0.0"] in table
    assert ["cuts", "-", "7", "-", "0", "0.0", "stopped", "half", "way"] in table
    assert ["power", "not", "begun"] in table
    assert table[-1][2:] == ["nothing", "was", "lost", "so", "far"]


def test_what_one_search_makes_smaller_is_of_full_size_for_the_next() -> None:
    folders = list[int]()
    searches = [
        Search("disks", "two folders", _shrinking),
        Search("cuts", "a whole vault", lambda _: folders.append(len(list(shelf._prefixes())))),
    ]
    assert play(searches, seed=0) == 0
    assert folders == [256]


def test_a_search_that_breaks_down_is_a_failure_and_the_others_are_still_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert play([Search("disks", "all disks", _broken), Search("strikes", "each call", _whole)], seed=3) == 1
    said = capsys.readouterr()
    assert "No space left on device" in said.err
    table = [line.split() for line in said.out.splitlines()]
    assert ["disks", "-", "0", "-", "1", "0.0"] in table
    assert ["strikes", "120", "12", "3", "0", "0.0"] in table
    assert table[-1][2:] == ["FAILED"]
