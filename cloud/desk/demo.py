"""What a demonstration adds to the desk: people to be, keys in software, buttons to press, a clock to move."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """The means of a demonstration; an installation that is in earnest has none of them.

    `officials` are the people a newcomer can sign in as, in the order of the list. `keys` holds the software key of
    each official who may sign a viewing request; a real official's key never leaves its authenticator. A file named
    after a camera in `buttons` presses that camera's button; a new folder in `cameras` is a new camera out of its box.
    `move_clock` moves the clock of the whole town forward and returns the new time.
    """

    officials: tuple[str, ...]
    keys: Mapping[str, Ed25519PrivateKey] = field(repr=False)
    buttons: Path
    move_clock: Callable[[timedelta], datetime]
    cameras: Path | None = None
