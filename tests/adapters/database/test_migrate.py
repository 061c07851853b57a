"""Every installation can come along: the versions lead to exactly the tables that the code knows."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from cloud.database import tables
from cloud.database.engine import Database
from cloud.database.migrate import CannotMigrate, differences, main, newest, upgrade


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite+aiosqlite:///{tmp_path / 'town.sqlite'}")
    yield opened
    await opened.close()


async def _differences(database: Database) -> list[object]:
    async with database.engine.connect() as connection:
        return await connection.run_sync(differences)


async def test_the_versions_lead_to_the_tables_that_the_code_knows(database: Database) -> None:
    """Red? `python -m cloud.database.migrate --draft "what changes"` writes the missing version."""
    assert await upgrade(database) == newest()
    assert await _differences(database) == []


async def test_upgrading_twice_changes_nothing_and_loses_nothing(database: Database) -> None:
    await upgrade(database)
    async with database.transaction() as t:
        now = datetime(2026, 11, 20, tzinfo=UTC)
        await t.execute(insert(tables.denials).values(org="o", at=now, who="a", what="b", why="c"))
    await upgrade(database)
    async with database.transaction() as t:
        assert len((await t.execute(select(tables.denials))).all()) == 1


async def test_a_database_made_without_versions_is_taken_along_when_it_is_the_newest(database: Database) -> None:
    await database.create()
    assert await upgrade(database) == newest()
    await upgrade(database)
    assert await _differences(database) == []


async def test_a_database_of_which_nobody_knows_the_version_is_left_alone(database: Database) -> None:
    await database.create()
    async with database.transaction() as t:
        await t.execute(text("ALTER TABLE denials DROP COLUMN why"))
    with pytest.raises(CannotMigrate, match="expected a known version"):
        await upgrade(database)


def test_the_command_upgrades_a_file_and_says_to_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "town.sqlite"
    path.touch()
    assert main([str(path)]) == 0
    assert newest() in capsys.readouterr().out
