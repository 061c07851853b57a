"""Whatever is sent, the answer is one that the document promises: never a failure of ours, nothing strange let in."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok

from cloud.api.document import document
from cloud.desk.sessions import COOKIE
from cloud.rules.programs import Scope
from tests.adapters.api.people import calling, let_in
from tests.browser.town import TownHall, fill_the_streets, open_town

LEFT_OUT = {
    "follow": "a stream never ends",
    "signOut": "the session is needed for the rest",
    "endSignIns": "so are all of them",
    "moveClock": "years would pass",
}
EXAMPLES = 3
NOBODYS = str(UUID(int=7))
"""In an address that names a thing of which this town has none."""
load_all_checks()
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
    ]
)


@dataclass
class Running:
    """A town in a thread of its own: what sends requests here waits for each answer."""

    address: str = ""
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    real: dict[str, str] = field(default_factory=dict)
    failure: BaseException | None = None


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A town with a camera, a recording, a case with its hold, a report and a room, and two people signed in."""
    found, ready = Running(), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def live(folder: Path) -> None:
        async with open_town(folder) as town:
            await fill_the_streets(town)
            found.address, found.real = town.address, await things(town)
            async with calling(town, "o-101") as coordinator, calling(town, "o-103") as privacy_officer:
                for name, each in (("coordinator", coordinator), ("privacy officer", privacy_officer)):
                    (cookie,) = [one.value for one in each.http.cookie_jar if one.key == COOKIE]
                    found.headers[name] = each.headers | {"Cookie": f"{COOKIE}={cookie}"}
                await let_in(town, "prog-weg", Scope.POLICY)  # which somebody may end
                token = await let_in(town, "prog-alles", *Scope)
                found.headers["program"] = {"Authorization": f"Bearer {token}"}
                ready.set()
                await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(live(tmp_path_factory.mktemp("town")))
        except BaseException as failure:  # noqa: BLE001 - told in the test's own thread
            found.failure = failure
            ready.set()

    thread = threading.Thread(target=run, name="town")
    thread.start()
    ready.wait()
    if found.failure is not None:
        raise found.failure
    yield found
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()
    assert found.failure is None


async def things(town: TownHall) -> dict[str, str]:
    """Return one that exists of every thing that an address can name."""
    recording = str(await town.film("cam-03"))
    async with calling(town, "o-103") as caller:
        case = await caller.post(
            "/dossiers", {"soort": "access_request", "samenvatting": "inzage", "opnamen": [recording]}
        )
        incident = await caller.post("/incidenten", {"omschrijving": "plein", "opnamen": [recording]})
        asked = {"dossier": case.said["id"], "doel": "access_request", "opname": recording, "motivering": "inzage"}
        room = await caller.post("/kijkkamers", asked | {"tweede": "o-104", "niemandKijktMee": True})
    async with calling(town, "o-101") as caller:
        report = await caller.post("/gebruiksmeldingen", {"antwoorden": {"aanleiding": "ruzie"}})
    assert [each.status for each in (case, incident, room, report)] == [201, 201, 201, 201], room.said
    return {
        "camera": "cam-03",
        "opname": recording,
        "dossier": case.said["id"],
        "bewaarplicht": case.said["bewaarplichten"][0]["id"],
        "incident": incident.said["id"],
        "melding": report.said["id"],
        "kamer": room.said["id"],
        "stuk": "init.mp4",
        "brief": "confirmation",
        "bladwijzer": "1",
        "nummer": "3",
        "versie": "1",
        "voorstel": "0" * 32,
        "medewerker": "o-105",
        "rol": "safety_coordinator",
        "apparaat": "dock-01",
        "dockingstation": "dock-01",
        "aanmelding": "0" * 16,
        "sleutel": "AAAA",
        "programma": "prog-weg",
    }


def operations() -> list[Any]:
    """Return every operation that is tried."""
    schema = schemathesis.openapi.from_dict(document())
    schema.config.generation.update(with_security_parameters=False)  # the session stays that of somebody
    every = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    return [each for each in every if each.definition.raw["operationId"] not in LEFT_OUT]


OPERATIONS = operations()


@pytest.mark.slow
@pytest.mark.timeout(600)  # some 150 operations, nine requests each
def test_whatever_is_sent_the_answer_is_one_that_was_promised(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud.desk.pace.AT_ONCE", 10_000)
    failures: list[str] = []

    def send(case: Any) -> None:
        raw = case.operation.definition.raw
        roles = raw.get("x-rollen", ["privacy_officer"])
        who = ["privacy officer" if "privacy_officer" in roles else "coordinator"]
        if any("programma" in each for each in raw.get("security", ())):
            who.append("program")
        for each in who:
            headers = running.headers[each]
            case.call_and_validate(base_url=f"{running.address}/v1", headers=headers, checks=CHECKED, timeout=120)

    for operation in OPERATIONS:
        named = {each.name: running.real.get(each.name, NOBODYS) for each in operation.path_parameters}
        kinds = [
            operation.as_strategy(schemathesis.GenerationMode.POSITIVE),
            operation.as_strategy(schemathesis.GenerationMode.POSITIVE, path_parameters=named),
        ]
        if operation.body or operation.query:
            kinds.append(operation.as_strategy(schemathesis.GenerationMode.NEGATIVE, path_parameters=named))
        for kind in kinds:
            bounded = settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            try:
                seed(20261122)(bounded(given(case=kind)(send)))()
            except FailureGroup as found:
                failures.append(f"{operation.label}: {found.exceptions}")
    assert not failures, "\n\n".join(failures)
