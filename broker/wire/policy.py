"""What a municipality decides, as data: every field with its meaning, unit and range. One TOML file is one policy.

No field has a default here: a number that nobody wrote down is a number nobody decided. A key that is missing is an
error that names the line to add; an unknown key is an error that names the nearest known one. ``"none"`` in the file
says *this municipality sets nothing here* and reads as None.

Sources of the fields: the two texts behind ``deploy/policy/*.toml`` and what other municipalities publish.
"""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from broker.wire.events import CameraSettings
from broker.wire.ids import NotAnIdentifier, Org, parse_org

SCHEMA: Final = 1
"""The version of the set of fields below; a file says which one it was written for."""

NOTHING: Final = "none"
"""How a file says that nothing is set: TOML has no null."""

REQUESTING_OFFICER: Final = "requesting_officer"
"""The seat of the officer who asked to learn from footage: a person in a case, not a role that is held."""


class PolicyError(ValueError):
    """The file is not a policy. `problems` has one sentence per thing to change, in the order of the file's tables."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("policy:\n  " + "\n  ".join(problems))
        self.problems = tuple(problems)


class ActivationReason(StrEnum):
    """Why an officer may press the button."""

    THREATENING_ESCALATION = "threatening_escalation"
    ESCALATION = "escalation"
    OWN_SAFETY = "own_safety"
    SAFETY_OF_OTHERS = "safety_of_others"


class AnnouncementMoment(StrEnum):
    """When people must be told that the camera goes on."""

    BEFORE = "before"
    NOT_REQUIRED = "not_required"


class PlaceKind(StrEnum):
    """The kinds of place a protocol speaks of."""

    PUBLIC_SPACE = "public_space"
    PUBLICLY_ACCESSIBLE = "publicly_accessible"
    PRIVATE_PROPERTY = "private_property"
    DWELLING = "dwelling"


class PlaceException(StrEnum):
    """When a forbidden place is allowed after all."""

    EMERGENCY = "emergency"
    CAUGHT_IN_THE_ACT = "caught_in_the_act"


class ReportField(StrEnum):
    """What a usage report must say."""

    CAUSE = "cause"
    EVENT = "event"
    BYSTANDERS_INFORMED = "bystanders_informed"
    HOW = "how"
    WHEN = "when"
    WARNING_GIVEN = "warning_given"
    PLACE_KIND = "place_kind"
    PRESENT_STAFF = "present_staff"


class Deadline(StrEnum):
    """When a usage report is due."""

    END_OF_SHIFT = "end_of_shift"


class Via(StrEnum):
    """By which door footage may come in."""

    DOCK = "dock"
    AXIS = "axis"
    IMPORT = "import"


class Bound(StrEnum):
    """Whether the days are a fixed term, or the most there may be."""

    FIXED = "fixed"
    MAXIMUM = "maximum"


class TermStart(StrEnum):
    """From when the retention term runs."""

    RECORDING_END = "recording_end"
    INGEST = "ingest"


class TermUnit(StrEnum):
    """How days are counted: on the calendar of Europe/Amsterdam, or as 24 hours each."""

    CALENDAR_DAYS = "calendar_days"
    HOURS = "hours"


class Scope(StrEnum):
    """What expires."""

    FOOTAGE = "footage"
    FOOTAGE_AND_METADATA = "footage_and_metadata"


class ApplyToExisting(StrEnum):
    """What a new policy does to footage that is already there."""

    STRICTER_ONLY = "stricter_only"
    NEVER = "never"


class CaseKind(StrEnum):
    """Why a case exists. A hold and a viewing always belong to one."""

    ACCESS_REQUEST = "access_request"
    COMPLAINT = "complaint"
    AANGIFTE = "aangifte"
    OM_DEMAND = "om_demand"
    OM_REQUEST = "om_request"
    LEARNING = "learning"
    OTHER_LEGAL = "other_legal"
    INTEGRITY_INVESTIGATION = "integrity_investigation"
    INCIDENT_EVALUATION = "incident_evaluation"
    PROCESSING_OBJECTION = "processing_objection"


class EndsWhen(StrEnum):
    """What must have happened before a hold may end."""

    DECISION_FINAL = "decision_final"
    CARRIED_OUT = "carried_out"
    CASE_CLOSED = "case_closed"
    OM_CONSENT = "om_consent"


class OnRelease(StrEnum):
    """What happens to a recording whose term is over when its last hold ends."""

    NEXT_RUN = "next_run"
    GRACE_DAYS = "grace_days"
    RETAIN_FOR = "retain_for"


class ExcludeInvolved(StrEnum):
    """Whether people who made the recording, or were there, may sit down to view it."""

    ALL_BUT_LEARNER = "all_but_learner"
    NOBODY = "nobody"


class Copy(StrEnum):
    """What may leave the building for a purpose."""

    NO_COPY = "no_copy"
    REDACTED_COPY = "redacted_copy"
    EVIDENCE_PACKAGE = "evidence_package"


class Redaction(StrEnum):
    """Whether others are made unrecognisable before viewing."""

    NOT_USED = "not_used"
    IF_NEEDED = "if_needed"
    REQUIRED = "required"


class Initiator(StrEnum):
    """Who may start something for a purpose."""

    ELIGIBLE_OFFICIAL = "eligible_official"
    OFFICER_SELF = "officer_self"


class Tie(StrEnum):
    """How an officer can be tied to a recording."""

    RECORDER = "recorder"
    PRESENT = "present"


class Attendee(StrEnum):
    """Who may be let in beside the seats; never a seat."""

    DATA_SUBJECT = "data_subject"
    REPRESENTATIVE = "representative"


class Recipient(StrEnum):
    """The closed class of recipients of a disclosure."""

    POLICE = "police"
    OM = "om"


class Act(StrEnum):
    """What can be done in the back office."""

    DEVICE_ADD = "device.add"
    DEVICE_REMOVE = "device.remove"
    ARCHIVE = "archive"
    TRANSFER = "transfer"
    DESTROY = "destroy"


class Gps(StrEnum):
    """What becomes of the position a camera reports."""

    STORED = "stored"
    DROPPED = "dropped"


class Register(StrEnum):
    """Where access requests are registered."""

    SEPARATE = "separate"
    TOGETHER = "together"


@dataclass(frozen=True, slots=True)
class Means:
    """What a field means, in one line, and the least and most it may be (a whole number, or how many there are)."""

    text: str
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """[policy]: which policy this is, by whom, and in force when."""

    org: Annotated[Org, Means("the municipality's slug, also in topics")]
    id: Annotated[str, Means("a name for this policy that never changes")]
    version: Annotated[int, Means("counts up with every change", 1)]
    title: Annotated[str, Means("the title as it was adopted")]
    authority: Annotated[str, Means("the body that adopted it")]
    controller: Annotated[str, Means("who is responsible for the processing (AVG 4(7))")]
    adopted_on: Annotated[date | None, Means("the date of the decision")]
    valid_from: Annotated[date | None, Means("in force from this day")]
    valid_until: Annotated[date | None, Means("in force until and including this day")]
    evaluation: Annotated[bool, Means("whether this is a pilot that is evaluated")]
    evaluation_months: Annotated[int | None, Means("how long the pilot runs, in months", 1, 120)]
    legal_basis: Annotated[tuple[str, ...], Means("the grounds the municipality names")]
    source: Annotated[str, Means("the text this file was made from")]
    signatory: Annotated[str | None, Means("who signed for it")]
    public_info_url: Annotated[str | None, Means("where residents read more")]
    privacy_statement_url: Annotated[str | None, Means("where it says how to use one's rights")]
    work_instruction_url: Annotated[str | None, Means("the instruction for officers")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTitle:
    """[roles.*]: a role and what people call it."""

    nl: Annotated[str, Means("the title in Dutch")]
    en: Annotated[str, Means("the title in English")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreRecord:
    """[pre_record]: what is kept from before the press."""

    seconds: Annotated[int, Means("seconds from before the press that are kept", 0, 600)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PostRecord:
    """[post_record]: how long recording runs on."""

    seconds: Annotated[int, Means("seconds that recording runs on after it is stopped", 0, 600)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRules:
    """[recording]: what a recording holds, and when it asks for an explanation."""

    sound: Annotated[bool, Means("whether sound is recorded")]
    gps: Annotated[Gps, Means("whether the position is kept")]
    encrypted_at_rest: Annotated[bool, Means("whether a camera must encrypt what it stores")]
    max_duration_flag_min: Annotated[int, Means("minutes after which a recording asks for an explanation", 1, 1440)]
    clock_drift_flag_s: Annotated[int, Means("seconds of clock drift from which a recording is flagged", 1, 3600)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRules:
    """[device]: what is asked of cameras."""

    heartbeat_s: Annotated[int, Means("seconds between two signs of life", 1, 3600)]
    dock_within_h: Annotated[int, Means("hours after a shift within which a camera must be docked", 1, 168)]
    expected_within_h: Annotated[int, Means("hours after which announced footage counts as lost", 1, 8760)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """[alerts]: when the coordinator is warned, and who comes next."""

    escalate_after_s: Annotated[int, Means("seconds without acknowledgement before the next role is warned", 1, 86400)]
    first: Annotated[str, Means("the role that is warned of an activation")]
    then: Annotated[str, Means("the role that is warned when nobody acknowledged, or the first is absent")]
    silent_after_s: Annotated[int, Means("seconds without a sign of life after which a camera is silent", 2, 86400)]
    battery_low_pct: Annotated[int, Means("per cent of battery below which it is low", 1, 99)]
    card_low_pct: Annotated[int, Means("per cent of free card space below which it is low", 1, 99)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """[activation]: why the button may be pressed."""

    reasons: Annotated[tuple[ActivationReason, ...], Means("the closed list of reasons", 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """[announcement]: telling people that the camera goes on."""

    required: Annotated[AnnouncementMoment, Means("when it must be said")]
    exception_allowed: Annotated[bool, Means("whether it may be left out when the situation does not allow it")]
    after_allowed: Annotated[bool, Means("whether it may be said afterwards instead")]
    count: Annotated[int, Means("how many warnings come before activation", 0, 5)]


@dataclass(frozen=True, slots=True, kw_only=True)
class InformationAfter:
    """[information_after]: what people are told after they were filmed."""

    required: Annotated[bool, Means("whether officers must inform those who were filmed")]
    exception_allowed: Annotated[bool, Means("whether it may be left out when the situation does not allow it")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Locations:
    """[locations]: where recording is allowed. A place in neither list is a deviation that is explained."""

    allowed: Annotated[tuple[PlaceKind, ...], Means("where recording is allowed", 1)]
    forbidden: Annotated[tuple[PlaceKind, ...], Means("where recordings are restricted until decided upon")]
    exceptions: Annotated[tuple[PlaceException, ...], Means("when a forbidden place is allowed after all")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wearers:
    """[wearers]: who may wear a camera."""

    functions: Annotated[tuple[str, ...], Means("functions that may wear a camera: boa, toezichthouder", 1)]
    cluster: Annotated[str, Means("the department they work in or for")]
    hired_staff: Annotated[bool, Means("whether hired staff may wear one")]
    training_required: Annotated[bool, Means("whether training comes before the first use")]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """[usage_report]: the officer's record of each use."""

    required: Annotated[bool, Means("whether each use is reported")]
    deadline: Annotated[Deadline, Means("when a report is due")]
    notify: Annotated[str | None, Means("the role that gets the report")]
    if_absent: Annotated[str | None, Means("the role that gets it when the first is absent or reports himself")]
    fields: Annotated[tuple[ReportField, ...], Means("what a report must say")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """[ingest]: how footage comes in."""

    via: Annotated[tuple[Via, ...], Means("the doors that are open", 1)]
    manual_import: Annotated[bool, Means("whether a person may import files by hand")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """[retention]: how long footage is kept without a hold."""

    days: Annotated[int, Means("days that footage is kept", 1, 3650)]
    bound: Annotated[Bound, Means("a fixed term, or the most there may be")]
    starts_at: Annotated[TermStart, Means("from when the days count")]
    unit: Annotated[TermUnit, Means("calendar days in Europe/Amsterdam, or 24 hours each")]
    scope: Annotated[Scope, Means("what expires")]
    apply_to_existing: Annotated[ApplyToExisting, Means("what this version does to footage already there")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualDelete:
    """[manual_delete]: destruction by people, never under a hold."""

    early_allowed: Annotated[bool, Means("whether footage may be destroyed by hand before its day")]
    roles: Annotated[tuple[str, ...], Means("the roles that may")]
    quorum: Annotated[int, Means("how many different people it takes", 1, 2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReason:
    """[hold.reasons.*]: one kind of case that stops destruction."""

    on_receipt: Annotated[bool, Means("whether registering the case places the hold at once")]
    ends_when: Annotated[tuple[EndsWhen, ...], Means("what must all have happened before the hold may end", 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """[hold]: what stops destruction and what happens when it ends."""

    on_release: Annotated[OnRelease, Means("what follows when the last hold ends after the term")]
    grace_days: Annotated[int | None, Means("days of grace, with on_release = grace_days", 1, 3650)]
    retain_for_days: Annotated[int | None, Means("days kept on, with on_release = retain_for", 1, 36500)]
    provisional_days: Annotated[int, Means("days after which a provisional hold lapses without a case", 1, 90)]
    review_days: Annotated[int, Means("days between two reviews of a hold that waits for the OM", 1, 730)]
    release_quorum: Annotated[int, Means("people it takes to release when destruction follows at once", 1, 2)]
    reasons: Annotated[Mapping[CaseKind, HoldReason], Means("the kinds of case that stop destruction", 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """[viewing.pool]: a limit on how many people hold the viewing right at one time."""

    role: Annotated[str | None, Means("the role that is limited")]
    max_size: Annotated[int | None, Means("the most people that hold it at one time", 1, 1000)]
    other_department: Annotated[bool, Means("whether viewers must come from another department than the wearers")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewing:
    """[viewing]: who can sit down to view, where, and how many."""

    quorum: Annotated[int, Means("how many different people view together", 1, 2)]
    roles: Annotated[tuple[str, ...], Means("the roles that may ever take a seat", 1)]
    exclude_involved: Annotated[ExcludeInvolved, Means("who made it or was there: kept from the seats, or not")]
    place_required: Annotated[bool, Means("whether viewing needs a registered place")]
    places: Annotated[tuple[str, ...], Means("names of the registered places")]
    confirm_no_third_parties: Annotated[bool, Means("whether viewers confirm that nobody else can watch")]
    idle_limit_min: Annotated[int, Means("minutes of stillness after which a session closes", 1, 240)]
    request_valid_min: Annotated[int, Means("minutes that an unanswered request stays valid", 1, 15)]
    pool: Annotated[Pool, Means("a limit on who holds the viewing right")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """[purposes.*]: one reason for which footage may be viewed."""

    nl: Annotated[str, Means("the reason in Dutch")]
    en: Annotated[str, Means("the reason in English")]
    case_kinds: Annotated[tuple[CaseKind, ...], Means("the kinds of open case that carry this purpose", 1)]
    seats: Annotated[tuple[tuple[str, ...], ...], Means("per seat the roles that may take it: quorum many", 1, 2)]
    attendees: Annotated[tuple[Attendee, ...], Means("who may be let in beside the seats")]
    initiator: Annotated[Initiator, Means("who may start it")]
    decided_by: Annotated[str | None, Means("the role that decides on the case")]
    only_if: Annotated[tuple[Tie, ...], Means("how the initiator must be tied to the recording; empty: not at all")]
    if_involved: Annotated[Mapping[str, str], Means("role that is involved = role that takes over")]
    copy: Annotated[Copy, Means("what may leave the building")]
    redaction: Annotated[Redaction, Means("whether others are made unrecognisable first")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """[disclosure]: handing over to police and public prosecution."""

    recipients: Annotated[tuple[Recipient, ...], Means("the closed class of recipients", 1)]
    bases: Annotated[tuple[CaseKind, ...], Means("the kinds of case on which it may rest", 1)]
    by: Annotated[str, Means("the role that hands over")]
    substitute: Annotated[str | None, Means("the role that does so while a substitution runs")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Casework:
    """[casework]: which roles do what with cases. Who decides on a case stands with its purpose."""

    register: Annotated[tuple[str, ...], Means("the roles that may register a case, and so place a hold", 1)]
    handle: Annotated[tuple[str, ...], Means("the roles that move a case along and close it", 1)]
    release: Annotated[tuple[str, ...], Means("the roles that may release a hold", 1)]
    appoint: Annotated[tuple[str, ...], Means("the roles that appoint people to roles; never themselves", 1)]
    correct_wearer: Annotated[tuple[str, ...], Means("the roles that may correct who wore a camera", 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Substitution:
    """[substitution]: standing in for someone who is absent."""

    allowed: Annotated[bool, Means("whether anybody may stand in")]
    appointers: Annotated[tuple[str, ...], Means("the roles that may appoint a substitute; never for themselves")]
    at_most_days: Annotated[int | None, Means("the longest period, in days", 1, 366)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRequest:
    """[access_request]: the right of access (AVG 15)."""

    requires_case: Annotated[CaseKind | None, Means("another case that must exist first")]
    latest_days: Annotated[int | None, Means("days after the recording until which it may be asked", 1, 3650)]
    suspicion_suffices: Annotated[bool, Means("whether suspecting to have been filmed is enough")]
    reason_required: Annotated[bool, Means("whether a reason must be given")]
    representative_needs_authority: Annotated[bool, Means("whether a representative shows authority")]
    identity_methods: Annotated[tuple[str, ...], Means("how identity is established", 1)]
    first_contact_days: Annotated[int | None, Means("working days until the first contact", 1, 60)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """[complaint]: handling complaints (Awb chapter 9)."""

    parties_may_request: Annotated[bool, Means("whether both officer and citizen may ask for the footage")]
    by_committee: Annotated[bool, Means("whether a committee advises")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """[terms]: legal terms, with their article in the file."""

    access_answer_months: Annotated[int, Means("months to answer an access request", 1, 12)]
    access_warn_days: Annotated[int, Means("days after which an unanswered request is urgent", 1, 365)]
    access_extension_months: Annotated[int, Means("months by which it may be extended once", 0, 12)]
    objection_weeks: Annotated[int, Means("weeks to object, from the day after sending", 1, 52)]
    appeal_weeks: Annotated[int, Means("weeks to appeal, from the day after sending", 1, 52)]
    complaint_weeks: Annotated[int, Means("weeks to handle a complaint", 1, 52)]
    complaint_committee_weeks: Annotated[int, Means("weeks when a committee advises", 1, 52)]
    complaint_extension_weeks: Annotated[int, Means("weeks by which that may be extended", 0, 52)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """[registers]: what is registered apart from the footage."""

    access_requests: Annotated[Register, Means("whether access requests have a register of their own")]
    keep_years: Annotated[int | None, Means("years that the register is kept", 1, 100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """[statistics]: figures for evaluation."""

    threshold: Annotated[int, Means("a count below this is not shown", 1, 100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """[fleet]: how many cameras are expected; informative."""

    expected: Annotated[int | None, Means("cameras or wearers expected", 1, 100000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStep:
    """[[rollout.steps]]: areas that start together."""

    areas: Annotated[tuple[str, ...], Means("the areas", 1)]
    after_months: Annotated[int, Means("months after the start of the policy", 0, 120)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """[rollout]: where cameras are used from when."""

    steps: Annotated[tuple[RolloutStep, ...], Means("the areas and when they start")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paperwork:
    """[paperwork]: what must exist before the first camera goes on."""

    dpia_on: Annotated[date | None, Means("date of the newest data protection impact assessment")]
    dpia_labels: Annotated[tuple[str, ...], Means("sensitive subjects it covers: sound, dwellings, minors")]
    processing_register_id: Annotated[str | None, Means("entry in the register of processing (AVG 30)")]
    works_council_on: Annotated[date | None, Means("date of the works council's consent (WOR 27)")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything one municipality decides about its cameras. Read it with read_policy."""

    schema: Annotated[int, Means("the version of this set of fields", SCHEMA, SCHEMA)]
    policy: Annotated[About, Means("which policy this is")]
    roles: Annotated[Mapping[str, RoleTitle], Means("the roles of this municipality", 1)]
    pre_record: Annotated[PreRecord, Means("from before the press")]
    post_record: Annotated[PostRecord, Means("from after the stop")]
    recording: Annotated[RecordingRules, Means("what a recording holds")]
    device: Annotated[DeviceRules, Means("what is asked of cameras")]
    alerts: Annotated[Alerts, Means("when the coordinator is warned")]
    activation: Annotated[Activation, Means("why the button may be pressed")]
    announcement: Annotated[Announcement, Means("telling people before")]
    information_after: Annotated[InformationAfter, Means("telling people after")]
    locations: Annotated[Locations, Means("where recording is allowed")]
    wearers: Annotated[Wearers, Means("who may wear a camera")]
    usage_report: Annotated[UsageReport, Means("the officer's record of each use")]
    ingest: Annotated[Ingest, Means("how footage comes in")]
    retention: Annotated[Retention, Means("how long footage is kept")]
    manual_delete: Annotated[ManualDelete, Means("destruction by people")]
    hold: Annotated[Hold, Means("what stops destruction")]
    viewing: Annotated[Viewing, Means("who views, where, how many")]
    purposes: Annotated[Mapping[str, Purpose], Means("the closed list of reasons to view", 1)]
    disclosure: Annotated[Disclosure, Means("handing over")]
    casework: Annotated[Casework, Means("which roles do what with cases")]
    back_office: Annotated[Mapping[str, tuple[Act, ...]], Means("per role what it may do in the back office", 1)]
    substitution: Annotated[Substitution, Means("standing in")]
    access_request: Annotated[AccessRequest, Means("the right of access")]
    complaint: Annotated[Complaint, Means("handling complaints")]
    terms: Annotated[Terms, Means("legal terms")]
    registers: Annotated[Registers, Means("what is registered apart")]
    statistics: Annotated[Statistics, Means("figures for evaluation")]
    fleet: Annotated[Fleet, Means("how many cameras")]
    rollout: Annotated[Rollout, Means("where from when")]
    paperwork: Annotated[Paperwork, Means("what must exist first")]

    @property
    def org(self) -> Org:
        """The municipality's slug."""
        return self.policy.org

    @property
    def version(self) -> int:
        """The version of this policy, counting up."""
        return self.policy.version

    def role_nl(self, role: str) -> str:
        """Return what people call this role, in Dutch."""
        return self.roles[role].nl if role in self.roles else role

    def role_en(self, role: str) -> str:
        """Return what people call this role, in English."""
        return self.roles[role].en if role in self.roles else role


def read_policy(toml_text: str) -> Policy:
    """Return the policy that this file says, or raise PolicyError with everything that must change in it."""
    try:
        document = tomllib.loads(toml_text)
    except tomllib.TOMLDecodeError as cause:
        raise PolicyError([f"expected a TOML file, got one that cannot be read: {cause}"]) from cause
    problems: list[str] = []
    policy: Policy | None = _read_table(Policy, document, "", problems)
    if policy is None or problems:
        raise PolicyError(problems)
    disagreements = list(_disagreements(policy))
    if disagreements:
        raise PolicyError(disagreements)
    return policy


def camera_settings(policy: Policy, version: int | None = None) -> CameraSettings:
    """Return what a camera must do under this policy; `version` counts settings (the policy's own version if None)."""
    return CameraSettings(
        version=policy.version if version is None else version,
        pre_record_s=policy.pre_record.seconds,
        post_record_s=policy.post_record.seconds,
        sound=policy.recording.sound,
        heartbeat_s=policy.device.heartbeat_s,
        dock_within_h=policy.device.dock_within_h,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldLine:
    """One field of the schema, for reference pages: dotted name, what is expected, what it means."""

    name: str
    expected: str
    meaning: str


def every_field() -> tuple[FieldLine, ...]:
    """Return every field a file must have, in order; what stands under a name of choice is shown as ``<name>``."""
    return tuple(_walk(Policy, ""))


def _walk(kind: type[Any], prefix: str) -> Iterator[FieldLine]:
    for name, (expected, means) in _fields(kind).items():
        dotted = f"{prefix}{name}"
        inner = _table_type(expected)
        if inner is not None:
            is_map = typing.get_origin(expected) is Mapping
            is_list = typing.get_origin(expected) is tuple
            yield from _walk(inner, f"{dotted}{'.<name>' if is_map else '[]' if is_list else ''}.")
        else:
            yield FieldLine(name=dotted, expected=_describe(expected, means), meaning=means.text)


def _table_type(expected: Any) -> type[Any] | None:
    if dataclasses.is_dataclass(expected):
        return typing.cast("type[Any]", expected)
    arguments = typing.get_args(expected)
    if typing.get_origin(expected) is Mapping and dataclasses.is_dataclass(arguments[1]):
        return typing.cast("type[Any]", arguments[1])
    if typing.get_origin(expected) is tuple and dataclasses.is_dataclass(arguments[0]):
        return typing.cast("type[Any]", arguments[0])
    return None


def _fields(kind: type[Any]) -> dict[str, tuple[Any, Means]]:
    found: dict[str, tuple[Any, Means]] = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        expected, means = typing.get_args(hint)
        found[name] = (expected, means)
    return found


def _read_table(kind: type[Any], table: Mapping[str, Any], path: str, problems: list[str]) -> Any:
    fields = _fields(kind)
    values: dict[str, Any] = {}
    before = len(problems)
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.0)
            problems.append(f"{_dotted(path, key)} is not a field of a policy; did you mean {_dotted(path, near[0])}?")
    for name, (expected, means) in fields.items():
        if name not in table:
            problems.append(_line_to_add(path, name, expected, means))
        else:
            values[name] = _read_value(expected, means, table[name], _dotted(path, name), problems)
    return kind(**values) if len(problems) == before else None


def _line_to_add(path: str, name: str, expected: Any, means: Means) -> str:
    dotted = _dotted(path, name)
    if dataclasses.is_dataclass(expected) or typing.get_origin(expected) is Mapping:
        return f"{dotted} is missing; add the table [{dotted}]  # {means.text}"
    where = f"under [{path}]" if path else "at the top of the file"
    return f"{dotted} is missing; add {where} the line: {name} = <{_describe(expected, means)}>  # {means.text}"


def _read_value(expected: Any, means: Means, got: Any, path: str, problems: list[str]) -> Any:
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is types.UnionType or origin is typing.Union:
        inner = next(each for each in arguments if each is not types.NoneType)
        return None if got == NOTHING else _read_value(inner, means, got, path, problems)
    if dataclasses.is_dataclass(expected) and isinstance(got, dict):
        return _read_table(typing.cast("type[Any]", expected), got, path, problems)
    if origin is Mapping and isinstance(got, dict):
        _check_range(len(got), means, path, "entries", problems)
        plain = Means(means.text)
        read = {
            _read_value(arguments[0], plain, key, f"{path}.{key}", problems): _read_value(
                arguments[1], plain, value, f"{path}.{key}", problems
            )
            for key, value in got.items()
        }
        return types.MappingProxyType(read)
    if origin is tuple and isinstance(got, list):
        _check_range(len(got), means, path, "entries", problems)
        plain = Means(means.text)
        return tuple(_read_value(arguments[0], plain, each, f"{path}[{at}]", problems) for at, each in enumerate(got))
    return _read_scalar(expected, means, got, path, problems)


def _read_scalar(expected: Any, means: Means, got: Any, path: str, problems: list[str]) -> Any:
    match expected:
        case typing.NewType() if isinstance(got, str):
            try:
                return parse_org(got)
            except NotAnIdentifier as cause:
                problems.append(f"{path}: {cause}")
                return None
        case type() if issubclass(expected, StrEnum) and isinstance(got, str):
            if got in list(expected):
                return expected(got)
            near = difflib.get_close_matches(got, list(expected), n=1, cutoff=0.0)
            meant = str(near[0])
            problems.append(f"{path}: expected {_describe(expected, means)}, got {got!r}; did you mean {meant!r}?")
            return None
        case type() if expected is int and type(got) is int:
            _check_range(got, means, path, "", problems)
            return got
        case type() if expected in (str, bool) and type(got) is expected:
            return got
        case type() if expected is date and isinstance(got, date) and not isinstance(got, datetime):
            return got
        case _:
            problems.append(f"{path}: expected {_describe(expected, means)}, got {got!r}  # {means.text}")
            return None


def _check_range(number: int, means: Means, path: str, unit: str, problems: list[str]) -> None:
    too_few = means.least is not None and number < means.least
    too_many = means.most is not None and number > means.most
    if too_few or too_many:
        problems.append(f"{path}: expected {_range(means)} {unit}".rstrip() + f", got {number}  # {means.text}")


def _range(means: Means) -> str:
    match (means.least, means.most):
        case (None, None):
            return "any"
        case (least, None):
            return f"at least {least}"
        case (None, most):
            return f"at most {most}"
        case (least, most):
            return f"{least}" if least == most else f"{least} to {most}"


def _describe(expected: Any, means: Means) -> str:
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is types.UnionType or origin is typing.Union:
        inner = next(each for each in arguments if each is not types.NoneType)
        return f'{_describe(inner, means)}, or "{NOTHING}"'
    if origin is tuple:
        return f"list of {_describe(arguments[0], Means(means.text))}"
    if origin is Mapping or dataclasses.is_dataclass(expected):
        return "table"
    if isinstance(expected, type) and issubclass(expected, StrEnum):
        return " | ".join(f'"{each.value}"' for each in expected)
    if expected is int:
        return f"whole number, {_range(means)}"
    if expected is bool:
        return "true | false"
    return "date, as 2023-05-16" if expected is date else "text"


def _dotted(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _disagreements(policy: Policy) -> Iterator[str]:
    """What each field allows on its own but not together."""
    for path, role in _roles_named(policy):
        if role not in policy.roles:
            near = difflib.get_close_matches(role, policy.roles, n=1, cutoff=0.0)[0]
            yield f"{path}: {role!r} is not a role of this policy; add the table [roles.{role}] or write {near!r}"
    for name, purpose in policy.purposes.items():
        if len(purpose.seats) != policy.viewing.quorum:
            yield (
                f"purposes.{name}.seats: expected as many seats as viewing.quorum ({policy.viewing.quorum}), "
                f"got {len(purpose.seats)}"
            )
        for at, seat in enumerate(purpose.seats):
            for role in seat:
                if role != REQUESTING_OFFICER and role not in policy.viewing.roles:
                    yield f"purposes.{name}.seats[{at}]: {role!r} may never take a seat; add it to viewing.roles"
        self_started = purpose.initiator is Initiator.OFFICER_SELF
        has_own_seat = any(REQUESTING_OFFICER in seat for seat in purpose.seats)
        if self_started != has_own_seat:
            yield f'purposes.{name}: initiator = "officer_self" and a seat "{REQUESTING_OFFICER}" belong together'
    for place in set(policy.locations.allowed) & set(policy.locations.forbidden):
        yield f"locations: {place.value!r} stands under both allowed and forbidden"
    if (policy.viewing.pool.role is None) != (policy.viewing.pool.max_size is None):
        yield "viewing.pool: role and max_size are both set, or both none"
    if (policy.hold.on_release is OnRelease.GRACE_DAYS) != (policy.hold.grace_days is not None):
        yield 'hold.grace_days is set exactly when on_release = "grace_days"'
    if (policy.hold.on_release is OnRelease.RETAIN_FOR) != (policy.hold.retain_for_days is not None):
        yield 'hold.retain_for_days is set exactly when on_release = "retain_for"'
    about = policy.policy
    if about.valid_from and about.valid_until and about.valid_until < about.valid_from:
        yield f"policy.valid_until: expected {about.valid_from} or later, got {about.valid_until}"
    if policy.viewing.place_required and not policy.viewing.places:
        yield "viewing.places: viewing.place_required = true, so name at least one place"
    if policy.ingest.manual_import != (Via.IMPORT in policy.ingest.via):
        yield 'ingest: manual_import = true and "import" in via belong together'


def _roles_named(policy: Policy) -> Iterator[tuple[str, str]]:
    """Every place that names a role, and the role."""
    yield from (("viewing.roles", role) for role in policy.viewing.roles)
    yield from (("manual_delete.roles", role) for role in policy.manual_delete.roles)
    yield from (("substitution.appointers", role) for role in policy.substitution.appointers)
    yield from (("back_office", role) for role in policy.back_office)
    casework = policy.casework
    for field in dataclasses.fields(casework):
        yield from ((f"casework.{field.name}", role) for role in getattr(casework, field.name))
    single = {
        "alerts.first": policy.alerts.first,
        "alerts.then": policy.alerts.then,
        "usage_report.notify": policy.usage_report.notify,
        "usage_report.if_absent": policy.usage_report.if_absent,
        "viewing.pool.role": policy.viewing.pool.role,
        "disclosure.by": policy.disclosure.by,
        "disclosure.substitute": policy.disclosure.substitute,
    }
    yield from ((path, role) for path, role in single.items() if role is not None)
    for name, purpose in policy.purposes.items():
        for seat in purpose.seats:
            yield from ((f"purposes.{name}.seats", role) for role in seat if role != REQUESTING_OFFICER)
        if purpose.decided_by is not None:
            yield f"purposes.{name}.decided_by", purpose.decided_by
        for involved, takes_over in purpose.if_involved.items():
            yield f"purposes.{name}.if_involved", involved
            yield f"purposes.{name}.if_involved", takes_over
