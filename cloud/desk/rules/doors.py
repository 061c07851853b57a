"""Which page opens for which role. Pages show no footage; who may view footage is decided by the seats, not here.

The roles are those of the policy; a role that no door names opens only what is open to everybody.
"""

from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Final


class Door(StrEnum):
    """The parts of the desk, by the name they have in an address."""

    FLEET = "vloot"
    ALERTS = "activeringen"
    RECORDINGS = "opnamen"
    CASES = "dossiers"
    ROOM = "kijkkamer"
    REPORTS = "meldingen"
    LEDGER = "logboek"
    FIGURES = "cijfers"
    POLICY = "beleid"
    ADMINISTRATION = "beheer"
    SELF_CHECK = "zelfcontrole"


_MANAGEMENT: Final = frozenset({"cluster_manager", "privacy_officer"})
_VIEWING: Final = _MANAGEMENT | {"coordinator", "municipal_secretary", "safety_coordinator", "authorised_viewer"}

OPENS_FOR: Final[dict[Door, frozenset[str]]] = {
    Door.FLEET: frozenset({"coordinator", "cluster_manager", "privacy_officer", "app_admin"}),
    Door.ALERTS: frozenset({"coordinator", "cluster_manager"}),
    Door.RECORDINGS: _VIEWING | {"dpo", "auditor"},
    Door.CASES: _MANAGEMENT | {"municipal_secretary", "safety_coordinator", "authorised_viewer", "dpo"},
    Door.ROOM: _VIEWING | {"officer"},
    Door.REPORTS: frozenset({"officer", "coordinator", "cluster_manager", "privacy_officer"}),
    Door.LEDGER: _MANAGEMENT | {"dpo", "auditor"},
    Door.FIGURES: _MANAGEMENT | {"municipal_secretary", "dpo", "auditor"},
    Door.POLICY: _MANAGEMENT | {"municipal_secretary", "app_admin", "dpo", "auditor"},
    Door.ADMINISTRATION: _MANAGEMENT | {"coordinator", "municipal_secretary", "app_admin", "dpo"},
    Door.SELF_CHECK: frozenset({"coordinator", "privacy_officer", "app_admin"}),
}
REGISTERS_CASES: Final = _MANAGEMENT | {"municipal_secretary", "authorised_viewer"}
"""Who may take in a request, complaint or aangifte, and so place its hold."""

READS_ACCESS_REGISTER: Final = frozenset({"privacy_officer", "municipal_secretary", "dpo", "auditor"})
"""Who may read the separate register of access requests."""

ACKNOWLEDGES: Final = frozenset({"coordinator", "cluster_manager"})
"""Who may say: I have seen this activation."""


def opens(door: Door, roles: AbstractSet[str]) -> bool:
    """Say whether somebody with these roles may open this part of the desk."""
    return bool(OPENS_FOR[door] & roles)


def doors_of(roles: AbstractSet[str]) -> tuple[Door, ...]:
    """Return the parts that open for these roles, in the order of the menu."""
    return tuple(door for door in Door if opens(door, roles))


def asks_about(roles: AbstractSet[str], *, who: str, learner: str | None) -> bool:
    """Say whether somebody may ask to view a case: a mere officer no other than his own request to learn (`learner`).

    Which cases there are, and whose footage they are about, is not for every colleague to know.
    """
    return learner == who or bool((OPENS_FOR[Door.ROOM] - {"officer"}) & roles)
