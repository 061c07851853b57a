"""Activations: who pressed, when and where, and who has seen it."""

from datetime import datetime
from typing import Final
from uuid import UUID

from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Given, Group, Instant, Listed, Name, Nothing, Shown, door, operation
from cloud.api.paging import Paged, cut, read_cursor
from cloud.desk.rules.doors import ACKNOWLEDGES, Door
from cloud.fleet.records import PressRow
from cloud.rules.programs import Scope

ACTIVATIONS: Final = Group(
    name="activeringen", purpose="Een handhaver die de knop indrukt wordt gezien, en wie het zag staat vast."
)
SEES: Final = door(Door.ALERTS)


class ActivationShown(Shown):
    """One press. Its id is that of the recording."""

    recording: UUID
    camera: str
    official: str | None
    activated_at: Instant
    received_at: Instant
    ended_at: Instant | None
    pre_record_s: float
    place: str | None
    latitude: float | None
    longitude: float | None
    late: bool
    acknowledged_at: Instant | None
    acknowledged_by: str | None
    escalated_at: Instant | None


class ActivationsShown(Shown):
    """A page of activations, newest first."""

    items: tuple[ActivationShown, ...]


class ActivationPath(Given):
    """Which activation."""

    recording: UUID


class ActivationsAsked(Paged):
    """Which activations."""

    waiting: bool = False
    camera: Name | None = None


@operation("GET", "/activeringen", "Wanneer de knop werd ingedrukt", group=ACTIVATIONS,
           program=Scope.ACTIVATIONS, roles=SEES, paged=True, gives=ActivationsShown)  # fmt: skip
async def activations(call: Call, query: ActivationsAsked) -> Listed:
    """Return activations, newest first; with `onbevestigd` those that nobody has seen yet."""
    after = read_cursor(query.cursor, tuple[datetime, str])
    presses = await call.town.fleet.activations(
        call.org, most=query.limit + 1, open_only=query.waiting, camera=query.camera, before=after
    )
    found, following = cut(presses, query, lambda press: (press.activated_at, str(press.recording)))
    return Listed(ActivationsShown(items=tuple(_shown(each) for each in found)), following)


@operation("GET", "/activeringen/{opname}", "Eén activering", group=ACTIVATIONS, program=Scope.ACTIVATIONS, roles=SEES)
async def activation(call: Call, path: ActivationPath) -> ActivationShown:
    """Return one activation."""
    return _shown(await _known(call, path))


@operation("POST", "/activeringen/{opname}/bevestigingen", "Ik heb dit gezien", group=ACTIVATIONS, roles=ACKNOWLEDGES)
async def acknowledge(call: Call, path: ActivationPath, body: Nothing) -> ActivationShown:  # noqa: ARG001 - says it all
    """Write down who saw it; the first one stays, so asking again changes nothing."""
    await _known(call, path)
    return _shown(await call.town.fleet.acknowledge(path.recording, call.me.id))


async def _known(call: Call, path: ActivationPath) -> PressRow:
    press = await call.town.fleet.activation(path.recording)
    if press is None or press.org != call.org:
        raise refuse(Code.NOT_FOUND, "activation", expected="a known recording", got=path.recording)
    return press


def _shown(press: PressRow) -> ActivationShown:
    return ActivationShown(
        recording=press.recording,
        camera=press.camera,
        official=press.official,
        activated_at=press.activated_at,
        received_at=press.received_at,
        ended_at=press.ended_at,
        pre_record_s=press.pre_record_s,
        place=press.place,
        latitude=press.latitude,
        longitude=press.longitude,
        late=press.late,
        acknowledged_at=press.acknowledged_at,
        acknowledged_by=press.acknowledged_by,
        escalated_at=press.escalated_at,
    )


OPERATIONS: Final = (activations, activation, acknowledge)
