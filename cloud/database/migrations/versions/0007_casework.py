"""casework at the desk"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op

from cloud.database.tables import Moment

revision: Final = "0007"
down_revision: Final[str | None] = "0006"
branch_labels: Final[Sequence[str] | None] = None
depends_on: Final[Sequence[str] | None] = None


def upgrade() -> None:
    """Bring the database here."""
    with op.batch_alter_table("cases", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kluis_told_at", Moment(), nullable=True))
