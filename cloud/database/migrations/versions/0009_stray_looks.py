"""stray looks"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op

from cloud.database.tables import Moment

revision: Final = "0009"
down_revision: Final[str | None] = "0008"
branch_labels: Final[Sequence[str] | None] = None
depends_on: Final[Sequence[str] | None] = None


def upgrade() -> None:
    """Bring the database here."""
    op.create_table(
        "stray_looks",
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("looked_to", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("org", name=op.f("pk_stray_looks")),
    )
