"""What stops destruction: placing, joining, ending. No hold ends by itself, but for an emergency one without a case.

Several may stand on one recording; it is held while one of them is open (they end separately, the longest decides).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from broker.wire.policy import CaseKind, EndsWhen, Policy
from cloud.rules.retention import Stored, add_days, after_release_by_all, state_without_holds
from cloud.rules.terms import unmet
from cloud.rules.verdicts import Verdict, allow, deny

OPEN: Final = ("provisional", "active", "release_requested")
"""States in which a hold stops destruction (a provisional one until it lapses)."""

TOO_LATE: Final = frozenset({"destroying", "destroyed"})
"""States in which a hold comes too late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """What comes of placing a hold on one recording. `outcome` is set when it came too late."""

    state: str
    outcome: str | None
    lapses_at: datetime | None
    because: str
    waarom: str


def place(
    policy: Policy,
    *,
    kind: CaseKind,
    recording_state: str | None,
    provisional: bool,
    received_at: datetime,
    now: datetime,
    destroyed_at: datetime | None = None,
) -> Placing:
    """Return the hold to write. `recording_state` is None when the footage has not arrived: the hold waits for it."""
    if recording_state in TOO_LATE:
        before_typing = destroyed_at is not None and received_at < destroyed_at
        return Placing(
            state="released",
            outcome="destroyed_before_registration" if before_typing else "already_destroyed",
            lapses_at=None,
            because="the footage was destroyed before the hold",
            waarom="de beelden waren al vernietigd",
        )
    return Placing(
        state="provisional" if provisional else "active",
        outcome=None,
        lapses_at=add_days(now, policy.hold.provisional_days) if provisional else None,
        because=f"a case of kind {kind} stops destruction",
        waarom=f"een dossier van soort {kind} houdt vernietiging tegen",
    )


def stops_destruction(policy: Policy, kind: CaseKind) -> bool:
    """Whether a case of this kind holds footage at all (learning does not)."""
    return kind in policy.hold.reasons


def is_open(state: str, lapses_at: datetime | None, now: datetime) -> bool:
    """Whether a hold in this state stops destruction now."""
    return state in OPEN and not (state == "provisional" and lapses_at is not None and now >= lapses_at)


def judge_release(policy: Policy, *, kind: CaseKind, met: frozenset[EndsWhen], provisional: bool = False) -> Verdict:
    """Decide whether the hold of this case may end: only when everything the policy names has happened."""
    if provisional:
        return allow("an emergency hold may be lifted", "een noodrem mag eraf")
    reason = policy.hold.reasons.get(kind)
    if reason is None:
        return allow("this kind of case holds nothing", "dit soort dossier houdt niets vast")
    missing = unmet(reason.ends_when, met)
    if missing:
        return deny(
            "the hold stays until: " + ", ".join(SAYS[each][0] for each in missing),
            "de bewaarplicht blijft tot: " + ", ".join(SAYS[each][1] for each in missing),
        )
    return allow("everything that must have happened has happened", "alles wat gebeurd moet zijn, is gebeurd")


SAYS: Final[Mapping[EndsWhen, tuple[str, str]]] = {
    EndsWhen.DECISION_FINAL: ("the decision is final", "het besluit is definitief"),
    EndsWhen.CARRIED_OUT: ("the decision has been carried out", "het besluit is uitgevoerd"),
    EndsWhen.CASE_CLOSED: ("the case is closed", "het dossier is afgerond"),
    EndsWhen.OM_CONSENT: (
        "the public prosecution consents to destruction of this recording",
        "het OM akkoord geeft tot vernietiging van deze opname",
    ),
}
"""What ends a hold, in English and Dutch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterRelease:
    """What follows when a hold ends. Shown before it is confirmed."""

    state: str
    expires_at: datetime
    holds_left: int
    people_needed: int

    @property
    def destroyed_at_once(self) -> bool:
        """Whether destruction follows in the next run."""
        return self.state == "due"


def after_release_of_one(policies: Sequence[Policy], stored: Stored, *, now: datetime) -> AfterRelease:
    """Return what follows when one of the open holds on this recording ends now.

    `policies`: those that bind it, the version in force first; that one says how many people it takes.
    """
    left = stored.open_holds - 1
    if left > 0:
        return AfterRelease(state=stored.state, expires_at=stored.expires_at, holds_left=left, people_needed=1)
    expires = after_release_by_all(policies, expires=stored.expires_at, released_at=now)
    state = state_without_holds(Stored(state=stored.state, expires_at=expires, open_holds=0), now)
    people = policies[0].hold.release_quorum if state == "due" else 1
    return AfterRelease(state=state, expires_at=expires, holds_left=0, people_needed=people)
