"""A dock's own settings: how much of the building's line it may use, and when."""

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Any, Final

import msgspec

from dock_agent.rules.offload import Window


class SettingsError(Exception):
    """The settings cannot be used; says what was expected and what came."""


class _Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"since": "from"}):
    since: str
    until: str
    limit_mbit: float


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit_mbit: float | None = None
    connections: int = 8
    window: tuple[_Window, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`limit_mbit` holds outside the windows, None is no limit; `connections` at most at the same time."""

    limit_mbit: float | None = None
    connections: int = 8
    windows: Sequence[Window] = ()


MOST_CONNECTIONS: Final = 32


def read_settings(path: Path) -> Settings:
    """Return the settings in a TOML file; raise SettingsError, naming the nearest known key for an unknown one.

    ::

        limit_mbit = 50        # outside the windows; leave out for no limit
        connections = 4

        [[window]]             # local time; the first that fits counts
        from = "08:00"
        until = "18:00"
        limit_mbit = 5         # 0: nothing is sent
    """
    try:
        content = tomllib.loads(path.read_text())
        read = msgspec.convert(content, type=_File)
        windows = tuple(
            Window(
                since=time.fromisoformat(each.since),
                until=time.fromisoformat(each.until),
                limit_mbit=each.limit_mbit,
            )
            for each in read.window
        )
    except FileNotFoundError as cause:
        raise SettingsError(f"settings: expected {path}, found nothing") from cause
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, ValueError) as cause:
        raise SettingsError(f"settings: {path}: {cause}{_hint(path)}") from cause
    limits = [each.limit_mbit for each in windows] + ([] if read.limit_mbit is None else [read.limit_mbit])
    if min(limits, default=0.0) < 0 or not 1 <= read.connections <= MOST_CONNECTIONS:
        raise SettingsError(f"settings: {path}: expected limits of 0 or more and 1 to {MOST_CONNECTIONS} connections")
    return Settings(limit_mbit=read.limit_mbit, connections=read.connections, windows=windows)


def _hint(path: Path) -> str:
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError:
        return ""
    known = ["limit_mbit", "connections", "window"]
    for key in content:
        near = difflib.get_close_matches(key, known, n=1)
        if key not in known and near:
            return f"; did you mean {near[0]}?"
    return ""
