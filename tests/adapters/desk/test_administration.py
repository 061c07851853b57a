"""Beheer and Zelfcontrole at the desk: what each role sees and may do, and that refusals are written down."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from cloud.database import tables
from cloud.desk.administration import Administration
from cloud.desk.pages.administration import displays
from cloud.desk.pages.selfcheck import SELF_CHECK
from cloud.desk.words import HERE
from edge.joining import NewCamera
from tests.adapters.desk.test_desk import denied
from tests.adapters.desk.test_desk import sign_in as begin
from tests.browser.town import ORG, TownHall, open_town

COORDINATOR, MANAGER, PRIVACY, SECRETARY, ADMINISTRATOR = "o-101", "o-102", "o-103", "o-104", "o-106"
SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[TownHall]:
    async with open_town(tmp_path) as hall:
        yield hall


def office(town: TownHall) -> Administration:
    assert town.administration is not None
    return town.administration


async def sign_in(client: aiohttp.ClientSession, who: str) -> str:
    """Sign in as somebody else; return the form token of the session."""
    client.cookie_jar.clear()
    return await begin(client, who)


async def get(client: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, str]:
    async with client.get(path, headers=headers) as answer:
        return answer.status, await answer.text()


async def post(client: aiohttp.ClientSession, path: str, token: str, **fields: str) -> tuple[int, str]:
    """Send a form; return the status and where it leads, or what it says."""
    async with client.post(path, data={"csrf": token, **fields}, headers=SAME_SITE, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", "") or await answer.text()


async def state_of(town: TownHall, camera: str) -> Any:
    async with town.database.transaction() as t:
        return (await t.execute(select(tables.cameras).where(tables.cameras.c.id == camera))).one_or_none()


async def kinds(town: TownHall) -> list[str]:
    entries = await town.ledger.read(0, town.ledger.checkpoint().size)
    return [found[1] for _, raw in entries if (found := re.search(r'"kind":"([^"]+)"', raw.decode()))]


def request_for(key: ec.EllipticCurvePrivateKey) -> str:
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.rule("H-33", "T-22")
async def test_the_coordinator_enrols_by_the_code_of_the_camera_he_chose_and_nobody_else_does(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    token = await sign_in(client, COORDINATOR)
    assert (await post(client, "/beheer/uitpakken", token))[1] == "/beheer?gedaan=uitgepakt"
    (box,) = (town.folder / "cameras").iterdir()
    camera = await asyncio.to_thread(NewCamera, box)
    letter = (box / "card" / "to-dock" / "enrolment.json").read_bytes()
    await office(town).enrolments.ask(letter, dock="dock-01")  # type: ignore[arg-type]
    code, key = (box / "display.txt").read_text().split()
    _, text = await get(client, "/beheer")
    assert f'value="{key}"' in text
    asked = {"code": code, "sleutel": key, "naam": "cam-51", "reden": "extension", "team": "noord"}

    status, _ = await post(client, "/beheer/cameras", token, **{**asked, "sleutel": "0" * 32})  # another camera's code
    assert status == 403
    for other in (ADMINISTRATOR, MANAGER, PRIVACY):
        other_token = await sign_in(client, other)
        assert (await post(client, "/beheer/cameras", other_token, **asked))[0] == 403
    assert await state_of(town, "cam-51") is None
    assert await denied(town) == ["device.add"] * 4

    token = await sign_in(client, COORDINATOR)
    assert await post(client, "/beheer/cameras", token, **asked) == (303, "/beheer/cameras/cam-51?gedaan=ingeschreven")
    answer = await office(town).enrolments.ask(letter, dock="dock-01")  # type: ignore[arg-type]
    (box / "card" / "from-dock" / "enrolment.json").write_bytes(answer or b"")
    assert await asyncio.to_thread(camera.look) is None
    assert camera.enrolled
    row = await state_of(town, "cam-51")
    assert (row.state, row.team) == ("enrolled", "noord")
    _, text = await get(client, "/beheer/cameras/cam-51")
    assert key in text


def test_a_camera_that_is_let_in_while_the_page_is_drawn_shows_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [tmp_path / name / "display.txt" for name in ("new-1", "new-2")]
    for each in shown:
        each.parent.mkdir()
        each.write_text("0000-1111 abcd")
    read = Path.read_text

    def meanwhile(path: Path) -> str:
        text = read(path)
        shown[1].unlink()
        return text

    monkeypatch.setattr(Path, "read_text", meanwhile)
    hall: Any = SimpleNamespace(demo=SimpleNamespace(cameras=tmp_path))
    assert displays(hall) == (("0000-1111", "abcd"),)


@pytest.mark.rule("H-33", "H-02")
async def test_a_camera_is_assigned_and_reported_lost_by_the_coordinator_for_ever(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    token = await sign_in(client, COORDINATOR)
    assert (await post(client, "/beheer/cameras/cam-07/indelen", token, team="west", drager="h-020"))[0] == 303
    card = town.fleet.card(ORG, "cam-07")
    assert card is not None
    assert (card.team, card.officer) == ("west", "h-020")
    status, _ = await post(client, "/beheer/cameras/cam-07/indelen", token, team="west", drager=SECRETARY)
    assert status == 403  # not a function that wears one
    assert (await post(client, "/beheer/cameras/cam-07/weg", token, reden="because"))[0] == 400
    assert (await post(client, "/beheer/cameras/cam-07/weg", token, reden="loss"))[0] == 303
    assert (await state_of(town, "cam-07")).state == "lost"
    assert town.fleet.card(ORG, "cam-07") is None
    assert (await post(client, "/beheer/cameras/cam-07/weg", token, reden="loss"))[0] == 409
    status, where = await post(client, "/beheer/cameras/cam-08/weg", token, reden="replacement")
    assert (status, where) == (303, "/beheer?gedaan=ingetrokken&reden=replacement&team=west")
    assert [kind for kind in await kinds(town) if kind.startswith("camera.")] == [
        *("camera.assigned", "camera.assigned", "camera.revoked", "camera.revoked"),
    ]
    _, gone = await get(client, "/beheer?toon=weg")
    assert ">cam-07<" in gone
    assert ">cam-09<" not in gone


async def test_a_dock_gets_a_certificate_for_a_key_that_never_leaves_it(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    token = await sign_in(client, COORDINATOR)
    asked = {"naam": "dock-02", "plaats": "Drunen", "aanvraag": request_for(key)}
    status, text = await post(client, "/beheer/docks", token, **asked)
    assert status == 200
    certificate = x509.load_pem_x509_certificate(text.encode())
    assert certificate.public_key() == key.public_key()
    assert (await post(client, "/beheer/docks", token, **asked))[0] == 409
    assert (await post(client, "/beheer/docks", token, **{**asked, "naam": "dock-03", "aanvraag": "x"}))[0] == 400
    status, text = await post(client, "/beheer/docks/dock-02/certificaat", token, aanvraag=request_for(key))
    assert x509.load_pem_x509_certificate(text.encode()).serial_number != certificate.serial_number
    assert (await post(client, "/beheer/docks/dock-02/weg", token, reden="loss"))[0] == 303
    known = await office(town).enrolments.identities()
    assert known["dock-02"].revoked_at is not None
    assert (await post(client, "/beheer/docks/dock-02/certificaat", token, aanvraag=request_for(key)))[0] == 409
    token = await sign_in(client, ADMINISTRATOR)
    assert (await post(client, "/beheer/docks/dock-01/weg", token, reden="loss"))[0] == 403
    assert "dock.remove" in await denied(town)


@pytest.mark.rule("H-48")
async def test_people_come_and_go_and_a_right_ends_on_the_day_its_holder_leaves(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    token = await sign_in(client, ADMINISTRATOR)
    new = {"naam": "Fleur de Groot", "kenmerk": "o-201", "functie": "", "afdeling": "directie", "team": ""}
    assert (await post(client, "/beheer/mensen", token, **new))[1] == "/beheer/mensen/o-201?gedaan=bewaard"
    assert (await post(client, "/beheer/mensen", token, **new))[0] == 409
    assert (await post(client, "/beheer/mensen/o-201", token, doe="geef", rol="coordinator"))[0] == 303
    assert (await post(client, f"/beheer/mensen/{ADMINISTRATOR}", token, doe="geef", rol="privacy_officer"))[0] == 403
    _, text = await get(client, "/beheer/mensen/o-201")
    assert "boa-coördinator" in text
    today = town.clock().astimezone(HERE).date().isoformat()
    assert (await post(client, "/beheer/mensen/o-201", token, doe="vertrek", tot=today))[0] == 303
    person = await town.casework.person(ORG, "o-201")
    assert person.holds("coordinator")  # until the end of this day
    town.clock.move_forward(timedelta(hours=12))
    person = await town.casework.person(ORG, "o-201")
    assert not person.employed
    assert not person.roles
    token = await sign_in(client, COORDINATOR)  # for devices only
    assert (await get(client, "/beheer/mensen"))[0] == 403
    assert (await post(client, "/beheer/mensen", token, **{**new, "kenmerk": "o-202"}))[0] == 403
    assert {"official.hire", "beheer"} <= set(await denied(town))


async def test_a_substitute_is_appointed_for_a_period_and_ended_early(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    token = await sign_in(client, SECRETARY)
    day = town.clock().astimezone(HERE).date().isoformat()
    asked = {"voor": "privacy_officer/o-103", "vervanger": MANAGER, "van": day, "tot": day, "grond": "vakantie"}
    assert (await post(client, "/beheer/vervangingen", token, **{**asked, "grond": ""}))[0] == 400
    assert (await post(client, "/beheer/vervangingen", token, **asked))[0] == 303
    assert (await town.casework.person(ORG, MANAGER)).holds("privacy_officer")
    _, text = await get(client, "/beheer/mensen")
    (found,) = set(re.findall(r"/beheer/vervangingen/([0-9a-f-]{36})/einde", text))
    assert (await post(client, f"/beheer/vervangingen/{found}/einde", token))[0] == 303
    assert not (await town.casework.person(ORG, MANAGER)).holds("privacy_officer")


async def test_rights_are_reviewed_as_they_were_shown_and_the_ledger_has_it(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    town.clock.move_forward(timedelta(days=93))
    token = await sign_in(client, ADMINISTRATOR)
    _, text = await get(client, "/beheer/rechten")
    assert "te laat" in text
    seen = re.findall(r'name="gezien" value="([0-9a-f]{64})"', text)[0]
    await town.casework.withdraw(ORG, by=SECRETARY, official="o-105", role="safety_coordinator")
    assert (await post(client, "/beheer/rechten", token, soort="yearly", gezien=seen))[0] == 409  # look again
    _, text = await get(client, "/beheer/rechten")
    seen = re.findall(r'name="gezien" value="([0-9a-f]{64})"', text)[0]
    assert (await post(client, "/beheer/rechten", token, soort="yearly", gezien=seen))[0] == 303
    _, text = await get(client, "/beheer/rechten")
    assert "te laat" not in text
    assert "rights.reviewed" in await kinds(town)
    token = await sign_in(client, PRIVACY)
    assert (await post(client, "/beheer/rechten", token, soort="yearly", gezien=seen))[0] == 403
    assert "rights.review" in await denied(town)


async def test_the_self_check_says_to_people_and_machines_what_is_wrong_and_names_nobody(
    town: TownHall, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud.rules.self_check.PROBE_SLOW_S", 60.0)  # a busy machine is no sick disk
    assert town.runner is not None
    checking = town.runner.app[SELF_CHECK]
    await checking.recompute()
    await sign_in(client, ADMINISTRATOR)
    async with client.get("/zelfcontrole", headers={"Accept": "application/json"}) as answer:
        said = await answer.json()
        text = await answer.text()
    lights = {name: each["light"] for name, each in said["checks"].items()}
    assert {name for name, light in lights.items() if light != "green"} <= {"witness", "alerting"}
    for person in ("Marieke", "o-101", "h-001"):
        assert person not in text
    _, text = await get(client, "/zelfcontrole", Accept="text/html")
    assert "in orde" in text
    await sign_in(client, MANAGER)
    assert (await get(client, "/zelfcontrole"))[0] == 403
    assert "zelfcontrole" in await denied(town)


async def test_a_ledger_that_was_changed_under_it_is_seen_by_the_nights_work(town: TownHall, tmp_path: Path) -> None:
    assert town.runner is not None
    checking = town.runner.app[SELF_CHECK]
    found = await checking.recompute()
    assert found is not None
    assert found.intact
    await checking.write()
    bundle = max(each for each in (tmp_path / "ledger").rglob("entries/**/*") if each.is_file())
    raw = bytearray(bundle.read_bytes())
    raw[-9] ^= 1
    bundle.write_bytes(raw)
    found = await checking.recompute()
    assert found is not None
    assert not found.intact
    said = {each.check.value: each.light.value for each in await checking.findings(screens=0)}
    assert said["ledger"] == "red"


async def test_a_program_is_asked_for_let_in_by_somebody_else_shown_its_token_once_and_stopped(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    token = await sign_in(client, ADMINISTRATOR)
    asked = {"kenmerk": "zaaksysteem", "doel": "Koppeling <b>", "tot": "2027-03-01", "netwerken": "10.1.2.0/24"}
    assert (await post(client, "/beheer/programmas", token, **asked))[0] == 400  # it may nothing yet
    form = aiohttp.FormData({"csrf": token, **asked})
    for scope in ("cases.read", "cases.register"):
        form.add_field("bereik", scope)
    async with client.post("/beheer/programmas", data=form, headers=SAME_SITE, allow_redirects=False) as answer:
        assert answer.status == 303
    address = "/beheer/programmas/prog-zaaksysteem"
    assert (await post(client, f"{address}/toelaten", token))[0] == 403
    _, text = await get(client, "/beheer/programmas")
    assert "Koppeling &lt;b&gt;" in text
    assert "dossiers vastleggen, met hun bewaarplicht" in text
    assert f"{address}/toelaten" not in text

    token = await sign_in(client, PRIVACY)
    assert f"{address}/toelaten" in (await get(client, "/beheer/programmas"))[1]
    assert (await post(client, f"{address}/toelaten", token))[0] == 303

    token = await sign_in(client, ADMINISTRATOR)
    async with client.post(f"{address}/token", data={"csrf": token}, headers=SAME_SITE) as answer:
        shown = re.search(r"vierogen_[A-Za-z0-9_-]{43}", await answer.text())
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert shown
    assert (await post(client, f"{address}/token", token))[0] == 409
    assert shown[0] not in (await get(client, "/beheer/programmas"))[1]
    bearer = {"Authorization": f"Bearer {shown[0]}", "X-Forwarded-For": "10.1.2.9"}
    assert (await get(client, "/v1/dossiers", **bearer))[0] == 200
    assert (await post(client, f"{address}/einde", token))[0] == 303
    assert (await get(client, "/v1/dossiers", **bearer))[0] == 401
    await sign_in(client, COORDINATOR)
    assert (await get(client, "/beheer/programmas"))[0] == 403
    assert [kind for kind in await kinds(town) if kind.startswith("program.")] == [
        *("program.asked", "program.confirmed", "program.issued", "program.ended")
    ]
