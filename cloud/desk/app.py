"""The desk: the web application of one municipality. Server-rendered; live by server-sent events; no build step."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from aiohttp import web

from broker.wire.statements import Place
from cloud.api.mount import mount_api
from cloud.casework.adoption import PolicyOffice
from cloud.casework.programs import Programs
from cloud.desk.administration import ADMINISTRATION
from cloud.desk.break_glass import BreakGlass
from cloud.desk.demo import Demo
from cloud.desk.error_pages import with_error_pages
from cloud.desk.guard import answer_refusals, know_who, same_site_only, with_headers
from cloud.desk.invitations import Invitations
from cloud.desk.keys import SecurityKeys
from cloud.desk.made_of import Besides, Entrance, Nameplate, Services
from cloud.desk.pages import ROUTES
from cloud.desk.pages.channels import CHANNELS
from cloud.desk.pages.figures import PUBLISHED
from cloud.desk.pages.selfcheck import SELF_CHECK
from cloud.desk.people import People
from cloud.desk.roster import RosterOffice
from cloud.desk.sessions import Session, Sessions
from cloud.desk.town import HANDOVERS, REDACTIONS, ROOMS, STATIC, TOWN, Town, templates
from cloud.desk.viewing_place import PLACES, from_a_viewing_place
from cloud.desk.words import read_catalogue
from cloud.kluis.client import KluisClient
from cloud.redaction.studio import Redactions
from cloud.vault.store import Vault
from cloud.viewing.handover import HandOvers
from cloud.viewing.rooms import Rooms

MAX_FORM_BYTES: Final = 262_144
"""The desk takes forms, never footage."""


def desk(services: Services, *, nameplate: Nameplate, entrance: Entrance, besides: Besides) -> web.Application:
    """Return the desk of one municipality, ready to be run."""
    town = _town(services, nameplate, entrance, besides.demo)
    app = web.Application(
        middlewares=[with_headers, with_error_pages, know_who, answer_refusals, same_site_only, from_a_viewing_place],
        client_max_size=MAX_FORM_BYTES,
    )
    app[TOWN], app[PLACES], app[PUBLISHED] = town, dict(entrance.viewing_places), {}
    _furnish(app, services, besides, place=entrance.keys.place if entrance.keys else None)
    app.cleanup_ctx.append(_look_after_rooms)
    app.on_shutdown.append(_end_streams)
    app.on_cleanup.append(_close_provider)
    app.add_routes(ROUTES)
    mount_api(app, town, nameplate.publisher)
    app.router.add_static("/static/", STATIC)
    return app


def _town(services: Services, nameplate: Nameplate, entrance: Entrance, demo: Demo | None) -> Town:
    """Return what every page can reach."""
    org, database, ledger, clock = services.org, services.database, services.ledger, services.clock
    sign_in, place = entrance.sign_in, entrance.keys.place if entrance.keys else None
    keys = SecurityKeys(database, ledger, org=org, place=place, clock=clock) if place else None
    return Town(
        org=org,
        name=nameplate.name,
        mode=entrance.mode,
        database=database,
        ledger=ledger,
        fleet=services.fleet,
        casework=services.casework,
        hub=services.hub,
        policies=services.policies,
        clock=clock,
        demo=demo,
        people=People(database, org),
        sessions=Sessions(idle_s=sign_in.idle_minutes * 60, absolute_s=sign_in.absolute_hours * 3600),
        templates=templates(),
        catalogue=read_catalogue(),
        policy_office=PolicyOffice(services.casework, services.kluis, org=org, place=place),
        programs=Programs(database, ledger, services.policies, clock, services.hub),
        theme=nameplate.theme,
        keys=keys,
        invitations=Invitations(entrance.keys.invitations) if entrance.keys else None,
        roster=RosterOffice(database, ledger, services.kluis, keys, org=org, clock=clock) if keys else None,
        open_id=entrance.open_id,
        break_glass=BreakGlass(sign_in.break_glass, org=org, ledger=ledger, hub=services.hub, clock=clock)
        if entrance.open_id
        else None,
    )


def _furnish(app: web.Application, services: Services, besides: Besides, *, place: Place | None) -> None:
    """Put in what is done here: viewing and making unrecognisable always, the rest where it is there."""
    town, kluis, vault = app[TOWN], services.kluis, services.vault
    app[ROOMS] = rooms = _rooms(town, kluis, vault)
    app[REDACTIONS] = _redactions(town, kluis, vault, rooms)
    if besides.channels is not None:
        app[CHANNELS] = besides.channels
    if besides.administration is not None:
        app[ADMINISTRATION] = besides.administration
    if besides.self_check is not None:
        app[SELF_CHECK] = besides.self_check
    if besides.packages is not None:
        app[HANDOVERS] = _hand_overs(town, kluis, vault, rooms, besides.packages, place)


def _rooms(town: Town, kluis: KluisClient, vault: Vault) -> Rooms:
    """Return the viewing rooms; who signs out leaves every one of them."""
    rooms = Rooms(
        org=town.org,
        database=town.database,
        ledger=town.ledger,
        kluis=kluis,
        vault=vault,
        office=town.casework,
        policies=town.policies,
        hub=town.hub,
        clock=town.clock,
        name_of=town.people.names,
        bound_seats=town.keys is not None,
    )

    async def leave(session: Session) -> None:
        await rooms.leave_everywhere(session.official)

    town.on_sign_out.append(leave)
    return rooms


def _redactions(town: Town, kluis: KluisClient, vault: Vault, rooms: Rooms) -> Redactions:
    """Return where people are made unrecognisable."""
    return Redactions(
        org=town.org,
        database=town.database,
        ledger=town.ledger,
        kluis=kluis,
        vault=vault,
        rooms=rooms,
        clock=town.clock,
        hub=town.hub,
    )


def _hand_overs(
    town: Town, kluis: KluisClient, vault: Vault, rooms: Rooms, packages: Path, place: Place | None
) -> HandOvers:
    """Return where packages for outside are made; they wait in `packages` until they are fetched."""
    return HandOvers(
        org=town.org,
        database=town.database,
        ledger=town.ledger,
        kluis=kluis,
        vault=vault,
        casework=town.casework,
        rooms=rooms,
        folder=packages,
        clock=town.clock,
        name=town.name,
        place=place,
    )


async def _look_after_rooms(app: web.Application) -> AsyncIterator[None]:
    """Look at every room twice a second while the desk is open; afterwards all of them are closed."""
    await app[ROOMS].recover()
    looking = [asyncio.create_task(app[ROOMS].run(), name="cloud.desk.rooms")]
    if HANDOVERS in app:
        looking.append(asyncio.create_task(app[HANDOVERS].run(), name="cloud.desk.handovers"))
    yield
    await app[REDACTIONS].close()
    for task in looking:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _end_streams(app: web.Application) -> None:
    """Streams never end by themselves: end them, or stopping the desk waits for every open page."""
    for stream in list(app[TOWN].streams):
        stream.close()


async def _close_provider(app: web.Application) -> None:
    provider = app[TOWN].open_id
    if provider is not None:
        await provider.close()
