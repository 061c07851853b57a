"""Makes one room's footage unrecognisable: a room's process (cloud/viewing/worker.py) with a few more orders.

Run as ``python -m cloud.redaction.worker``, behind the same closed doors. What leaves it is numbers (where faces are),
pictures in which everybody who is to be hidden is hidden, and the derivative, sealed. The key that signs a derivative
is made here, signs nothing else, and is gone with the process.
"""

import hashlib
import secrets
import sys
from datetime import datetime, timedelta
from functools import partial
from typing import Any, BinaryIO, Final, cast

import cv2
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.ids import TenantId, parse_recording
from broker.wire.recording import Checkpoint, Flag, Kind, Recipient, Sealer, SegmentFacts, StopReason
from broker.wire.refusals import Code, Refused, refuse
from cloud.redaction.faces import Faces, detector_name
from cloud.redaction.film import OwnSecond, Silence, Slice, Stretch
from cloud.redaction.finder import Finder
from cloud.redaction.follower import follow
from cloud.redaction.hiding import Picture, hide, hide_all_but
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
    RedactionAnswer,
    RedactionOrder,
    read_redaction_order,
)
from cloud.redaction.rules.plan import Cut, hidden_at, muted_at, visible_at
from cloud.redaction.rules.tracks import Box, Key, key_of
from cloud.viewing.messages import Declined, Given, Open, Ready, Show, Shown, ShowSlice, Splice, pack
from cloud.viewing.watermark import draw
from cloud.viewing.worker import NOT_A_FILM, Ask, Room, asking, close_the_doors
from cloud.viewing.worker import rehearse as rehearse_showing

LABEL: Final = "VOORBEELD"
"""Stands in the corner of a preview: it is not the derivative."""

JUMP_S: Final = 0.5
"""A camera's clock and its count of pictures may differ by less; more is a break in the recording."""

DRAWN_EVERY_S: Final = 0.2
"""How often it is written down where a box that somebody drew was followed to."""


class _Derivative:
    """The derivative that is being made: its sealer, and the hash of its film in the clear."""

    def __init__(self, sealer: Sealer, recording: str, begins_at: datetime) -> None:
        self.sealer, self.recording, self.begins_at = sealer, recording, begins_at
        self.film = hashlib.sha256()
        self._later_s: float | None = None

    def later_s(self, begin_s: float, *, from_s: float) -> float:
        """Return how much later than in the original a stretch is played: the derivative's own count begins at 0.

        The same all along, so that pictures and sound join as they did; anew where the original's count jumps.
        """
        if self._later_s is None or abs(begin_s + self._later_s - from_s) > JUMP_S:
            self._later_s = from_s - begin_s
        return self._later_s

    def seal(self, media: bytes, *, flags: Flag, starts_at: datetime, ends_at: datetime) -> bytes:
        self.film.update(media)
        since = starts_at - self.begins_at
        return self.sealer.seal(
            media,
            kind=Kind.VIDEO,
            flags=flags,
            starts_at=starts_at,
            ends_at=ends_at,
            monotonic_us=max(0, since // timedelta(microseconds=1)),
        )


class RedactionRoom(Room):
    """Answers a room's orders and those of redaction."""

    def __init__(self, faces: Faces, ask: Ask) -> None:
        super().__init__(ask)
        self._finder = Finder(faces)
        self._making: _Derivative | None = None

    def answer(self, order: RedactionOrder) -> RedactionAnswer:  # type: ignore[override]
        """Do one order."""
        try:
            match order:
                case Open() | Show() | Splice() | ShowSlice() | Given():
                    return cast("RedactionAnswer", super().answer(order))
                case Find():
                    return self._find(order)
                case Follow():
                    return self._follow(order)
                case Preview():
                    return self._preview(order)
                case Begin():
                    return self._begin(order)
                case Hide():
                    return self._hide(order)
                case Finish():
                    return self._finish(order)
        except Refused as refused:
            refusal = refused.refusal
            return Declined(code=refusal.code.name, what=refusal.what, expected=refusal.expected, got=refusal.got)
        except (cv2.error, *NOT_A_FILM) as problem:
            return Declined(
                code=Code.MALFORMED.name, what="footage", expected="a segment that decodes", got=type(problem).__name__
            )

    def _find(self, order: Find) -> Found:
        stretch, _ = self._stretch(order)
        hits, looked = self._finder.look(order.recording, stretch.frames(), from_s=order.from_s, ends=order.ends)
        return Found(hits=tuple(hits), pictures=looked, detector=detector_name())

    def _follow(self, order: Follow) -> Followed:
        stretch, _ = self._stretch(order)
        box, before, keys = order.box, None, list[Key]()
        for frame in stretch.frames():
            moment = order.from_s + frame.at_s
            if moment < order.at_s - 1e-3:
                continue
            grey = frame.grey()
            following = box if before is None else follow(before, grey, box)
            if following is None:
                return Followed(keys=tuple(keys), lost=True)
            box, before = following, grey
            if not keys or moment - keys[-1].at_s >= DRAWN_EVERY_S - 1e-3:
                keys.append(key_of(moment, _inside(box)))
        return Followed(keys=tuple(keys), lost=False)

    def _preview(self, order: Preview) -> Shown:
        stretch, _ = self._stretch(order)

        def paint(pixels: Picture, at_s: float) -> None:
            _hide_in(pixels, order.from_s + at_s, order.cut)
            draw(pixels, order.mark, LABEL)

        return Shown(media=stretch.redrawn(paint, _sound(stretch, order.cut, order.from_s)))

    def _begin(self, order: Begin) -> Begun:
        init = self._init_of(order.recording)
        key = Ed25519PrivateKey.generate()
        head, sealer = Sealer.start(
            tenant=TenantId(order.tenant),
            signing_key=key,
            recording=parse_recording(order.derivative),
            boot=secrets.token_bytes(16),
            data_key=secrets.token_bytes(32),
            recipients=tuple(Recipient(key_id=name, public_key=public) for name, public in order.recipients),
            checkpoint=Checkpoint(size=order.tree_size, root=order.root),
        )
        self._making = _Derivative(sealer, order.recording, order.begins_at)
        first = self._making.seal(init, flags=Flag.NONE, starts_at=order.begins_at, ends_at=order.begins_at)
        return Begun(head=head, first=first, public_key=key.public_key().public_bytes_raw())

    def _hide(self, order: Hide) -> Hidden:
        making = self._making
        if making is None or making.recording != order.recording:
            raise refuse(Code.CONFLICT, "derivative", expected="one that was begun", got="none")
        stretch, facts = self._stretch(order)
        media = stretch.redrawn(
            lambda pixels, at_s: _hide_in(pixels, order.from_s + at_s, order.cut),
            _sound(stretch, order.cut, order.from_s),
            place=partial(making.later_s, from_s=order.from_s),
        )
        if facts is not None:
            return Hidden(
                segment=making.seal(media, flags=facts.flags, starts_at=facts.starts_at, ends_at=facts.ends_at)
            )
        flags = Flag.PRE_RECORD if order.pre_record else Flag.NONE
        return Hidden(segment=making.seal(media, flags=flags, starts_at=order.starts_at, ends_at=order.ends_at))

    def _finish(self, order: Finish) -> Finished:
        making, self._making = self._making, None
        if making is None:
            raise refuse(Code.CONFLICT, "derivative", expected="one that was begun", got="none")
        end = making.sealer.finish(reason=StopReason.OFFICER, ended_at=order.ended_at)
        return Finished(end=end, film_sha256=making.film.digest())

    def _stretch(self, order: Find | Follow | Preview | Hide) -> tuple[Stretch, SegmentFacts | None]:
        """Return what an order is about, and what a segment says of itself."""
        if not order.raw:
            return Slice(self._spliced(order.recording, order.film), order.number), None
        opened, facts, plaintext = self._unseal(order.recording, order.raw)
        if opened.marker is None or facts.sequence == 0:
            raise refuse(Code.CONFLICT, "segment", expected="footage, after segment 0", got=facts.sequence)
        return OwnSecond(opened.marker, plaintext), facts

    def _init_of(self, recording: str) -> bytes:
        """Return what a player reads first; raise Refused where one beginning cannot fit all films."""
        opened = self._open.get(recording)
        if opened is None:
            raise refuse(Code.NOT_ALLOWED, "derivative", expected="a recording of this room", got=recording)
        if opened.marker is not None:
            return opened.marker.shown_init
        inits = {film.shown_init for film in opened.films if film is not None}
        if len(inits) != 1:
            raise refuse(
                Code.NOT_ALLOWED, "derivative", expected="films of one size and sound", got=f"{len(inits)} kinds"
            )
        return inits.pop()


def _hide_in(pixels: Picture, at_s: float, cut: Cut) -> None:
    """Hide what the plan hides at this moment; who is hidden wins from who stays visible."""
    if cut.rest_hidden:
        hide_all_but(pixels, visible_at(cut, at_s))
    hide(pixels, hidden_at(cut, at_s))


def _sound(stretch: Stretch, cut: Cut, from_s: float) -> Any:
    return partial(_heard, stretch.silence(), cut, from_s)


def _heard(silence: Silence, cut: Cut, from_s: float, packet: Any, at_s: float) -> Any:
    begin = from_s + at_s
    length = float((packet.duration or 0) * packet.time_base)
    return silence.instead_of(packet) if muted_at(cut, begin, begin + length) else packet


def _inside(box: Box) -> Box:
    left, top = max(0.0, box.x), max(0.0, box.y)
    return Box(left, top, min(1.0, box.x + box.width) - left, min(1.0, box.y + box.height) - top)


def serve(orders: BinaryIO, answers: BinaryIO, faces: Faces) -> None:
    """Answer until the desk closes the stream."""
    room = RedactionRoom(faces, asking(orders, answers, read_redaction_order))
    answers.write(pack(Ready(public_key=room.public_key)))
    answers.flush()
    while (order := read_redaction_order(orders)) is not None:
        answers.write(pack(room.answer(order)))
        answers.flush()


def rehearse(faces: Faces) -> None:
    """Look at a grey picture, hide in it and follow in it: what loads late is loaded before the doors close."""
    rehearse_showing()
    for size in ((96, 128), (360, 640), (720, 1280)):
        faces.find(np.full((*size, 3), 90, np.uint8), at_s=0.0)
    noise = np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8)
    whole = Box(0.0, 0.0, 1.0, 1.0)
    grey = np.ascontiguousarray(noise[:, :, 0])
    follow(grey, grey, whole)
    hide_all_but(noise, (Box(0.1, 0.1, 0.3, 0.3),))
    hide(noise, (whole,))
    Silence.rehearse()


def main() -> int:
    """Load, rehearse, close the doors, serve."""
    faces = Faces()
    rehearse(faces)
    orders, answers = sys.stdin.buffer, sys.stdout.buffer
    close_the_doors()
    serve(orders, answers, faces)
    return 0


if __name__ == "__main__":
    sys.exit(main())
