"""Where docks bring the letters of cameras: a wish to join, a wish for a new certificate. Routes of the receiver.

    POST /v1/enrolments     202 nobody confirmed it yet, 200 the answer for the camera
    POST /v1/renewals       200 the certificate (PEM)

Both may be asked again as often as one likes. The receiver has checked which dock asks.
"""

from aiohttp import web

from broker.wire.enrolment import MAX_LETTER_BYTES
from broker.wire.refusals import Code, refuse
from cloud.fleet.enrolment import Enrolments
from cloud.intake.doors import read_claim


def add_letterbox(app: web.Application, enrolments: Enrolments) -> None:
    """Let the receiver take letters too."""

    async def enrol(request: web.Request) -> web.Response:
        answer = await enrolments.ask(await _letter(request), dock=read_claim(request.transport).device)
        if answer is None:
            return web.Response(status=202)
        return web.Response(body=answer, content_type="application/json")

    async def renew(request: web.Request) -> web.Response:
        certificate = await enrolments.renew(await _letter(request), dock=read_claim(request.transport).device)
        return web.Response(body=certificate, content_type="application/x-pem-file")

    app.router.add_post("/v1/enrolments", enrol)
    app.router.add_post("/v1/renewals", renew)


async def _letter(request: web.Request) -> bytes:
    if request.content_length is None:
        raise refuse(Code.LENGTH_REQUIRED, "letter", expected="Content-Length", got="none")
    if request.content_length > MAX_LETTER_BYTES:
        raise refuse(Code.TOO_LARGE, "letter", expected=f"at most {MAX_LETTER_BYTES}", got=request.content_length)
    return await request.read()
