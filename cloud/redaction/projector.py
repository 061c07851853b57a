"""The desk's end of the process that makes footage unrecognisable."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from cloud.redaction.messages import (
    Begin,
    Begun,
    Find,
    Finish,
    Finished,
    Follow,
    Followed,
    Found,
    Hidden,
    Hide,
    Preview,
    read_redaction_answer,
)
from cloud.redaction.rules.plan import Cut
from cloud.redaction.rules.tracks import Box
from cloud.viewing.messages import Shown
from cloud.viewing.projector import Projector, Supply


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What one order is about: a sealed segment, or (`raw` is empty) a slice of a film in pieces.

    `from_s`: where in the film it begins. `supply`: where the process gets pieces.
    """

    recording: str
    from_s: float
    raw: bytes = b""
    film: int = 0
    number: int = 0
    starts_at: datetime
    ends_at: datetime
    pre_record: bool = False
    supply: Supply | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What an order says of it."""
        return {name: getattr(self, name) for name in ("recording", "from_s", "raw", "film", "number")}


class RedactionProjector(Projector):
    """A room's projector that can also find, follow, preview and make. Every method raises Refused."""

    MODULE: ClassVar[str] = "cloud.redaction.worker"

    ANSWERS_WITHIN_S: ClassVar[float] = 120.0
    """A second of film takes a second of a processor and may have to wait for one: a room that two people signed for,
    and a search of half an hour, do not end because a server was busy for a moment.
    """

    async def find(self, of: Stretch, *, ends: bool) -> Found:
        """Return where faces are; `ends`: what comes after it was not filmed right after it."""
        return await self._answered(Find(**of.about, ends=ends), Found, of.supply)

    async def follow(self, of: Stretch, *, at_s: float, box: Box) -> Followed:
        """Return where what is in the box goes, from `at_s` to the end of the stretch."""
        return await self._answered(Follow(**of.about, at_s=at_s, box=box), Followed, of.supply)

    async def preview(self, of: Stretch, *, cut: Cut, mark: tuple[str, ...]) -> bytes:
        """Return a stretch as it will be made, marked."""
        return (await self._answered(Preview(**of.about, cut=cut, mark=mark), Shown, of.supply)).media

    async def begin(self, order: Begin) -> Begun:
        """Begin a derivative."""
        return await self._answered(order, Begun)

    async def hide(self, of: Stretch, *, cut: Cut) -> bytes:
        """Return the derivative's next segment, sealed."""
        order = Hide(**of.about, cut=cut, starts_at=of.starts_at, ends_at=of.ends_at, pre_record=of.pre_record)
        return (await self._answered(order, Hidden, of.supply)).segment

    async def finish(self, *, ended_at: datetime) -> Finished:
        """Close the derivative."""
        return await self._answered(Finish(ended_at=ended_at), Finished)

    def _read(self, body: bytes) -> Any:
        return read_redaction_answer(body)
