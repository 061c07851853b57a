"""An upload cut here and there at every build; at each KiB in ``python -m tests.adapters.crash.cuts``."""

import pytest

from tests.adapters.crash.cuts import tables
from tests.adapters.crash.tally import Tally


@pytest.mark.rule("R-06")
async def test_an_upload_cut_anywhere_is_never_half_visible_and_goes_on_at_the_segment() -> None:
    found = [each async for each in tables(every=200, tally=Tally())]
    assert [(each.what, each.lane, each.visible, each.wrong) for each in found] == [
        ("segment", "fast", 0, ""),
        ("bundle", "fast", 0, ""),
        ("segment", "ordinary", 0, ""),
        ("bundle", "ordinary", 0, ""),
    ]
    assert all(each.cuts >= 4 for each in found)
