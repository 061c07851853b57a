"""Wie met wie mag kijken, en waarvoor: T-11 tot en met T-21, T-24 tot en met T-26, T-36, T-38, T-39 en T-42."""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.wire.policy import CaseKind
from broker.wire.recording import Flag
from cloud.casework.office import Denied
from cloud.database.tables import segments
from cloud.desk.town import ROOMS
from cloud.ledger.log import LedgerUnwritable
from tests.acceptance.town import Town
from tests.promptness import within

pytestmark = pytest.mark.asyncio(loop_scope="module")

COORDINATOR, MANAGER, PRIVACY, SECRETARY, SAFETY, ADMIN = "o-101", "o-102", "o-103", "o-104", "o-105", "o-106"
DEMAND = {"authority": "OM", "reference": "PL-7", "date": "2027-01-10", "article": "126nda Sv", "scope": "alles"}


@asynccontextmanager
async def staying(people: list[Any], room: str) -> AsyncIterator[set[str]]:
    """Laat de browsers van deze mensen elke halve seconde weten dat zij er zijn; wie uit de lijst gaat, zwijgt."""
    here = {person.name for person in people}

    async def beat() -> None:
        while True:
            for person in people:
                if person.name in here:
                    await person.send(f"{room}/aanwezig")
            await asyncio.sleep(0.4)

    beating = asyncio.create_task(beat())
    try:
        yield here
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def address(person: Any, room: str) -> str:
    """Het adres waarvan deze browser kan afspelen; leeg als er niets te zien is."""
    _, text = await person.read(room)
    found = re.search(r'data-address="([^"]+)"', text)
    return found[1] if found else ""


async def approved(town: Town, by: str, second: str, case: str, recording: str, purpose: str) -> str:
    status, room, said = await town.ask_room(by, second, case, recording, purpose)
    assert status == 200, said
    async with town.signed_in(second) as person:
        status, _ = await person.send(f"{room}/goedkeuren")
        assert status == 200, person.said
    return room


@pytest.mark.rule("T-11", "T-20", "T-39", "H-47", "E-30", "E-32", "H-57", "H-64", "E-33")
async def test_t11_t20_samen_kijken_en_niets_meenemen(heusden: Town) -> None:
    """T-11 en T-20: één kijker alleen ziet niets; met zijn tweeën speelt het af; gaat er een weg, dan stopt het binnen
    vijf seconden. Kopiëren kan nergens: geen enkele pagina geeft beeld, en adressen van beeld zijn daarna dood."""
    recording = await heusden.film(real=True)
    case = await heusden.case(PRIVACY, "access_request", recording)
    assert "second person" in await heusden.why_not(PRIVACY, None, case, recording, "access_request")
    room = await approved(heusden, PRIVACY, MANAGER, case, recording, "access_request")
    async with heusden.signed_in(PRIVACY, MANAGER) as (first, second), staying([first, second], room) as here:
        assert (await first.send(f"{room}/goedkeuren"))[0] == 403, "nobody approves what he asked himself"
        written = (await heusden.casework.denials(heusden.org))[0]
        assert (written.who, written.what) == (PRIVACY, "viewing.approve")
        await first.send(f"{room}/plaatsnemen")
        assert not await address(first, room), "alone there is nothing"
        await second.send(f"{room}/plaatsnemen")
        playlist = await address(first, room)
        status, body, headers = await first.fetch(playlist)
        assert status == 200, body
        assert "no-store" in headers["Cache-Control"]
        segment = playlist.replace("index.m3u8", "5.m4s")
        status, picture, headers = await second.fetch(segment)
        assert (status, headers["Content-Type"]) == (200, "video/mp4")
        assert "no-store" in headers["Cache-Control"]
        assert b"moof" in picture
        pages = await every_page(heusden, first, recording=recording, case=case, room=room.rsplit("/", 1)[1])
        assert pages
        here.discard(second.name)
        await second.send("/afmelden")
        with within(5.0):
            while (await first.fetch(segment))[0] == 200:
                await asyncio.sleep(0.1)
        await first.send(f"{room}/sluiten")
        for dead in (segment, playlist, playlist.replace("index.m3u8", "init.mp4")):
            assert (await first.fetch(dead))[0] in (403, 404)
    with pytest.raises(Denied):
        await heusden.casework.prepare_disclosure(
            heusden.org, case, by=PRIVACY, recipient="police", recordings=[recording]
        )
    async with heusden.signed_in(PRIVACY) as person:
        asked = {"dossier": case, "opname": recording, "ontvanger": "police", "reden": "kopie", "tweede": MANAGER}
        assert (await person.send("/verstrekken", asked))[0] == 403
    watched = await heusden.entries("viewing.watched", subject=recording)
    assert {each.actor for each in watched} <= {PRIVACY, MANAGER}
    assert watched


NO_PICTURES = ("text/html", "application/json", "text/css", "text/csv", "application/vnd.oai.openapi+json")


async def every_page(town: Town, person: Any, **names: str) -> list[str]:
    """Vraag elke pagina van het loket op met deze namen erin; geen enkele mag beeld of een pakket geven."""
    tried = []
    for route in town.rooms.router.routes():
        path = route.resource.canonical if route.resource else ""
        if (
            route.method != "GET"
            or "/beeld/" in path
            or path in ("/live", "/static", "/v1/gebeurtenissen")
            or "{form" in path
        ):
            continue
        for name in re.findall(r"{(\w+)", path):
            path = re.sub(r"{" + name + r"[^}]*}", names.get(name, "cam-01"), path)
        status, _, headers = await person.fetch(path)
        kind = headers["Content-Type"].split(";")[0]
        assert status >= 400 or kind in NO_PICTURES, f"{path} gives {kind}"
        tried.append(path)
    return tried


@pytest.mark.rule("T-12", "T-23", "E-04c", "H-47", "H-48", "H-51", "E-01")
async def test_t12_een_vervanger_kan_echt_plaatsnemen_maar_nooit_op_twee_stoelen(heusden: Town) -> None:
    """T-12: wie de privacy officer vervangt, kan als tweede kijken naast een ander; twee stoelen krijgt hij nooit.
    Zonder aanwijzing krijgt hij geen stoel, en na afloop ook niet meer."""
    recording = await heusden.film(real=True)
    case = await heusden.case(PRIVACY, "access_request", recording)
    assert await heusden.why_not(COORDINATOR, SAFETY, case, recording, "access_request")
    version = (await heusden.kluis.public()).roster_version
    now = heusden.clock()
    substitution = await heusden.casework.appoint_substitute(
        heusden.org,
        by=SECRETARY,
        role="privacy_officer",
        replaced=PRIVACY,
        substitute=COORDINATOR,
        from_at=now,
        until_at=now + timedelta(days=7),
        ground="vakantie",
    )
    assert (await heusden.kluis.public()).roster_version == version + 1, "the Kluis's own list follows"
    assert "two seats" in await heusden.why_not(COORDINATOR, COORDINATOR, case, recording, "access_request")
    assert "second person" in await heusden.why_not(COORDINATOR, None, case, recording, "access_request")
    room = await approved(heusden, COORDINATOR, SAFETY, case, recording, "access_request")
    async with heusden.signed_in(COORDINATOR, SAFETY) as people, staying(people, room):
        for person in people:
            await person.send(f"{room}/plaatsnemen")
        status, _, _ = await people[0].fetch(await address(people[0], room))
        assert status == 200, "the Kluis gave the keys to a substitute"
        await people[0].send(f"{room}/sluiten")
    await heusden.casework.end_substitution(heusden.org, substitution, by=SECRETARY)
    assert await heusden.why_not(COORDINATOR, SAFETY, case, recording, "access_request")
    assert (await heusden.kluis.public()).roster_version == version + 2


@pytest.mark.rule("T-13", "H-53")
async def test_t13_een_klacht_bekijken_clustermanager_en_gemeentesecretaris(heusden: Town) -> None:
    """T-13: bij een klacht kijken clustermanager en gemeentesecretaris; privacy officer en clustermanager niet."""
    recording = await heusden.film()
    case = await heusden.case(PRIVACY, "complaint", recording)
    assert await heusden.why_not(PRIVACY, MANAGER, case, recording, "complaint")
    status, _, said = await heusden.ask_room(MANAGER, SECRETARY, case, recording, "complaint")
    assert status == 200, said


@pytest.mark.rule("T-14", "H-44", "T-15", "H-45")
async def test_t14_t15_bij_strafzaken_kijkt_de_secretaris_nooit_en_de_veiligheidscoordinator_bij_aangifte(
    heusden: Town,
) -> None:
    """T-14 en T-15: de gemeentesecretaris ziet geen strafzaak; de veiligheidscoördinator alleen na een aangifte."""
    recording = await heusden.film()
    demand = await heusden.case(PRIVACY, "om_demand", recording, **DEMAND)
    crime = await heusden.case(PRIVACY, "aangifte", recording)
    assert await heusden.why_not(SECRETARY, PRIVACY, demand, recording, "criminal_demand")
    assert await heusden.why_not(SECRETARY, PRIVACY, crime, recording, "criminal_aangifte")
    assert await heusden.why_not(SAFETY, PRIVACY, demand, recording, "criminal_demand")
    status, _, said = await heusden.ask_room(PRIVACY, SAFETY, crime, recording, "criminal_aangifte")
    assert status == 200, said


@pytest.mark.rule("T-16", "H-56")
async def test_t16_bij_inzage_zit_altijd_de_privacy_officer(heusden: Town) -> None:
    """T-16: een kijksessie bij een inzageverzoek zonder privacy officer (of vervanger) gaat niet door."""
    recording = await heusden.film()
    case = await heusden.case(PRIVACY, "access_request", recording)
    for first, second in ((MANAGER, SECRETARY), (COORDINATOR, SAFETY), (SECRETARY, SAFETY)):
        assert await heusden.why_not(first, second, case, recording, "access_request")


async def learns(town: Town, officer: str, recording: str) -> Any:
    return await town.casework.register_case(
        town.org, by=officer, kind=CaseKind.LEARNING, summary="terugkijken", recordings=[recording]
    )


@pytest.mark.rule("T-17", "T-19", "H-60", "H-06", "H-58")
async def test_t17_t19_leren_vraagt_alleen_wie_er_zelf_bij_was(heusden: Town) -> None:
    """T-17 en T-19: wie de opname niet maakte en er niet bij was, krijgt geen leerverzoek; een leidinggevende kan er
    geen openen voor een ander."""
    recording = await heusden.film("cam-02")
    assert (await heusden.row(recording)).official == "h-002"
    with pytest.raises(Denied, match="did not make this recording"):
        await learns(heusden, "h-001", recording)
    for other in (MANAGER, COORDINATOR):
        with pytest.raises(Denied):
            await learns(heusden, other, recording)
        async with heusden.signed_in(other) as person:
            status, _ = await person.send(
                "/dossiers", {"soort": "learning", "omschrijving": "voor h-002", "opname": recording}
            )
            assert status == 403
    assert (await learns(heusden, "h-002", recording)).facts["learner"] == "h-002"


@pytest.mark.rule("T-18", "H-62", "E-04", "E-03")
async def test_t18_was_de_coordinator_erbij_dan_neemt_de_clustermanager_het_over(heusden: Town) -> None:
    """T-18: was de coördinator aanwezig, dan keurt hij het leerverzoek niet goed en kijkt hij niet mee."""
    recording = await heusden.film("cam-02")
    report = await heusden.casework.save_report(
        heusden.org, by="h-002", recording=recording, answers={"present_staff": [COORDINATOR]}
    )
    assert report.answers["present_staff"] == [COORDINATOR]
    case = await learns(heusden, "h-002", recording)
    with pytest.raises(Denied):
        await heusden.casework.take_step(heusden.org, case.id, "approve", by=COORDINATOR)
    await heusden.casework.take_step(heusden.org, case.id, "approve", by=MANAGER)
    assert await heusden.why_not("h-002", COORDINATOR, case.id, recording, "learning")
    status, _, said = await heusden.ask_room("h-002", MANAGER, case.id, recording, "learning")
    assert status == 200, said


@pytest.mark.rule("T-21", "H-63")
async def test_t21_kijken_kan_alleen_vanaf_een_geregistreerde_kijkplek(heusden: Town, rotterdam: Town) -> None:
    """T-21: vanaf een andere plek dan de kijkkamer van de gemeente wordt vragen, goedkeuren en plaatsnemen geweigerd;
    die weigering staat vast. Rotterdam zegt niets over de plek."""
    recording = await heusden.film(real=True)
    case = await heusden.case(PRIVACY, "access_request", recording)
    asked = {"dossier": case, "doel": "access_request", "opname": recording, "reden": "x", "tweede": MANAGER}
    room = await approved(heusden, PRIVACY, MANAGER, case, recording, "access_request")
    async with heusden.signed_in(PRIVACY) as person:
        for path, fields in (("/kijkkamer", {**asked, "alleen": "ja"}), (f"{room}/plaatsnemen", {})):
            status, _ = await person.send(path, fields, at="203.0.113.9")
            assert status == 403
            written = (await heusden.casework.denials(heusden.org))[0]
            assert (written.who, written.what) == (PRIVACY, "viewing place")
        status, _ = await person.send(f"{room}/plaatsnemen")
        assert status == 200, "from the town hall itself"
        await person.send(f"{room}/sluiten")
    there = await rotterdam.film(real=True)
    theirs = await rotterdam.case("o-204", "complaint", there)
    fields = {"dossier": theirs, "doel": "complaint", "opname": there, "reden": "x", "alleen": "ja"}
    async with rotterdam.signed_in("o-204") as person:
        status, _ = await person.send("/kijkkamer", fields, at="203.0.113.9")
        assert status == 200


@pytest.mark.rule("T-24", "R-16")
async def test_t24_er_zijn_nooit_meer_dan_twee_kijkers(rotterdam: Town) -> None:
    """T-24: een derde geautoriseerde kijker wordt geweigerd; trekt er een zich terug, dan kan het wel."""
    office, org, role = rotterdam.casework, rotterdam.org, "authorised_viewer"
    may = set((await rotterdam.policies.current(rotterdam.org)).casework.appoint)
    by = next(card.id for card in await rotterdam.casework.officials(rotterdam.org) if may & card.person.roles)
    with pytest.raises(Denied):
        await office.appoint(org, by=by, official="o-207", role=role)
    await office.withdraw(org, by=by, official="o-205", role=role)
    await office.appoint(org, by=by, official="o-207", role=role)
    assert "authorised_viewer" in (await rotterdam.casework.person(rotterdam.org, "o-207")).roles
    assert (await rotterdam.kluis.public()).roster_version == 3


@pytest.mark.rule("T-25", "R-18", "H-09")
async def test_t25_een_doel_dat_het_beleid_niet_kent_bestaat_niet(rotterdam: Town) -> None:
    """T-25: Rotterdam kent drie redenen om te kijken; leren hoort daar niet bij en wordt geweigerd."""
    recording = await rotterdam.film()
    case = await rotterdam.case("o-204", "complaint", recording)
    why = await rotterdam.why_not("o-204", None, case, recording, "learning")
    assert "no purpose" in why


@pytest.mark.rule("T-26", "C-01", "E-13", "R-14", "H-20")
async def test_t26_twee_minuten_vooropname_mag_in_rotterdam_en_niet_in_heusden(heusden: Town, rotterdam: Town) -> None:
    """T-26: 120 seconden vooropname is in Rotterdam gewoon; in Heusden staat de opname apart, is hij niet te bekijken
    en staat de afwijking erbij, totdat de privacy officer beslist."""
    ordinary = await rotterdam.film(pre_record_s=120)
    assert await rotterdam.state(ordinary) == "retained"
    too_long = await heusden.film(pre_record_s=120)
    row = await heusden.row(too_long)
    assert (row.state, row.deviations) == ("restricted", ["pre_record_too_long"])
    case = await heusden.case(MANAGER, "complaint", too_long)
    status, path, said = await heusden.ask_room(MANAGER, SECRETARY, case, too_long, "complaint")
    assert status == 200, said
    async with heusden.database.transaction() as t:
        query = select(segments).where(segments.c.recording == too_long, segments.c.sequence > 0)
        pieces = (await t.execute(query.order_by(segments.c.sequence))).all()
    (asked,) = heusden.rooms[ROOMS].find(path.rsplit("/", 1)[1]).request.recordings
    pressed = next(each for each in pieces if not Flag(each.flags) & Flag.PRE_RECORD)
    first = next(each for each in pieces if each.sequence == asked.first)
    assert 29 <= (pressed.starts_at - first.starts_at).total_seconds() <= 30.5
    assert asked.last == pieces[-1].sequence, "what follows the press is open"
    with pytest.raises(Denied):
        await heusden.casework.decide_restricted(heusden.org, too_long, by=COORDINATOR, keep=True, ground="mag wel")
    await heusden.casework.decide_restricted(heusden.org, too_long, by=PRIVACY, keep=True, ground="van belang")
    assert await heusden.state(too_long) == "held"


@pytest.mark.rule("T-38", "H-43", "E-34", "H-37")
async def test_t38_beheerders_zien_geen_beeld_en_geen_bestand_verraadt_het(heusden: Town) -> None:
    """T-38: de functioneel beheerder krijgt nergens beeld; en in geen enkel bestand van database, opslag, logboek of
    Kluis staat een beeld leesbaar."""
    footage = await heusden.make("cam-03", real=True)
    await heusden.press("cam-03", recording=footage.recording)
    assert (await heusden.dock(footage))[0] == 200
    case = await heusden.case(PRIVACY, "access_request", footage.id)
    assert await heusden.why_not(PRIVACY, ADMIN, case, footage.id, "access_request")
    async with heusden.signed_in(ADMIN) as admin:
        for page in ("/opnamen", "/dossiers", "/kijkkamer", "/logboek", f"/opnamen/{footage.id}", f"/dossiers/{case}"):
            assert (await admin.read(page))[0] == 403
        await every_page(heusden, admin, recording=footage.id, case=case, room="x")
    status, _, _ = await heusden.ask_room(ADMIN, PRIVACY, case, footage.id, "access_request")
    assert status == 403
    readable = [piece[at : at + 64] for piece in footage.plaintext for at in (200, len(piece) // 2)]
    looked_in = 0
    for path in sorted(Path(at, name) for at, _, names in os.walk(heusden.folder.root) for name in names):
        if path.is_file() and "cameras" not in path.parts:
            looked_in += 1
            with suppress(FileNotFoundError):  # the town runs
                content = path.read_bytes()
                assert not any(piece in content for piece in readable), f"{path} holds readable footage"
    assert looked_in > 20


@pytest.mark.rule("T-39", "H-09")
async def test_t39_elke_weigering_staat_vast_met_wie_wat_en_waarom(heusden: Town) -> None:
    """T-39: elke weigering staat in het logboek: wie, wat en waarom."""
    recording = await heusden.film()
    case = await heusden.case(PRIVACY, "complaint", recording)
    before = len(await heusden.entries("denial"))
    why = await heusden.why_not(SAFETY, SECRETARY, case, recording, "complaint")
    entry = (await heusden.entries("denial"))[-1]
    assert len(await heusden.entries("denial")) == before + 1
    assert (entry.actor, entry.facts["what"]) == (SAFETY, "viewing complaint")
    assert why
    async with heusden.signed_in(PRIVACY) as person:
        status, text = await person.read("/logboek")
    assert status == 200
    assert "viewing complaint" in text


@pytest.mark.rule("T-42", "E-47")
async def test_t42_twee_gemeenten_zien_elkaar_niet(heusden: Town, rotterdam: Town) -> None:
    """T-42: dezelfde opname geeft in twee gemeenten andere rechten, en geen van beide ziet iets van de ander."""
    here, there = await heusden.film(pre_record_s=10), await rotterdam.film(pre_record_s=10)
    case = await heusden.case(PRIVACY, "complaint", here)
    theirs = await rotterdam.case("o-204", "complaint", there)
    assert "second person" in await heusden.why_not(MANAGER, None, case, here, "complaint")
    status, _, said = await rotterdam.ask_room("o-204", None, theirs, there, "complaint")
    assert status == 200, said
    async with heusden.signed_in(PRIVACY) as person:
        for path in (f"/opnamen/{there}", f"/dossiers/{theirs}"):
            assert (await person.read(path))[0] == 404
        _, text = await person.read("/opnamen")
        assert there not in text
    footage = await rotterdam.make()
    status, said = await heusden.dock(footage)
    assert status in (403, 404, 409), said
    assert await heusden.state(footage.id) == "absent"


@pytest.mark.rule("T-36", "E-35")
async def test_t36_zonder_logboek_wordt_niets_bekeken_maar_wel_opgenomen(
    rotterdam: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-36: is het logboek weg, dan wordt kijken geweigerd; binnengekomen beeld blijft bewaard en de camera houdt het
    ook, tot het logboek er weer is."""
    recording = await rotterdam.film()
    case = await rotterdam.case("o-204", "complaint", recording)
    footage = await rotterdam.make("cam-02")
    await rotterdam.press("cam-02", recording=footage.recording)

    def full(_entries: object) -> int:
        raise LedgerUnwritable(rotterdam.folder.ledger, OSError(errno.ENOSPC, "the disk is full"))

    with monkeypatch.context() as patched:
        patched.setattr(rotterdam.ledger._tiles, "append", full)
        status, _, said = await rotterdam.ask_room("o-204", None, case, recording, "complaint")
        assert status == 503, said
        status, said = await rotterdam.dock(footage)
        assert status == 503, "no receipt, so the camera keeps it"
        assert "ledger" in said
        assert await rotterdam.bytes_left(footage.id) == len(footage.segments), "and the vault has it already"
    assert (await rotterdam.dock(footage))[0] == 200
    status, _, said = await rotterdam.ask_room("o-204", None, case, recording, "complaint")
    assert status == 200, said
