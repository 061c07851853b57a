"""Every operation, and the answer to who asks for the document that describes them."""

from typing import Final

from cloud.api.resources import (
    activations,
    administration,
    cases,
    disclosures,
    fleet,
    ledger,
    policy,
    recordings,
    reports,
    rooms,
    session,
)

OPERATIONS: Final = (
    *session.OPERATIONS,
    *fleet.OPERATIONS,
    *activations.OPERATIONS,
    *recordings.OPERATIONS,
    *cases.OPERATIONS,
    *reports.OPERATIONS,
    *rooms.OPERATIONS,
    *disclosures.OPERATIONS,
    *ledger.OPERATIONS,
    *policy.OPERATIONS,
    *administration.OPERATIONS,
)
