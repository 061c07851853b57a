"""How somebody is warned who is not at the desk: his own channels, confirmed with a code."""

from typing import Final

from aiohttp import web

from cloud.alerting.channels import Channels
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.rules.doors import Door
from cloud.desk.town import deny, form, may_open, page, someone_of, words_of

CHANNELS: Final = web.AppKey("channels", Channels)  # absent where the municipality set up no route


async def show(request: web.Request) -> web.StreamResponse:
    """One's own channels, and the form for a new one."""
    words, channels = words_of(request), request.config_dict.get(CHANNELS)
    if not may_open(request, Door.ALERTS):
        return await deny(request, "waarschuwingen", words("Uw functie wordt niet gewaarschuwd."))
    return await page(
        request,
        "channels.html",
        routes=channels.routes if channels else (),
        channels=await channels.of(someone_of(request).id) if channels else (),
        tried=request.query.get("proef", ""),
        **await waiting_alarms(request),
    )


async def change(request: web.Request) -> web.StreamResponse:
    """Add, confirm, try or remove one of one's own."""
    words, someone = words_of(request), someone_of(request)
    if not may_open(request, Door.ALERTS):
        return await deny(request, "waarschuwingen", words("Uw functie wordt niet gewaarschuwd."))
    channels, fields = request.config_dict.get(CHANNELS), await form(request)
    if channels is None:
        raise web.HTTPNotFound
    chosen = fields.get("kanaal", "")
    match fields.get("doe"):
        case "toevoegen":
            await channels.add(someone.id, fields.get("route", ""), fields.get("adres", ""))
        case "bevestigen":
            await channels.confirm(someone.id, chosen, fields.get("code", ""))
        case "proberen":
            arrived = await channels.try_out(someone.id, chosen)
            raise web.HTTPSeeOther(f"/waarschuwingen?proef={'gelukt' if arrived else 'mislukt'}")
        case "verwijderen":
            await channels.remove(someone.id, chosen)
        case _:
            raise web.HTTPBadRequest
    raise web.HTTPSeeOther("/waarschuwingen")


ROUTES: Final = (
    web.get("/waarschuwingen", show),
    web.post("/waarschuwingen", change),
)
