"""The pages of the desk, a module each. Every module names its own addresses; here they are one list."""

from typing import Final

from cloud.desk import live
from cloud.desk.pages import (
    administration,
    alerts,
    cases,
    demo_panel,
    door,
    figures,
    fleet,
    handover,
    keys,
    ledger,
    municipal,
    policies,
    recordings,
    redaction,
    reports,
    room,
    selfcheck,
    sessions,
)

ROUTES: Final = (
    *door.ROUTES,
    *municipal.ROUTES,
    *sessions.ROUTES,
    *live.ROUTES,
    *fleet.ROUTES,
    *alerts.ROUTES,
    *recordings.ROUTES,
    *cases.ROUTES,
    *room.ROUTES,
    *reports.ROUTES,
    *keys.ROUTES,
    *handover.ROUTES,
    *redaction.ROUTES,
    *ledger.ROUTES,
    *policies.ROUTES,
    *figures.ROUTES,
    *administration.ROUTES,
    *selfcheck.ROUTES,
    *demo_panel.ROUTES,
)
