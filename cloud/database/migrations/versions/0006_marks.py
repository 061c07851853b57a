"""marks in a viewing"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op

from cloud.database.tables import Moment

revision: Final = "0006"
down_revision: Final[str | None] = "0005"
branch_labels: Final[Sequence[str] | None] = None
depends_on: Final[Sequence[str] | None] = None


def upgrade() -> None:
    """Bring the database here."""
    op.create_table(
        "viewing_marks",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("recording", sa.String(length=36), nullable=False),
        sa.Column("case_id", sa.String(length=36), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=40), nullable=False),
        sa.Column("made_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_viewing_marks_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_viewing_marks")),
    )
    with op.batch_alter_table("viewing_marks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_viewing_marks_recording_case_id"), ["recording", "case_id"], unique=False)
