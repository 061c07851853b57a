"""Docking stations as folders of bays: one card in each, one bay for each card."""

from pathlib import Path

import pytest

from edge.stations import Bay, NoBayFree, Stations


def test_each_card_gets_the_first_free_bay_of_the_first_station_and_leaves_it_free(tmp_path: Path) -> None:
    stations = Stations(tmp_path / "stations", bays=1)
    cards = [tmp_path / name for name in ("cam-01", "cam-02", "cam-03")]
    bays = [tmp_path / "stations" / dock / "bays" for dock in ("dock-01", "dock-02")]
    for folder in (*cards, *bays):
        folder.mkdir(parents=True)
    first, second = (Bay(dock=folder.parent.name, number=1, link=folder / "01") for folder in bays)
    assert stations.take(cards[0]) is None
    assert stations.put(cards[0]) == stations.put(cards[0]) == first
    assert stations.put(cards[1]) == second
    assert first.link.resolve() == cards[0]
    assert not first.link.readlink().is_absolute()  # the town may be moved as a whole
    with pytest.raises(NoBayFree, match="add a station"):
        stations.put(cards[2])
    assert (stations.where(cards[1]), stations.where(cards[2])) == (second, None)
    assert stations.take(cards[0]) == first
    assert stations.where(cards[0]) is None
    assert stations.put(cards[2]) == first
