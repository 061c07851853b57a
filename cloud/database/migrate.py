"""Brings a database to the form that this version of the software needs; never back: what was destroyed stays so.

`python -m cloud.database.migrate FILE` upgrades the SQLite database in FILE. For developers, `--draft MESSAGE` writes
the next version from the difference between the newest one and cloud/database/tables.py.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from cloud.database.engine import Database
from cloud.database.tables import metadata

VERSIONS: Final = Path(__file__).parent / "migrations"


class CannotMigrate(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The database is not of a version from which there is a way; the message says what differs."""


async def upgrade(database: Database) -> str:
    """Bring the database to the newest version and return its name; an empty one is made. Raises CannotMigrate."""
    async with database.engine.connect() as connection:
        version = await connection.run_sync(_upgrade)
        await connection.commit()
    return version


def differences(connection: Connection) -> list[Any]:
    """Return what this database lacks of, or has beyond, cloud/database/tables.py; nothing when they agree."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": metadata})
    return list(compare_metadata(context, metadata))


def newest() -> str:
    """Return the name of the newest version."""
    head = ScriptDirectory.from_config(_config(None)).get_current_head()
    if head is None:
        raise CannotMigrate(f"database: expected a version in {VERSIONS}, found none")
    return head


def draft(message: str) -> None:
    """Write the next version from the difference between the newest one and the tables."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_draft(Path(folder) / "draft.sqlite", message))


async def _draft(path: Path, message: str) -> None:
    database = Database(f"sqlite+aiosqlite:///{path}")
    try:
        async with database.engine.connect() as connection:
            await connection.run_sync(lambda sync: command.upgrade(_config(sync), "head"))
            await connection.run_sync(lambda sync: _write(sync, message))
    finally:
        await database.close()


def _write(connection: Connection, message: str) -> None:
    config = _config(connection)
    number = len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1
    command.revision(config, message=message, autogenerate=True, rev_id=f"{number:04}")


def _upgrade(connection: Connection) -> str:
    known = inspect(connection).get_table_names()
    config = _config(connection)
    if known and "alembic_version" not in known:
        found = differences(connection)
        if found:
            raise CannotMigrate(f"database: expected a known version, found none, and it differs: {found[0]}")
        command.stamp(config, "head")
    else:
        command.upgrade(config, "head")
    return newest()


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(VERSIONS))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


async def _run(path: Path) -> str:
    database = Database(f"sqlite+aiosqlite:///{path}")
    try:
        return await upgrade(database)
    finally:
        await database.close()


def main(argv: Sequence[str]) -> int:
    """Upgrade one database, or write the next version."""
    parser = argparse.ArgumentParser(prog="python -m cloud.database.migrate", description="Migrate a town's database.")
    parser.add_argument("file", type=Path, nargs="?", help="the SQLite database")
    parser.add_argument("--draft", metavar="MESSAGE", help="write the next version from the tables")
    arguments = parser.parse_args(argv)
    if arguments.draft:
        draft(arguments.draft)
        return 0
    if arguments.file is None or not arguments.file.is_file():
        parser.error(f"expected a database file, got {arguments.file}")
    try:
        sys.stdout.write(f"{arguments.file}: version {asyncio.run(_run(arguments.file))}\n")
    except CannotMigrate as cause:
        sys.stderr.write(f"migrate: {cause}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
