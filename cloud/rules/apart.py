"""Footage that is kept apart: when two people may say whose camera it was and who pressed when, or leave it apart.

A recording exists by a press (R-04, H-10). Where none was heard of, two people may declare it. That proves nothing: it
is shown as their word for as long as the footage is there. It never moves the day of destruction, and who is named in
it was involved: he neither declares, nor later takes a seat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.wire.policy import Policy, Via
from cloud.rules.admission import Admission, AdmissionState, ChainState, Incoming, settle
from cloud.rules.rights import judge_role
from cloud.rules.seats import Person
from cloud.rules.verdicts import Verdict, allow, deny
from cloud.rules.versions import judge_by_all

DECLARED: Final = "origin_declared"
"""The deviation of a recording that is one by people's word."""

ROUNDED: Final = timedelta(seconds=1)
"""People name a moment to the second, and a film begins within one."""

UNMEASURED: Final = timedelta(hours=12)
"""How long before its end the press of a film may lie whose length nobody could measure: longer than a shift."""

SHUT: Final = frozenset({"key_gone", "no_footage", "never_submitted"})
"""Deviations of what cannot be seen, whoever declares what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptApart:
    """What is known of footage that is kept apart."""

    state: str
    via: str
    chain: ChainState
    camera_enrolled: bool
    official: str | None  # the wearer, where a shift or a press says so
    activated_at: datetime | None  # of the press, where one was heard of
    started_at: datetime
    ended_at: datetime
    expires_at: datetime
    deviations: tuple[str, ...]
    open_holds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What somebody declares: whose camera (its label), who pressed, when and why. Footage has one by people's word."""

    camera: str
    official: str
    pressed_at: datetime
    reason: str  # one of the policy's reasons to press


@dataclass(frozen=True, slots=True, kw_only=True)
class Wearer:
    """Whom a declaration names, as the register knows him at the moment of the press."""

    id: str
    function: str | None
    employed: bool


def wrong_with(apart: KeptApart) -> tuple[str, ...]:
    """Return what keeps it apart, as codes of DEVIATIONS that it bears from then on."""
    found = []
    if not apart.camera_enrolled:
        found.append("camera_not_enrolled")
    if apart.chain is ChainState.TAMPERED:
        found.append("seal_broken")
    if apart.activated_at is None:
        found.append("press_not_heard")
    return (*apart.deviations, *(each for each in found if each not in apart.deviations))


def judge_who(
    policies: Sequence[Policy],
    person: Person,
    *,
    involved: frozenset[str],
    proposed_by: str | None,
) -> Verdict:
    """Decide whether this person may be one of the two: by role, not involved, and not both of them.

    Two whatever else a policy says: one person's word about what no machine recorded is a claim. `involved`: who made
    it or was there, and who is named as its maker.
    """
    if person.id == proposed_by:
        return deny("the second person is another person", "de tweede persoon is een ander")
    if person.id in involved:
        return deny(
            "who made the recording or was there does not decide", "wie de opname maakte of erbij was, beslist niet"
        )
    return judge_by_all(
        policies,
        lambda policy: judge_role(
            policy, person, policy.casework.release, "decide on what is kept apart", "beslissen over wat apart staat"
        ),
    )


def judge_origin(
    policies: Sequence[Policy], apart: KeptApart, origin: Origin, wearer: Wearer, *, now: datetime
) -> Verdict:
    """Decide whether footage may be seen on this declaration. `policies`: each that binds it must allow it."""
    if apart.state != "quarantined":
        return deny("it is not kept apart", "deze opname staat niet apart")
    if SHUT & set(apart.deviations):
        return deny("nothing of it can ever be seen", "hiervan is nooit iets te zien")
    if now >= apart.expires_at and apart.open_holds == 0:
        return deny("its term is over and no hold stands", "de termijn is voorbij, zonder bewaarplicht")
    verdict = _judge_press(apart, origin, wearer)
    return verdict and judge_by_all(policies, lambda policy: _judge_policy(policy, apart, origin, wearer))


def _judge_press(apart: KeptApart, origin: Origin, wearer: Wearer) -> Verdict:
    if not origin.camera.strip():
        return deny("it does not say whose camera it was", "er staat niet bij welke camera het was")
    if not wearer.employed:
        return deny("whoever is named did not work here then", "wie genoemd wordt, werkte hier toen niet")
    if apart.official not in (None, wearer.id):
        return deny(
            "the register names another wearer: correct that first",
            "het register noemt een andere drager: verbeter dat eerst",
        )
    pressed = origin.pressed_at
    if apart.activated_at is not None and abs(pressed - apart.activated_at) > ROUNDED:
        return deny("a press was heard of, at another moment", "er is een druk op de knop gehoord, op een ander moment")
    measured = apart.ended_at > apart.started_at
    first = apart.started_at - ROUNDED if measured else apart.ended_at - UNMEASURED
    if not first <= pressed <= apart.ended_at + ROUNDED:
        return deny("the press is not within this footage", "de druk op de knop valt buiten deze beelden")
    return allow("a press that can be", "een druk op de knop die kan")


def _judge_policy(policy: Policy, apart: KeptApart, origin: Origin, wearer: Wearer) -> Verdict:
    if Via(apart.via) not in policy.ingest.via:
        return deny(
            f"this policy takes no footage by way of {apart.via}", f"dit beleid neemt geen beelden aan via {apart.via}"
        )
    if wearer.function not in policy.wearers.functions:
        return deny("this function wears no camera", "deze functie draagt geen camera")
    if origin.reason not in policy.activation.reasons:
        return deny("the policy knows no such reason to press", "het beleid kent deze reden om op te nemen niet")
    return allow("footage with a declared origin", "beelden met een verklaarde herkomst")


def pressed_within(apart: KeptApart, pressed_at: datetime) -> datetime:
    """Return the moment as the register keeps it: rounding never puts a press outside its own film."""
    if apart.activated_at is not None:
        return apart.activated_at
    return min(max(pressed_at, apart.started_at), apart.ended_at)


def admit_declared(incoming: Incoming, apart: KeptApart, *, policy: Policy, now: datetime) -> Admission:
    """Return what becomes of it on a declaration that was allowed; what was wrong with it stays its deviation.

    `incoming` says what the declaration makes of it. Its day of destruction stays the one it has.
    """
    admission = settle(incoming, policy=policy, now=now)
    wrong = wrong_with(apart)
    more = [each for each in admission.deviations if each not in wrong]
    return Admission(
        state=admission.state,
        because=admission.because,
        waarom=admission.waarom,
        deviations=(*wrong, *more, DECLARED),
        expires_at=apart.expires_at,
    )


def event_of(state: AdmissionState) -> str:
    """Return the event of the recording's lifecycle by which an admission gets there; raise KeyError for others."""
    return _EVENTS[state]


_EVENTS: Final = {
    AdmissionState.RETAINED: "admit",
    AdmissionState.HELD: "admit_under_hold",
    AdmissionState.RESTRICTED: "admit_restricted",
}
