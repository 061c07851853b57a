"""`vierogen roster`: write the register's officials and their keys as the list with which a Kluis is founded.

For the founding only: once there is a Kluis, its list changes by two people's signatures, at the desk.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cloud.config import ConfigError, TownFolder, read_config
from cloud.database.engine import Database
from cloud.desk.roster import officials_in_register
from cloud.kluis.rules.roster import Official


def main(argv: Sequence[str]) -> int:
    """Print the list as JSON; return 0, or 1 when there is no such town."""
    parser = argparse.ArgumentParser(prog="vierogen roster", description=__doc__)
    parser.add_argument("town", type=Path, help="the town's folder")
    arguments = parser.parse_args(argv)
    town = TownFolder(arguments.town.resolve())
    try:
        config = read_config(town.config)
    except ConfigError as failure:
        sys.stderr.write(f"vierogen roster: {failure}\n")
        return 1
    found = asyncio.run(_read(config.database_url, config.org))
    sys.stdout.write(msgspec.json.format(msgspec.json.encode([each for each in found if each.credentials])).decode())
    sys.stdout.write("\n")
    return 0


async def _read(url: str, org: str) -> tuple[Official, ...]:
    database = Database(url)
    try:
        return await officials_in_register(database, org)
    finally:
        await database.close()
