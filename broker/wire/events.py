"""What is said over MQTT: structured CloudEvents 1.0 in JSON, by the NL GOV profile, at most 64 KiB.

Written for what MQTT 3.1.1 and 5 share: sequence and expiry are inside the event. No personal data in a context
attribute. An event's id is fixed when it is made and stays the same in every repetition; (`source`, `id`) is what a
receiver remembers.
"""

from datetime import datetime
from typing import Final, Literal, assert_never
from uuid import UUID

import msgspec

from broker.wire.ids import DeviceId, Org
from broker.wire.refusals import Code, refuse

MAX_EVENT_BYTES: Final = 65_536


class _Said(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of thing said."""


class Place(_Said, frozen=True, kw_only=True):
    """Where a camera believes it is."""

    name: str
    latitude: float
    longitude: float


class CameraState(_Said, frozen=True, kw_only=True):
    """Birth, heartbeat and death of a camera. Retained; `lost` is the last will."""

    status: Literal["standby", "recording", "docked", "off", "lost"]
    boot: str
    buffering: bool
    battery_pct: int
    card_free_pct: int
    settings_version: int
    clock_offset_ms: int = 0
    recording: UUID | None = None
    dock: str | None = None
    bay: int | None = None


class Telemetry(_Said, frozen=True, kw_only=True):
    """Frequent readings that nobody misses when lost."""

    battery_pct: int
    card_free_pct: int
    temperature_c: float
    clock_offset_ms: int


class Activation(_Said, frozen=True, kw_only=True):
    """The button was pressed: from here on footage is kept."""

    recording: UUID
    activated_at: datetime
    pre_record_s: float
    place: Place | None = None


class Deactivation(_Said, frozen=True, kw_only=True):
    """Recording stopped; the camera is in stand-by again, or gone."""

    recording: UUID
    ended_at: datetime
    segments: int
    stop_reason: str


class Docked(_Said, frozen=True, kw_only=True):
    """The camera sits in a bay."""

    dock: str
    bay: int


class Undocked(_Said, frozen=True, kw_only=True):
    """The camera left its bay; a shift begins."""

    dock: str
    bay: int


class LowStorage(_Said, frozen=True, kw_only=True):
    """The card is nearly full."""

    card_free_pct: int


class Tamper(_Said, frozen=True, kw_only=True):
    """Something that should not happen to a camera happened."""

    what: str


class CommandResult(_Said, frozen=True, kw_only=True):
    """What became of a command."""

    command: UUID
    done: bool
    reason: str


class BayState(_Said, frozen=True, kw_only=True):
    """One bay of a dock and what it is doing, with an honest estimate (None: not known yet)."""

    bay: int
    camera: str | None = None
    doing: Literal["empty", "reading", "uploading", "waiting", "wiping", "done", "attention"] = "empty"
    recordings_total: int = 0
    recordings_done: int = 0
    bytes_total: int = 0
    bytes_sent: int = 0
    eta_s: int | None = None
    says: str = ""


class DockState(_Said, frozen=True, kw_only=True):
    """A station: its bays, and whether it reaches the cloud. Retained; `lost` is the last will."""

    status: Literal["online", "offline", "lost"]
    bays: tuple[BayState, ...] = ()


class RetentionDue(_Said, frozen=True, kw_only=True):
    """Look at this recording now: its term is over. A hint, never an order."""

    recording: UUID
    due_at: datetime


class RetentionOutcome(_Said, frozen=True, kw_only=True):
    """What the worker found and did."""

    recording: UUID
    outcome: Literal["destroyed", "held", "failed", "not-due"]
    reason: str


class ServiceState(_Said, frozen=True, kw_only=True):
    """A service of the cloud is there, or not."""

    status: Literal["online", "offline", "lost"]


class EventReceipt(_Said, frozen=True, kw_only=True):
    """The cloud has every event of this boot up to and including `sequence` on disk; resend what `missing` names."""

    boot: str
    sequence: int
    missing: tuple[int, ...] = ()


class CameraSettings(_Said, frozen=True, kw_only=True):
    """What a camera must do, from the municipality's policy."""

    version: int
    pre_record_s: int
    post_record_s: int
    sound: bool
    heartbeat_s: int
    dock_within_h: int


class Command(_Said, frozen=True, kw_only=True):
    """A signed order to a camera. Only *start* and *locate* exist: nothing stops or deletes from afar.

    `signature` is Ed25519 by the command key over the fields before it, in the byte layout of broker/wire/commands.py.
    """

    command: UUID
    order: Literal["start", "locate"]
    counter: int
    issued_at: datetime
    expires_at: datetime
    signature: bytes


Said = (
    CameraState
    | Telemetry
    | Activation
    | Deactivation
    | Docked
    | Undocked
    | LowStorage
    | Tamper
    | CommandResult
    | DockState
    | RetentionDue
    | RetentionOutcome
    | ServiceState
    | EventReceipt
    | CameraSettings
    | Command
)

TYPES: Final[dict[str, type[Said]]] = {
    "nl.bodycams.camera.stand.v1": CameraState,
    "nl.bodycams.camera.meetwaarden.v1": Telemetry,
    "nl.bodycams.activatie.gestart.v1": Activation,
    "nl.bodycams.activatie.gestopt.v1": Deactivation,
    "nl.bodycams.camera.gedockt.v1": Docked,
    "nl.bodycams.camera.uitgenomen.v1": Undocked,
    "nl.bodycams.camera.kaart-bijna-vol.v1": LowStorage,
    "nl.bodycams.camera.verstoring.v1": Tamper,
    "nl.bodycams.opdracht.uitgevoerd.v1": CommandResult,
    "nl.bodycams.dock.stand.v1": DockState,
    "nl.bodycams.bewaartermijn.verlopen.v1": RetentionDue,
    "nl.bodycams.bewaartermijn.afgehandeld.v1": RetentionOutcome,
    "nl.bodycams.dienst.stand.v1": ServiceState,
    "nl.bodycams.gebeurtenis.ontvangen.v1": EventReceipt,
    "nl.bodycams.instellingen.gewenst.v1": CameraSettings,
    "nl.bodycams.opdracht.gegeven.v1": Command,
}
_TYPE_OF: Final[dict[type[Said], str]] = {said: name for name, said in TYPES.items()}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One CloudEvent. `sequence` starts at 1 in each boot (`session`) of its source; `time` is when it was logged."""

    id: UUID
    source: str
    session: str
    sequence: int
    time: datetime
    said: Said


class _Envelope(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The JSON form (CloudEvents 1.0, structured mode)."""

    specversion: Literal["1.0"]
    id: UUID
    source: str
    type: str
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"
    sequence: str
    sequencetype: Literal["Integer"] = "Integer"
    session: str
    data: msgspec.Raw


def source_of(oin: str, org: Org, kind: Literal["cam", "dock", "svc"], device: DeviceId) -> str:
    """Return the URN by which a device speaks: ``urn:nld:oin:<OIN>:systeem:vier-ogen:<org>:cam:<id>``."""
    return f"urn:nld:oin:{oin}:systeem:vier-ogen:{org}:{kind}:{device}"


def device_of(source: str) -> tuple[Org, str, DeviceId]:
    """Return (municipality, kind, device) of a source URN, or raise ValueError."""
    match source.split(":"):
        case ["urn", "nld", "oin", _, "systeem", "vier-ogen", org, ("cam" | "dock" | "svc") as kind, device]:
            return Org(org), kind, DeviceId(device)
        case _:
            raise ValueError(f"source: expected urn:nld:oin:<OIN>:systeem:vier-ogen:<org>:<kind>:<id>, got {source!r}")


def encode(event: Event) -> bytes:
    """Return the event as it crosses the wire."""
    return msgspec.json.encode(
        _Envelope(
            specversion="1.0",
            id=event.id,
            source=event.source,
            type=_TYPE_OF[type(event.said)],
            time=event.time,
            sequence=str(event.sequence),
            session=event.session,
            data=msgspec.Raw(msgspec.json.encode(event.said)),
        )
    )


def decode(raw: bytes) -> Event:
    """Return the event, or raise Refused (MALFORMED, TOO_LARGE): nothing half-read ever gets through."""
    if len(raw) > MAX_EVENT_BYTES:
        raise refuse(Code.TOO_LARGE, "event", expected=f"at most {MAX_EVENT_BYTES} bytes", got=len(raw))
    try:
        envelope = msgspec.json.decode(raw, type=_Envelope)
        kind = TYPES.get(envelope.type)
        if kind is None:
            raise refuse(Code.MALFORMED, "event", expected="a known type", got=envelope.type)
        said: Said = msgspec.json.decode(envelope.data, type=kind)
        sequence = int(envelope.sequence)
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "event", expected="a CloudEvent of the schema", got=cause) from cause
    if envelope.time.tzinfo is None:
        raise refuse(Code.MALFORMED, "event", expected="a time with its zone", got=envelope.time)
    return Event(
        id=envelope.id,
        source=envelope.source,
        session=envelope.session,
        sequence=sequence,
        time=envelope.time,
        said=said,
    )


def kind_of(said: Said) -> str:
    """Return the last topic level under which this is published, where it is an event."""
    match said:
        case Activation():
            return "activation"
        case Deactivation():
            return "deactivation"
        case Docked():
            return "docked"
        case Undocked():
            return "undocked"
        case LowStorage():
            return "low-storage"
        case Tamper():
            return "tamper"
        case CommandResult():
            return "command-result"
        case RetentionOutcome():
            return said.outcome
        case (
            CameraState()
            | Telemetry()
            | DockState()
            | RetentionDue()
            | ServiceState()
            | EventReceipt()
            | CameraSettings()
            | Command()
        ):
            raise ValueError(f"{type(said).__name__} has a topic of its own, not an event kind")
        case _:
            assert_never(said)
