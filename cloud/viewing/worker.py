"""Shows one room's footage: holds the session's private key, and has nothing else.

Run as ``python -m cloud.viewing.worker``; orders come in on standard input, answers go out on standard output. After
its libraries are loaded it closes every door behind it: no more files or sockets can be opened, no file can grow, no
memory is dumped. Plaintext is only ever in this process's memory and in its answers; the key dies with it.
"""

import ctypes
import os
import resource
import secrets
import sys
from datetime import UTC, datetime
from typing import BinaryIO, Final

import av
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.approvals import split_keys
from broker.wire.ids import RecordingId, TenantId, parse_recording, uuid7
from broker.wire.recording import (
    Checkpoint,
    Flag,
    Kind,
    Recipient,
    Sealer,
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
from cloud.viewing.messages import (
    Answer,
    Declined,
    Open,
    Opened,
    OpenRecording,
    Order,
    Ready,
    Show,
    Shown,
    pack,
    read_order,
)
from cloud.viewing.watermark import Marker, black

MEMORY_BYTES: Final = 2 * 1024**3
"""Address space: libraries take most of it; a segment and its pictures take tens of MiB."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
"""linux/prctl.h"""


class _Opened:
    """One recording with its keys."""

    def __init__(self, asked: OpenRecording, keys: dict[int, bytes], camera: Ed25519PublicKey) -> None:
        self.recording = parse_recording(asked.recording)
        self.camera = camera
        self.keys = keys
        self.marker: Marker | None = None


class Room:
    """Answers orders. Each answer or refusal goes to the desk, which is trusted with nothing but passing it on."""

    def __init__(self) -> None:
        self._keys = xwing_from_seed(secrets.token_bytes(32))
        self._open: dict[str, _Opened] = {}

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
        except Refused as refused:
            refusal = refused.refusal
            return Declined(code=refusal.code.name, what=refusal.what, expected=refusal.expected, got=refusal.got)
        except (av.FFmpegError, IndexError, ValueError) as problem:
            return Declined(
                code=Code.MALFORMED.name, what="footage", expected="a segment that decodes", got=type(problem).__name__
            )

    def _take_keys(self, order: Open) -> Answer:
        for asked in order.recordings:
            camera = Ed25519PublicKey.from_public_bytes(asked.camera_public_key)
            head = read_head(asked.head, camera)
            if str(head.recording) != asked.recording:
                raise refuse(Code.MALFORMED, "head", expected=f"of {asked.recording}", got=head.recording)
            released = open_sealed(self._keys, asked.sealed, info=order.request_sha256)
            keys = split_keys(released, first=asked.first, last=asked.last)
            self._open[asked.recording] = _Opened(asked, keys, camera)
        return Opened()

    def _show(self, order: Show) -> Answer:
        opened = self._open.get(order.recording)
        if opened is None:
            raise refuse(Code.NOT_ALLOWED, "segment", expected="a recording of this room", got=order.recording)
        facts = read_segment(order.raw, opened.camera)
        key = opened.keys.get(facts.sequence)
        if facts.recording != opened.recording or facts.kind is not Kind.VIDEO or key is None:
            raise refuse(Code.NOT_ALLOWED, "segment", expected="footage within the range", got=facts.sequence)
        plaintext = open_segment(order.raw, key)
        if facts.sequence == 0:
            opened.marker = Marker(plaintext)
            return Shown(media=opened.marker.shown_init)
        if opened.marker is None:
            raise refuse(Code.CONFLICT, "segment", expected="segment 0 first", got=facts.sequence)
        label = order.pre_record if Flag.PRE_RECORD in facts.flags else ""
        return Shown(media=opened.marker.mark(plaintext, lines=order.mark, label=label))


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


def serve(orders: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the desk closes the stream."""
    room = Room()
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
    room, camera = Room(), Ed25519PrivateKey.generate()
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
    first, second = (
        sealer.seal(part, kind=Kind.VIDEO, flags=Flag.NONE, starts_at=now, ends_at=now, monotonic_us=0)
        for part in black()
    )
    keys = segment_keys(data_key, recording, 0, 1)
    opened = OpenRecording(
        recording=str(recording),
        camera_public_key=camera.public_key().public_bytes_raw(),
        head=head,
        sealed=seal_to(public_key, keys[1] + keys[0], info=bytes(32)),
        first=1,
        last=1,
    )
    orders = (
        Open(request_sha256=bytes(32), recordings=(opened,)),
        Show(raw=first, recording=str(recording), mark=(), pre_record=""),
        Show(raw=second, recording=str(recording), mark=("Éé – ·",), pre_record="VOOROPNAME"),
    )
    answers = [room.answer(order) for order in orders]
    if any(isinstance(answer, Declined) for answer in answers):
        raise RuntimeError(f"viewing: the rehearsal failed: {answers[-1]}")
    room.answer(Show(raw=b"", recording="", mark=(), pre_record=""))  # refusing loads things too


def _set_limit(which: int, value: int) -> None:
    resource.setrlimit(which, (value, value))


if __name__ == "__main__":
    sys.exit(main())
