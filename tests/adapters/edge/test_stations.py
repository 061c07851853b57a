"""Docking stations as folders of bays: one card in each, one bay for each card."""

from concurrent.futures import ThreadPoolExecutor
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


def test_a_card_that_two_hands_put_in_at_once_is_in_one_bay(tmp_path: Path) -> None:
    stations, card = Stations(tmp_path / "stations", bays=8), tmp_path / "cam-01"
    for folder in (card, tmp_path / "stations" / "dock-01" / "bays"):
        folder.mkdir(parents=True)
    for _ in range(200):
        with ThreadPoolExecutor(8) as hands:
            assert len(set(hands.map(lambda _: stations.put(card), range(8)))) == 1
        assert len(list((tmp_path / "stations" / "dock-01" / "bays").iterdir())) == 1
        stations.take(card)


def test_a_card_that_somebody_pulled_out_meanwhile_is_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stations, card = Stations(tmp_path / "stations", bays=1), tmp_path / "cam-01"
    for folder in (card, tmp_path / "stations" / "dock-01" / "bays"):
        folder.mkdir(parents=True)
    bay = stations.put(card)
    bay.link.unlink()
    monkeypatch.setattr(stations, "where", lambda _: bay)
    assert stations.take(card) == bay
