"""Which network is which viewing place: the setting `viewing_places` of an installation."""

import json
from ipaddress import ip_address
from pathlib import Path

import pytest

from cloud.config import TownFolder, read_config
from cloud.desk.viewing_place import place_of

NAMED = ("gemeentehuis-kijkkamer", "wijkbureau")


def written(folder: Path, **more: object) -> Path:
    town = TownFolder(folder)
    town.cloud.mkdir()
    settings = {
        "org": "heusden",
        "name": "Gemeente Heusden",
        "oin": "00000000000000000000",
        "mode": "demonstration",
        "ledger_origin": "heusden.example/log",
        "database_url": "sqlite+aiosqlite:///x",
        "desk": {"port": 8080},
        "receiver": {"port": 8081},
        "broker": {"port": 8082},
    }
    town.config.write_text(json.dumps(settings | more))
    return town.config


@pytest.mark.rule("H-63")
def test_a_network_in_the_settings_is_the_place_of_its_name(tmp_path: Path) -> None:
    networks = {"10.20.4.0/24": "gemeentehuis-kijkkamer", "2001:db8:7::/64": "wijkbureau"}
    places = read_config(written(tmp_path, viewing_places=networks)).viewing_places
    for address, expected in {
        "10.20.4.17": "gemeentehuis-kijkkamer",
        "2001:db8:7::5": "wijkbureau",
        "10.20.5.17": None,
        "127.0.0.1": None,  # with a list, this machine is a place only when the list says so
    }.items():
        assert place_of(places, ip_address(address), NAMED) == expected, address


@pytest.mark.rule("H-63")
def test_without_the_setting_only_the_desks_own_machine_is_a_place(tmp_path: Path) -> None:
    places = read_config(written(tmp_path)).viewing_places
    assert places == {}
    assert place_of(places, ip_address("127.0.0.1"), NAMED) == "gemeentehuis-kijkkamer"
    assert place_of(places, ip_address("10.20.4.17"), NAMED) is None
    assert place_of(places, ip_address("127.0.0.1"), ()) is None
