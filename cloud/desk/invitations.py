"""Letting somebody register a first security key: a code that works once, for one person, for one day.

A code is made on the server's own machine and handed over in person. It opens the page on which a key is registered,
and nothing else. What it makes gives a way in to the desk; to footage it gives none, until two officials have put the
key on the Kluis's own list. Only the hash of a code is kept.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

LIVES: Final = timedelta(hours=24)
"""Long enough to walk to somebody's office, too short to be found in a drawer."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    official: str
    until_at: datetime


class Invitations:
    """The codes that still work, one small file each. Blocks, shortly."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def invite(self, official: str, *, now: datetime) -> str:
        """Return a new code for this person. It is shown once and kept nowhere."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        code = secrets.token_urlsafe(24)
        self._path(code).write_bytes(msgspec.json.encode(_Kept(official=official, until_at=now + LIVES)))
        return code

    def find(self, code: str, *, now: datetime) -> str | None:
        """Return whom this code is for, or None when it does not work (any more)."""
        try:
            kept = msgspec.json.decode(self._path(code).read_bytes(), type=_Kept)
        except FileNotFoundError:
            return None
        return kept.official if now <= kept.until_at else None

    def use_up(self, code: str) -> bool:
        """Make this code work no more; return whether it was there: of two at once, one gets True."""
        try:
            self._path(code).unlink()
        except FileNotFoundError:
            return False
        return True

    def _path(self, code: str) -> Path:
        return self._folder / f"{hashlib.sha256(code.encode()).hexdigest()}.json"
