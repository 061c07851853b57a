"""Devices, people, sessions and channels by a program: the same acts as on the pages, and the same refusals."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.wire.ids import DeviceId
from cloud.alerting.routes import Routes
from edge.joining import NewCamera
from tests.adapters.alerting.test_alerting import Service
from tests.adapters.api.people import Caller, calling, denied
from tests.browser.town import TownHall, fill_the_streets, open_town

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[Service]:
    here = Service()
    app = web.Application()
    app.router.add_post("/{address}", here.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    here.port = runner.addresses[0][1]
    yield here
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory, service: Service) -> AsyncIterator[TownHall]:
    routes = Routes({"telefoon": service.route})
    async with open_town(tmp_path_factory.mktemp("town"), routes=routes) as hall:
        await fill_the_streets(hall)
        yield hall


@pytest_asyncio.fixture(loop_scope="module")
async def administrator(town: TownHall) -> AsyncIterator[Caller]:
    async with calling(town, "o-106") as caller:
        yield caller


def request_for(key: ec.EllipticCurvePrivateKey) -> str:
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


async def test_a_camera_joins_by_its_code_is_assigned_and_leaves_for_ever(town: TownHall, coordinator: Caller) -> None:
    assert (await coordinator.post("/nieuwe-cameras", None)).status == 204
    (box,) = (town.folder / "cameras").iterdir()
    await asyncio.to_thread(NewCamera, box)
    assert town.administration is not None
    letter = (box / "card" / "to-dock" / "enrolment.json").read_bytes()
    await town.administration.enrolments.ask(letter, dock=DeviceId("dock-01"))
    (waiting,) = (await coordinator.get("/nieuwe-cameras")).said["resultaten"]
    asked = {"code": waiting["code"], "sleutel": waiting["sleutel"], "camera": "cam-51", "motivering": "extension"}
    async with calling(town, "o-103") as privacy_officer:
        assert (await privacy_officer.post("/cameras", asked)).status == 403
    assert ("o-103", "device.add") in await denied(town)
    assert (await coordinator.post("/cameras", asked | {"sleutel": "0" * 32})).status == 403
    joined = await coordinator.post("/cameras", asked | {"team": "noord"})
    assert (joined.status, joined.headers["Location"]) == (201, "/v1/cameras/cam-51")

    placed = await coordinator.ask("PUT", "/cameras/cam-51/indeling", {"team": "west", "handhaver": "h-020"})
    assert placed.status == 204
    card = (await coordinator.get("/cameras/cam-51")).said
    assert (card["team"], card["handhaver"]) == ("west", "h-020")
    assert (await coordinator.post("/cameras/cam-51/intrekkingen", {"motivering": "loss"})).status == 204
    assert (await coordinator.post("/cameras/cam-51/intrekkingen", {"motivering": "loss"})).status == 409
    gone = (await coordinator.get("/apparaten/cam-51")).said
    assert (gone["soort"], gone["stand"]) == ("camera", "lost")


async def test_a_dock_gets_certificates_and_leaves_for_ever(coordinator: Caller) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    asked = {"dockingstation": "dock-02", "locatie": "Drunen", "certificaataanvraag": request_for(key)}
    made = await coordinator.post("/dockingstations", asked)
    assert made.status == 201
    assert x509.load_pem_x509_certificate(made.said["certificaat"].encode()).public_key() == key.public_key()
    there = await coordinator.get(made.headers["Location"].removeprefix("/v1"))
    assert (there.said["soort"], there.said["locatie"]) == ("dock", "Drunen")
    renewed = await coordinator.post(
        "/dockingstations/dock-02/certificaten", {"certificaataanvraag": asked["certificaataanvraag"]}
    )
    assert renewed.said["certificaat"] != made.said["certificaat"]
    assert (await coordinator.post("/dockingstations", asked)).status == 409
    assert (await coordinator.post("/dockingstations/dock-02/intrekkingen", {"motivering": "surplus"})).status == 204


async def test_somebody_comes_gets_a_role_is_away_and_goes(town: TownHall, administrator: Caller) -> None:
    new = {"medewerker": "o-120", "naam": "Sara Sterk", "afdeling": "informatie"}
    made = await administrator.post("/medewerkers", new)
    assert (made.status, made.said["rollen"]) == (201, [])
    address = made.headers["Location"].removeprefix("/v1")
    assert (await administrator.post("/medewerkers", new)).status == 409
    assert (await administrator.post(f"{address}/rollen", {"rol": "safety_coordinator"})).status == 204
    held = (await administrator.get(address)).said["rollen"]
    assert [(each["rol"], each["gegevenDoor"]) for each in held] == [("safety_coordinator", "o-106")]
    away = await administrator.ask("PUT", f"{address}/afwezigheid", {"totTijdstip": "2026-12-01T00:00:00Z"})
    assert (away.status, (await administrator.get(address)).said["afwezig"]) == (204, True)
    last = {"tijdstip": "2026-11-20T00:00:00Z"}
    async with calling(town, "o-103") as privacy_officer:
        assert (await privacy_officer.ask("PUT", f"{address}/vertrek", last)).status == 403
    assert (await administrator.ask("PUT", f"{address}/vertrek", last)).status == 204
    assert (await administrator.get(address)).status == 404


async def test_who_stands_in_is_listed(administrator: Caller) -> None:
    asked = {
        "rol": "privacy_officer",
        "vervangene": "o-103",
        "vervanger": "o-105",
        "vanafTijdstip": "2026-11-20T23:00:00Z",
        "totTijdstip": "2026-11-27T23:00:00Z",
        "grond": "vakantie",
    }
    made = await administrator.post("/vervangingen", asked)
    listed = (await administrator.get("/vervangingen")).said["resultaten"]
    assert [(each["id"], each["vervanger"]) for each in listed] == [(made.said["id"], "o-105")]


async def test_one_sees_and_ends_ones_own_sessions_only(town: TownHall, coordinator: Caller) -> None:
    async with calling(town, "o-101") as elsewhere, calling(town, "o-102") as another:
        mine = (await elsewhere.get("/aanmeldingen")).said["resultaten"]
        (there,) = [each["id"] for each in mine if each["hier"]]
        assert there in [each["id"] for each in (await coordinator.get("/aanmeldingen")).said["resultaten"]]
        assert (await another.ask("DELETE", f"/aanmeldingen/{there}")).status == 404
        assert (await coordinator.ask("DELETE", f"/aanmeldingen/{there}")).status == 204
        assert (await elsewhere.get("/sessie")).status == 401
        assert (await another.ask("DELETE", "/aanmeldingen")).status == 204
        assert (await another.get("/sessie")).status == 401
    assert (await coordinator.get("/sessie")).status == 200


async def test_a_channel_is_confirmed_by_what_came_over_it(service: Service, coordinator: Caller) -> None:
    service.said.clear()
    added = await coordinator.post("/kanalen", {"route": "telefoon", "adres": "marieke"})
    assert (added.status, added.said["bevestigdTijdstip"]) == (201, None)
    assert service.said[0][2] == "Code: 000042"
    address = f"/kanalen/{added.said['id']}"
    assert (await coordinator.post(f"{address}/proefberichten", None)).status == 409
    assert (await coordinator.post(f"{address}/bevestigingen", {"code": "000001"})).status == 403
    assert (await coordinator.post(f"{address}/bevestigingen", {"code": "000042"})).status == 204
    assert (await coordinator.post(f"{address}/proefberichten", None)).said == {"aangekomen": True}
    known = (await coordinator.get("/kanalen")).said
    assert (known["routes"], [each["adres"] for each in known["resultaten"]]) == (["telefoon"], ["marieke"])
    assert (await coordinator.ask("DELETE", address)).status == 204
    assert (await coordinator.get("/kanalen")).said["resultaten"] == []


async def test_keys_and_the_list_of_the_kluis_are_for_standard_mode(town: TownHall) -> None:
    async with calling(town, "o-103") as caller:
        for path in ("/sleutels", "/kluislijst"):
            assert (await caller.get(path)).status == 404
        assert (await caller.get("/noodingangen")).said["resultaten"] == []
