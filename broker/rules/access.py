"""Which identity may publish and subscribe to which topic: one table, from which every broker is configured.

A camera, a dock and a service speak on their own topics only. Reading is by role. What is not in the table is refused.
`broker/README.md` shows this table; a test compares them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from broker.wire.ids import DeviceId, Org
from broker.wire.topics import ROOT


class Role(StrEnum):
    """What an identity is. One identity has one role, for ever."""

    CAMERA = "camera"
    DOCK = "dock"
    FLEET = "fleet"
    RETENTION_CLOCK = "retention-clock"
    RETENTION_WORKER = "retention-worker"
    RECEIVER = "receiver"
    DESK = "desk"
    COMMAND = "command"
    REGISTRAR = "registrar"
    OBSERVER = "observer"
    BROKER = "broker"


SERVICES: Final = (
    Role.FLEET,
    Role.RETENTION_CLOCK,
    Role.RETENTION_WORKER,
    Role.RECEIVER,
    Role.DESK,
    Role.COMMAND,
    Role.REGISTRAR,
)
"""Roles of the cloud that tell under svc/ whether they are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    `topic` stands below ``vo/v1/{org}/``. ``{id}`` is a device or service: an identity in `speaks_as_itself` or
    `hears_as_itself` only ever uses its own. ``{kind}`` and ``{shard}`` are one level each. `expiry` is inside the
    message, since MQTT 3.1.1 knows none.
    """

    topic: str
    says: str
    speaks_as_itself: tuple[Role, ...] = ()
    speaks: tuple[Role, ...] = ()
    hears_as_itself: tuple[Role, ...] = ()
    hears: tuple[Role, ...] = ()
    qos: int = 1
    retained: bool = False
    expiry: str = "none"

    @property
    def publishers(self) -> tuple[Role, ...]:
        """Everybody who may publish here."""
        return self.speaks_as_itself + self.speaks

    @property
    def subscribers(self) -> tuple[Role, ...]:
        """Everybody who may subscribe here, the observer of the whole municipality aside."""
        return self.hears_as_itself + self.hears


TABLE: Final = (
    Row(
        topic="cam/{id}/state",
        says="birth, heartbeat, death (last will)",
        speaks_as_itself=(Role.CAMERA,),
        speaks=(Role.REGISTRAR,),
        hears=(Role.FLEET, Role.DESK),
        retained=True,
        expiry="three heartbeats: then *silent*",
    ),
    Row(
        topic="cam/{id}/tlm",
        says="battery, card space, temperature, clock offset",
        speaks_as_itself=(Role.CAMERA,),
        hears=(Role.FLEET,),
        qos=0,
    ),
    Row(
        topic="cam/{id}/evt/{kind}",
        says="activation, deactivation, docked, undocked, low-storage, tamper, command-result",
        speaks_as_itself=(Role.CAMERA,),
        hears=(Role.FLEET, Role.DESK, Role.COMMAND),
        expiry="none: repeated until `rcpt` covers it",
    ),
    Row(
        topic="cam/{id}/cmd/{kind}",
        says="signed order: start, locate",
        speaks=(Role.COMMAND,),
        hears_as_itself=(Role.CAMERA,),
        expiry="`expires_at`, at most 60 s",
    ),
    Row(
        topic="cam/{id}/desired",
        says="settings that follow from the policy",
        speaks=(Role.FLEET, Role.REGISTRAR),
        hears_as_itself=(Role.CAMERA,),
        retained=True,
    ),
    Row(
        topic="cam/{id}/rcpt",
        says="highest event sequence that the cloud has on disk",
        speaks=(Role.FLEET,),
        hears_as_itself=(Role.CAMERA,),
    ),
    Row(
        topic="dock/{id}/state",
        says="bays, progress, death (last will)",
        speaks_as_itself=(Role.DOCK,),
        hears=(Role.FLEET, Role.DESK),
        retained=True,
        expiry="three heartbeats: then *silent*",
    ),
    Row(
        topic="dock/{id}/evt/{kind}",
        says="what happened at a station",
        speaks_as_itself=(Role.DOCK,),
        hears=(Role.FLEET, Role.DESK),
    ),
    Row(
        topic="dock/{id}/cmd/{kind}",
        says="signed order to a station",
        speaks=(Role.COMMAND,),
        hears_as_itself=(Role.DOCK,),
        expiry="`expires_at`, at most 60 s",
    ),
    Row(
        topic="retention/due/{shard}",
        says="expiry topic: look at this recording now (a hint, never an order)",
        speaks=(Role.RETENTION_CLOCK,),
        hears=(Role.RETENTION_WORKER,),
        expiry="none: the worker reads the truth itself",
    ),
    Row(
        topic="retention/evt/{kind}",
        says="destroyed, held, failed, not-due",
        speaks=(Role.RETENTION_WORKER,),
        hears=(Role.FLEET, Role.DESK, Role.RETENTION_CLOCK),
    ),
    Row(
        topic="svc/{id}/state",
        says="a service is there, or not (last will)",
        speaks_as_itself=SERVICES,
        hears=(Role.FLEET, Role.DESK),
        retained=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """MQTT filters that one identity may publish under and subscribe to. Anything else is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def rights(role: Role, org: Org, device: DeviceId) -> Rights:
    """Return all that this identity may do; nothing at all for the broker's own identity.

    Where a topic ends in a kind, a subscription may also end in ``#``. The observer hears everything of its
    municipality and says nothing: for demonstrations and inspections, never for a coordinator.
    """
    if role is Role.OBSERVER:
        return Rights(publish=(), subscribe=(f"{ROOT}/{org}/#",))
    return Rights(
        publish=tuple(
            _filter(row, org, device if role in row.speaks_as_itself else None)
            for row in TABLE
            if role in row.publishers
        ),
        subscribe=tuple(
            _and_below(_filter(row, org, device if role in row.hears_as_itself else None), row)
            for row in TABLE
            if role in row.subscribers
        ),
    )


def allows(filters: Iterable[str], topic: str) -> bool:
    """Return whether one of these MQTT filters covers the topic (MQTT 3.1.1 section 4.7, without ``$`` topics)."""
    return any(_covers(pattern.split("/"), topic.split("/")) for pattern in filters)


def table() -> str:
    """Return the table as broker/README.md shows it."""
    head = "| topic below `vo/v1/{org}/` | says | publishes | subscribes | QoS | retained | expiry |"
    lines = [head, "| --- | --- | --- | --- | --- | --- | --- |"]
    lines += [
        f"| `{row.topic}` | {row.says} | {_who(row.speaks_as_itself, row.speaks)} "
        f"| {_who(row.hears_as_itself, row.hears)} | {row.qos} | {'yes' if row.retained else 'no'} | {row.expiry} |"
        for row in TABLE
    ]
    return "\n".join(lines)


def _filter(row: Row, org: Org, own: DeviceId | None) -> str:
    levels = (("+" if own is None else own) if level == "{id}" else level for level in row.topic.split("/"))
    return "/".join([ROOT, org, *("+" if level in ("{kind}", "{shard}") else level for level in levels)])


def _and_below(pattern: str, row: Row) -> str:
    return pattern.removesuffix("+") + "#" if row.topic.endswith(("{kind}", "{shard}")) else pattern


def _covers(pattern: list[str], topic: list[str]) -> bool:
    match pattern, topic:
        case ["#"], _:
            return True
        case [], []:
            return True
        case [first, *rest], [level, *below] if first in ("+", level):
            return _covers(rest, below)
        case _:
            return False


def _who(itself: tuple[Role, ...], others: tuple[Role, ...]) -> str:
    own = [f"{role.value} (own)" for role in itself]
    return ", ".join([*own, *(role.value for role in others)])
