"""`vierogen invite`: make the code with which one official registers a security key. Hand it over in person."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from broker.clock import open_clock
from cloud.config import ConfigError, TownFolder, read_config
from cloud.desk.invitations import Invitations


def main(argv: Sequence[str]) -> int:
    """Print the address to open, once; return 0, or 1 when the town has no desk in standard mode."""
    parser = argparse.ArgumentParser(prog="vierogen invite", description=__doc__)
    parser.add_argument("town", type=Path, help="the town's folder")
    parser.add_argument("official", help="the pseudonym of the official, such as o-101")
    parser.add_argument("--clock", type=Path, help="demonstration clock")
    arguments = parser.parse_args(argv)
    town = TownFolder(arguments.town.resolve())
    try:
        config = read_config(town.config)
        if config.mode != "standard":
            raise ConfigError(f"settings: {town.config}: expected mode standard, got {config.mode}: there are no keys")
    except ConfigError as failure:
        sys.stderr.write(f"vierogen invite: {failure}\n")
        return 1
    clock, _ = open_clock(arguments.clock)
    code = Invitations(town.invitations).invite(arguments.official, now=clock())
    sys.stdout.write(f"{config.desk_origin}/sleutels/nieuw/{code}\n")
    return 0
