"""Files of plain USB cameras: sealed at once, kept apart, once; and refused where the policy says so."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.wire.policy import Via
from broker.wire.recording import Kind
from cloud.database.tables import denials, segments
from cloud.intake.importer import IMPORT_DOOR, Importer, _files
from cloud.viewing.watermark import Marker
from tests.adapters.axis.world import AxisTown, Versions, open_outside, open_policy, prepare
from tests.adapters.intake.conftest import MEMORY
from tests.adapters.intake.town import NOW, Town
from tests.adapters.viewing.footage import film
from tests.adapters.viewing.test_films import is_the_tone, remade


@pytest.fixture
async def town() -> AsyncIterator[AxisTown]:
    """A town whose policy takes files from a folder."""
    with tempfile.TemporaryDirectory(prefix="vo-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        town = prepare(Town(Path(folder)), Via.IMPORT)
        await town.open()
        outside = await open_outside(town, doors=(IMPORT_DOOR,))
        yield AxisTown(town=town, outside=outside, url="", account=None, key="", ca=town.authority.ca)  # type: ignore[arg-type]
        await town.close()


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    (tmp_path / "bodycam-3").mkdir()
    return tmp_path


def put(watched: Path, name: str, content: bytes, *, camera: str = "bodycam-3") -> Path:
    path = watched / camera / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    made = (NOW - timedelta(hours=5)).timestamp()
    os.utime(path, (made, made))
    return path


def movie(seconds: int = 3) -> bytes:
    init, fragments = film(seconds, begin=0)
    return init + b"".join(fragments)


async def taken_in(town: AxisTown, watched: Path) -> int:
    importer = Importer(watched, town.outside)
    await importer.look()
    done = await importer.look()
    await town.outside.settle()
    return done


async def test_a_file_is_sealed_taken_away_and_kept_apart(town: AxisTown, watched: Path) -> None:
    content = movie()
    path = put(watched, "MOV_0001.mp4", content)
    assert await taken_in(town, watched) == 1
    assert not path.exists()
    (row,) = await town.recordings()
    assert (row.state, row.reason, row.via) == ("quarantined", "nobody pressed the button", "import")
    assert (row.camera, row.activated_at, row.chain) == ("import-bodycam-3", None, "intact")
    assert row.ended_at == NOW - timedelta(hours=5)
    assert timedelta(seconds=2.9) < row.ended_at - row.started_at < timedelta(seconds=3.2)
    assert timedelta(days=27) < row.expires_at - row.ended_at < timedelta(days=30)
    assert await town.file(row.id, "MOV_0001.mp4") == content
    assert await town.town.kinds() == ["camera.enrolled", "recording.quarantined"]
    lying = [path for path in town.town.folder.rglob("*") if path.is_file()]
    assert not any(content[2000:2032] in path.read_bytes() for path in lying)


async def test_a_film_gets_a_rendition_that_a_room_can_mark_and_play(town: AxisTown, watched: Path) -> None:
    put(watched, "MOV_0001.mp4", movie(4))
    await taken_in(town, watched)
    (row,) = await town.recordings()
    async with town.town.database.transaction() as t:
        lines = (await t.execute(select(segments).order_by(segments.c.sequence))).all()
    opened = await town.opened(row.id)
    shown = [line.sequence for line in lines if line.kind == Kind.VIDEO]
    assert shown == [0, 1, 2, 3, 4]
    assert [round((line.ends_at - line.starts_at).total_seconds()) for line in lines[1:5]] == [1, 1, 1, 1]
    marker = Marker(opened[0])
    for sequence in shown[1:]:
        assert marker.mark(opened[sequence], lines=("Noor", "Sam"), label="")[4:8] == b"moof"


@pytest.mark.parametrize(("container", "sound"), [("mp4", "pcm_s16le"), ("mov", "pcm_alaw"), ("mpegts", "")])
async def test_sound_that_no_browser_plays_is_heard_all_the_same(
    town: AxisTown, watched: Path, container: str, sound: str
) -> None:
    put(watched, "MOV_0001.mp4", remade(movie(5), container, sound))
    await taken_in(town, watched)
    (row,) = await town.recordings()
    async with town.town.database.transaction() as t:
        kinds = (await t.execute(select(segments.c.kind).order_by(segments.c.sequence))).scalars().all()
    opened = await town.opened(row.id)
    played = b"".join(media for kind, media in zip(kinds, opened, strict=True) if kind == Kind.VIDEO)
    assert is_the_tone(played)


async def test_what_is_no_film_is_kept_as_it_is(town: AxisTown, watched: Path) -> None:
    put(watched, "notes.mp4", b"this is no film" * 1000)
    assert await taken_in(town, watched) == 1
    (row,) = await town.recordings()
    assert await town.file(row.id, "notes.mp4") == b"this is no film" * 1000


@pytest.mark.rule("E-41")
async def test_the_same_content_twice_is_one_recording(town: AxisTown, watched: Path) -> None:
    for name, camera in (("a.mp4", "bodycam-3"), ("b.mp4", "bodycam-3"), ("c.mp4", "bodycam-4")):
        put(watched, name, movie(1), camera=camera)
    assert await taken_in(town, watched) == 1
    again = put(watched, "d.mp4", movie(1))
    assert await taken_in(town, watched) == 0
    assert not again.exists()
    assert len(await town.recordings()) == 1


@pytest.mark.rule("T-28", "H-35")
async def test_a_policy_without_import_leaves_the_file_where_it_lies(town: AxisTown, watched: Path) -> None:
    town.outside._policies = Versions(open_policy())
    path = put(watched, "a.mp4", movie(1))
    assert await taken_in(town, watched) == 0
    assert path.exists()
    assert await town.recordings() == []
    async with town.town.database.transaction() as t:
        assert [row.what for row in await t.execute(select(denials))] == ["ingest.import"]


async def test_a_file_that_is_still_being_written_waits(town: AxisTown, watched: Path) -> None:
    importer = Importer(watched, town.outside)
    path = put(watched, "a.mp4", b"first part")
    put(watched, "b.mp4.part", b"not yet")
    (watched / "bodycam-3" / "link.mp4").symlink_to("/etc/hostname")
    assert await importer.look() == 0
    path.write_bytes(b"first part and second part")
    assert await importer.look() == 0
    assert await importer.look() == 1
    assert sorted(each.name for each in (watched / "bodycam-3").iterdir()) == ["b.mp4.part", "link.mp4"]


def test_what_is_taken_away_while_we_look_hides_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (tmp_path / f"bodycam-{number}" for number in range(1, 4))
    for camera in (first, second, third):
        camera.mkdir()
        (camera / "MOV_0001.MP4").write_bytes(b"film")
    coming = first / "coming.MP4"
    coming.write_bytes(b"half")
    listed = Path.iterdir

    def emptying(folder: Path) -> list[Path]:
        if folder == second:
            shutil.rmtree(second)
        found = list(listed(folder))
        if folder == first:
            coming.unlink()
        return found

    monkeypatch.setattr(Path, "iterdir", emptying)
    assert list(_files(tmp_path)) == [first / "MOV_0001.MP4", third / "MOV_0001.MP4"]


async def test_a_restart_between_sealing_and_taking_away_makes_no_second_recording(
    town: AxisTown, watched: Path
) -> None:
    path = put(watched, "a.mp4", movie(1))
    content = path.read_bytes()
    await taken_in(town, watched)
    put(watched, "a.mp4", content)  # as if the process had ended before the file was taken away
    outside = await open_outside(town.town, doors=(IMPORT_DOOR,))
    importer = Importer(watched, outside)
    await importer.look()
    assert await importer.look() == 0
    assert not path.exists()
    assert len(await town.recordings()) == 1
