"""What the cloud remembers, in SQLAlchemy Core: SQLite for one town, PostgreSQL beyond, the same code.

Units: `_at` is aware UTC, `_s` seconds, `_bytes` bytes. Hashes are SHA-256 in hexadecimal.

Invariants, each of which `vierogen check` re-derives:
 1. A recording in state destroying or destroyed has no open hold that was committed before it got there.
 2. No recording leaves `destroying` but for `destroyed`.
 3. A recording that is not destroyed has all its segments in the vault and its key in the Kluis.
 4. An event has had its effect exactly once: (source, id) is unique and is written with the effect.
 5. Every state a person caused has an entry in the ledger, written before it.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """Aware UTC in Python, on both engines; a naive datetime is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"moment: expected a time with its zone, got {value!r}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Give UTC back; SQLite forgets the zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


RECORDING_STATES = (
    "announced",
    "receiving",
    "verifying",
    "retained",
    "held",
    "due",
    "destroying",
    "destroyed",
    "quarantined",
    "restricted",
    "lost",
)

policies = Table(
    "policies",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("adopted_at", Moment, nullable=False),
    Column("document", Text, nullable=False),  # the TOML file, byte for byte
    Column("sha256", String(64), nullable=False),
)

officials = Table(  # people: officers and officials; the id is a pseudonym that may stand in the ledger
    "officials",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("id", String(40), primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("function", String(40)),  # boa, toezichthouder or NULL
    Column("department", String(80)),
    Column("team", String(40)),
    Column("contact", Text),
    Column("employed_from", Moment, nullable=False),
    Column("employed_until", Moment),
    Column("absent_until", Moment),
)

appointments = Table(  # one role held by one person for a period
    "appointments",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("org", String(40), nullable=False),
    Column("official", String(40), nullable=False),
    Column("role", String(40), nullable=False),
    Column("from_at", Moment, nullable=False),
    Column("until_at", Moment),
    Column("appointed_by", String(40), nullable=False),
    Index(None, "org", "official"),
)

substitutions = Table(
    "substitutions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("role", String(40), nullable=False),
    Column("replaced", String(40), nullable=False),
    Column("substitute", String(40), nullable=False),
    Column("from_at", Moment, nullable=False),
    Column("until_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("appointed_by", String(40), nullable=False),
    Column("ground", Text, nullable=False),
)

security_keys = Table(  # who gets in to the desk; to footage the Kluis has a list of its own
    "security_keys",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("id", String(1400), primary_key=True),  # credential id, base64url, at most 1023 bytes (WebAuthn 5.8.3)
    Column("official", String(40), nullable=False),
    Column("public_key", LargeBinary, nullable=False),  # DER SubjectPublicKeyInfo
    Column("registered_at", Moment, nullable=False),
    Column("withdrawn_at", Moment),
    Column("count", Integer, nullable=False),  # the authenticator's own, at its last use here; 0: it keeps none
    Index(None, "org", "official"),
)

cameras = Table(
    "cameras",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("id", String(40), primary_key=True),
    Column("public_key", LargeBinary(32), nullable=False),  # raw Ed25519
    Column("key_id", LargeBinary(16), nullable=False, unique=True),
    Column("state", String(12), nullable=False),  # enrolled, revoked, lost, removed; outside: another maker's
    Column("team", String(40)),
    Column("enrolled_at", Moment, nullable=False),
    Column("reason", Text),
)

docks = Table(
    "docks",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("id", String(40), primary_key=True),
    Column("certificate_sha256", String(64)),
    Column("station", Text, nullable=False),
    Column("state", String(12), nullable=False),
)

shifts = Table(  # who wears which camera when
    "shifts",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("official", String(40), nullable=False),
    Column("camera", String(40), nullable=False),
    Column("starts_at", Moment, nullable=False),
    Column("ends_at", Moment),
    Index(None, "org", "camera", "starts_at"),
)

events = Table(  # every event once: dedupe and effect share a transaction
    "events",
    metadata,
    Column("source", String(160), primary_key=True),
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("device", String(40), nullable=False),
    Column("session", String(40), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("type", String(80), nullable=False),
    Column("happened_at", Moment, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Index(None, "org", "device", "session", "sequence"),
)

camera_states = Table(  # the newest state of each camera, as the coordinator sees it
    "camera_states",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("camera", String(40), primary_key=True),
    Column("seen_at", Moment, nullable=False),
    Column("state", JSON, nullable=False),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("label", Text, nullable=False),
    Column("opened_at", Moment, nullable=False),
)

activations = Table(  # one press; its id is the recording's
    "activations",
    metadata,
    Column("recording", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("camera", String(40), nullable=False),
    Column("official", String(40)),
    Column("activated_at", Moment, nullable=False),
    Column("pre_record_s", Float, nullable=False),
    Column("place", Text),
    Column("latitude", Float),
    Column("longitude", Float),
    Column("received_at", Moment, nullable=False),
    Column("late", Boolean, nullable=False, default=False),
    Column("ended_at", Moment),
    Column("acknowledged_at", Moment),
    Column("acknowledged_by", String(40)),
    Column("escalated_at", Moment),
    Column("ledger_entry", Integer),  # NULL: not yet in the ledger, which must not hold up an alert
    Index(None, "org", "activated_at"),
)

recordings = Table(
    "recordings",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("camera", String(40), nullable=False),
    Column("official", String(40)),
    Column("incident", String(36), ForeignKey("incidents.id")),
    Column("policy_version", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    Column("reason", Text, nullable=False),  # why it is in this state
    Column("started_at", Moment, nullable=False),  # first frame, pre-record included
    Column("activated_at", Moment),
    Column("ended_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("pre_record_s", Float, nullable=False),
    Column("segments", Integer, nullable=False),
    Column("total_bytes", Integer, nullable=False),
    Column("chain", String(20), nullable=False),  # verdict: intact, intact with gaps, salvaged ...
    Column("stop_reason", String(20), nullable=False),
    Column("head_sha256", String(64), nullable=False),
    Column("last_hash", String(64), nullable=False),
    Column("end_record", LargeBinary(160)),  # as the camera signed it
    Column("dock", String(40)),
    Column("via", String(20), nullable=False),  # dock, axis, import
    Column("received_at", Moment, nullable=False),
    Column("deviations", JSON, nullable=False),
    Column("receipt", LargeBinary),
    Column("destroying_at", Moment),
    Column("destroyed_at", Moment),
    Column("certificate", LargeBinary),
    CheckConstraint(f"state IN {RECORDING_STATES!r}", name="state"),
    CheckConstraint("(state IN ('destroying', 'destroyed')) = (destroying_at IS NOT NULL)", name="destroying_at"),
    CheckConstraint("(state = 'destroyed') = (destroyed_at IS NOT NULL)", name="destroyed_at"),
    Index(None, "org", "state", "expires_at"),
    Index(None, "org", "activated_at"),
)

segments = Table(
    "segments",
    metadata,
    Column("recording", String(36), ForeignKey("recordings.id"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("ciphertext_bytes", Integer, nullable=False),
    Column("starts_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
    Column("flags", Integer, nullable=False),
    Column("kind", Integer, nullable=False),
)

outside_containers = Table(  # what another maker's system delivers together: one press, one imported file
    "outside_containers",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("via", String(20), nullable=False),  # axis, import
    Column("letter", JSON, nullable=False),  # its metadata, as sent; emptied when the footage is destroyed
    Column("state", String(12), nullable=False),  # open, complete
    Column("opened_at", Moment, nullable=False),
    Column("touched_at", Moment, nullable=False),
    Column("completed_at", Moment),
    CheckConstraint("state IN ('open', 'complete')", name="state"),
    Index(None, "org", "state", "touched_at"),
)

outside_parts = Table(  # one sealed chain of a container's objects; becomes one recording
    "outside_parts",
    metadata,
    Column("recording", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("container", String(256), nullable=False, index=True),
    Column("via", String(20), nullable=False),
    Column("camera", String(40), nullable=False),
    Column("state", String(12), nullable=False),  # open, closed, written, told
    Column("doubt", String(24), nullable=False),  # late_addition, another_version, or nothing
    Column("head", LargeBinary, nullable=False),
    Column("end", LargeBinary),
    Column("opened_at", Moment, nullable=False),
    CheckConstraint("state IN ('open', 'closed', 'written', 'told')", name="state"),
    CheckConstraint("(state = 'open') = (\"end\" IS NULL)", name="end"),
    Index(None, "org", "state"),
)

outside_objects = Table(  # every file that was handed over, once for each different content; the hashes stay for ever
    "outside_objects",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("container", String(256), primary_key=True),
    Column("name", String(512), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("recording", String(36), index=True),  # NULL: no content, metadata only
    Column("first", Integer),  # its segments in that recording, its letter being the last
    Column("last", Integer),
    Column("sha256", String(64), nullable=False),
    Column("md5", String(32), nullable=False),  # what Swift calls ETag: for the sender, not for evidence
    Column("size_bytes", Integer, nullable=False),
    Column("letter", JSON, nullable=False),  # its metadata, as sent; emptied when the footage is destroyed
    Column("signed_video", String(8)),  # axis, onvif: a mark was found, and is not a verdict
    Column("received_at", Moment, nullable=False),
    Index(None, "org", "sha256"),
)

cases = Table(
    "cases",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("number", String(40), nullable=False),  # for people: 2026-0007
    Column("kind", String(24), nullable=False),  # access_request complaint aangifte om_demand om_request learning ...
    Column("state", String(24), nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("registered_at", Moment, nullable=False),
    Column("registered_by", String(40), nullable=False),
    Column("summary", Text, nullable=False),
    Column("facts", JSON, nullable=False),  # the fields of this kind of case
    Column("closed_at", Moment),
    Column("kluis_told_at", Moment),  # when the Kluis heard that it ended; NULL: not yet
    UniqueConstraint("org", "number"),
)

holds = Table(
    "holds",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("case_id", String(36), ForeignKey("cases.id"), nullable=False),
    Column("recording", String(36)),  # may be announced only: no foreign key
    Column("incident", String(36)),
    Column("state", String(20), nullable=False),  # provisional active release_requested released lapsed
    Column("reason", String(24), nullable=False),
    Column("outcome", String(40)),  # already_destroyed ...
    Column("placed_at", Moment, nullable=False),
    Column("placed_by", String(40), nullable=False),
    Column("lapses_at", Moment),
    Column("released_at", Moment),
    Column("released_by", String(40)),
    Column("ground", Text),
    Index(None, "org", "recording", "state"),
)

case_subjects = Table(  # what a case is about: recordings, or an incident whose late recordings join
    "case_subjects",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("case_id", String(36), ForeignKey("cases.id"), nullable=False, index=True),
    Column("recording", String(36)),  # may be announced only: no foreign key
    Column("incident", String(36)),
    UniqueConstraint("case_id", "recording", "incident"),
)

case_events = Table(  # every step of a case, in order; nothing is overwritten
    "case_events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("case_id", String(36), ForeignKey("cases.id"), nullable=False, index=True),
    Column("at", Moment, nullable=False),
    Column("by", String(40), nullable=False),
    Column("step", String(40), nullable=False),
    Column("facts", JSON, nullable=False),
)

access_register = Table(  # the separate register of access requests: survives the footage
    "access_register",
    metadata,
    Column("case_id", String(36), primary_key=True),
    Column("org", String(40), nullable=False, index=True),
    Column("number", String(40), nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("registered_at", Moment, nullable=False),
    Column("state", String(24), nullable=False),
    Column("decision", String(24)),
    Column("decided_at", Moment),
    Column("decided_by", String(40)),
    Column("sent_at", Moment),
    Column("carried_out_at", Moment),
    Column("outcome", String(40)),  # destroyed_before_registration ...
    Column("closed_at", Moment),
)

proposals = Table(  # an act that takes two different people: the first proposes, the second confirms
    "proposals",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False, index=True),
    Column("act", String(40), nullable=False),  # destroy, hold.release
    Column("subject", String(36), nullable=False),
    Column("ground", Text, nullable=False),
    Column("proposed_by", String(40), nullable=False),
    Column("proposed_at", Moment, nullable=False),
    Column("state", String(20), nullable=False),  # open confirmed withdrawn
    Column("confirmed_by", String(40)),
    Column("confirmed_at", Moment),
    CheckConstraint("confirmed_by IS NULL OR confirmed_by <> proposed_by", name="two_people"),
)

decisions_apart = Table(  # what two people decided on footage that is kept apart; the words go with the footage
    "decisions_apart",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False, index=True),
    Column("recording", String(36), ForeignKey("recordings.id"), nullable=False, index=True),
    Column("outcome", String(12), nullable=False),  # admit, leave
    Column("camera", Text),  # its label, as people read it on the camera; this and the next three: admit only
    Column("official", String(40)),  # who pressed
    Column("pressed_at", Moment),
    Column("press_reason", String(40)),
    Column("ground", Text, nullable=False),
    Column("proposed_by", String(40), nullable=False),
    Column("proposed_at", Moment, nullable=False),
    Column("state", String(12), nullable=False),  # open, confirmed, withdrawn
    Column("confirmed_by", String(40)),
    Column("confirmed_at", Moment),
    Column("confirmed_ground", Text),
    CheckConstraint("confirmed_by IS NULL OR confirmed_by <> proposed_by", name="two_people"),
    CheckConstraint("(state = 'confirmed') = (confirmed_by IS NOT NULL)", name="confirmed_by"),
    CheckConstraint("outcome IN ('admit', 'leave')", name="outcome"),
    CheckConstraint("state IN ('open', 'confirmed', 'withdrawn')", name="state"),
)

disclosures = Table(  # a hand-over to police or public prosecution; remains when the footage is gone
    "disclosures",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False, index=True),
    Column("case_id", String(36), ForeignKey("cases.id"), nullable=False),
    Column("state", String(20), nullable=False),  # prepared approved delivered receipt_confirmed withdrawn
    Column("basis", String(24), nullable=False),
    Column("recipient", String(20), nullable=False),
    Column("recordings", JSON, nullable=False),
    Column("prepared_by", String(40), nullable=False),
    Column("prepared_at", Moment, nullable=False),
    Column("approved_by", String(40)),
    Column("substitute_of", String(40)),
    Column("delivered_at", Moment),
    Column("package_sha256", String(64)),
    Column("receipt_at", Moment),  # from here on the recipient is responsible
    Column("receipt", Text),
)

wearer_corrections = Table(  # who wore the camera after all; the old value stays readable
    "wearer_corrections",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("org", String(40), nullable=False),
    Column("recording", String(36), nullable=False, index=True),
    Column("was", String(40)),
    Column("becomes", String(40), nullable=False),
    Column("by", String(40), nullable=False),
    Column("at", Moment, nullable=False),
    Column("ground", Text, nullable=False),
)

openings = Table(  # the text behind a commitment in the ledger: can be erased without breaking the tree
    "openings",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("entry", Integer, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("text", Text, nullable=False),
)

device_changes = Table(  # cameras added and removed, and why
    "device_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("org", String(40), nullable=False, index=True),
    Column("camera", String(40), nullable=False),
    Column("change", String(12), nullable=False),  # add, remove, lost
    Column("reason", String(20), nullable=False),  # replacement, extension, loss
    Column("by", String(40), nullable=False),
    Column("at", Moment, nullable=False),
)

viewing_requests = Table(
    "viewing_requests",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("case_id", String(36), ForeignKey("cases.id"), nullable=False),
    Column("purpose", String(40), nullable=False),
    Column("state", String(20), nullable=False),  # requested approved open paused closed refused
    Column("request", LargeBinary, nullable=False),  # RFC 8785 bytes that both people signed
    Column("requester", String(40), nullable=False),
    Column("second", String(40), nullable=False),
    Column("requested_at", Moment, nullable=False),
    Column("approved_at", Moment),
    Column("opened_at", Moment),
    Column("closed_at", Moment),
    Column("because", Text, nullable=False),
    Column("statements", JSON, nullable=False),  # signatures and ledger proofs
)

derivatives = Table(  # a recording that was made of another, with people made unrecognisable; bound to one case
    "derivatives",
    metadata,
    Column("recording", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("original", String(36), nullable=False, index=True),
    Column("case_id", String(36), ForeignKey("cases.id"), nullable=False, index=True),
    Column("room", String(36), nullable=False),  # the viewing in which it was made
    Column("made_by", String(40), nullable=False),
    Column("made_at", Moment, nullable=False),
    Column("detector", String(120), nullable=False),
    Column("plan", JSON, nullable=False),  # what is hidden, when and where: numbers; emptied with the footage
    Column("plan_sha256", String(64), nullable=False),
    Column("film_sha256", String(64), nullable=False),  # of the film in the clear
    Column("length_s", Float, nullable=False),
    Column("looked_s", Float, nullable=False),  # how much of it was seen as it was made
)

usage_reports = Table(
    "usage_reports",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("official", String(40), nullable=False),
    Column("recording", String(36)),
    Column("incident", String(36)),
    Column("state", String(20), nullable=False),  # draft submitted; counted: of nobody, what figures are made of
    Column("due_at", Moment, nullable=False),
    Column("submitted_at", Moment),
    Column("notified", JSON, nullable=False),
    Column("answers", JSON, nullable=False),
    Index(None, "org", "official"),
)

denials = Table(
    "denials",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("org", String(40), nullable=False),
    Column("at", Moment, nullable=False),
    Column("who", String(40), nullable=False),
    Column("what", Text, nullable=False),
    Column("why", Text, nullable=False),
)

camera_settings = Table(
    "camera_settings",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("settings", JSON, nullable=False),
)

alerts = Table(  # what somebody had to look at; raised once, cleared once
    "alerts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("org", String(40), nullable=False),
    Column("kind", String(24), nullable=False),
    Column("about", String(40), nullable=False),  # a camera, a dock or a recording
    Column("camera", String(40), nullable=False),
    Column("role", String(40), nullable=False),
    Column("since", Moment, nullable=False),
    Column("because", Text, nullable=False),
    Column("waarom", Text, nullable=False),
    Column("raised_at", Moment, nullable=False),
    Column("cleared_at", Moment),
    Index(None, "org", "cleared_at"),
)

rights_reviews = Table(  # somebody looked at who holds which role; what was seen has a digest
    "rights_reviews",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("org", String(40), nullable=False, index=True),
    Column("review", String(12), nullable=False),  # quarterly, yearly
    Column("by", String(40), nullable=False),
    Column("at", Moment, nullable=False),
    Column("rights", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("remark", Text, nullable=False),
)

commands = Table(  # signed orders to cameras; the counter is kept before the order leaves
    "commands",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("camera", String(40), nullable=False),
    Column("counter", Integer, nullable=False),
    Column("order", String(12), nullable=False),  # start, locate
    Column("given_by", String(40), nullable=False),
    Column("issued_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("answered_at", Moment),
    Column("done", Boolean),
    Column("answer", Text),
    UniqueConstraint("org", "camera", "counter"),
)

survey_rounds = Table(  # one time that officers are asked how safe they feel
    "survey_rounds",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("label", Text, nullable=False),
    Column("statements", JSON, nullable=False),
    Column("opens_at", Moment, nullable=False),
    Column("closes_at", Moment, nullable=False),
    Column("asked_by", String(40), nullable=False),
)

survey_turnout = Table(  # that somebody answered; never what
    "survey_turnout",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("round", String(36), primary_key=True),
    Column("official", String(40), primary_key=True),
)

survey_counts = Table(  # how often each answer was given; no row is one person's
    "survey_counts",
    metadata,
    Column("round", String(36), ForeignKey("survey_rounds.id"), primary_key=True),
    Column("statement", Integer, primary_key=True),
    Column("answer", String(1), primary_key=True),
    Column("times", Integer, nullable=False),
)

alert_channels = Table(  # how a person is reached who is not at the desk; the secrets of a route are in the settings
    "alert_channels",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("official", String(40), nullable=False),
    Column("route", String(40), nullable=False),
    Column("address", Text, nullable=False),
    Column("added_at", Moment, nullable=False),
    Column("code", String(6)),  # until it is confirmed
    Column("tries", Integer, nullable=False),
    Column("confirmed_at", Moment),
    Index(None, "org", "official"),
)

alert_calls = Table(  # what was said over which channel: once, or tried again
    "alert_calls",
    metadata,
    Column("channel", String(36), ForeignKey("alert_channels.id"), primary_key=True),
    Column("kind", String(24), primary_key=True),  # activation, or an alert's
    Column("about", String(40), primary_key=True),
    Column("org", String(40), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Moment, nullable=False),
    Column("delivered_at", Moment),
)

viewing_marks = Table(  # bookmarks in footage: seen in an open room of the same case, forgotten with the footage
    "viewing_marks",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("org", String(40), nullable=False),
    Column("recording", String(36), nullable=False),
    Column("case_id", String(36), ForeignKey("cases.id"), nullable=False),
    Column("at_s", Float, nullable=False),
    Column("label", Text, nullable=False),
    Column("by", String(40), nullable=False),
    Column("made_at", Moment, nullable=False),
    Index(None, "recording", "case_id"),
)

redaction_drafts = Table(  # where faces are, while somebody makes them unrecognisable; erased with the recording
    "redaction_drafts",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("case_id", String(36), ForeignKey("cases.id"), primary_key=True),
    Column("recording", String(36), primary_key=True, index=True),
    Column("draft", LargeBinary, nullable=False),  # MessagePack of cloud/redaction/work.py's Draft
    Column("kept_at", Moment, nullable=False),
)

stray_looks = Table(  # up to when the vault was looked through for segments of no recording, by its files' times
    "stray_looks",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("looked_to", Moment, nullable=False),
)

programs = Table(  # accounts of programs without a browser: one token each, of which only the hash is kept
    "programs",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("id", String(40), primary_key=True),  # as it stands in the ledger: prog-…; never used again
    Column("purpose", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("networks", JSON, nullable=False),  # CIDR; empty: from anywhere
    Column("asked_by", String(40), nullable=False),
    Column("asked_at", Moment, nullable=False),
    Column("until_at", Moment, nullable=False),
    Column("confirmed_by", String(40)),
    Column("confirmed_at", Moment),
    Column("token_sha256", String(64), unique=True),
    Column("issued_at", Moment),
    Column("ended_by", String(40)),
    Column("ended_at", Moment),
)

program_uses = Table(  # what a program did, counted: which scope it never needed, and when it was last there
    "program_uses",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("program", String(40), primary_key=True),
    Column("operation", String(40), primary_key=True),
    Column("times", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("last_at", Moment, nullable=False),
)

kept_answers = Table(  # answers to acts that create, for who asks again with the same Idempotency-Key; for a day
    "kept_answers",
    metadata,
    Column("org", String(40), primary_key=True),
    Column("who", String(40), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("asked", String(64), nullable=False),
    Column("begun_at", Moment, nullable=False, index=True),
    Column("status", Integer),  # until the act is done: none
    Column("headers", JSON),
    Column("body", LargeBinary),
)
