"""The desk: the web application of one municipality. Server-rendered; live by server-sent events; no build step."""

from typing import Any, Final, Literal

from aiohttp import web

from broker.clock import Clock
from cloud.casework.policies import Policies
from cloud.database.engine import Database
from cloud.desk import live
from cloud.desk.demo import Demo
from cloud.desk.guard import answer_refusals, know_who, same_site_only, with_headers
from cloud.desk.pages import alerts, demo_panel, door
from cloud.desk.pages import fleet as fleet_pages
from cloud.desk.people import People
from cloud.desk.sessions import Sessions
from cloud.desk.town import STATIC, TOWN, Town, templates
from cloud.desk.words import read_catalogue
from cloud.fleet.live import LiveHub
from cloud.fleet.register import Fleet
from cloud.ledger.log import Ledger

MAX_FORM_BYTES: Final = 262_144
"""The desk takes forms, never footage."""


def desk(
    *,
    org: str,
    name: str,
    database: Database,
    ledger: Ledger,
    kluis: Any,
    vault: Any,
    fleet: Fleet,
    casework: Any,
    hub: LiveHub,
    policies: Policies,
    clock: Clock,
    mode: Literal["demonstration", "standard"],
    demo: Demo | None,
    theme: str = "",
) -> web.Application:
    """Return the desk of one municipality, ready to be run. `theme` is the text of its own style sheet."""
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
        sessions=Sessions(),
        templates=templates(),
        catalogue=read_catalogue(),
        theme=theme,
    )
    app = web.Application(
        middlewares=[with_headers, know_who, answer_refusals, same_site_only], client_max_size=MAX_FORM_BYTES
    )
    app[TOWN] = town
    app.on_shutdown.append(_end_streams)
    app.add_routes(_routes())
    app.router.add_static("/static/", STATIC)
    return app


def _routes() -> list[web.RouteDef]:
    return [
        web.get("/", door.home),
        web.get("/aanmelden", door.show_sign_in),
        web.post("/aanmelden", door.sign_in),
        web.post("/afmelden", door.sign_out),
        web.post("/taal", door.choose_language),
        web.get("/openbaar", door.show_public),
        web.get("/thema.css", door.show_theme),
        web.get("/gezondheid", door.health),
        web.get("/live", live.stream),
        web.get("/vloot", fleet_pages.show),
        web.get("/vloot/deel", fleet_pages.show_part),
        web.get("/vloot/{camera}", fleet_pages.show_camera),
        web.get("/vloot/{camera}/deel", fleet_pages.show_camera_part),
        web.post("/vloot/{camera}/knop", fleet_pages.press),
        web.get("/alarm", alerts.show_banner),
        web.get("/activeringen", alerts.show),
        web.get("/activeringen/deel", alerts.show_part),
        web.post("/activeringen/{recording}/gezien", alerts.acknowledge),
        web.get("/demo", demo_panel.show),
        web.post("/demo/klok", demo_panel.move_clock),
        web.post("/demo/knop", fleet_pages.press),
    ]


async def _end_streams(app: web.Application) -> None:
    """Streams never end by themselves: end them, or stopping the desk waits for every open page."""
    for stream in list(app[TOWN].streams):
        stream.close()
