"""Zelfcontrole: is this installation well? A page for people, and the same as JSON for whatever watches machines."""

from typing import Any, Final

from aiohttp import web

from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.rules.doors import Door
from cloud.desk.town import deny, may_open, page, town_of, words_of
from cloud.desk.words import Words
from cloud.rules.self_check import Check, Finding, Light, worst
from cloud.self_check import SelfCheck

SELF_CHECK: Final = web.AppKey("self_check", SelfCheck)


async def show(request: web.Request) -> web.StreamResponse:
    """The page, or JSON for who asks for that."""
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.SELF_CHECK):
        return await deny(request, "zelfcontrole", words("Uw functie geeft geen toegang tot de zelfcontrole."))
    checking = request.config_dict.get(SELF_CHECK)
    if checking is None:
        raise web.HTTPNotFound
    findings = await checking.findings(screens=town.screens())
    if _wants_json(request):
        return web.json_response(as_json(findings, at=town.now().isoformat()), headers={"Cache-Control": "no-store"})
    return await page(
        request,
        "selfcheck.html",
        findings=sorted(findings, key=lambda each: list(Light)[::-1].index(each.light)),
        whole=worst(findings),
        count={light.value: sum(each.light is light for each in findings) for light in Light},
        checks=check_names(words),
        lights=light_names(words),
        **await waiting_alarms(request),
    )


def as_json(findings: tuple[Finding, ...], *, at: str) -> dict[str, Any]:
    """Return the findings for a machine: names of devices and services, never of people."""
    return {
        "at": at,
        "light": worst(findings).value,
        "checks": {
            each.check.value: {
                "light": each.light.value,
                "because": each.because,
                "do": each.do,
                "facts": dict(each.facts),
            }
            for each in findings
        },
    }


def check_names(words: Words) -> dict[str, str]:
    """Return what each check is called."""
    return {
        Check.LEDGER: words("Logboek"),
        Check.DESTRUCTION: words("Vernietiging"),
        Check.STRAYS: words("Losse beelden"),
        Check.KLUIS: words("Kluis"),
        Check.POLICY: words("Beleid"),
        Check.STORAGE: words("Opslag"),
        Check.BROKER: words("Berichtenbroker"),
        Check.ALERTING: words("Alarmering"),
        Check.CERTIFICATES: words("Certificaten"),
        Check.CLOCK: words("Klok"),
        Check.IDENTITY: words("Aanmelden"),
        Check.WITNESS: words("Getuigen van buiten"),
    }


def light_names(words: Words) -> dict[str, tuple[str, str]]:
    """Return what each light is called, and how its badge looks."""
    return {
        Light.GREEN: (words("in orde"), "good"),
        Light.ORANGE: (words("let op"), "warn"),
        Light.RED: (words("niet in orde"), "bad"),
    }


def _wants_json(request: web.Request) -> bool:
    accept = request.headers.get("Accept", "")
    return "application/json" in accept and "text/html" not in accept


ROUTES: Final = (web.get("/zelfcontrole", show),)
