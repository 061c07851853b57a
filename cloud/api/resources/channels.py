"""How somebody is warned who is not at the desk: one's own channels, confirmed with a code that came over them."""

from typing import Annotated, Final
from uuid import UUID

import msgspec

from broker.wire.refusals import Code, refuse
from cloud.alerting.channels import Channels, OwnChannel
from cloud.api.declaration import Call, Created, Given, Group, Instant, Shown, door, operation
from cloud.desk.pages.channels import CHANNELS as OFFICE
from cloud.desk.rules.doors import Door

CHANNELS: Final = Group(
    name="kanalen", purpose="Wie gewaarschuwd moet worden en niet achter het scherm zit, is te bereiken."
)
WARNED: Final = door(Door.ALERTS)


class ChannelShown(Shown):
    """One of one's own channels. `failing`: the last thing said over it did not arrive."""

    id: UUID
    route: str
    address: str
    confirmed_at: Instant | None
    failing: bool


class ChannelsShown(Shown):
    """One's own channels, oldest first, and the routes that the municipality has set up."""

    items: tuple[ChannelShown, ...]
    routes: tuple[str, ...]


class TriedShown(Shown):
    """Whether the service took the trial message."""

    arrived: bool


class ChannelPath(Given):
    """Which of one's own."""

    channel: UUID


class ChannelGiven(Given):
    """Over which route, and where."""

    route: Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=r"^[^\x00]*$")]
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class ChannelCode(Given):
    """The code that came over it."""

    code: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{6}$")]


@operation("GET", "/kanalen", "Mijn kanalen", group=CHANNELS, roles=WARNED)
async def channels(call: Call) -> ChannelsShown:
    """Return one's own channels; empty where the municipality set up no route."""
    office = call.request.config_dict.get(OFFICE)
    if office is None:
        return ChannelsShown(items=(), routes=())
    return ChannelsShown(items=tuple(_shown(each) for each in await office.of(call.me.id)), routes=office.routes)


@operation("POST", "/kanalen", "Een kanaal toevoegen", group=CHANNELS, roles=WARNED, created=True, gives=ChannelShown)
async def add_channel(call: Call, body: ChannelGiven) -> Created:
    """Add a channel; a code goes over it at once."""
    office = _office(call)
    made = await office.add(call.me.id, body.route, body.address)
    (added,) = [each for each in await office.of(call.me.id) if each.id == made]
    return Created(_shown(added), "/kanalen")


@operation("POST", "/kanalen/{kanaal}/bevestigingen", "Een kanaal bevestigen", group=CHANNELS, roles=WARNED)
async def confirm_channel(call: Call, path: ChannelPath, body: ChannelCode) -> None:
    """Confirm it with the code that came over it, within 15 minutes and five tries."""
    await _office(call).confirm(call.me.id, str(path.channel), body.code)


@operation("POST", "/kanalen/{kanaal}/proefberichten", "Een proefbericht sturen", group=CHANNELS, roles=WARNED,
           refuses=(Code.CONFLICT,))  # fmt: skip
async def try_channel(call: Call, path: ChannelPath) -> TriedShown:
    """Send a trial message over a confirmed channel."""
    return TriedShown(arrived=await _office(call).try_out(call.me.id, str(path.channel)))


@operation("DELETE", "/kanalen/{kanaal}", "Een kanaal verwijderen", group=CHANNELS, roles=WARNED)
async def remove_channel(call: Call, path: ChannelPath) -> None:
    """Forget it, and what was said over it."""
    await _office(call).remove(call.me.id, str(path.channel))


def _office(call: Call) -> Channels:
    office = call.request.config_dict.get(OFFICE)
    if office is None:
        raise refuse(Code.NOT_FOUND, "channels", expected="a municipality that set up a route", got="none")
    return office


def _shown(each: OwnChannel) -> ChannelShown:
    return ChannelShown(
        id=UUID(each.id),
        route=each.route,
        address=each.address,
        confirmed_at=each.confirmed_at,
        failing=each.failing,
    )


OPERATIONS: Final = (channels, add_channel, confirm_channel, try_channel, remove_channel)
