"""Whatever stops halfway is repeated, and ends in one recording; what was acknowledged is never lost."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from broker.wire.refusals import Code, Refused, refuse
from cloud.intake.outside import Outside
from cloud.intake.spool import Chain, Draft
from cloud.ledger.log import Ledger, LedgerUnwritable
from tests.adapters.axis.test_delivery import CLIP, docking
from tests.adapters.axis.world import CONTAINER, AxisTown, clip_meta, open_outside, serving
from tests.adapters.database.away import away_once_entered
from tests.adapters.intake.town import Town

Break = Callable[[pytest.MonkeyPatch, AxisTown], None]


class Gone(BaseException):
    """The process ended here: nothing after this runs."""


def _unwritable(patch: pytest.MonkeyPatch, town: AxisTown) -> None:
    async def append(*_: Any, **__: Any) -> None:
        raise LedgerUnwritable(Path("ledger"), OSError(28, "no space"))

    patch.setattr(town.town.ledger, "append", append)


def _kluis_away(patch: pytest.MonkeyPatch, town: AxisTown) -> None:
    async def intake(*_: Any, **__: Any) -> None:
        raise refuse(Code.UNAVAILABLE, "Kluis", expected="an answer", got="none")

    patch.setattr(town.town.kluis, "intake", intake)


def _vault_full(patch: pytest.MonkeyPatch, town: AxisTown) -> None:
    def receive(*_: Any, **__: Any) -> None:
        raise refuse(Code.DISK_FULL, "vault", expected="room", got="none")

    patch.setattr(town.town.vault, "receive", receive)


def _register_away_once_entered(patch: pytest.MonkeyPatch, town: AxisTown) -> None:
    away_once_entered(patch, town.town.ledger, town.town.database, "recording.received")


@pytest.mark.parametrize("breaks", [_unwritable, _kluis_away, _vault_full, _register_away_once_entered])
async def test_trouble_that_goes_away_ends_in_one_recording(
    axis_town: AxisTown, monkeypatch: pytest.MonkeyPatch, breaks: Break
) -> None:
    async with axis_town.dock() as dock:
        await docking(dock, b"clip" * 500_000)
    breaks(monkeypatch, axis_town)
    for _ in range(2):
        with pytest.raises((Refused, LedgerUnwritable, OperationalError)):
            await axis_town.outside.settle()
    monkeypatch.undo()
    assert await axis_town.outside.settle() == 1
    (row,) = await axis_town.recordings()
    assert row.state == "retained"
    assert (await axis_town.town.kinds()).count("recording.received") == 1
    assert await axis_town.file(row.id, CLIP.split("/")[1] + ".mp4") == b"clip" * 500_000


STEPS = ("_finish", "_delivered", "register", "_move", "_write", "append", "_tell")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.slow)])
async def test_a_process_that_ends_at_any_step_ends_in_one_recording(
    town: Town, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    async with serving(town) as served, served.dock() as dock:
        await docking(dock, b"clip" * 500_000)
        _end_at(monkeypatch, step, when)
        with pytest.raises(Gone):
            await served.outside.settle()
        monkeypatch.undo()
    async with serving(town) as again:
        await again.outside.settle()
        (row,) = await again.recordings()
        assert (row.state, row.chain) == ("retained", "intact")
        assert await again.file(row.id, CLIP.split("/")[1] + ".mp4") == b"clip" * 500_000
        assert len(await again.objects(row.id)) == 3
        assert {part.state for part in await again.parts()} == {"told"}
        assert not any((town.folder / "outside").iterdir())


def _end_at(patch: pytest.MonkeyPatch, step: str, when: str) -> None:
    owner = Ledger if step == "append" else Outside
    real = getattr(owner, step)

    async def dies(self: Any, *given: Any, **named: Any) -> None:
        if when == "after":
            await real(self, *given, **named)
        raise Gone

    def dies_at_once(self: Outside, *given: Any, **named: Any) -> None:
        if when == "after":
            real(self, *given, **named)
        raise Gone

    patch.setattr(owner, step, dies_at_once if step in ("_finish", "_tell") else dies)


async def test_a_process_that_ends_between_the_file_and_its_row_acknowledged_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(town) as served, served.dock() as dock:
        await dock.introduce()
        await dock.begin()
        await dock.put(f"{CLIP}.mp4", b"first" * 1000, meta=clip_meta())
        transaction = served.town.database.transaction

        def broken() -> Coroutine[Any, Any, None]:
            monkeypatch.setattr(served.town.database, "transaction", transaction)
            raise OSError(5, "the disk does not answer")

        keep = Draft.keep

        def keeps_and_breaks(self: Draft, letter: bytes, *, into: Chain) -> int:
            last = keep(self, letter, into=into)
            monkeypatch.setattr(served.town.database, "transaction", broken)
            return last

        monkeypatch.setattr(Draft, "keep", keeps_and_breaks)
        assert await dock.put(f"{CONTAINER}/second.mp4", b"second" * 1000, meta=clip_meta()) == 500
        monkeypatch.undo()
        assert (await dock.say("HEAD", f"{CONTAINER}/second.mp4"))[0] == 404
        assert await dock.put(f"{CONTAINER}/second.mp4", b"second" * 1000, meta=clip_meta()) == 201
        await dock.complete()
        await served.outside.settle()
        rows = await served.recordings()
        assert {row.chain for row in rows} == {"intact"}
        kept = {
            each.name: await served.file(row.id, each.name) for row in rows for each in await served.objects(row.id)
        }
        assert kept == {CLIP.split("/")[1] + ".mp4": b"first" * 1000, "second.mp4": b"second" * 1000}


async def test_a_policy_that_shuts_the_door_later_loses_nothing_that_was_acknowledged(axis_town: AxisTown) -> None:
    from tests.adapters.axis.world import Versions, open_policy

    async with axis_town.dock() as dock:
        await docking(dock, b"clip" * 1000)
    axis_town.town.policies = Versions(open_policy())
    outside = await open_outside(axis_town.town)
    axis_town.town.clock.now += timedelta(minutes=1)
    await outside.settle()
    (row,) = await axis_town.recordings()
    assert row.state == "quarantined"
    assert "takes no footage" in row.reason
