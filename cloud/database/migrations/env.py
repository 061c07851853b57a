"""Alembic's way in: runs the versions on the connection that `cloud.database.migrate` gives. Not a command."""

from typing import Any, Literal

from alembic import context

from cloud.database.tables import Moment, metadata


def _spell(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    return "Moment()" if kind == "type" and isinstance(item, Moment) else False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",  # SQLite alters a table by copying it
    compare_type=True,
    render_item=_spell,
)
with context.begin_transaction():
    context.run_migrations()
