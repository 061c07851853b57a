"""What becomes of footage that arrives: kept, held, restricted, put apart, or refused at the door.

When in doubt the footage stays (apart, unseen) and somebody is told; only what came by a door that the policy keeps
shut is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from broker.wire.ids import RecordingId
from broker.wire.policy import PlaceKind, Policy, Via
from cloud.rules.retention import HERE, expires_at


class ChainState(StrEnum):
    """What the signatures and the order of a recording's segments say."""

    INTACT = "intact"
    INTACT_WITH_GAPS = "intact with gaps"
    OPEN = "open"
    SALVAGED = "salvaged"
    TAMPERED = "tampered"
    UNKNOWN_KEY = "unknown key"
    NEWER_VERSION = "newer version"


class AdmissionState(StrEnum):
    """Where a recording goes on arrival; all but *refused* are states of a recording."""

    RETAINED = "retained"
    HELD = "held"
    DUE = "due"
    RESTRICTED = "restricted"
    QUARANTINED = "quarantined"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """What is known of a recording when all of it has arrived."""

    recording: RecordingId
    via: Literal["dock", "axis", "import"]
    camera_enrolled: bool
    dock_enrolled: bool
    chain: ChainState
    activation_known: bool
    activated_at: datetime | None
    started_at: datetime
    ended_at: datetime
    pre_record_s: float
    open_holds: int
    clock_offset_s: float
    encrypted: bool = True
    on_duty: bool | None = None  # None: no shift is known
    place: PlaceKind | None = None
    place_exception: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Where it goes, why, what differs from the policy, and when its term is over (aware UTC)."""

    state: AdmissionState
    because: str
    waarom: str
    deviations: tuple[str, ...]
    expires_at: datetime


NOT_ENROLLED = "the camera is not enrolled"
"""Why it is apart until somebody names the camera."""

_UNTRUSTED = {
    ChainState.TAMPERED: ("its signatures do not hold", "de handtekeningen kloppen niet"),
    ChainState.UNKNOWN_KEY: ("it was signed by an unknown camera", "het is getekend door een onbekende camera"),
    ChainState.NEWER_VERSION: ("its format is newer than this software", "het formaat is nieuwer dan deze software"),
}


def admit(incoming: Incoming, *, policy: Policy, now: datetime) -> Admission:
    """Decide what becomes of this recording; the first rule that speaks wins, in the order written here."""

    def answer(state: AdmissionState, because: str, waarom: str) -> Admission:
        return _answer(incoming, policy, now, state, because, waarom)

    if Via(incoming.via) not in policy.ingest.via:
        return answer(
            AdmissionState.REFUSED,
            f"this policy takes no footage by way of {incoming.via}",
            f"dit beleid neemt geen beelden aan via {incoming.via}",
        )
    if incoming.via == "dock" and not incoming.dock_enrolled:
        return answer(AdmissionState.REFUSED, "the dock is not enrolled", "het dock is niet ingeschreven")
    if not incoming.camera_enrolled:
        return answer(AdmissionState.QUARANTINED, NOT_ENROLLED, "de camera is niet ingeschreven")
    if incoming.chain in _UNTRUSTED:
        because, waarom = _UNTRUSTED[incoming.chain]
        return answer(AdmissionState.QUARANTINED, because, waarom)
    if not incoming.activation_known or incoming.activated_at is None:
        return answer(AdmissionState.QUARANTINED, "nobody pressed the button", "niemand heeft de knop ingedrukt")
    return settle(incoming, policy=policy, now=now)


def settle(incoming: Incoming, *, policy: Policy, now: datetime) -> Admission:
    """Decide on what is a recording, by its own press or as two people declared (cloud/rules/apart.py): never apart."""

    def answer(state: AdmissionState, because: str, waarom: str) -> Admission:
        return _answer(incoming, policy, now, state, because, waarom)

    expires = expires_at(policy, incoming.ended_at, received_at=now)
    if incoming.open_holds == 0 and now >= expires:
        return answer(
            AdmissionState.DUE,
            "its term was over when it arrived, and no hold stands",
            "de termijn was voorbij bij aankomst, zonder bewaarplicht",
        )
    if not in_force(policy, incoming.ended_at):
        return answer(
            AdmissionState.RESTRICTED,
            "no policy was in force when it was made",
            "er gold geen beleid toen de opname werd gemaakt",
        )
    if pre_record_excess_s(incoming.pre_record_s, policy) > 0:
        return answer(
            AdmissionState.RESTRICTED,
            "more than allowed was kept from before the press",
            "er is meer vooropname bewaard dan mag",
        )
    if incoming.place in policy.locations.forbidden and not incoming.place_exception:
        return answer(
            AdmissionState.RESTRICTED, "it was made in a forbidden place", "de opname is op een verboden plaats gemaakt"
        )
    if incoming.open_holds > 0:
        return answer(AdmissionState.HELD, "a hold was waiting for it", "er wachtte een bewaarplicht op")
    return answer(AdmissionState.RETAINED, "its term runs", "de bewaartermijn loopt")


def _answer(
    incoming: Incoming, policy: Policy, now: datetime, state: AdmissionState, because: str, waarom: str
) -> Admission:
    return Admission(
        state=state,
        because=because,
        waarom=waarom,
        deviations=deviations_of(incoming, policy),
        expires_at=expires_at(policy, incoming.ended_at, received_at=now),
    )


TOLERANCE_S = 0.5
"""Seconds of rounding between a camera's clock and whole frames; a group of pictures is twice as long."""


def pre_record_excess_s(pre_record_s: float, policy: Policy) -> float:
    """Return the seconds from before the press that the policy does not cover; 0 when there are none."""
    excess = pre_record_s - policy.pre_record.seconds
    return excess if excess > TOLERANCE_S else 0.0


def is_only_excess(state: str, deviations: Sequence[str]) -> bool:
    """Whether this recording is restricted for nothing but what was kept too long from before the press.

    Then the part that the policy covers may be seen; the excess waits for a decision (E-13).
    """
    keeps_it_shut = {"forbidden_place", "no_policy_in_force", "not_encrypted"}
    return state == "restricted" and "pre_record_too_long" in deviations and not keeps_it_shut & set(deviations)


def in_force(policy: Policy, moment: datetime) -> bool:
    """Whether the policy was in force on that day in the Netherlands."""
    day = moment.astimezone(HERE).date()
    about = policy.policy
    started = about.valid_from is None or day >= about.valid_from
    ended = about.valid_until is not None and day > about.valid_until
    return started and not ended


def deviations_of(incoming: Incoming, policy: Policy) -> tuple[str, ...]:
    """Return what differs from the policy, as codes; each has its sentence in DEVIATIONS."""
    found: list[str] = []
    if pre_record_excess_s(incoming.pre_record_s, policy) > 0:
        found.append("pre_record_too_long")
    if abs(incoming.clock_offset_s) >= policy.recording.clock_drift_flag_s:
        found.append("clock_drift")
    started_at = incoming.activated_at or incoming.started_at
    if (incoming.ended_at - started_at).total_seconds() > policy.recording.max_duration_flag_min * 60:
        found.append("too_long")
    if incoming.on_duty is False:
        found.append("outside_shift")
    if policy.recording.encrypted_at_rest and not incoming.encrypted:
        found.append("not_encrypted")
    if incoming.place is not None and incoming.place not in policy.locations.allowed and not incoming.place_exception:
        found.append("forbidden_place" if incoming.place in policy.locations.forbidden else "place_not_listed")
    if incoming.chain in (ChainState.INTACT_WITH_GAPS, ChainState.SALVAGED, ChainState.OPEN):
        found.append("incomplete")
    if not in_force(policy, incoming.ended_at):
        found.append("no_policy_in_force")
    return tuple(found)


DEVIATIONS = {
    "pre_record_too_long": ("kept more from before the press than allowed", "meer vooropname bewaard dan mag"),
    "clock_drift": ("the camera's clock was off", "de klok van de camera liep niet gelijk"),
    "too_long": ("longer than usual: ask why it was not switched off", "langer dan gewoon: vraag waarom"),
    "outside_shift": ("made outside a shift", "gemaakt buiten een dienst"),
    "not_encrypted": ("the camera did not encrypt it", "de camera heeft het niet versleuteld"),
    "forbidden_place": ("made in a place the policy forbids", "gemaakt op een plaats die het beleid verbiedt"),
    "place_not_listed": ("made in a place the policy does not name", "gemaakt op een plaats die het beleid niet noemt"),
    "incomplete": ("gaps, or cut off", "er ontbreken delen"),
    "late_addition": ("came after its delivery was complete", "kwam nadat de levering compleet was"),
    "another_version": ("other content under a name that was here already", "andere inhoud onder een bestaande naam"),
    "no_footage": ("a delivery without footage", "een levering zonder beelden"),
    "never_submitted": ("part of it came in, and the rest never did", "een deel kwam binnen, de rest niet"),
    "never_completed": ("the sender never said that it was complete", "de afzender heeft de levering niet afgerond"),
    "content_key_missing": ("encrypted by the camera, and its key did not come", "de sleutel is niet meegekomen"),
    "no_policy_in_force": ("no policy was in force", "er gold geen beleid"),
    "key_gone": ("the key to which it was sealed is destroyed", "de sleutel waarmee het is verzegeld, is vernietigd"),
    "press_not_heard": ("no press of a button was heard of", "van een druk op de knop is niets gehoord"),
    "camera_not_enrolled": ("its camera was not enrolled", "de camera was niet ingeschreven"),
    "seal_broken": ("part of it does not bear the camera's seal", "een deel draagt het zegel van de camera niet"),
    "origin_declared": ("its origin is declared, not proven", "de herkomst is verklaard, niet bewezen"),
}
"""Each deviation in English and Dutch, for people."""
