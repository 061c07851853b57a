"""redaction drafts"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op

from cloud.database.tables import Moment

revision: Final = "0012"
down_revision: Final[str | None] = "0011"
branch_labels: Final[Sequence[str] | None] = None
depends_on: Final[Sequence[str] | None] = None


def upgrade() -> None:
    """Bring the database here."""
    op.create_table(
        "redaction_drafts",
        sa.Column("org", sa.String(length=40), nullable=False),
        sa.Column("case_id", sa.String(length=36), nullable=False),
        sa.Column("recording", sa.String(length=36), nullable=False),
        sa.Column("draft", sa.LargeBinary(), nullable=False),
        sa.Column("kept_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_redaction_drafts_case_id")),
        sa.PrimaryKeyConstraint("org", "case_id", "recording", name=op.f("pk_redaction_drafts")),
    )
    with op.batch_alter_table("redaction_drafts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_redaction_drafts_recording"), ["recording"], unique=False)
