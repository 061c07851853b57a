"""Every MQTT topic: built here, parsed here, and nowhere else.

Levels are ``[a-z0-9-]``: no personal data, no dots or spaces (a topic is also a NATS subject), no leading slash.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from broker.wire.ids import DeviceId, Org, RecordingId, parse_device, parse_org

ROOT: Final = "vo/v1"
RETENTION_SHARDS: Final = tuple("0123456789abcdef")


class Sender(StrEnum):
    """The kind of device or service a topic belongs to."""

    CAMERA = "cam"
    DOCK = "dock"
    RETENTION = "retention"
    SERVICE = "svc"


class Channel(StrEnum):
    """What is said on the topic."""

    STATE = "state"
    TELEMETRY = "tlm"
    EVENT = "evt"
    COMMAND = "cmd"
    DESIRED = "desired"
    RECEIPT = "rcpt"
    DUE = "due"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One parsed topic. `owner` is the device, service or (for *due*) shard; `kind` stands on evt and cmd only."""

    org: Org
    sender: Sender
    channel: Channel
    owner: str | None = None
    kind: str | None = None

    def __str__(self) -> str:
        """The topic as it crosses the wire."""
        parts = [ROOT, self.org, self.sender.value]
        if self.sender is not Sender.RETENTION:
            parts.append(self.owner or "+")
        parts.append(self.channel.value)
        if self.channel is Channel.DUE:
            parts.append(self.owner or "+")
        if self.channel in (Channel.EVENT, Channel.COMMAND):
            parts.append(self.kind or "+")
        return "/".join(parts)


def camera_state(org: Org, camera: DeviceId) -> str:
    """Retained, QoS 1, last will: birth, heartbeat, death."""
    return f"{ROOT}/{org}/cam/{camera}/state"


def camera_telemetry(org: Org, camera: DeviceId) -> str:
    """QoS 0: battery, card space, temperature, clock offset."""
    return f"{ROOT}/{org}/cam/{camera}/tlm"


def camera_event(org: Org, camera: DeviceId, kind: str) -> str:
    """QoS 1, repeated until the cloud's receipt covers it."""
    return f"{ROOT}/{org}/cam/{camera}/evt/{kind}"


def camera_command(org: Org, camera: DeviceId, kind: str) -> str:
    """QoS 1, signed, expires: *start* and *locate* only."""
    return f"{ROOT}/{org}/cam/{camera}/cmd/{kind}"


def camera_desired(org: Org, camera: DeviceId) -> str:
    """Retained: the settings that follow from the municipality's policy."""
    return f"{ROOT}/{org}/cam/{camera}/desired"


def camera_receipt(org: Org, camera: DeviceId) -> str:
    """QoS 1: the highest event sequence that the cloud has on disk."""
    return f"{ROOT}/{org}/cam/{camera}/rcpt"


def dock_state(org: Org, dock: DeviceId) -> str:
    """Retained, QoS 1, last will: bays and progress."""
    return f"{ROOT}/{org}/dock/{dock}/state"


def dock_event(org: Org, dock: DeviceId, kind: str) -> str:
    """QoS 1: what happened at a station."""
    return f"{ROOT}/{org}/dock/{dock}/evt/{kind}"


def retention_shard(recording: RecordingId) -> str:
    """Return the shard (one hexadecimal digit) whose expiry topic speaks of this recording."""
    return hashlib.sha256(recording.bytes).hexdigest()[0]


def retention_due(org: Org, shard: str) -> str:
    """QoS 1, the expiry topic: *look at this recording now*. A hint; the worker reads the truth itself."""
    return f"{ROOT}/{org}/retention/due/{shard}"


def retention_outcome(org: Org, kind: str) -> str:
    """QoS 1: destroyed, held or failed."""
    return f"{ROOT}/{org}/retention/evt/{kind}"


def service_state(org: Org, service: DeviceId) -> str:
    """Retained, QoS 1, last will."""
    return f"{ROOT}/{org}/svc/{service}/state"


def parse(text: str) -> Topic:
    """Return the topic's parts, or raise ValueError saying what was expected."""
    levels = text.split("/")
    match levels:
        case ["vo", "v1", org, "cam", owner, ("state" | "tlm" | "desired" | "rcpt") as channel]:
            return Topic(org=parse_org(org), sender=Sender.CAMERA, channel=Channel(channel), owner=parse_device(owner))
        case ["vo", "v1", org, "cam" | "dock" as sender, owner, "evt" | "cmd" as channel, kind]:
            return Topic(
                org=parse_org(org),
                sender=Sender(sender),
                channel=Channel(channel),
                owner=parse_device(owner),
                kind=parse_device(kind),
            )
        case ["vo", "v1", org, "dock" | "svc" as sender, owner, "state"]:
            return Topic(org=parse_org(org), sender=Sender(sender), channel=Channel.STATE, owner=parse_device(owner))
        case ["vo", "v1", org, "retention", "due", shard] if shard in RETENTION_SHARDS:
            return Topic(org=parse_org(org), sender=Sender.RETENTION, channel=Channel.DUE, owner=shard)
        case ["vo", "v1", org, "retention", "evt", kind]:
            return Topic(org=parse_org(org), sender=Sender.RETENTION, channel=Channel.EVENT, kind=parse_device(kind))
        case _:
            raise ValueError(f"topic: expected one of the forms in broker/README.md, got {text!r}")
