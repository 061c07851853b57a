"""What is left to do after a file's last byte does not grow with the file: a dock waits a minute for its answer."""

import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from broker.wire.policy import Via
from broker.wire.recording import Sealer
from broker.wire.refusals import Code, Refused, refuse
from cloud.intake import spool
from cloud.intake.outside import Arriving, camera_id
from cloud.intake.spool import PIECE_BYTES, Draft
from cloud.vault import shelf
from tests.adapters.axis.test_delivery import docking
from tests.adapters.axis.world import CONTAINER, PRESSED_AT, SERIAL, AxisTown, begun

MIB = 1024 * 1024


@asynccontextmanager
async def arriving(town: AxisTown, name: str) -> AsyncIterator[Arriving]:
    async with town.outside.arriving(CONTAINER, name, {}, starts_at=PRESSED_AT, ends_at=PRESSED_AT) as file:
        yield file


async def put(town: AxisTown, name: str, content: bytes) -> None:
    async with arriving(town, name) as file:
        await file.write(content)
        await file.keep()


@pytest.fixture
async def begun_town(axis_town: AxisTown) -> AxisTown:
    await axis_town.outside.register(camera_id(SERIAL, Via.AXIS), via=Via.AXIS, known=True)
    await axis_town.outside.put_container(CONTAINER, begun(), via=Via.AXIS)
    return axis_town


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long each segment was that anybody sealed."""
    seal, lengths = Sealer.seal, list[int]()

    def sees(self: Sealer, plaintext: bytes, **about: Any) -> bytes:
        lengths.append(len(plaintext))
        return seal(self, plaintext, **about)

    monkeypatch.setattr(Sealer, "seal", sees)
    return lengths


async def _whole(town: AxisTown, contents: dict[str, bytes]) -> None:
    """Everything is in one recording, byte for byte."""
    await town.outside.complete(CONTAINER)
    assert await town.outside.settle() == 1
    (row,) = await town.recordings()
    assert (row.state, row.chain) == ("retained", "intact")
    assert {name: await town.file(row.id, name) for name in contents} == contents
    assert not any((town.town.folder / "outside").iterdir())


async def test_after_its_last_byte_only_the_letter_is_sealed(begun_town: AxisTown, sealed: list[int]) -> None:
    film = secrets.token_bytes(5 * PIECE_BYTES)
    async with arriving(begun_town, "film.mp4") as file:
        for start in range(0, len(film), 300_000):
            await file.write(film[start : start + 300_000])
        assert sum(sealed) >= len(film)
        sealed.clear()
        await file.keep()
        assert len(sealed) == 1
    await _whole(begun_town, {"film.mp4": film})


async def test_a_film_that_was_overtaken_is_level_again_before_it_ends(begun_town: AxisTown, sealed: list[int]) -> None:
    film = secrets.token_bytes(12 * PIECE_BYTES)
    async with arriving(begun_town, "film.mp4") as file:
        await file.write(film[: 3 * PIECE_BYTES])
        await put(begun_town, "bookmark_1", b"a")
        await file.write(film[3 * PIECE_BYTES : 5 * PIECE_BYTES])
        await put(begun_town, "bookmark_2", b"")
        await file.write(film[5 * PIECE_BYTES :])
        sealed.clear()
        await file.keep()
        assert len(sealed) == 1
    await _whole(begun_town, {"film.mp4": film, "bookmark_1": b"a", "bookmark_2": b""})


async def test_two_films_that_end_together_are_both_whole(begun_town: AxisTown) -> None:
    films = {f"{name}.mp4": secrets.token_bytes(2 * PIECE_BYTES + 7) for name in "ab"}
    async with AsyncExitStack() as stack:
        files = [await stack.enter_async_context(arriving(begun_town, name)) for name in films]
        for file, film in zip(files, films.values(), strict=True):
            await file.write(film)
        for file in files:
            await file.keep()
    await _whole(begun_town, films)


async def test_little_is_unsynced_when_the_last_byte_comes(
    begun_town: AxisTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsynced: list[int] = [0]
    write, most = shelf.write, 3 * PIECE_BYTES

    def writes(fd: int, data: bytes) -> None:
        write(fd, data)
        unsynced[0] += len(data)

    def syncs(sync: Callable[[int], None]) -> Callable[[int], None]:
        def counted(fd: int) -> None:
            sync(fd)
            unsynced[0] = 0

        return counted

    monkeypatch.setattr(spool, "write", writes)
    monkeypatch.setattr(spool, "_SYNC_BYTES", most, raising=False)
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, syncs(getattr(os, name)))
    async with arriving(begun_town, "film.mp4") as file:
        for _ in range(8):
            await file.write(bytes(PIECE_BYTES))
            assert unsynced[0] <= most + PIECE_BYTES
        await file.keep()
        assert unsynced == [0]


async def test_a_container_that_is_complete_before_its_film_ends_keeps_the_film_apart(begun_town: AxisTown) -> None:
    film = secrets.token_bytes(PIECE_BYTES + 1)
    async with arriving(begun_town, "late.mp4") as file:
        await put(begun_town, "first.mp4", b"first")
        await file.write(film)
        await begun_town.outside.complete(CONTAINER)
        await begun_town.outside.settle()
        await file.keep()
    await begun_town.outside.settle()
    kept = {name.name: row for row in await begun_town.recordings() for name in await begun_town.objects(row.id)}
    assert kept["late.mp4"].id != kept["first.mp4"].id
    assert "late_addition" in kept["late.mp4"].deviations
    assert await begun_town.file(kept["late.mp4"].id, "late.mp4") == film
    assert await begun_town.file(kept["first.mp4"].id, "first.mp4") == b"first"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_disk_that_is_full_at_the_end_of_a_recording_only_delays_it(
    axis_town: AxisTown, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async with axis_town.dock() as dock:
        await docking(dock, b"clip" * 1000)
    keep = Draft.keep

    def full(self: Draft, *given: Any, **named: Any) -> int:
        if when == "after":
            keep(self, *given, **named)
        raise refuse(Code.DISK_FULL, "spool", expected="room", got="none")

    monkeypatch.setattr(Draft, "keep", full)
    with pytest.raises(Refused):
        await axis_town.outside.settle()
    monkeypatch.setattr(Draft, "keep", keep)
    assert await axis_town.outside.settle() == 1
    assert [(row.state, row.chain) for row in await axis_town.recordings()] == [("retained", "intact")]


async def test_what_broke_off_leaves_no_chain_behind(begun_town: AxisTown) -> None:
    async with arriving(begun_town, "film.mp4") as file:
        await file.write(bytes(PIECE_BYTES))
    await begun_town.outside.settle()
    assert not any((begun_town.town.folder / "outside").iterdir())
    assert begun_town.outside._chains == {}
