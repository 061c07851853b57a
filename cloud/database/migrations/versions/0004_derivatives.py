"""derived footage"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op

from cloud.database.tables import Moment

revision: Final = "0004"
down_revision: Final[str | None] = "0003"
branch_labels: Final[Sequence[str] | None] = None
depends_on: Final[Sequence[str] | None] = None


def upgrade() -> None:
    """Bring the database here."""
    op.create_table(
        "derivatives",
        sa.Column("recording", sa.String(length=36), nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("original", sa.String(length=36), nullable=False),
        sa.Column("case_id", sa.String(length=36), nullable=False),
        sa.Column("room", sa.String(length=36), nullable=False),
        sa.Column("made_by", sa.String(length=40), nullable=False),
        sa.Column("made_at", Moment(), nullable=False),
        sa.Column("detector", sa.String(length=120), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("plan_sha256", sa.String(length=64), nullable=False),
        sa.Column("film_sha256", sa.String(length=64), nullable=False),
        sa.Column("length_s", sa.Float(), nullable=False),
        sa.Column("looked_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_derivatives_case_id")),
        sa.PrimaryKeyConstraint("recording", name=op.f("pk_derivatives")),
    )
    with op.batch_alter_table("derivatives", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_derivatives_case_id"), ["case_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_derivatives_original"), ["original"], unique=False)
