"""The desk: the web application of one municipality. Server-rendered; live by server-sent events; no build step."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final, Literal

from aiohttp import web

from broker.clock import Clock
from broker.wire.statements import Place
from cloud.alerting.channels import Channels
from cloud.api.mount import mount_api
from cloud.api.publisher import ANYBODY, Publisher
from cloud.casework.adoption import PolicyOffice
from cloud.casework.casework import Casework
from cloud.casework.policies import Policies
from cloud.casework.programs import Programs
from cloud.database.engine import Database
from cloud.desk.administration import ADMINISTRATION, Administration
from cloud.desk.break_glass import BreakGlass
from cloud.desk.demo import Demo
from cloud.desk.error_pages import with_error_pages
from cloud.desk.guard import answer_refusals, know_who, same_site_only, with_headers
from cloud.desk.invitations import Invitations
from cloud.desk.keys import SecurityKeys
from cloud.desk.oidc import OpenIdProvider
from cloud.desk.pages import ROUTES
from cloud.desk.pages.channels import CHANNELS
from cloud.desk.pages.figures import PUBLISHED
from cloud.desk.pages.selfcheck import SELF_CHECK
from cloud.desk.people import People
from cloud.desk.roster import RosterOffice
from cloud.desk.rules.sign_in import SignIn
from cloud.desk.sessions import Session, Sessions
from cloud.desk.town import HANDOVERS, REDACTIONS, ROOMS, STATIC, TOWN, Town, templates
from cloud.desk.viewing_place import PLACES, from_a_viewing_place
from cloud.desk.words import read_catalogue
from cloud.fleet.live import LiveHub
from cloud.fleet.register import Fleet
from cloud.kluis.client import KluisClient
from cloud.ledger.log import Ledger
from cloud.redaction.studio import Redactions
from cloud.self_check import SelfCheck
from cloud.vault.store import Vault
from cloud.viewing.handover import HandOvers
from cloud.viewing.rooms import Rooms

MAX_FORM_BYTES: Final = 262_144
"""The desk takes forms, never footage."""


def desk(
    *,
    org: str,
    name: str,
    database: Database,
    ledger: Ledger,
    kluis: KluisClient,
    vault: Vault,
    fleet: Fleet,
    casework: Casework,
    hub: LiveHub,
    policies: Policies,
    clock: Clock,
    mode: Literal["demonstration", "standard"],
    demo: Demo | None,
    theme: str = "",
    place: Place | None = None,
    invitations: Path | None = None,
    packages: Path | None = None,
    channels: Channels | None = None,
    places: Mapping[str, str] | None = None,
    sign_in: SignIn | None = None,
    open_id: OpenIdProvider | None = None,
    administration: Administration | None = None,
    self_check: SelfCheck | None = None,
    publisher: Publisher = ANYBODY,
) -> web.Application:
    """Return the desk of one municipality, ready to be run. `theme` is the text of its own style sheet.

    In standard mode people sign in, sign and sit down with security keys: `place` is the desk's own address, as the
    Kluis knows it, and `invitations` the folder of codes with which a first key is registered. `packages` is where
    packages that are handed over wait until they are fetched; without it nothing is handed over. `places`
    says which network is which viewing place of the policy; without it, only this machine is one. `sign_in` says how
    long sessions last and who may use the emergency entrance; with `open_id`, the municipality's provider, that is what
    a security key alone is for. It is closed with the desk. Without `administration` no device comes or goes here;
    without `self_check` that page is not there. `publisher` is whom the interface's document names.
    """
    sign_in = sign_in or SignIn()
    if mode == "standard" and (place is None or invitations is None):
        raise ValueError("desk: expected its address and a folder of invitations in mode standard, got none")
    keys = SecurityKeys(database, ledger, org=org, place=place, clock=clock) if mode == "standard" and place else None
    town = Town(
        org=org,
        name=name,
        mode=mode,
        database=database,
        ledger=ledger,
        fleet=fleet,
        casework=casework,
        hub=hub,
        policies=policies,
        clock=clock,
        demo=demo,
        people=People(database, org),
        sessions=Sessions(idle_s=sign_in.idle_minutes * 60, absolute_s=sign_in.absolute_hours * 3600),
        templates=templates(),
        catalogue=read_catalogue(),
        policy_office=PolicyOffice(casework, kluis, org=org, place=place),
        programs=Programs(database, ledger, policies, clock, hub),
        theme=theme,
        keys=keys,
        invitations=Invitations(invitations) if keys and invitations else None,
        roster=RosterOffice(database, ledger, kluis, keys, org=org, clock=clock) if keys else None,
        open_id=open_id,
        break_glass=BreakGlass(sign_in.break_glass, org=org, ledger=ledger, hub=hub, clock=clock) if open_id else None,
    )
    rooms = _rooms(town, kluis, vault)
    app = web.Application(
        middlewares=[with_headers, with_error_pages, know_who, answer_refusals, same_site_only, from_a_viewing_place],
        client_max_size=MAX_FORM_BYTES,
    )
    app[PLACES] = dict(places or {})
    app[TOWN], app[ROOMS], app[PUBLISHED] = town, rooms, {}
    app[REDACTIONS] = _redactions(town, kluis, vault, rooms)
    if channels is not None:
        app[CHANNELS] = channels
    if administration is not None:
        app[ADMINISTRATION] = administration
    if self_check is not None:
        app[SELF_CHECK] = self_check
    if packages is not None:
        app[HANDOVERS] = _hand_overs(town, kluis, vault, rooms, packages, place)
    app.cleanup_ctx.append(_look_after_rooms)
    app.on_shutdown.append(_end_streams)
    app.on_cleanup.append(_close_provider)
    app.add_routes(ROUTES)
    mount_api(app, town, publisher)
    app.router.add_static("/static/", STATIC)
    return app


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
