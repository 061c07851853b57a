"""A year of Heusden, day by day. A failing seed prints itself: VIEROGEN_SEED=… runs it again."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from cloud.database import engine
from tests.adapters.casework.office import founded
from tests.adapters.retention.means import CertifyingKluis, RememberingVault
from tests.simulation.laws import Laws
from tests.simulation.year import Year

SEEDS = [int(os.environ["VIEROGEN_SEED"])] if "VIEROGEN_SEED" in os.environ else [2026]
MEMORY = Path("/dev/shm")


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    """In memory where the machine has that: a year is many transactions, and none of them is about disks."""
    made = Path(tempfile.mkdtemp(prefix="vo-year-", dir=MEMORY if MEMORY.is_dir() else None))
    yield made
    shutil.rmtree(made, ignore_errors=True)


class OneThread(aiosqlite.Connection):
    """A connection whose statements run where they are asked for. Nothing here is about threads or cancellation, and
    two thirds of a year's time went into handing each statement to another thread and back.
    """

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)


@pytest.fixture(autouse=True)
def in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def here(connect: Callable[..., sqlite3.Connection], rows_at_once: int) -> OneThread:
        return OneThread(partial(connect, check_same_thread=False), rows_at_once)  # made in aiosqlite's thread

    monkeypatch.setattr(engine, "_Whole", here)


async def lived(year: Year, laws: Laws, days: int) -> None:
    await year.begin()
    day = date(2026, 1, 1)
    try:
        for _ in range(days):
            await year.live(day)
            year.doing = "the laws at the end of the day"
            await laws.check()
            day += timedelta(days=1)
    except BaseException:
        print(f"\nVIEROGEN_SEED={year.seed}: on {day}, during: {year.doing}")
        raise


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.rule("T-41", "E-11", "E-08", "E-09", "E-10", "E-16", "E-27", "E-04c", "H-38", "H-39", "H-47")
async def test_a_year_of_a_town_breaks_no_law_on_any_day(folder: Path, seed: int) -> None:
    async with founded(folder) as (heusden, _):
        kluis, vault = CertifyingKluis(), RememberingVault()
        year = Year(heusden, seed, kluis, vault)
        laws = Laws(heusden, kluis, vault, days=28)
        await lived(year, laws, 365)
        print(dict(year.done), dict(year.refused), year.seated)
        assert year.done["destroyed"] > 200, "otherwise nothing was shown"
        assert year.done["held"] > 50
        assert year.seated > 20
        assert year.done["crash"] > 0
        for story in (
            "substitute",
            "absent",
            "object",
            "decide_objection",
            "send_refusal",
            "emergency",
            "release",
            "decide",
        ):
            assert year.done[story] > 0, f"this seed has no {story}: it shows less than it should"
        assert year.done["docked due"] + year.done["docked held"] > 0


async def test_ten_days_break_no_law(folder: Path) -> None:
    async with founded(folder) as (heusden, _):
        kluis, vault = CertifyingKluis(), RememberingVault()
        await lived(Year(heusden, 7, kluis, vault), Laws(heusden, kluis, vault, days=28), 10)
