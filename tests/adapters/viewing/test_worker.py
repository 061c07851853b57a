"""The process that shows footage: what it shows, what it refuses, and that it can reach nothing."""

import io
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import av
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.recording import Recipient, seal_to, segment_keys, xwing_from_seed
from broker.wire.refusals import Code, Refused
from cloud.viewing.messages import OpenRecording
from cloud.viewing.projector import Projector
from tests.adapters.viewing.footage import Made, seal

NOW = datetime(2026, 11, 20, 13, 30, tzinfo=UTC)
HASH = bytes(range(32))
MARK = ("Yasmina El Amrani en Hans Verhoeven · dossier 2026-0001", "bekeken op 20-11-2026")


@pytest.fixture(scope="module")
def made() -> Made:
    keys = xwing_from_seed(bytes(32))
    recipient = Recipient(key_id=keys.key_id, public_key=keys.public_key)
    return seal(now=NOW, recipients=(recipient,), camera=Ed25519PrivateKey.generate())


@pytest.fixture
async def projector() -> AsyncIterator[Projector]:
    started = await Projector.start()
    yield started
    await started.close()


def released(made: Made, public_key: bytes, *, first: int = 1, last: int = 8) -> OpenRecording:
    keys = segment_keys(made.data_key, made.recording, first, last)
    zero = segment_keys(made.data_key, made.recording, 0, 0)
    return OpenRecording(
        recording=str(made.recording),
        camera_public_key=made.camera.public_key().public_bytes_raw(),
        head=made.head,
        sealed=seal_to(public_key, b"".join(keys + zero), info=HASH),
        first=first,
        last=last,
    )


async def show(projector: Projector, made: Made, sequence: int) -> bytes:
    return await projector.show(str(made.recording), made.segments[sequence], mark=MARK, pre_record="VOOROPNAME")


def pictures(media: bytes) -> list[Any]:
    with av.open(io.BytesIO(media), "r") as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def seconds(packet: Any) -> float:
    return float(packet.pts * packet.time_base)


async def test_a_released_second_comes_out_playable_and_with_the_names_in_it(projector: Projector, made: Made) -> None:
    await projector.open(HASH, [released(made, projector.public_key)])
    init = await show(projector, made, 0)
    shown = pictures(init + await show(projector, made, 5))
    assert len(shown) == 15
    foot = shown[0][-20:]
    assert foot.max() > 200, "white letters stand at the foot"
    assert foot.min() < 40, "on a darkened band"


async def test_seconds_join_without_a_seam_in_whatever_order_they_are_asked(projector: Projector, made: Made) -> None:
    await projector.open(HASH, [released(made, projector.public_key)])
    init = await show(projector, made, 0)
    later = {sequence: await show(projector, made, sequence) for sequence in (7, 2, 3)}
    with av.open(io.BytesIO(init + later[2] + later[3]), "r") as container:
        times = [seconds(packet) for packet in container.demux(video=0) if packet.pts is not None]
    assert times[0] == pytest.approx(3601.0)
    assert np.diff(times) == pytest.approx(1 / 15, abs=1e-3)
    with av.open(io.BytesIO(init + later[7]), "r") as container:
        assert container.streams.audio, "sound goes along"
        heard = [packet for packet in container.demux(audio=0) if packet.pts is not None]
    assert seconds(heard[0]) == pytest.approx(3606.0, abs=0.05)


@pytest.mark.rule("H-21", "R-14")
async def test_what_is_from_before_the_press_says_so_in_the_picture(projector: Projector, made: Made) -> None:
    await projector.open(HASH, [released(made, projector.public_key)])
    init = await show(projector, made, 0)
    before = pictures(init + await show(projector, made, 2))[0][8:20, 8:60].astype(int)
    after = pictures(init + await show(projector, made, 6))[0][8:20, 8:60].astype(int)
    assert (before[:, :, 2] - before[:, :, 0]).max() > 150, "an amber label"
    assert abs(after[:, :, 2] - after[:, :, 0]).max() < 80


async def test_nothing_outside_the_range_is_shown(projector: Projector, made: Made) -> None:
    await projector.open(HASH, [released(made, projector.public_key, first=4, last=6)])
    await show(projector, made, 0)
    await show(projector, made, 4)
    for sequence in (3, 7):
        with pytest.raises(Refused) as refused:
            await show(projector, made, sequence)
        assert refused.value.refusal.code is Code.NOT_ALLOWED


async def test_a_changed_byte_is_refused_before_it_is_decrypted(projector: Projector, made: Made) -> None:
    await projector.open(HASH, [released(made, projector.public_key)])
    await show(projector, made, 0)
    for at in (30, 400, -10):
        broken = bytearray(made.segments[5])
        broken[at] ^= 1
        with pytest.raises(Refused):
            await projector.show(str(made.recording), bytes(broken), mark=MARK, pre_record="")


async def test_keys_for_another_session_open_nothing(projector: Projector, made: Made) -> None:
    other = xwing_from_seed(bytes([1]) * 32)
    with pytest.raises(Refused):
        await projector.open(HASH, [released(made, other.public_key)])
    with pytest.raises(Refused):
        await show(projector, made, 0)


async def test_a_room_that_is_closed_shows_nothing_any_more(projector: Projector, made: Made) -> None:
    await projector.open(HASH, [released(made, projector.public_key)])
    await projector.close()
    with pytest.raises(Refused) as refused:
        await show(projector, made, 0)
    assert refused.value.refusal.code is Code.UNAVAILABLE


def test_behind_closed_doors_no_file_and_no_connection_can_be_opened() -> None:
    script = """
import socket, tempfile
from cloud.viewing.worker import close_the_doors, rehearse
rehearse(); close_the_doors(); rehearse()
for what in (lambda: open("/etc/hostname"), lambda: open("/tmp/plaintext", "w"), lambda: socket.socket()):
    try:
        what()
    except OSError as closed:
        print(closed.errno)
    else:
        print("OPEN")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["24", "24", "24"], "EMFILE: no descriptor is left to open anything with"
