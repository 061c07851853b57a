"""The desk's end of the process that makes footage unrecognisable."""

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
from cloud.viewing.projector import Projector


class RedactionProjector(Projector):
    """A room's projector that can also find, follow, preview and make. Every method raises Refused."""

    MODULE: ClassVar[str] = "cloud.redaction.worker"

    async def find(self, recording: str, raw: bytes, *, from_s: float) -> Found:
        """Return where faces are in one segment, whose first picture is at `from_s` of the film."""
        return await self._answered(Find(raw=raw, recording=recording, from_s=from_s), Found)

    async def follow(self, recording: str, raw: bytes, *, from_s: float, at_s: float, box: Box) -> Followed:
        """Return where what is in the box goes, from `at_s` to the end of this segment."""
        order = Follow(raw=raw, recording=recording, from_s=from_s, at_s=at_s, box=box)
        return await self._answered(order, Followed)

    async def preview(self, recording: str, raw: bytes, *, from_s: float, cut: Cut, mark: tuple[str, ...]) -> bytes:
        """Return a segment as it will be made, marked."""
        order = Preview(raw=raw, recording=recording, from_s=from_s, cut=cut, mark=mark)
        return (await self._answered(order, Shown)).media

    async def begin(self, order: Begin) -> Begun:
        """Begin a derivative."""
        return await self._answered(order, Begun)

    async def hide(self, recording: str, raw: bytes, *, from_s: float, cut: Cut) -> bytes:
        """Return the derivative's next segment, sealed."""
        return (await self._answered(Hide(raw=raw, recording=recording, from_s=from_s, cut=cut), Hidden)).segment

    async def finish(self, *, ended_at: datetime) -> Finished:
        """Close the derivative."""
        return await self._answered(Finish(ended_at=ended_at), Finished)

    def _read(self, body: bytes) -> Any:
        return read_redaction_answer(body)
