"""survey and rollout"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op

from cloud.database.tables import Moment

revision: Final = "0005"
down_revision: Final[str | None] = "0004"
branch_labels: Final[Sequence[str] | None] = None
depends_on: Final[Sequence[str] | None] = None


def upgrade() -> None:
    """Bring the database here."""
    op.create_table(
        "survey_rounds",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("statements", sa.JSON(), nullable=False),
        sa.Column("opens_at", Moment(), nullable=False),
        sa.Column("closes_at", Moment(), nullable=False),
        sa.Column("asked_by", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_survey_rounds")),
    )
    op.create_table(
        "survey_turnout",
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("round", sa.String(length=36), nullable=False),
        sa.Column("official", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("org", "round", "official", name=op.f("pk_survey_turnout")),
    )
    op.create_table(
        "survey_counts",
        sa.Column("round", sa.String(length=36), nullable=False),
        sa.Column("statement", sa.Integer(), nullable=False),
        sa.Column("answer", sa.String(length=1), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["round"], ["survey_rounds.id"], name=op.f("fk_survey_counts_round")),
        sa.PrimaryKeyConstraint("round", "statement", "answer", name=op.f("pk_survey_counts")),
    )
