"""Carries letters between the cameras in the bays and their municipality; understands none of them.

A camera that nobody enrolled has no card.json yet, so this looks at the bays by itself: ``to-dock/`` holds what a
camera asks, the answer goes to ``from-dock/``.
"""

import asyncio
import hashlib
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Protocol

from broker import durable
from broker.wire.enrolment import ANSWER, CERTIFICATE, MAX_LETTER_BYTES, RENEWAL, REQUEST
from broker.wire.refusals import Retry
from dock_agent.uploader import NoAnswer, SaidNo

LOG: Final = logging.getLogger(__name__)

LOOK_S: Final = 2.0
"""How often the bays are looked at; a camera that waits for its coordinator is asked for this often."""

REFUSED_S: Final = 60.0
"""A letter that was refused is not carried again for so long."""


class Carrier(Protocol):
    """What letters go by."""

    async def carry(self, path: str, letter: bytes) -> bytes:
        """Return the answer, empty when there is none yet; raise NoAnswer, SaidNo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One kind of letter."""

    asks: str
    path: str
    answer: str


ERRANDS: Final = (
    Errand(asks=REQUEST, path="/v1/enrolments", answer=ANSWER),
    Errand(asks=RENEWAL, path="/v1/renewals", answer=CERTIFICATE),
)


class Letters:
    """The letters of one station."""

    def __init__(self, bays: Path, carrier: Carrier) -> None:
        self._bays = bays
        self._carrier = carrier
        self._refused: dict[str, float] = {}

    async def run(self) -> NoReturn:
        """Carry until cancelled."""
        while True:
            for bay in await asyncio.to_thread(_occupied, self._bays):
                for errand in ERRANDS:
                    await self._run_errand(bay, errand)
            await asyncio.sleep(LOOK_S)

    async def _run_errand(self, bay: Path, errand: Errand) -> None:
        """One letter; whatever is wrong with it or its card, the others go on."""
        try:
            letter = await asyncio.to_thread(_read, bay / "to-dock" / errand.asks)
            if letter is None or self._was_refused(letter):
                return
            answer = await self._carrier.carry(errand.path, letter)
            if answer:
                await asyncio.to_thread(_put, bay / "from-dock", errand.answer, answer)
        except NoAnswer as cause:
            LOG.info("dock: bay %s: a letter waits: %s", bay.name, cause)
        except SaidNo as cause:
            LOG.warning("dock: bay %s: a letter was refused: %s", bay.name, cause)
            if cause.code.retry is Retry.NEVER:
                self._remember(letter or b"")
        except OSError as cause:
            LOG.warning("dock: bay %s: a letter cannot be read or written: %s", bay.name, cause)

    def _was_refused(self, letter: bytes) -> bool:
        return self._refused.get(_name(letter), 0.0) > asyncio.get_running_loop().time()

    def _remember(self, letter: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self._refused = {name: until for name, until in self._refused.items() if until > now}
        self._refused[_name(letter)] = now + REFUSED_S


def _name(letter: bytes) -> str:
    return hashlib.sha256(letter).hexdigest()


def _occupied(bays: Path) -> list[Path]:
    try:
        return sorted(bay for bay in bays.iterdir() if bay.name.isdecimal() and bay.is_dir())
    except OSError as cause:
        LOG.warning("dock: %s", cause)
        return []


def _read(path: Path) -> bytes | None:
    """Return the letter, or None without one. A card is a stranger's disk: no links, no devices, no endless files."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path.name}: expected a regular file")
        letter = os.read(fd, MAX_LETTER_BYTES + 1)
    finally:
        os.close(fd)
    if len(letter) > MAX_LETTER_BYTES:
        raise OSError(f"{path.name}: expected at most {MAX_LETTER_BYTES} bytes")
    return letter


def _put(folder: Path, name: str, content: bytes) -> None:
    if folder.is_symlink() or not folder.is_dir():
        raise OSError(f"{folder.name}: expected a folder on the card")
    if _read(folder / name) != content:
        durable.replace(folder / name, content)
