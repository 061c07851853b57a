"""Wat een dossier kan, kan aan het loket: noodrem, voorval, leren, vernietigen, brieven, register, melding, beleid."""

import re
from datetime import timedelta
from typing import Any

import pytest

from broker.wire.policy import CaseKind
from cloud.ledger.tiles import TILE, tile_path
from cloud.rules.retention import HERE
from tests.acceptance.town import Town
from tests.rules.rules.towns import changed_text

pytestmark = pytest.mark.asyncio(loop_scope="module")

COORDINATOR, MANAGER, PRIVACY, SECRETARY = "o-101", "o-102", "o-103", "o-104"


def case_in(path: str) -> str:
    return path.rsplit("/", 1)[1]


async def text_of(town: Town, who: str, path: str) -> str:
    async with town.signed_in(who) as person:
        status, text = await person.read(path)
        assert status == 200, text[:600]
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


# --- noodrem en voorval -----------------------------------------------------------------------------------------------


@pytest.mark.rule("E-12", "R-11")
async def test_de_noodrem_is_een_klik_en_vervalt_als_niemand_hem_bevestigt(heusden: Town) -> None:
    """Een klik bij de opname houdt haar vast; zonder bevestiging vervalt dat; bevestigd als klacht blijft zij."""
    first, second = await heusden.film(), await heusden.film("cam-02")
    async with heusden.signed_in(PRIVACY) as person:
        assert "Noodrem: bewaar nu" in (await person.read(f"/opnamen/{first}"))[1]
        status, path = await person.send("/noodrem", {"opname": first})
        assert (status, await heusden.state(first)) == (200, "held")
        lapsing = case_in(path)
        _, path = await person.send("/noodrem", {"opname": second})
        kept = case_in(path)
        assert "nog niet bevestigd" in person.said
        status, _ = await person.send(f"/dossiers/{kept}/bevestigen", {"soort": "complaint"})
        assert status == 200, person.said
        status, _ = await person.send(f"/dossiers/{kept}/bevestigen", {"soort": "aangifte"})
        assert status == 409, "een bevestigd dossier verandert niet meer van soort"
    heusden.clock.move(days=8)
    await heusden.casework.settle(heusden.org)
    assert await heusden.state(first) == "retained"
    assert (await heusden.casework.case(heusden.org, lapsing)).holds[0].state == "lapsed"
    case = await heusden.casework.case(heusden.org, kept)
    assert (case.kind, case.holds[0].state, await heusden.state(second)) == (CaseKind.COMPLAINT, "active", "held")
    register = {row.case_id: row.state for row in await heusden.casework.access_requests(heusden.org)}
    assert register[kept] == "other_kind"


@pytest.mark.rule("E-12", "E-16")
async def test_de_noodrem_op_tijd_houdt_ook_vast_wat_nog_moet_binnenkomen(heusden: Town) -> None:
    """Alleen van wanneer tot wanneer is bekend: wat er is en wat nog op een camera staat, blijft."""
    footage = await heusden.make("cam-03")
    await heusden.press("cam-03", recording=footage.recording)
    here = heusden.clock().astimezone(HERE).strftime
    async with heusden.signed_in(MANAGER) as person:
        assert f'value="{footage.id}"' in (await person.read("/activeringen"))[1], "ook bij de activering, met één klik"
        assert (await person.read("/noodrem"))[0] == 200
        span = {"van": here("%Y-%m-%dT00:00"), "tot": here("%Y-%m-%dT23:59"), "camera": "cam-03"}
        status, _ = await person.send("/noodrem", span)
        assert status == 200, person.said
        status, _ = await person.send("/noodrem", {**span, "van": "gisteren"})
        assert status == 400
    assert (await heusden.dock(footage))[0] == 200
    assert await heusden.state(footage.id) == "held"
    async with heusden.signed_in(COORDINATOR) as other:
        assert (await other.send("/noodrem", {"opname": footage.id}))[0] == 403


@pytest.mark.rule("E-16", "H-39", "H-25")
async def test_een_dossier_over_een_voorval_houdt_alle_cameras_vast(heusden: Town) -> None:
    """Twee camera's in één voorval, een dossier daarover; wat later wordt toegevoegd, is ook meteen vastgehouden."""
    one, two, late = await heusden.film("cam-01"), await heusden.film("cam-02"), await heusden.film("cam-03")
    async with heusden.signed_in(PRIVACY) as person:
        status, path = await person.send("/voorvallen", {"naam": "Vechtpartij", "opname": [one, two]})
        assert status == 200, person.said
        incident = case_in(path)
        form = {"soort": "aangifte", "omschrijving": "aangifte van mishandeling", "voorval": incident}
        assert (await person.send("/dossiers", form))[0] == 200
        assert [await heusden.state(each) for each in (one, two, late)] == ["held", "held", "retained"]
        assert "cam-03" in (await person.read(f"/voorvallen/{incident}"))[1], "van rond dezelfde tijd: aangeboden"
        assert (await person.send(f"/voorvallen/{incident}/opnamen", {"opname": late}))[0] == 200
    assert await heusden.state(late) == "held"
    async with heusden.signed_in("h-001") as officer:
        assert (await officer.send("/voorvallen", {"naam": "x", "opname": [one]}))[0] == 403


# --- leren ------------------------------------------------------------------------------------------------------------


@pytest.mark.rule("H-58", "H-60", "H-61", "E-45")
async def test_leren_vraagt_de_medewerker_zelf_en_kijken_kan_pas_na_goedkeuring(heusden: Town) -> None:
    """De medewerker vraagt, de coördinator keurt goed; ervoor opent geen kijkkamer, en vastgehouden wordt er niets."""
    mine, other = await heusden.film("cam-02"), await heusden.film("cam-01")
    async with heusden.signed_in("h-002", COORDINATOR, MANAGER) as (officer, coordinator, manager):
        page = (await officer.read("/leren"))[1]
        assert mine in page
        assert other not in page
        assert (await officer.send("/leren", {"opname": other}))[0] == 403
        assert (await officer.send("/leren", {"opname": mine, "vraag": "mijn houding"}))[0] == 200
        (case,) = [each for each in await heusden.casework.cases(heusden.org) if each.summary == "mijn houding"]
        assert await heusden.state(mine) == "retained"
        why = await heusden.why_not("h-002", COORDINATOR, case.id, mine, "learning")
        assert "no open case" in why
        assert (await manager.send(f"/leren/{case.id}/besluit", {"doe": "goedkeuren"}))[0] == 403
        assert (await coordinator.send(f"/leren/{case.id}/besluit", {"doe": "weigeren"}))[0] == 400, "zonder reden"
        assert (await coordinator.send(f"/leren/{case.id}/besluit", {"doe": "goedkeuren"}))[0] == 200
        status, _, said = await heusden.ask_room("h-002", COORDINATOR, case.id, mine, "learning")
        assert status == 200, said
        assert (await officer.send(f"/leren/{case.id}/besluit", {"doe": "afsluiten"}))[0] == 200


# --- vernietigen met de hand, bewaarplicht opheffen -------------------------------------------------------------------


@pytest.mark.rule("E-36", "H-34", "C-18")
async def test_met_de_hand_vernietigen_vraagt_twee_mensen_en_nooit_onder_bewaarplicht(heusden: Town) -> None:
    """Een stelt voor, een ander bevestigt; onder een noodrem wordt het geweigerd; wie niets mag, trekt niets in."""
    recording, held = await heusden.film(), await heusden.film("cam-02")
    async with heusden.signed_in(PRIVACY, MANAGER, SECRETARY) as (privacy, manager, secretary):
        address = f"/opnamen/{recording}/vernietigen"
        assert (await privacy.send(address, {"grond": "per ongeluk aan"}))[0] == 200
        assert "per ongeluk aan" in (await manager.read("/dossiers"))[1]
        assert (await privacy.send(address, {"grond": "nog eens"}))[0] == 403
        assert (await secretary.send(f"/opnamen/{recording}/sparen"))[0] == 403
        assert await heusden.state(recording) == "retained"
        assert (await manager.send(address, {"grond": "eens"}))[0] == 200
        assert await heusden.state(recording) == "destroying"
        await privacy.send("/noodrem", {"opname": held})
        assert (await privacy.send(f"/opnamen/{held}/vernietigen", {"grond": "x"}))[0] == 409


@pytest.mark.rule("E-08")
async def test_voor_het_opheffen_staat_er_wat_er_dan_gebeurt(heusden: Town) -> None:
    """De bladzijde zegt voor het bevestigen of vernietiging meteen volgt, en dat er dan twee voor nodig zijn."""
    recording = await heusden.film()
    case = await heusden.case(MANAGER, "complaint", recording)
    await heusden.step(MANAGER, case, "handle")
    await heusden.step(MANAGER, case, "close", outcome_told="Wij vinden uw klacht gegrond.")
    (hold,) = (await heusden.casework.case(heusden.org, case)).holds
    assert "haar gewone dag" in await text_of(heusden, MANAGER, f"/bewaarplicht/{hold.id}")
    heusden.clock.move(days=29)
    assert "meteen vernietigd" in await text_of(heusden, MANAGER, f"/bewaarplicht/{hold.id}")
    async with heusden.signed_in(MANAGER, PRIVACY) as (manager, privacy):
        assert (await manager.send(f"/bewaarplicht/{hold.id}/behouden"))[0] == 409, "niemand vroeg erom"
        assert (await manager.send(f"/bewaarplicht/{hold.id}/opheffen", {"grond": "klaar"}))[0] == 200
        assert await heusden.state(recording) == "held"
        assert (await privacy.send(f"/bewaarplicht/{hold.id}/opheffen", {"grond": "eens"}))[0] == 200
    assert await heusden.state(recording) == "due"


@pytest.mark.rule("R-20")
async def test_de_kluis_geeft_voor_een_afgesloten_dossier_niets_meer(heusden: Town) -> None:
    """Bij het afsluiten hoort de Kluis het, met een regel in het logboek; nog eens zeggen doet niets."""
    case = await heusden.case(MANAGER, "complaint", await heusden.film())
    await heusden.step(MANAGER, case, "handle")
    await heusden.step(MANAGER, case, "close")
    assert len(await heusden.entries("case.closed", subject=case)) == 1
    last = (await heusden.kluis.checkpoint()).split(b"\n")[1]
    journal = await heusden.kluis.journal(max(0, int(last) - 20), int(last))
    assert any(b'"case.closed"' in entry and case.encode() in entry for entry in journal)
    assert await heusden.casework.tell_closed(heusden.org) == 0


# --- inzage: verlengen, machtiging, brieven, register -----------------------------------------------------------------


@pytest.mark.rule("L-01", "H-69", "H-68", "H-54", "L-05", "E-23")
async def test_een_inzageverzoek_van_ontvangst_tot_bezwaar_met_zijn_brieven(heusden: Town) -> None:
    """Machtiging, eenmaal verlengen, besluit met reden en bezwaarclausule, en het register met de termijn."""
    recording = await heusden.film()
    case = await heusden.case(PRIVACY, "access_request", recording, representative="advocaat")
    letter = f"/dossiers/{case}/brief"
    assert "Stuur ons de machtiging" in await text_of(heusden, PRIVACY, f"{letter}/confirmation")
    async with heusden.signed_in(PRIVACY) as person:
        assert (await person.read(f"{letter}/decision"))[0] == 404, "er is nog geen besluit"
        first = (await heusden.casework.case(heusden.org, case)).answer_by
        assert first is not None
        step = f"/dossiers/{case}/stap"
        assert (await person.send(step, {"stap": "extend", "reason": "veel opnamen"}))[0] == 200
        later = (await heusden.casework.case(heusden.org, case)).answer_by
        assert later is not None
        assert later > first
        assert (await person.send(step, {"stap": "extend", "reason": "nog meer"}))[0] == 409, "eenmaal"
        assert (await person.send(step, {"stap": "check_identity", "method": "DigiD"}))[0] == 200
        assert (await person.send(step, {"stap": "assess"}))[0] == 409, "zonder machtiging geen beoordeling"
        assert (await person.send(step, {"stap": "assess", "authority": "volmacht"}))[0] == 200
        reason = "Twee andere mensen zijn herkenbaar."
        assert (await person.send(step, {"stap": "decide", "decision": "refused", "reason": reason}))[0] == 200
        assert (await person.send(step, {"stap": "send_refusal", "sent_on": "binnenkort"}))[0] == 400
        today = heusden.clock().date().isoformat()
        assert (await person.send(step, {"stap": "send_refusal", "sent_on": today}))[0] == 200
    assert "veel opnamen" in await text_of(heusden, PRIVACY, f"{letter}/extension")
    decision = await text_of(heusden, PRIVACY, f"{letter}/decision")
    assert reason in decision
    assert "binnen 6 weken" in decision
    assert "bezwaar maken" in decision
    register = await text_of(heusden, PRIVACY, "/dossiers/inzageregister")
    assert "bezwaartermijn" in register
    async with heusden.signed_in(MANAGER) as manager:
        assert (await manager.read("/dossiers/inzageregister"))[0] == 403


@pytest.mark.rule("E-39", "E-38")
async def test_wie_te_lang_op_het_om_wacht_staat_op_de_lijst_met_een_brief(heusden: Town) -> None:
    """Na negentig dagen zonder antwoord van het OM staat het dossier bovenaan, met de herinnering klaar."""
    case = await heusden.case(PRIVACY, "aangifte", await heusden.film())
    assert f"/dossiers/{case}/brief/om_reminder" not in await page_of(heusden, PRIVACY, "/dossiers")
    heusden.clock.move(days=91)
    assert f"/dossiers/{case}/brief/om_reminder" in await page_of(heusden, PRIVACY, "/dossiers")
    assert "Mogen de beelden weg?" in await text_of(heusden, PRIVACY, f"/dossiers/{case}/brief/om_reminder")


async def page_of(town: Town, who: str, path: str) -> str:
    async with town.signed_in(who) as person:
        status, text = await person.read(path)
        assert status == 200
        return str(text)


# --- bewaarkalender en logboek ----------------------------------------------------------------------------------------


async def test_de_kalender_zegt_wat_wanneer_weg_gaat_en_wat_waarom_blijft(heusden: Town) -> None:
    """Wat gaat staat in de tabel met zijn dag; wat blijft met het dossier en wat er eerst moet gebeuren."""
    goes, stays = await heusden.film(), await heusden.film("cam-02")
    case = await heusden.case(PRIVACY, "aangifte", stays)
    number = (await heusden.casework.case(heusden.org, case)).number
    page = await page_of(heusden, PRIVACY, "/opnamen/kalender")
    before, after = page.split("Blijft wegens bewaarplicht")
    assert goes in before
    assert stays not in before
    assert stays in after
    assert number in after
    assert "toestemming van het Openbaar Ministerie" in after
    assert 'class="goes"' in page


# --- meldingen --------------------------------------------------------------------------------------------------------


@pytest.mark.rule("H-28", "H-30", "T-32")
async def test_een_melding_overleeft_een_gemist_veld_en_een_leeg_netwerk(heusden: Town) -> None:
    """Het concept blijft op de server; wat ontbreekt staat bij het formulier; daarna gaat de melding door."""
    recording = await heusden.film("cam-02")
    async with heusden.signed_in("h-002") as officer:
        form: dict[str, Any] = {"opname": recording, "soort": "opname", "cause": "dreiging"}
        assert (await officer.send("/meldingen/concept", form))[0] == 200
        (draft,) = [each for each in await heusden.casework.reports(heusden.org, of="h-002") if each.state == "draft"]
        form |= {"melding": draft.id, "event": "een man dreigde", "doe": "insturen"}
        status, path = await officer.send("/meldingen", form)
        assert (status, path) == (200, "/meldingen/nieuw")
        assert "in de melding ontbreekt" in officer.said
        assert "dreiging" in (await officer.read(f"/meldingen/nieuw?melding={draft.id}"))[1]
        whole = {"bystanders_informed": "ja", "how": "mondeling", "when": "vooraf", "warning_given": "nee"}
        assert (await officer.send("/meldingen", {**form, **whole}))[1] == "/meldingen"
        assert (await officer.send("/meldingen", {**form, **whole, "event": "aangevuld"}))[0] == 200
    assert "aangevuld" in await text_of(heusden, COORDINATOR, f"/meldingen/{draft.id}")
    assert "wijkt af" in await text_of(heusden, PRIVACY, "/meldingen"), "geen waarschuwing vooraf"
    async with heusden.signed_in(SECRETARY) as other:
        assert (await other.read(f"/meldingen/{draft.id}"))[0] == 403


@pytest.mark.rule("H-28", "E-05", "H-05")
async def test_een_melding_mag_er_eerder_zijn_dan_de_camera_en_een_waarschuwing_hoeft_geen_camera(
    heusden: Town,
) -> None:
    """De melding noemt tijd en camera; komt de druk op de knop later binnen, dan horen ze vanzelf bij elkaar."""
    here = heusden.clock.move(hours=1).astimezone(HERE).strftime("%Y-%m-%dT%H:%M")
    async with heusden.signed_in("h-003") as officer:
        whole = {"cause": "a", "event": "b", "bystanders_informed": "nee", "doe": "insturen"}
        form = {**whole, "soort": "losse-camera", "used_at": here, "camera": "cam-03"}
        assert (await officer.send("/meldingen", form))[1] == "/meldingen", officer.said
        assert (await officer.send("/meldingen", {**whole, "soort": "gewaarschuwd"}))[1] == "/meldingen"
    recording = await heusden.press("cam-03")
    assert recording in {each.recording for each in await heusden.casework.owed(heusden.org, of="h-003")}
    await heusden.casework.settle(heusden.org)
    reports = await heusden.casework.reports(heusden.org, of="h-003")
    assert sorted(each.recording or "" for each in reports) == ["", recording]
    assert [each.answers["warned_not_recorded"] for each in reports if not each.recording] == [True]
    assert recording not in {each.recording for each in await heusden.casework.owed(heusden.org, of="h-003")}


@pytest.mark.rule("T-30", "H-28", "E-03")
async def test_wie_te_laat_meldt_wordt_eenmaal_herinnerd_en_de_coordinator_ziet_het(heusden: Town) -> None:
    """Na het einde van de dienst: een herinnering aan medewerker en coördinator, en niet elke minuut opnieuw."""
    await heusden.press("cam-04")
    heusden.clock.move(days=1)
    assert await heusden.casework.remind(heusden.org) >= 1
    heusden.clock.move(minutes=2)
    assert await heusden.casework.remind(heusden.org) == 0
    assert "Te laat" in await text_of(heusden, COORDINATOR, "/meldingen")
    assert "Te laat" not in await text_of(heusden, MANAGER, "/meldingen"), "de coördinator is er"


# --- beleid -----------------------------------------------------------------------------------------------------------


@pytest.mark.rule("E-18", "H-01", "R-09")
async def test_een_nieuw_beleid_geldt_na_twee_handtekeningen_ook_in_de_kluis(heusden: Town) -> None:
    """De privacy officer stelt voor, de secretaris tekent; de Kluis volgt, en kijken blijft kunnen, ook naar wat onder
    de vorige versie is gemaakt."""
    old = await heusden.film(real=True)
    before = (await heusden.row(old)).expires_at
    text = changed_text("heusden", ("version = 1", "version = 2"), ("days = 28", "days = 14")).encode()
    async with heusden.signed_in(PRIVACY, SECRETARY, MANAGER) as (privacy, secretary, manager):
        assert (await manager.send("/beleid/voorstel", file=("bestand", text)))[0] == 403
        assert (await privacy.send("/beleid/voorstel", file=("bestand", b"schema = 1")))[0] == 400
        assert (await privacy.send("/beleid/voorstel", file=("bestand", b"\xff\xfe")))[0] == 400
        skipped = text.replace(b"version = 2", b"version = 3", 1)
        assert (await privacy.send("/beleid/voorstel", file=("bestand", skipped)))[0] == 409
        assert (await privacy.send("/beleid/voorstel", file=("bestand", text)))[0] == 200, privacy.said
        page = (await secretary.read("/beleid"))[1]
        assert "14 dagen" in page
        assert "retention.days" in page
        (proposal,) = set(re.findall(r"/beleid/voorstel/([0-9a-f]+)/tekenen", page))
        assert (await privacy.send(f"/beleid/voorstel/{proposal}/tekenen"))[0] == 409, "een tweede van dezelfde"
        assert (await heusden.kluis.public()).policy_version == 1
        assert (await secretary.send(f"/beleid/voorstel/{proposal}/tekenen"))[0] == 200, secretary.said
    assert (await heusden.kluis.public()).policy_version == 2
    assert (await heusden.policies.current(heusden.org)).version == 2
    (entry,) = [each for each in await heusden.entries("policy.adopted") if each.facts["version"] == 2]
    assert entry.facts["signers"] == [PRIVACY, SECRETARY]
    row = await heusden.row(old)
    assert (row.policy_version, before - row.expires_at) == (1, timedelta(days=14))
    heusden.clock.move(minutes=1)
    new = await heusden.film("cam-02")
    assert (await heusden.row(new)).policy_version == 2
    case = await heusden.case(PRIVACY, "access_request", old)
    status, path, said = await heusden.ask_room(PRIVACY, MANAGER, case, old, "access_request")
    assert status == 200, said
    async with heusden.signed_in(MANAGER, PRIVACY) as (manager, privacy):
        assert (await manager.send(f"{path}/goedkeuren"))[0] == 200, manager.said
        for person in (manager, privacy):
            status, _ = await person.send(f"{path}/plaatsnemen")
            assert status == 200, person.said
    assert await heusden.entries("viewing.released"), "the Kluis gave the keys under the new version"


@pytest.mark.rule("E-18")
async def test_een_register_dat_het_niet_hoorde_volgt_de_kluis(heusden: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Valt het proces om tussen Kluis en register, dan neemt de volgende die kijkt de versie van de Kluis over."""
    now = (await heusden.policies.current(heusden.org)).version
    old = f"version = {now + 1}"
    text = changed_text("heusden", ("version = 1", old)).encode()

    async def dies(*_: Any, **__: Any) -> None:
        raise OSError("the process died here")

    async with heusden.signed_in(PRIVACY, MANAGER) as (privacy, manager):
        assert (await privacy.send("/beleid/voorstel", file=("bestand", text)))[0] == 200
        (proposal,) = set(re.findall(r"/beleid/voorstel/([0-9a-f]+)/tekenen", (await manager.read("/beleid"))[1]))
        with monkeypatch.context() as patch:
            patch.setattr(heusden.policies, "put_in_force", dies)
            assert (await manager.send(f"/beleid/voorstel/{proposal}/tekenen"))[0] == 500
        assert (await heusden.kluis.public()).policy_version == now + 1
        assert (await heusden.policies.current(heusden.org)).version == now
        assert f"versie {now + 1}" in (await manager.read("/beleid"))[1]
    assert (await heusden.policies.current(heusden.org)).version == now + 1


# --- logboek: dit breekt het, en staat daarom achteraan ---------------------------------------------------------------


@pytest.mark.rule("T-37", "H-46")
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
async def test_het_nagerekende_logboek_noemt_de_eerste_kapotte_regel(heusden: Town, damage: str) -> None:
    """Een veranderde byte, een afgekapt bestand, een bestand dat weg is: een antwoord met het nummer, geen storing."""
    async with heusden.signed_in("o-107") as dpo:
        size = heusden.ledger.checkpoint().size
        victim = heusden.folder.ledger / tile_path("entries", (size - 1) // TILE, (size - 1) % TILE + 1)
        was = victim.read_bytes()
        try:
            if damage == "gone":
                victim.unlink()
            else:
                changed = was[:40] + bytes([was[40] ^ 1]) + was[41:]
                victim.write_bytes(was[: len(was) // 2] if damage == "cut" else changed)
            status, _ = await dpo.send("/logboek/controleren")
        finally:
            victim.write_bytes(was)
        assert status == 422
        assert re.search(r"Regel \d+ is niet wat er werd vastgelegd", dpo.said)
        assert (await dpo.send("/logboek/controleren"))[0] == 200


async def in_force(town: Town, *changes: tuple[str, str]) -> int:
    """De privacy officer stelt een volgende versie voor, de secretaris tekent; geeft haar nummer."""
    town.clock.move(minutes=1)
    version = (await town.policies.current(town.org)).version + 1
    text = changed_text("heusden", ("version = 1", f"version = {version}"), *changes).encode()
    async with town.signed_in(PRIVACY, SECRETARY) as (privacy, secretary):
        assert (await privacy.send("/beleid/voorstel", file=("bestand", text)))[0] == 200, privacy.said
        (proposal,) = set(re.findall(r"/beleid/voorstel/([0-9a-f]+)/tekenen", (await secretary.read("/beleid"))[1]))
        assert (await secretary.send(f"/beleid/voorstel/{proposal}/tekenen"))[0] == 200, secretary.said
    town.clock.move(minutes=1)
    return version


@pytest.mark.rule("E-18", "T-40")
async def test_ruimer_beleid_opent_geen_oude_beelden_en_strenger_beleid_sluit_ze_meteen(heusden: Town) -> None:
    """Mag de privacy officer voortaan ook bij een klacht meekijken, dan alleen bij beelden van daarna. Mag hij het
    niet meer, dan ook niet bij beelden uit de tijd dat het wel mocht. De weigering zegt welke versie weigert."""
    wider = ('["municipal_secretary"]]', '["municipal_secretary", "privacy_officer"]]')
    first = (await heusden.policies.current(heusden.org)).version
    heusden.clock.move(minutes=1)
    old = await heusden.film(real=True)
    second = await in_force(heusden, wider)
    new = await heusden.film("cam-02", real=True)
    case = await heusden.case(MANAGER, "complaint", old, new)
    pair = (MANAGER, PRIVACY, case)
    assert f"version {first} of the policy" in await heusden.why_not(*pair, old, "complaint")
    status, path, said = await heusden.ask_room(*pair, new, "complaint")
    assert status == 200, said
    async with heusden.signed_in(PRIVACY, MANAGER) as (privacy, manager):
        assert (await privacy.send(f"{path}/goedkeuren"))[0] == 200, privacy.said
        for person in (privacy, manager):
            assert (await person.send(f"{path}/plaatsnemen"))[0] == 200, person.said
    assert await heusden.entries("viewing.released", subject=new), "the Kluis judged alike"
    status, _, said = await heusden.ask_room(MANAGER, SECRETARY, case, old, "complaint")
    assert status == 200, "wie eerst mocht, mag nog"
    third = await in_force(heusden)
    assert f"version {third} of the policy" in await heusden.why_not(*pair, new, "complaint")
    assert (await heusden.row(new)).policy_version == second
