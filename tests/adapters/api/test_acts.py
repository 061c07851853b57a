"""Whatever a page can do, a program can do: each act of the desk's pages names its operation, or why it has none."""

import ast
import inspect
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import hdrs

from cloud.api.operations import OPERATIONS
from cloud.desk.pages import ROUTES

DONE_BY = {
    "/afmelden": "signOut",
    "/vloot/{camera}/knop": "press",
    "/demo/knop": "press",
    "/demo/klok": "moveClock",
    "/activeringen/{recording}/gezien": "acknowledge",
    "/dossiers": "register",
    "/dossiers/{case}/stap": "takeStep",
    "/dossiers/{case}/bevestigen": "confirm",
    "/dossiers/{case}/opnamen": "add",
    "/noodrem": "emergency",
    "/bewaarplicht/{hold}/opheffen": "release",
    "/bewaarplicht/{hold}/behouden": "keep",
    "/opnamen/{recording}/vernietigen": "destroy",
    "/opnamen/{recording}/sparen": "spare",
    "/opnamen/{recording}/beslissen": "decide",
    "/voorvallen": "openIncident",
    "/voorvallen/{incident}/opnamen": "joinIncident",
    "/leren": "register",
    "/leren/{case}/besluit": "takeStep",
    "/kijkkamer": "ask",
    "/kijkkamer/{room}/ondertekenen": "sign",
    "/kijkkamer/{room}/getal": "beginToSit",
    "/kijkkamer/{room}/goedkeuren": "approve",
    "/kijkkamer/{room}/weigeren": "turnDown",
    "/kijkkamer/{room}/plaatsnemen": "sitDown",
    "/kijkkamer/{room}/aanwezig": "beat",
    "/kijkkamer/{room}/weg": "getUp",
    "/kijkkamer/{room}/sluiten": "close",
    "/kijkkamer/{room}/pakket": "pack",
    "/meldingen": "submitReport",
    "/meldingen/concept": "saveReport",
    "/verstrekken": "askDisclosure",
    "/logboek/controleren": "check",
    "/beleid/voorstel": "propose",
    "/beleid/voorstel/{proposal}/tekenen": "signProposal",
    "/beleid/voorstel/{proposal}/intrekken": "withdrawProposal",
    "/beheer/mensen/{official} geef": "appoint",
    "/beheer/mensen/{official} neem": "dismiss",
    "/beheer/vervangingen": "standIn",
    "/beheer/vervangingen/{substitution}/einde": "endStandIn",
}
"""The act of a page (its address, and which button where there are several) -> the operation that does the same."""

CEREMONY = "a ceremony between a browser and its person: WebAuthn gives the number to this site's own page only"
NOT_YET = "not yet"
NOT_HERE = {
    "/aanmelden": CEREMONY,
    "/aanmelden/getal": CEREMONY,
    "/aanmelden/sleutel": CEREMONY,
    "/sleutels/nieuw/{code}": CEREMONY,
    "/taal": "the language of a page in one browser; the interface speaks Dutch",
    "/aanmeldingen/beeindigen": NOT_YET,
    "/noodingang/{entry:[0-9]{1,15}}/gezien": NOT_YET,
    "/kijkkamer/{room}/bladwijzers": NOT_YET,
    "/kijkkamer/{room}/bladwijzers/{mark}/weg": NOT_YET,
    "/sleutels/intrekken": NOT_YET,
    "/sleutels/voorstel": NOT_YET,
    "/sleutels/voorstel/{proposal}/tekenen": NOT_YET,
    "/onherkenbaar": NOT_YET,
    "/kijkkamer/{room}/onherkenbaar/{act} zoeken": NOT_YET,
    "/kijkkamer/{room}/onherkenbaar/{act} stoppen": NOT_YET,
    "/kijkkamer/{room}/onherkenbaar/{act} maken": NOT_YET,
    "/kijkkamer/{room}/onherkenbaar/{act} volgen": NOT_YET,
    "/kijkkamer/{room}/onherkenbaar/{act} wijzigen": NOT_YET,
    "/cijfers/vragenlijst": NOT_YET,
    "/vragenlijst": NOT_YET,
    "/beheer/cameras": NOT_YET,
    "/beheer/cameras/{camera}/indelen": NOT_YET,
    "/beheer/cameras/{camera}/weg": NOT_YET,
    "/beheer/docks": NOT_YET,
    "/beheer/docks/{dock}/certificaat": NOT_YET,
    "/beheer/docks/{dock}/weg": NOT_YET,
    "/beheer/uitpakken": NOT_YET,
    "/beheer/mensen": NOT_YET,
    "/beheer/mensen/{official} afwezig": NOT_YET,
    "/beheer/mensen/{official} vertrek": NOT_YET,
    "/beheer/mensen/{official} vertrek-nu": NOT_YET,
    "/beheer/rechten": NOT_YET,
    "/waarschuwingen toevoegen": NOT_YET,
    "/waarschuwingen bevestigen": NOT_YET,
    "/waarschuwingen proberen": NOT_YET,
    "/waarschuwingen verwijderen": NOT_YET,
}
"""The acts that have no operation, each with the reason."""


def acts() -> Iterator[str]:
    """Yield every act of every page: each address that takes a change, once for each button that its code tells apart.

    A button is told apart by a `match` with the words that forms send.
    """
    for route in ROUTES:
        if route.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            buttons = buttons_of(route.handler)
            yield from (f"{route.path} {each}" for each in buttons) if buttons else (route.path,)


def buttons_of(handler: Callable[..., Awaitable[Any]] | Any) -> list[str]:
    """Return the words that this handler's code matches on."""
    code = ast.parse(textwrap.dedent(inspect.getsource(handler)))
    return [
        case.pattern.value.value
        for node in ast.walk(code)
        if isinstance(node, ast.Match)
        for case in node.cases
        if isinstance(case.pattern, ast.MatchValue)
        and isinstance(case.pattern.value, ast.Constant)
        and isinstance(case.pattern.value.value, str)
    ]


def test_every_act_of_a_page_names_its_operation_or_why_it_has_none() -> None:
    found = set(acts())
    assert sorted(found - DONE_BY.keys() - NOT_HERE.keys()) == [], "a program cannot do these: add the operation"
    assert sorted((DONE_BY.keys() | NOT_HERE.keys()) - found) == [], "no page does these (any more)"
    assert sorted(DONE_BY.keys() & NOT_HERE.keys()) == []


def test_every_operation_that_is_named_is_there_and_changes_something() -> None:
    changing = {each.name for each in OPERATIONS if each.method != hdrs.METH_GET}
    assert sorted(set(DONE_BY.values()) - changing) == []
