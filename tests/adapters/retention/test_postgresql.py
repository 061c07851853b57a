"""The same office and the same worker on PostgreSQL, where several transactions really run at once."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.wire.policy import CaseKind
from tests.adapters.casework.office import Town, founded
from tests.adapters.casework.test_cases_holds import case_of
from tests.adapters.retention.means import CertifyingKluis, RememberingVault, worker_of
from tests.adapters.retention.test_destruction import RACE_ENDS, look, race, row_of, stored

pytestmark = [pytest.mark.slow]


def _programs() -> Path | None:
    """Where Debian keeps the server's programs, the newest first."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    return found[0].parent if found else None


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """A server of its own on a socket in a short folder, gone afterwards."""
    programs = _programs()
    if programs is None:
        pytest.skip("needs Debian's postgresql")
    folder = Path(tempfile.mkdtemp(prefix="vo-"))
    user = "postgres" if os.getuid() == 0 else None  # the server refuses to run as root
    if user is not None:
        shutil.chown(folder, user)

    def run(*command: str) -> None:
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL, timeout=60)

    data = str(folder / "data")
    run(str(programs / "initdb"), "-D", data, "-U", "vierogen", "-A", "trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses= -c fsync=off"
    run(str(programs / "pg_ctl"), "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield folder
    finally:
        run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def towns(server: Path, tmp_path: Path) -> AsyncIterator[tuple[Town, Town]]:
    async with founded(tmp_path, url=f"postgresql+asyncpg://vierogen@/postgres?host={server}") as both:
        yield both
        async with both[0].database.engine.begin() as connection:
            await connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            await connection.exec_driver_sql("CREATE SCHEMA public")


@pytest.mark.rule("E-11", "T-08")
async def test_on_postgresql_a_hold_and_destruction_never_both_win(heusden: Town) -> None:
    """Ook met gelijktijdige transacties: gehouden, of vernietigd en zo geregistreerd."""
    ends = []
    for batch in range(20):
        ends += await asyncio.gather(*(race(heusden, batch * 10 + seed) for seed in range(5)))
    assert set(ends) <= RACE_ENDS


@pytest.mark.rule("E-11")
async def test_on_postgresql_a_restricted_recording_is_held_too(heusden: Town) -> None:
    """Een beperkte opname verandert niet van stand door bewaarplicht, en toch wint die."""
    for seed in range(30):
        recording = await heusden.store(state="restricted", days=0)

        async def ask(which: str = recording) -> str | None:
            return (await case_of(heusden, CaseKind.COMPLAINT, which)).holds[0].outcome

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
