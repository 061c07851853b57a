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
    "/opnamen/{recording}/apart": "proposeApart",
    "/opnamen/{recording}/apart/{decision}/bevestigen": "confirmApart",
    "/opnamen/{recording}/apart/{decision}/intrekken": "withdrawApart",
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
    "/kijkkamer/{room}/bladwijzers": "mark",
    "/kijkkamer/{room}/bladwijzers/{mark}/weg": "removeMark",
    "/onherkenbaar": "ask",
    "/kijkkamer/{room}/onherkenbaar/{act} zoeken": "searchFaces",
    "/kijkkamer/{room}/onherkenbaar/{act} stoppen": "stopRedaction",
    "/kijkkamer/{room}/onherkenbaar/{act} maken": "finishRedaction",
    "/kijkkamer/{room}/onherkenbaar/{act} volgen": "drawBox",
    "/kijkkamer/{room}/onherkenbaar/{act} wijzigen": "decideTrack",
    "/kijkkamer/{room}/onherkenbaar/{act} gekeken": "tellPlayed",
    "/meldingen": "submitReport",
    "/meldingen/concept": "saveReport",
    "/cijfers/vragenlijst": "askSurvey",
    "/vragenlijst": "answerSurvey",
    "/verstrekken": "askDisclosure",
    "/logboek/controleren": "check",
    "/beleid/voorstel": "propose",
    "/beleid/voorstel/{proposal}/tekenen": "signProposal",
    "/beleid/voorstel/{proposal}/intrekken": "withdrawProposal",
    "/beheer/mensen/{official} geef": "appoint",
    "/beheer/mensen/{official} neem": "dismiss",
    "/beheer/rechten": "review",
    "/beheer/vervangingen": "standIn",
    "/beheer/vervangingen/{substitution}/einde": "endStandIn",
    "/aanmeldingen/beeindigen": "endSignIn",
    "/noodingang/{entry:[0-9]{1,15}}/gezien": "seeEmergency",
    "/sleutels/intrekken": "withdrawKey",
    "/sleutels/voorstel": "proposeList",
    "/sleutels/voorstel/{proposal}/tekenen": "signList",
    "/beheer/cameras": "enrolCamera",
    "/beheer/cameras/{camera}/indelen": "assignCamera",
    "/beheer/cameras/{camera}/weg": "revokeCamera",
    "/beheer/docks": "enrolDock",
    "/beheer/docks/{dock}/certificaat": "certifyDock",
    "/beheer/docks/{dock}/weg": "revokeDock",
    "/beheer/uitpakken": "unpackCamera",
    "/beheer/mensen": "hire",
    "/beheer/mensen/{official} afwezig": "markAbsent",
    "/beheer/mensen/{official} vertrek": "letGo",
    "/beheer/mensen/{official} vertrek-nu": "letGo",
    "/beheer/programmas": "askProgram",
    "/beheer/programmas/{program}/toelaten": "confirmProgram",
    "/beheer/programmas/{program}/token": "showToken",
    "/beheer/programmas/{program}/einde": "endProgram",
    "/waarschuwingen toevoegen": "addChannel",
    "/waarschuwingen bevestigen": "confirmChannel",
    "/waarschuwingen proberen": "tryChannel",
    "/waarschuwingen verwijderen": "removeChannel",
}
"""The act of a page (its address, and which button where there are several) -> the operation that does the same."""

CEREMONY = "a ceremony between a browser and its person: WebAuthn gives the number to this site's own page only"
NOT_HERE = {
    "/aanmelden": CEREMONY,
    "/aanmelden/getal": CEREMONY,
    "/aanmelden/sleutel": CEREMONY,
    "/sleutels/nieuw/{code}": CEREMONY,
    "/taal": "the language of a page in one browser; the interface speaks Dutch",
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
