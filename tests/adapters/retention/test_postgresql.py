"""The same office and the same worker on PostgreSQL, where several transactions really run at once."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.wire.policy import CaseKind
from cloud.database.tables import recordings
from cloud.retention.claims import claim
from tests.adapters.casework.office import Town, founded
from tests.adapters.casework.test_cases_holds import case_of
from tests.adapters.database.postgresql import new_database, server
from tests.adapters.retention.means import CertifyingKluis, RememberingVault, worker_of
from tests.adapters.retention.test_destruction import RACE_ENDS, look, row_of, stored

pytestmark = [pytest.mark.slow]

EACH = 10
"""Recordings of one case in the thousand races: a hold on each, all in one transaction."""


@pytest.fixture
async def towns(tmp_path: Path) -> AsyncIterator[tuple[Town, Town]]:
    url = new_database(server(), name=f"t{secrets.token_hex(8)}")
    async with founded(tmp_path, url=url) as both:
        yield both


@pytest.mark.timeout(900)
@pytest.mark.rule("E-11", "T-08")
async def test_on_postgresql_a_thousand_races_end_one_way_or_the_other(heusden: Town) -> None:
    """Duizend keer tegelijk, en met gelijktijdige transacties: elke keer het een of het ander, en beide komen voor."""
    ends: list[tuple[str, str | None]] = []
    took_s = 0.1
    for first in range(0, 1000 // EACH, 5):
        began = time.monotonic()
        seeds = range(first, first + 5)
        for several in await asyncio.gather(*(race_of_one_case(heusden, seed, within_s=took_s) for seed in seeds)):
            ends += several
        took_s = time.monotonic() - began  # as slow as this machine is now: so the claims fall before, in and after
    assert len(ends) == 1000
    assert set(ends) == RACE_ENDS


async def race_of_one_case(town: Town, seed: int, *, within_s: float) -> list[tuple[str, str | None]]:
    """One case about a few recordings on their day, and a claim on each at the same instant; return how each ended."""
    dice = random.Random(seed)
    named = [await town.store(ended_at=town.clock() - timedelta(days=28), digests=()) for _ in range(EACH)]

    async def destroy(recording: str) -> None:
        await asyncio.sleep(dice.random() * within_s)
        await claim(town.database, town.org, recording, town.clock())

    async with asyncio.TaskGroup() as at_once:
        asking = at_once.create_task(case_of(town, CaseKind.COMPLAINT, *named))
        for each in named:
            at_once.create_task(destroy(each))
    outcome = {hold.recording: hold.outcome for hold in asking.result().holds}
    async with town.database.transaction() as t:
        query = select(recordings.c.id, recordings.c.state).where(recordings.c.id.in_(named))
        return [(state, outcome[name]) for name, state in (await t.execute(query)).all()]


@pytest.mark.rule("E-11")
async def test_on_postgresql_a_restricted_recording_is_held_too(heusden: Town) -> None:
    """Een beperkte opname verandert niet van stand door bewaarplicht, en toch wint die."""
    for seed in range(30):
        recording = await heusden.store(state="restricted", days=0)

        async def ask(which: str = recording) -> str | None:
            case = await case_of(heusden, CaseKind.COMPLAINT, which)
            return case.holds[0].outcome

        kluis, vault = CertifyingKluis(), RememberingVault()
        outcome, done = await asyncio.gather(ask(), look(worker_of(heusden, kluis, vault), heusden, recording))
        ends = (done.outcome, outcome)
        assert ends in {("held", None), ("destroyed", "already_destroyed")}, (seed, ends)


async def test_on_postgresql_cases_get_different_numbers_at_once(heusden: Town) -> None:
    """Tien dossiers tegelijk krijgen tien nummers."""
    made = await asyncio.gather(*(case_of(heusden, CaseKind.COMPLAINT) for _ in range(10)))
    assert len({case.number for case in made}) == 10


@pytest.mark.rule("R-10", "T-01")
async def test_on_postgresql_two_workers_destroy_a_recording_once(heusden: Town) -> None:
    """Twee werkers tegelijk: één certificaat, één einde."""
    kluis, vault = CertifyingKluis(), RememberingVault()
    recording = await stored(heusden, kluis, vault)
    heusden.clock.move(days=28)
    workers = [worker_of(heusden, kluis, vault) for _ in range(2)]
    outcomes = await asyncio.gather(*(look(worker, heusden, recording) for worker in workers))
    assert {outcome.outcome for outcome in outcomes} <= {"destroyed", "not-due"}
    row = await row_of(heusden, recording)
    assert (row.state, row.certificate, vault.held) == ("destroyed", kluis.certified[recording], set())
