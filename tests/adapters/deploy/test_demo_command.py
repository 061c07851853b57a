"""What `vierogen demo` says when it cannot: one clear sentence each, and nothing half-made."""

import asyncio
import shutil
import socket
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.wire.policy import read_policy
from deploy.command import COMMANDS, main
from deploy.demo import founding
from deploy.demo.command import clock, demo, press, reset
from deploy.demo.founding import CannotFound, Plan, available, days_of_duty, found_town, policy_text
from deploy.demo.supervisor import NotReady, Part, Supervisor
from tests.ports import free_port


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_a_port_in_use_is_said_and_no_town_is_left_behind(
    tmp_path: Path, taken_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo(["--data", str(tmp_path), "--port", str(taken_port)]) == 1
    said = capsys.readouterr().err
    assert f"port {taken_port} is in use" in said
    assert "--port" in said
    assert not (tmp_path / "heusden").exists()


def test_a_missing_film_is_said_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo(["--data", str(tmp_path), "--footage", str(tmp_path / "none.mp4")]) == 1
    assert "there is no such file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_municipality_is_answered_with_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo(["--data", str(tmp_path), "--municipality", "atlantis", "--port", str(free_port(in_a_row=3))]) == 1
    said = capsys.readouterr().err
    assert "expected one of heusden, rotterdam" in said
    assert available() == ("heusden", "rotterdam")


async def test_a_full_disk_is_said_with_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10 * 1024**2))
    with pytest.raises(CannotFound, match=r"expected 2048 MB free .* got 10 MB; make room"):
        await found_town(tmp_path / "heusden", Plan(municipality="heusden"), say=print)
    assert list(tmp_path.iterdir()) == []


async def test_a_town_that_could_not_be_finished_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(28, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(founding, "found", broken)
        with pytest.raises(OSError, match="no space"):
            await found_town(tmp_path / "heusden", Plan(municipality="heusden", cameras=1), say=print)
    assert not (tmp_path / "heusden").exists()
    town = await found_town(tmp_path / "heusden", Plan(municipality="heusden", cameras=1), say=print)
    assert town.config.exists()
    assert (town.cloud / "software-keys.json").stat().st_mode & 0o077 == 0


async def test_a_button_a_clock_and_a_new_beginning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--data", str(tmp_path)]
    plan = Plan(municipality="heusden", cameras=1, desk_port=free_port())  # a demonstration may run beside the tests
    town = await found_town(tmp_path / "heusden", plan, say=print)
    assert press(["cam-09", *where]) == 1
    assert "cam-09" in capsys.readouterr().err
    assert press(["cam-01", *where]) == 0
    assert press(["cam-01", "--dock", *where]) == 0
    assert sorted(each.name for each in town.buttons.iterdir()) == ["cam-01", "cam-01.dock"]
    capsys.readouterr()
    assert clock(where) == 0
    before = capsys.readouterr().out
    assert clock(["--days", "28", *where]) == 0
    assert capsys.readouterr().out > before
    assert reset(where) == 0
    assert not town.root.exists()


def test_an_unknown_command_is_answered_with_the_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vierogen", "destroy-everything"])
    assert main() == 2
    said = capsys.readouterr().err
    assert all(name in said for name in COMMANDS)


async def test_a_part_that_dies_is_started_again_and_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(tmp_path / "log", said.append)
    alive = tmp_path / "alive"

    async def is_alive() -> bool:
        return alive.exists()

    sleeper = [sys.executable, "-c", f"import pathlib,time; pathlib.Path({str(alive)!r}).touch(); time.sleep(60)"]
    try:
        await supervisor.start(Part(name="sleeper", command=sleeper, ready=is_alive))
        first = supervisor.process("sleeper")
        alive.unlink()
        first.kill()
        async with asyncio.timeout(60):
            while not alive.exists() or supervisor.process("sleeper").pid == first.pid:
                await asyncio.sleep(0.05)
        assert any("sleeper" in line and "started again" in line for line in said)
        broken = [sys.executable, "-c", "import sys; sys.exit('the disk is on fire')"]

        async def never() -> bool:
            return False

        with pytest.raises(NotReady, match="the disk is on fire"):
            await supervisor.start(Part(name="broken", command=broken, ready=never))
    finally:
        await supervisor.stop()
    assert supervisor.process("sleeper").returncode is not None


def test_an_officer_is_always_on_duty_until_the_next_morning_at_six() -> None:
    night = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 here; the clock goes back half an hour later
    shifts = days_of_duty(night)
    assert shifts[0] == (night - timedelta(hours=1), datetime(2026, 10, 25, 5, tzinfo=UTC))
    assert shifts[1] == (shifts[0][1], datetime(2026, 10, 26, 5, tzinfo=UTC))
    assert [begins for begins, _ in shifts[1:]] == [ends for _, ends in shifts[:-1]]
    assert shifts[-1][1] is None


@pytest.mark.parametrize("municipality", available())
def test_everybody_in_a_demonstration_has_a_role_that_the_policy_knows(municipality: str) -> None:
    hall = tomllib.loads((Path(founding.__file__).parent / f"{municipality}.toml").read_text(encoding="utf-8"))
    known = read_policy(policy_text(municipality)).roles
    assert {role for person in hall["officials"] for role in person["roles"]} <= set(known)
