"""What the vault promises: written once, whole or not at all, on disk when it says so."""

import asyncio
import errno
import hashlib
import itertools
import os
import random
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker import durable
from broker.wire.ids import DeviceId
from broker.wire.recording import SEGMENT_HEADER_BYTES, SEGMENT_TAIL_BYTES, segment_digest
from broker.wire.refusals import Code, Refused, refuse
from cloud.vault import shelf
from cloud.vault.store import MANY, PIECE_BYTES, NoVault, Vault, VaultEraser, Whole
from tests.adapters.intake.town import Camera


def anything(header: bytes, tail: bytes, sha256: bytes) -> None:
    """Approve of what comes."""


def a_segment(size: int = 20_000) -> bytes:
    return Camera(DeviceId("cam-01")).record(seconds=1, pre_record_s=0, bytes_each=size).segments[1]


async def put(vault: Vault, raw: bytes, *, piece: int = 65_536) -> bool:
    async with vault.receive(segment_digest(raw), size=len(raw)) as incoming:
        for start in range(0, len(raw), piece):
            await incoming.write(raw[start : start + piece])
        return await incoming.keep(anything)


def everything_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    Vault.create(tmp_path / "vault")
    vault = Vault.open(tmp_path / "vault")
    yield vault
    vault.close()


async def test_what_is_kept_reads_back_byte_for_byte_and_a_second_time_is_welcome(vault: Vault) -> None:
    raw = a_segment()
    digest = segment_digest(raw)
    assert await vault.missing([digest]) == [True]
    assert await put(vault, raw) is True
    assert await put(vault, raw) is False
    assert await vault.missing([digest, bytes(32)]) == [False, True]
    assert await vault.read(digest) == raw
    assert await vault.read_ends(digest) == (raw[:SEGMENT_HEADER_BYTES], raw[-SEGMENT_TAIL_BYTES:])
    assert await vault.intact(digest)
    assert await vault.digests() == [digest]


@pytest.mark.parametrize("piece", [1, 7, 159, 160, 161, 4096, PIECE_BYTES])
async def test_the_ends_are_found_however_the_bytes_come(vault: Vault, piece: int) -> None:
    raw = a_segment(300)
    seen: list[tuple[bytes, bytes, bytes]] = []
    async with vault.receive(segment_digest(raw), size=len(raw)) as incoming:
        for start in range(0, len(raw), piece):
            await incoming.write(raw[start : start + piece])
        await incoming.keep(lambda *ends: seen.append(ends))
    shelf_says = hashlib.sha256(raw[SEGMENT_HEADER_BYTES:-SEGMENT_TAIL_BYTES]).digest()
    assert seen == [(raw[:SEGMENT_HEADER_BYTES], raw[-SEGMENT_TAIL_BYTES:], shelf_says)]


async def test_a_segment_larger_than_one_piece_is_kept_whole(vault: Vault) -> None:
    raw = a_segment(3 * PIECE_BYTES + 17)
    assert await put(vault, raw)
    assert await vault.read(segment_digest(raw)) == raw


async def test_large_segments_that_lie_anywhere_in_one_body_are_kept_whole(vault: Vault) -> None:
    made = Camera(DeviceId("cam-01")).record(seconds=3, pre_record_s=0, bytes_each=1_200_000)
    body = memoryview(bytearray(b"1234".join(made.segments)))
    ends = list(itertools.accumulate(len(raw) + 4 for raw in made.segments))
    inside = [body[end - 4 - len(raw) : end - 4] for end, raw in zip(ends, made.segments, strict=True)]
    wholes = [Whole(digest=digest, raw=raw, approve=anything) for digest, raw in zip(made.digests, inside, strict=True)]
    assert await vault.keep_all(wholes) == [True] * len(wholes)
    assert [await vault.read(digest) for digest in made.digests] == list(made.segments)


def never(header: bytes, tail: bytes, sha256: bytes) -> None:
    raise refuse(Code.WRONG_TENANT, "segment", expected="one of this municipality", got="another's")


@pytest.mark.parametrize("count", [3, MANY])
async def test_what_is_refused_in_a_bundle_gets_no_name_and_leaves_nothing(
    vault: Vault, tmp_path: Path, count: int
) -> None:
    made = Camera(DeviceId("cam-01")).record(seconds=count - 1, pre_record_s=0, bytes_each=20_000)
    wholes = [
        Whole(digest=digest, raw=raw, approve=never if place == 1 else anything)
        for place, (digest, raw) in enumerate(zip(made.digests, made.segments, strict=True))
    ]
    kept = await vault.keep_all(wholes)
    refused = kept.pop(1)
    assert isinstance(refused, Refused)
    assert refused.refusal.code is Code.WRONG_TENANT
    assert kept == [True] * (count - 1)
    others = {digest.hex() for digest in made.digests} - {made.digests[1].hex()}
    assert {path.name for path in everything_in(tmp_path)} == others


async def test_false_bytes_beside_the_true_ones_of_the_same_name_do_not_take_their_place(vault: Vault) -> None:
    raw = a_segment()
    false = bytearray(raw)
    false[len(raw) // 2] ^= 1
    digest = segment_digest(raw)

    def approve(header: bytes, tail: bytes, sha256: bytes) -> None:
        if sha256 != tail[32:64]:
            raise refuse(Code.DIGEST_DIFFERS, "segment", expected="its own bytes", got="others")

    for order in ([bytes(false), raw], [raw, bytes(false)]):
        kept = await vault.keep_all([Whole(digest=digest, raw=each, approve=approve) for each in order])
        assert [isinstance(each, Refused) for each in kept] == [each != raw for each in order]
        assert await vault.read(digest) == raw


async def test_a_check_that_breaks_down_keeps_everything_out(vault: Vault, tmp_path: Path) -> None:
    def broken(header: bytes, tail: bytes, sha256: bytes) -> None:
        raise ZeroDivisionError

    raw = a_segment()
    with pytest.raises(ZeroDivisionError):
        await vault.keep_all([Whole(digest=segment_digest(raw), raw=raw, approve=broken)])
    assert everything_in(tmp_path) == []


async def test_nobody_uses_the_bytes_any_more_once_a_full_disk_has_refused_them(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = threading.Event()

    def slowly(header: bytes, tail: bytes, sha256: bytes) -> None:
        time.sleep(0.2)
        checked.set()

    def full(fd: int, data: shelf.Content) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shelf, "write", full)
    raw = a_segment()
    with pytest.raises(Refused) as refused:
        await vault.keep_all([Whole(digest=segment_digest(raw), raw=raw, approve=slowly)])
    assert refused.value.refusal.code is Code.DISK_FULL
    assert checked.is_set()


async def test_a_segment_cut_at_any_kibibyte_leaves_nothing_behind(vault: Vault, tmp_path: Path) -> None:
    raw = a_segment(64 * 1024)
    for cut in range(0, len(raw), 1024):
        async with vault.receive(segment_digest(raw), size=len(raw)) as incoming:
            await incoming.write(raw[:cut])
            with pytest.raises(Refused) as refused:
                await incoming.keep(anything)
        assert refused.value.refusal.code is Code.MALFORMED
    assert everything_in(tmp_path) == []


async def test_a_flipped_bit_is_refused_wherever_it_is(vault: Vault, tmp_path: Path) -> None:
    raw = a_segment(2000)
    dice = random.Random(4)
    digest = segment_digest(raw)

    def approve(header: bytes, tail: bytes, sha256: bytes) -> None:
        if sha256 != tail[32:64]:
            raise refuse(Code.DIGEST_DIFFERS, "segment", expected="its own bytes", got="others")

    for _ in range(200):
        changed = bytearray(raw)
        changed[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        async with vault.receive(digest, size=len(raw)) as incoming:
            await incoming.write(bytes(changed))
            with pytest.raises(Refused):
                await incoming.keep(approve)
    assert everything_in(tmp_path) == []


async def test_other_bytes_under_a_taken_name_are_refused_and_the_first_stay(vault: Vault) -> None:
    first, second = a_segment(), a_segment()
    await put(vault, first)
    async with vault.receive(segment_digest(first), size=len(second)) as incoming:
        await incoming.write(second)
        with pytest.raises(Refused):
            await incoming.keep(anything)
    assert await vault.read(segment_digest(first)) == first


async def test_more_bytes_than_announced_are_refused(vault: Vault, tmp_path: Path) -> None:
    raw = a_segment()
    async with vault.receive(segment_digest(raw), size=len(raw)) as incoming:
        with pytest.raises(Refused):
            await incoming.write(raw + b"x")
    assert everything_in(tmp_path) == []


async def test_ten_senders_of_one_segment_make_one(vault: Vault, tmp_path: Path) -> None:
    raw = a_segment()
    new = await asyncio.gather(*(put(vault, raw) for _ in range(10)))
    assert sum(new) == 1
    assert len(everything_in(tmp_path)) == 1


async def test_a_sender_that_leaves_in_the_middle_leaves_nothing_behind(vault: Vault, tmp_path: Path) -> None:
    raw = a_segment(3 * PIECE_BYTES)
    waiting = asyncio.Event()

    async def sender() -> None:
        async with vault.receive(segment_digest(raw), size=len(raw)) as incoming:
            await incoming.write(raw[: 2 * PIECE_BYTES])
            waiting.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(sender())
    await waiting.wait()
    assert len(everything_in(tmp_path)) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert everything_in(tmp_path) == []


async def test_a_name_that_is_not_synced_yet_counts_as_missing(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = a_segment()
    digest = segment_digest(raw)
    seen: list[bool] = []
    real = durable.sync_folder

    def slow_sync(folder: Path) -> None:
        seen.append(vault._shelf.has(digest))
        seen.append(vault._shelf.path(digest).exists())
        real(folder)

    monkeypatch.setattr(shelf, "sync_folder", slow_sync)
    await put(vault, raw)
    assert seen == [False, True]
    assert await vault.missing([digest]) == [False]


async def test_a_failed_sync_is_never_taken_for_success(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = a_segment()

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "the disk says no")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(Refused) as refused:
        await put(vault, raw)
    monkeypatch.undo()
    assert refused.value.refusal.code is Code.UNAVAILABLE
    assert await vault.missing([segment_digest(raw)]) == [True]
    assert await put(vault, raw)


async def test_when_only_the_folder_sync_fails_the_name_stays_missing_until_it_is_named_anew(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = a_segment()

    def broken(folder: Path) -> None:
        raise OSError(errno.EIO, "the disk says no")

    with monkeypatch.context() as sick:
        sick.setattr(shelf, "sync_folder", broken)
        with pytest.raises(Refused):
            await put(vault, raw)
    assert await vault.missing([segment_digest(raw)]) == [True]
    named = vault._shelf.path(segment_digest(raw)).stat().st_ino
    await put(vault, raw)
    assert await vault.missing([segment_digest(raw)]) == [False]
    assert vault._shelf.path(segment_digest(raw)).stat().st_ino != named  # named anew, not only synced again


async def test_below_the_reserve_a_segment_is_refused_before_its_first_byte(tmp_path: Path) -> None:
    Vault.create(tmp_path / "vault")
    free = 1_000_000
    vault = Vault.open(tmp_path / "vault", reserve_bytes=900_000, free=lambda _: free)
    raw = a_segment(60_000)
    async with vault.receive(segment_digest(raw), size=len(raw)):
        with pytest.raises(Refused) as refused:
            vault.receive(segment_digest(raw), size=len(raw))  # the first one's bytes are promised already
    assert refused.value.refusal.code is Code.DISK_FULL
    assert await put(vault, raw)
    vault.close()


async def test_a_disk_that_fills_up_in_the_middle_refuses_and_recovers(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = a_segment()

    def full(fd: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Refused) as refused:
        await put(vault, raw)
    monkeypatch.undo()
    assert refused.value.refusal.code is Code.DISK_FULL
    assert everything_in(tmp_path) == []
    assert await put(vault, raw)


async def test_opening_removes_what_a_crash_left_half_written(tmp_path: Path) -> None:
    Vault.create(tmp_path)
    left = tmp_path / shelf.INCOMING / "1-ff"
    left.write_bytes(b"half")
    Vault.open(tmp_path).close()
    assert not left.exists()


def test_a_folder_that_is_no_vault_is_never_taken_for_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(NoVault):
        Vault.open(tmp_path)
    with pytest.raises(NoVault):
        VaultEraser(tmp_path)


@pytest.mark.rule("R-10")
async def test_what_is_erased_is_gone_and_erasing_again_says_so(vault: Vault, tmp_path: Path) -> None:
    raw = a_segment()
    await put(vault, raw)
    eraser = VaultEraser(tmp_path / "vault")
    assert await eraser.erase(segment_digest(raw)) is True
    assert await eraser.erase(segment_digest(raw)) is False
    assert everything_in(tmp_path) == []
    with pytest.raises(Refused) as refused:
        await vault.read(segment_digest(raw))
    assert refused.value.refusal.code is Code.NOT_FOUND


def test_the_vault_itself_has_no_way_to_erase() -> None:
    words = ("erase", "delete", "remove", "unlink", "destroy", "shred", "purge")
    assert [name for name in dir(Vault) if any(word in name.lower() for word in words)] == []


async def test_rot_is_found_and_named(vault: Vault, tmp_path: Path) -> None:
    dice = random.Random(7)
    kept = [a_segment(500 + place) for place in range(20)]
    for raw in kept:
        await put(vault, raw)
    rotten = dice.choice(kept)
    path = vault._shelf.path(segment_digest(rotten))
    changed = bytearray(rotten)
    changed[dice.randrange(len(rotten))] ^= 1
    path.write_bytes(changed)
    found = [digest for digest in await vault.digests() if not await vault.intact(digest)]
    assert found == [segment_digest(rotten)]


async def test_damaged_bytes_are_kept_as_they_are_under_their_plain_hash(vault: Vault) -> None:
    raw = b"not a segment at all"
    name, new = await vault.keep_raw(raw)
    assert (new, await vault.read(name), await vault.intact(name)) == (True, raw, True)
    assert (await vault.keep_raw(raw))[1] is False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_on_a_disk_that_is_really_full_nothing_half_written_stays_and_it_recovers(small_disk: Path) -> None:
    Vault.create(small_disk / "vault")
    vault = Vault.open(small_disk / "vault", free=lambda _: 10**12)  # as if the guard had not seen it coming
    kept: list[bytes] = []

    async def fill() -> None:
        while True:
            raw = a_segment(90_000)
            await put(vault, raw)
            kept.append(raw)

    with pytest.raises(Refused) as refused:
        await fill()
    assert refused.value.refusal.code is Code.DISK_FULL
    assert len(kept) > 5
    assert len(everything_in(small_disk)) == len(kept)
    assert [await vault.read(segment_digest(each)) for each in kept] == kept
    await VaultEraser(small_disk / "vault").erase(segment_digest(kept[0]))
    assert await put(vault, a_segment(80_000))
    vault.close()
