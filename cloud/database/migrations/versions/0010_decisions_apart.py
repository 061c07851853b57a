"""decisions on footage kept apart"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op

from cloud.database.tables import Moment

revision: Final = "0010"
down_revision: Final[str | None] = "0009"
branch_labels: Final[Sequence[str] | None] = None
depends_on: Final[Sequence[str] | None] = None


def upgrade() -> None:
    """Bring the database here."""
    op.create_table(
        "decisions_apart",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("recording", sa.String(length=36), nullable=False),
        sa.Column("outcome", sa.String(length=12), nullable=False),
        sa.Column("camera", sa.Text(), nullable=True),
        sa.Column("official", sa.String(length=40), nullable=True),
        sa.Column("pressed_at", Moment(), nullable=True),
        sa.Column("press_reason", sa.String(length=40), nullable=True),
        sa.Column("ground", sa.Text(), nullable=False),
        sa.Column("proposed_by", sa.String(length=40), nullable=False),
        sa.Column("proposed_at", Moment(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("confirmed_by", sa.String(length=40), nullable=True),
        sa.Column("confirmed_at", Moment(), nullable=True),
        sa.Column("confirmed_ground", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "confirmed_by IS NULL OR confirmed_by <> proposed_by", name=op.f("ck_decisions_apart_two_people")
        ),
        sa.CheckConstraint(
            "(state = 'confirmed') = (confirmed_by IS NOT NULL)", name=op.f("ck_decisions_apart_confirmed_by")
        ),
        sa.CheckConstraint("outcome IN ('admit', 'leave')", name=op.f("ck_decisions_apart_outcome")),
        sa.CheckConstraint("state IN ('open', 'confirmed', 'withdrawn')", name=op.f("ck_decisions_apart_state")),
        sa.ForeignKeyConstraint(["recording"], ["recordings.id"], name=op.f("fk_decisions_apart_recording_recordings")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions_apart")),
    )
    with op.batch_alter_table("decisions_apart", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_decisions_apart_org"), ["org"], unique=False)
        batch_op.create_index(batch_op.f("ix_decisions_apart_recording"), ["recording"], unique=False)
