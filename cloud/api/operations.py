"""Every operation, and the answer to who asks for the document that describes them."""

from typing import Final

from cloud.api.resources import (
    activations,
    administration,
    cases,
    channels,
    devices,
    disclosures,
    fleet,
    keys,
    learning,
    ledger,
    letters,
    marks,
    policy,
    public,
    recordings,
    reports,
    reviews,
    rooms,
    session,
    surveys,
)

OPERATIONS: Final = (
    *public.OPERATIONS,
    *session.OPERATIONS,
    *fleet.OPERATIONS,
    *activations.OPERATIONS,
    *recordings.OPERATIONS,
    *cases.OPERATIONS,
    *letters.OPERATIONS,
    *learning.OPERATIONS,
    *reports.OPERATIONS,
    *rooms.OPERATIONS,
    *marks.OPERATIONS,
    *disclosures.OPERATIONS,
    *ledger.OPERATIONS,
    *policy.OPERATIONS,
    *surveys.OPERATIONS,
    *administration.OPERATIONS,
    *reviews.OPERATIONS,
    *devices.OPERATIONS,
    *keys.OPERATIONS,
    *channels.OPERATIONS,
)
