"""The pages of the desk, a module each. Every module names its own addresses; here they are one list."""

from typing import Final

from cloud.desk import live
from cloud.desk.pages import (
    alerts,
    cases,
    demo_panel,
    door,
    fleet,
    handover,
    keys,
    ledger,
    policies,
    recordings,
    reports,
    room,
)

ROUTES: Final = (
    *door.ROUTES,
    *live.ROUTES,
    *fleet.ROUTES,
    *alerts.ROUTES,
    *recordings.ROUTES,
    *cases.ROUTES,
    *room.ROUTES,
    *reports.ROUTES,
    *keys.ROUTES,
    *handover.ROUTES,
    *ledger.ROUTES,
    *policies.ROUTES,
    *demo_panel.ROUTES,
)
