"""Film of another maker, in pieces: found in, previewed and made like film of our own cameras."""

import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import av
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.wire.recording import ChainState, check_chain, read_end, read_head, read_segment, xwing_from_seed
from broker.wire.refusals import Refused
from cloud.redaction.faces import Faces
from cloud.redaction.messages import Begin
from cloud.redaction.projector import RedactionProjector, Stretch
from cloud.redaction.rules.plan import Plan, Span, cut_of, with_found
from cloud.redaction.rules.tracks import Hit, link
from cloud.viewing.messages import SLICE_S, Clip
from tests.adapters.redaction.filmed import face
from tests.adapters.viewing.footage import film
from tests.adapters.viewing.test_films import HASH, MARK, NOW, Delivered, Desk

SECONDS = 5
SLICES = 3
DERIVATIVE = "019f0000-0000-7000-8000-000000000001"


@pytest.fixture
async def projector() -> AsyncIterator[RedactionProjector]:
    started = await RedactionProjector.start()
    yield started
    await started.close()


class Opened:
    """One delivered film in the room's process."""

    def __init__(self, projector: RedactionProjector) -> None:
        self.projector, self.delivered = projector, Delivered(projector.public_key)

    async def splice(self, *films: bytes) -> bytes:
        """Return what a player reads first."""
        added = [self.delivered.add(film) for film in films]
        await self.projector.open(HASH, [self.delivered.released()])
        clips = [Clip(first=first, sizes=sizes) for first, sizes in added]
        found = await self.projector.splice(str(self.delivered.recording), clips, Desk(self.delivered))
        assert [each.because for each in found] == [""] * len(films)
        return found[0].init

    def slice(self, number: int, *, film: int = 0) -> Stretch:
        from_s = float(number * SLICE_S + film * SECONDS)
        return Stretch(
            recording=str(self.delivered.recording),
            from_s=from_s,
            film=film,
            number=number,
            starts_at=NOW + timedelta(seconds=from_s),
            ends_at=NOW + timedelta(seconds=min(from_s + SLICE_S, SECONDS)),
            supply=Desk(self.delivered),
        )

    def order(self) -> Begin:
        keys = xwing_from_seed(bytes(32))
        return Begin(
            recording=str(self.delivered.recording),
            derivative=DERIVATIVE,
            tenant=bytes(16),
            recipients=((keys.key_id, keys.public_key),),
            tree_size=0,
            root=bytes(32),
            begins_at=NOW,
        )


def pictures(media: bytes) -> list[Any]:
    with av.open(io.BytesIO(media), "r") as opened:
        return [frame.to_ndarray(format="bgr24") for frame in opened.decode(video=0)]


def loudest(media: bytes) -> float:
    with av.open(io.BytesIO(media), "r") as opened:
        return max(float(np.abs(frame.to_ndarray()).max()) for frame in opened.decode(audio=0))


@pytest.mark.rule("H-55", "P-17")
async def test_a_face_in_film_of_another_maker_is_found_and_gone(projector: RedactionProjector) -> None:
    init, fragments = face(SECONDS)
    opened, hits = Opened(projector), list[Hit]()
    begins = await opened.splice(init + b"".join(fragments))
    for number in range(SLICES):
        hits += (await projector.find(opened.slice(number), ends=number == SLICES - 1)).hits
    plan = with_found(
        Plan(recording="r", first=1, last=3, length_s=float(SECONDS), detector="-", mutes=(Span(from_s=0, until_s=2),)),
        link(hits),
        detector="x",
    )
    longest = max(plan.tracks, key=lambda track: track.until_s - track.from_s)
    assert longest.from_s <= 0
    assert longest.until_s >= SECONDS

    cuts = [cut_of(plan, float(number * SLICE_S), number * SLICE_S + 2.0) for number in range(SLICES)]
    shown = [await projector.preview(opened.slice(n), cut=cut, mark=MARK) for n, cut in enumerate(cuts)]
    film, faces = pictures(begins + b"".join(shown)), Faces()
    assert len(film) == SECONDS * 15
    for pixels in film[::15]:
        assert not [hit for hit in faces.find(pixels, at_s=0.0) if hit.score > 0.5]
    assert loudest(begins + shown[0]) < 1e-3
    assert loudest(begins + shown[1]) > 0.1

    begun = await projector.begin(opened.order())
    made = [begun.first] + [await projector.hide(opened.slice(n), cut=cut) for n, cut in enumerate(cuts)]
    ended = await projector.finish(ended_at=NOW + timedelta(seconds=SECONDS))
    key = Ed25519PublicKey.from_public_bytes(begun.public_key)
    segments = tuple(read_segment(raw, key) for raw in made)
    assert check_chain(read_head(begun.head, key), segments, read_end(ended.end, key)).state is ChainState.INTACT


async def test_films_that_do_not_fit_behind_one_beginning_are_refused(projector: RedactionProjector) -> None:
    init, fragments = face(SECONDS)
    small_init, small = film_of_another_size()
    opened = Opened(projector)
    await opened.splice(init + b"".join(fragments), small_init + small)
    with pytest.raises(Refused, match="films of one size and sound"):
        await projector.begin(opened.order())


def film_of_another_size() -> tuple[bytes, bytes]:
    init, fragments = film(2)
    return init, b"".join(fragments)
