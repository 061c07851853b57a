"""Shows one room's footage: holds the session's private key, and has nothing else.

Run as ``python -m cloud.viewing.worker``; orders come in on standard input, answers go out on standard output. After
its libraries are loaded it closes every door behind it: no more files or sockets can be opened, no file can grow, no
memory is dumped. Plaintext is only ever in this process's memory and in its answers; the key dies with it.
"""

import contextlib
import ctypes
import os
import resource
import secrets
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import BinaryIO, Final

import av
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.sodium import SodiumKey
from broker.wire.approvals import split_keys
from broker.wire.content_key import content_info, read_key_file
from broker.wire.ids import RecordingId, TenantId, parse_recording, uuid7
from broker.wire.recording import (
    Checkpoint,
    Flag,
    Kind,
    Recipient,
    Sealer,
    SegmentFacts,
    open_sealed,
    open_segment,
    public_key_id,
    read_head,
    read_segment,
    seal_to,
    segment_keys,
    xwing_from_seed,
)
from broker.wire.refusals import Code, Refused, refuse
from cloud.viewing.film import Film
from cloud.viewing.messages import (
    Answer,
    Clip,
    Declined,
    Given,
    Open,
    Opened,
    OpenRecording,
    Order,
    Playable,
    Ready,
    Show,
    Shown,
    ShowSlice,
    Splice,
    Spliced,
    Wanted,
    WantedKey,
    pack,
    read_order,
)
from cloud.viewing.stitched import Pieces, Stitched, Unlocked
from cloud.viewing.watermark import Marker, black

Ask = Callable[[Wanted | WantedKey], bytes]
"""Asks the desk for something in the middle of an order; empty where it cannot be had."""

NOT_A_FILM: Final = (av.FFmpegError, IndexError, ValueError, ArithmeticError, TypeError, MemoryError)
"""What libraries raise over a film that is none, or one made to hurt."""

MEMORY_BYTES: Final = 2 * 1024**3
"""Address space: libraries take most of it; a segment and its pictures take tens of MiB."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
"""linux/prctl.h"""


class _Opened:
    """One recording with its keys."""

    def __init__(self, asked: OpenRecording, keys: dict[int, bytes], camera: SodiumKey) -> None:
        self.recording = parse_recording(asked.recording)
        self.camera = camera
        self.keys = keys
        self.marker: Marker | None = None
        self.films: list[Film | None] = []


class Room:
    """Answers orders. Each answer or refusal goes to the desk, which is trusted with nothing but passing it on."""

    def __init__(self, ask: Ask) -> None:
        self._keys = xwing_from_seed(secrets.token_bytes(32))
        self._open: dict[str, _Opened] = {}
        self._request_sha256 = b""
        self._ask = ask

    @property
    def public_key(self) -> bytes:
        """What the request must name and the Kluis seals to."""
        return self._keys.public_key

    def answer(self, order: Order) -> Answer:
        """Do one order."""
        try:
            match order:
                case Open():
                    return self._take_keys(order)
                case Show():
                    return self._show(order)
                case Splice():
                    return self._splice(order)
                case ShowSlice():
                    return self._show_slice(order)
                case Given():
                    raise refuse(Code.CONFLICT, "order", expected="something that was asked for", got="nothing was")
        except Refused as refused:
            refusal = refused.refusal
            return Declined(code=refusal.code.name, what=refusal.what, expected=refusal.expected, got=refusal.got)
        except NOT_A_FILM as problem:
            return Declined(
                code=Code.MALFORMED.name, what="footage", expected="a segment that decodes", got=type(problem).__name__
            )

    def _take_keys(self, order: Open) -> Answer:
        self._request_sha256 = order.request_sha256
        for asked in order.recordings:
            camera = SodiumKey(asked.camera_public_key)
            head = read_head(asked.head, camera)
            if str(head.recording) != asked.recording:
                raise refuse(Code.MALFORMED, "head", expected=f"of {asked.recording}", got=head.recording)
            released = open_sealed(self._keys, asked.sealed, info=order.request_sha256)
            keys = split_keys(released, first=asked.first, last=asked.last)
            self._open[asked.recording] = _Opened(asked, keys, camera)
        return Opened()

    def _show(self, order: Show) -> Answer:
        opened, facts, plaintext = self._unseal(order.recording, order.raw)
        if facts.sequence == 0:
            opened.marker = Marker(plaintext)
            return Shown(media=opened.marker.shown_init)
        if opened.marker is None:
            raise refuse(Code.CONFLICT, "segment", expected="segment 0 first", got=facts.sequence)
        label = order.pre_record if Flag.PRE_RECORD in facts.flags else ""
        return Shown(media=opened.marker.mark(plaintext, lines=order.mark, label=label))

    def _unseal(self, recording: str, raw: bytes) -> tuple[_Opened, SegmentFacts, bytes]:
        """Check a segment's signature and that its key was released, and decrypt it; raise Refused."""
        opened = self._open.get(recording)
        if opened is None:
            raise refuse(Code.NOT_ALLOWED, "segment", expected="a recording of this room", got=recording)
        facts = read_segment(raw, opened.camera)
        key = opened.keys.get(facts.sequence)
        if facts.recording != opened.recording or facts.kind is not Kind.VIDEO or key is None:
            raise refuse(Code.NOT_ALLOWED, "segment", expected="footage within the range", got=facts.sequence)
        return opened, facts, open_segment(raw, key)

    def _splice(self, order: Splice) -> Answer:
        opened = self._opened(order.recording)
        opened.films, found = [], []
        for clip in order.clips:
            film: Film | None = None
            try:
                film = self._film(opened, clip)
                shown = Playable(init=film.shown_init, slices=film.slices, length_us=int(film.length_s * 1_000_000))
            except Refused as refused:
                shown = Playable(because=str(refused))
            except NOT_A_FILM as problem:
                shown = Playable(because=f"no film that can be shown: {type(problem).__name__}")
            opened.films.append(film)
            found.append(shown)
        return Spliced(clips=tuple(found))

    def _film(self, opened: _Opened, clip: Clip) -> Film:
        pieces = self._pieces(opened, clip.first, clip.sizes)
        if not clip.key_sizes:
            return Film(lambda: Stitched(pieces))
        key_file = self._pieces(opened, clip.key_first, clip.key_sizes[:1])  # the Kluis opens it from one segment
        wrapped, iv = read_key_file(key_file.read_at(0, key_file.size))
        sealed = self._ask(WantedKey(recording=str(opened.recording), sequence=clip.key_first))
        key = open_sealed(self._keys, sealed, info=content_info(self._request_sha256, wrapped))
        return Film(lambda: Unlocked(pieces, key=key, iv=iv))

    def _pieces(self, opened: _Opened, first: int, sizes: tuple[int, ...]) -> Pieces:
        def fetch(number: int) -> bytes:
            raw = self._ask(Wanted(recording=str(opened.recording), sequence=first + number))
            facts, plaintext = _open_one(opened, raw, kind=Kind.FILE)
            if facts.sequence != first + number:
                raise refuse(Code.NOT_ALLOWED, "segment", expected=str(first + number), got=facts.sequence)
            return plaintext

        return Pieces(sizes, fetch)

    def _show_slice(self, order: ShowSlice) -> Answer:
        film = self._spliced(order.recording, order.clip)
        return Shown(media=film.show(order.number, lines=order.mark, label=order.pre_record))

    def _spliced(self, recording: str, clip: int) -> Film:
        films = self._opened(recording).films
        film = films[clip] if 0 <= clip < len(films) else None
        if film is None:
            raise refuse(Code.NOT_ALLOWED, "slice", expected="one of a clip within the range", got=clip)
        return film

    def _opened(self, recording: str) -> _Opened:
        opened = self._open.get(recording)
        if opened is None:
            raise refuse(Code.NOT_ALLOWED, "segment", expected="a recording of this room", got=recording)
        return opened


def _open_one(opened: _Opened, raw: bytes, *, kind: Kind) -> tuple[SegmentFacts, bytes]:
    """Check that this is the recording's own segment, of this kind and within the range, and open it."""
    facts = read_segment(raw, opened.camera)
    key = opened.keys.get(facts.sequence)
    if facts.recording != opened.recording or facts.kind is not kind or key is None:
        raise refuse(Code.NOT_ALLOWED, "segment", expected="footage within the range", got=facts.sequence)
    return facts, open_segment(raw, key)


def close_the_doors() -> None:
    """Give up everything but standard input, output and error: afterwards no file or socket can be opened."""
    os.closerange(3, 4096)
    _set_limit(resource.RLIMIT_NOFILE, 3)
    _set_limit(resource.RLIMIT_FSIZE, 0)
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_AS, MEMORY_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((PR_SET_DUMPABLE, 0), (PR_SET_NO_NEW_PRIVS, 1)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {option}")


def asking(orders: BinaryIO, answers: BinaryIO, read: Callable[[BinaryIO], msgspec.Struct | None] = read_order) -> Ask:
    """Return what asks the desk for something in the middle of an order."""

    def ask(wanted: Wanted | WantedKey) -> bytes:
        answers.write(pack(wanted))
        answers.flush()
        given = read(orders)
        if not isinstance(given, Given):
            raise SystemExit(1)  # the desk is gone, or talks of something else: nothing here outlives it
        if not given.content:
            raise refuse(Code.UNAVAILABLE, "footage", expected="what was asked for", got="nothing")
        return given.content

    return ask


def serve(orders: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the desk closes the stream."""
    room = Room(asking(orders, answers))
    answers.write(pack(Ready(public_key=room.public_key)))
    answers.flush()
    while (order := read_order(orders)) is not None:
        answers.write(pack(room.answer(order)))
        answers.flush()


def main() -> int:
    """Rehearse, close the doors, serve."""
    rehearse()
    orders, answers = sys.stdin.buffer, sys.stdout.buffer
    close_the_doors()
    serve(orders, answers)
    return 0


def rehearse() -> None:
    """Show one black picture to nobody: libraries load parts of themselves late, and afterwards nothing can be loaded.

    Raises RuntimeError when the way from a released key to a marked picture does not work here.
    """
    given: dict[int, bytes] = {}

    def ask(wanted: Wanted | WantedKey) -> bytes:
        return given[wanted.sequence] if isinstance(wanted, Wanted) else b""

    room, camera = Room(ask), Ed25519PrivateKey.generate()
    recording, data_key, now = RecordingId(uuid7(EPOCH, bytes(10))), secrets.token_bytes(32), EPOCH
    public_key = room.public_key
    head, sealer = Sealer.start(
        tenant=TenantId(bytes(16)),
        signing_key=camera,
        recording=recording,
        boot=bytes(16),
        data_key=data_key,
        recipients=(Recipient(key_id=public_key_id(public_key), public_key=public_key),),
        checkpoint=Checkpoint(size=0, root=bytes(32)),
    )
    init, fragment = black()
    first, second, given[2] = (
        sealer.seal(part, kind=kind, flags=Flag.NONE, starts_at=now, ends_at=now, monotonic_us=0)
        for part, kind in ((init, Kind.VIDEO), (fragment, Kind.VIDEO), (init + fragment, Kind.FILE))
    )
    keys = segment_keys(data_key, recording, 0, 2)
    opened = OpenRecording(
        recording=str(recording),
        camera_public_key=camera.public_key().public_bytes_raw(),
        head=head,
        sealed=seal_to(public_key, keys[1] + keys[2] + keys[0], info=bytes(32)),
        first=1,
        last=2,
    )
    orders = (
        Open(request_sha256=bytes(32), recordings=(opened,)),
        Show(raw=first, recording=str(recording), mark=(), pre_record=""),
        Show(raw=second, recording=str(recording), mark=("Éé – ·",), pre_record="VOOROPNAME"),
        Splice(recording=str(recording), clips=(Clip(first=2, sizes=(len(init + fragment),)),)),
        ShowSlice(recording=str(recording), clip=0, number=0, mark=("Éé – ·",), pre_record=""),
    )
    answers = [room.answer(order) for order in orders]
    if any(isinstance(answer, Declined) for answer in answers):
        raise RuntimeError(f"viewing: the rehearsal failed: {answers[-1]}")
    room.answer(Show(raw=b"", recording="", mark=(), pre_record=""))  # refusing loads things too
    _rehearse_unlocking()


def _rehearse_unlocking() -> None:
    pieces = Pieces((16,), lambda _: bytes(16))
    with contextlib.suppress(Refused):
        Unlocked(pieces, key=bytes(32), iv=bytes(16))


def _set_limit(which: int, value: int) -> None:
    resource.setrlimit(which, (value, value))


if __name__ == "__main__":
    sys.exit(main())
