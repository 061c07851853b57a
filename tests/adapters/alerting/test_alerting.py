"""Alerts that reach a coordinator elsewhere: a real service on a real socket, the real register and database."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy.exc import OperationalError

from broker.wire.refusals import Refused
from cloud.alerting.caller import Caller
from cloud.alerting.channels import Channels
from cloud.alerting.routes import Routes
from tests.browser.town import ORG, TownHall, open_town

COORDINATOR, MANAGER = "o-101", "o-102"


@dataclass
class Service:
    """Somebody's messaging service: takes what comes, or is out of order."""

    said: list[tuple[str, str, str]] = field(default_factory=list)
    broken: bool = False
    port: int = 0

    @property
    def route(self) -> str:
        """By which it is reached: a busy machine may take long to answer."""
        return f"json://127.0.0.1:{self.port}/{{address}}?cto=60&rto=60"

    async def take(self, request: web.Request) -> web.StreamResponse:
        if self.broken:
            raise web.HTTPServiceUnavailable
        letter = await request.json()
        self.said.append((request.match_info["address"], letter["title"], letter["message"]))
        return web.Response()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    here = Service()
    app = web.Application()
    app.router.add_post("/{address}", here.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    here.port = runner.addresses[0][1]
    yield here
    await runner.cleanup()


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[TownHall]:
    async with open_town(tmp_path) as hall:
        yield hall


@pytest.fixture
def routes(service: Service) -> Routes:
    return Routes({"telefoon": service.route})


@pytest.fixture
def channels(town: TownHall, routes: Routes) -> Channels:
    return Channels(town.database, routes, town.clock, org=ORG, name="Dorpstad", draw=lambda: 42)


@pytest.fixture
def caller(town: TownHall, routes: Routes) -> Caller:
    return Caller(
        town.database,
        routes,
        town.policies,
        town.hub,
        town.clock,
        org=ORG,
        name="Dorpstad",
        address="https://desk.example/",
    )


async def reachable(channels: Channels, official: str, address: str) -> str:
    channel = await channels.add(official, "telefoon", address)
    await channels.confirm(official, channel, "000042")
    return channel


async def test_a_press_reaches_the_coordinator_once_and_says_nothing_of_it(
    town: TownHall, service: Service, channels: Channels, caller: Caller
) -> None:
    """Een activering bereikt wie er niet is: één keer, zonder camera, naam of plaats."""
    await reachable(channels, COORDINATOR, "marieke")
    service.said.clear()
    await town.press("cam-07")
    assert await caller.look() == 1
    assert await caller.look() == 0
    ((address, title, text),) = service.said
    assert (address, title) == ("marieke", "Dorpstad: 1 activering")
    assert "https://desk.example/" in text
    assert not re.search(r"cam-|07|Aydin|straat", title + text)


async def test_a_burst_of_presses_is_one_message(
    town: TownHall, service: Service, channels: Channels, caller: Caller
) -> None:
    """Tien tegelijk is één bericht met een getal."""
    await reachable(channels, COORDINATOR, "marieke")
    service.said.clear()
    for camera in range(10, 20):
        await town.press(f"cam-{camera}")
    await caller.look()
    assert [title for _, title, _ in service.said] == ["Dorpstad: 10 activeringen"]


async def test_a_message_that_did_not_arrive_is_tried_again_also_after_a_restart(
    town: TownHall, service: Service, channels: Channels, caller: Caller, routes: Routes
) -> None:
    """Een storing bij de dienst: het wordt opnieuw geprobeerd, ook als de cloud intussen herstartte."""
    await reachable(channels, COORDINATOR, "marieke")
    await town.press("cam-07")
    service.broken = True
    assert await caller.look() == 0
    assert [each.failing for each in await channels.of(COORDINATOR)] == [True]
    service.broken = False
    service.said.clear()
    again = Caller(
        town.database,
        routes,
        town.policies,
        town.hub,
        town.clock,
        org=ORG,
        name="Dorpstad",
        address="https://d.example/",
    )
    assert await again.look() == 0  # not yet
    town.clock.move_forward(timedelta(seconds=6))
    assert await again.look() == 1
    assert len(service.said) == 1
    assert [each.failing for each in await channels.of(COORDINATOR)] == [False]


async def test_a_database_that_is_away_for_a_moment_delays_a_call_and_ends_nothing(
    town: TownHall, service: Service, channels: Channels, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is de database even weg, dan wordt er later gebeld; het programma gaat door."""
    await reachable(channels, COORDINATOR, "marieke")
    service.said.clear()
    asked = asyncio.Event()

    async def away(_: str) -> None:
        asked.set()
        raise OperationalError("SELECT", None, OSError("the test took it away"))

    with monkeypatch.context() as broken:
        broken.setattr(town.policies, "current", away)
        running = asyncio.create_task(caller.run())
        await asyncio.wait_for(asked.wait(), 60)
    await town.press("cam-07")
    town.hub.publish(ORG, "activation", {})
    async with asyncio.timeout(60):
        while not service.said and not running.done():
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(service.said) == 1


async def test_what_somebody_has_seen_calls_nobody(
    town: TownHall, service: Service, channels: Channels, caller: Caller
) -> None:
    """Wie het aan de balie al bevestigde, krijgt er geen bericht meer over."""
    await reachable(channels, COORDINATOR, "marieke")
    recording = await town.press("cam-07")
    await town.fleet.acknowledge(recording, COORDINATOR)
    service.said.clear()
    assert await caller.look() == 0
    assert service.said == []


async def test_a_channel_counts_only_after_the_code_that_came_over_it(
    town: TownHall, service: Service, channels: Channels, caller: Caller
) -> None:
    """Een kanaal telt pas na de code; vijf keer raden of een kwartier later is te laat."""
    channel = await channels.add(COORDINATOR, "telefoon", "marieke")
    assert service.said == [("marieke", "Dorpstad", "Code: 000042")]
    await town.press("cam-07")
    assert await caller.look() == 0
    for _ in range(5):
        with pytest.raises(Refused):
            await channels.confirm(COORDINATOR, channel, "000041")
    with pytest.raises(Refused):
        await channels.confirm(COORDINATOR, channel, "000042")
    second = await channels.add(COORDINATOR, "telefoon", "marieke")
    town.clock.move_forward(timedelta(minutes=15))
    with pytest.raises(Refused):
        await channels.confirm(COORDINATOR, second, "000042")


async def test_nobody_touches_somebody_elses_channel(channels: Channels) -> None:
    """Een kanaal is van één mens."""
    channel = await reachable(channels, COORDINATOR, "marieke")
    for act in (channels.remove(MANAGER, channel), channels.try_out(MANAGER, channel)):
        with pytest.raises(Refused):
            await act
    assert len(await channels.of(COORDINATOR)) == 1


@pytest.mark.parametrize("address", ["", " ", "x" * 201, "regel\neinde", "\u202eomgekeerd"])
async def test_an_address_is_an_address(channels: Channels, address: str) -> None:
    """Wat geen adres kan zijn, wordt geweigerd."""
    with pytest.raises(Refused):
        await channels.add(COORDINATOR, "telefoon", address)


async def test_an_address_can_not_leave_its_place_in_the_route(service: Service, channels: Channels) -> None:
    """Een adres verandert nooit naar welke dienst er gebeld wordt."""
    await channels.add(COORDINATOR, "telefoon", "a?method=get&to=b")
    assert [address for address, *_ in service.said] == ["a?method=get&to=b"]


@pytest.mark.parametrize("route", ["mailtos://user:geheim@mail.example", "gopher://{address}", "{address}"])
def test_a_route_that_cannot_work_is_said_at_the_start_without_its_secret(route: str) -> None:
    """Een verkeerde instelling blijkt bij het starten, en de melding noemt het wachtwoord niet."""
    with pytest.raises(ValueError, match="expected an address that apprise knows") as refused:
        Routes({"e-mail": route})
    assert "geheim" not in str(refused.value)
