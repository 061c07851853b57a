"""Kantoor, meldingen, dock en verantwoording: T-22, T-23, T-27 tot en met T-32, T-37, T-43 en T-45.

T-10 (een teruggezette reservekopie) staat hieronder voor de Kluis van een draaiende gemeente; voor elke volgorde van
kopiëren en terugzetten in tests/adapters/kluis/test_life.py.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, insert, select

from broker.wire.ids import uuid7
from broker.wire.policy import CaseKind
from broker.wire.refusals import Code, Refused
from broker.wire.tlog import verifier_key
from cloud.casework.office import Denied
from cloud.database.tables import activations, usage_reports
from cloud.kluis.command import main as kluis_command
from cloud.kluis.custody import Kluis
from cloud.ledger.command import main as ledger_command
from cloud.rules.quarters import quarter_of
from tests.acceptance.town import Town

pytestmark = pytest.mark.asyncio(loop_scope="module")

COORDINATOR, MANAGER, PRIVACY, SECRETARY, SAFETY = "o-101", "o-102", "o-103", "o-104", "o-105"
WHOLE = {
    "cause": "dreiging",
    "event": "een man dreigde",
    "bystanders_informed": "ja",
    "how": "mondeling",
    "when": "vooraf",
    "reason": "own_safety",
}


@pytest.mark.rule("T-22", "H-33", "H-34", "R-06")
async def test_t22_de_coordinator_beheert_camera_s_en_verder_niets(heusden: Town) -> None:
    """T-22: de coördinator voegt een camera toe, met reden; archiveren, verstrekken en verwijderen worden geweigerd."""
    recording = await heusden.film()
    case = await heusden.case(PRIVACY, "aangifte", recording)
    office, org = heusden.casework, heusden.org
    for refused in (
        office.destroy_by_hand(org, recording, by=COORDINATOR, ground="x"),
        office.prepare_disclosure(org, case, by=COORDINATOR, recipient="police", recordings=[recording]),
        office.place_hold(org, case, by=COORDINATOR, recording=recording),
    ):
        with pytest.raises(Denied) as denied:
            await refused
        assert denied.value.refusal.code.status == 403
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    await office.add_camera(org, "cam-90", by=COORDINATOR, public_key=key, reason="extension")
    for other in (MANAGER, PRIVACY):
        with pytest.raises(Denied):
            await office.add_camera(org, "cam-91", by=other, public_key=key, reason="extension")
    (entry,) = await heusden.entries("camera.enrolled", subject="cam-90")
    assert entry.facts["reason"] == "extension"


@pytest.mark.rule("T-23", "H-51", "E-01", "H-52")
async def test_t23_verstrekken_doet_de_privacy_officer_of_wie_hem_nu_vervangt(heusden: Town) -> None:
    """T-23: de clustermanager verstrekt alleen zolang hij de privacy officer vervangt; er staat "als vervanger van"."""
    recording = await heusden.film()
    case = await heusden.case(PRIVACY, "aangifte", recording)
    office, org, now = heusden.casework, heusden.org, heusden.clock()
    with pytest.raises(Denied, match="substitute must first be appointed"):
        await office.prepare_disclosure(org, case, by=MANAGER, recipient="police", recordings=[recording])
    substitution = await office.appoint_substitute(
        org, by=SECRETARY, role="privacy_officer", replaced=PRIVACY, substitute=MANAGER,
        from_at=now, until_at=now + timedelta(days=3), ground="ziek",
    )  # fmt: skip
    disclosure = await office.prepare_disclosure(org, case, by=MANAGER, recipient="police", recordings=[recording])
    assert (await office.disclosure(org, disclosure)).substitute_of == PRIVACY
    await office.end_substitution(org, substitution, by=PRIVACY)
    with pytest.raises(Denied):
        await office.approve_disclosure(org, disclosure, by=MANAGER)
    await office.approve_disclosure(org, disclosure, by=PRIVACY)
    await office.deliver_disclosure(org, disclosure, by=PRIVACY, package_sha256="ab" * 32)
    await office.confirm_receipt(
        org, disclosure, by=PRIVACY, received_at=heusden.clock(), receipt="ontvangen, agent 12"
    )
    assert (await office.disclosure(org, disclosure)).state == "receipt_confirmed"
    assert (await heusden.entries("disclosure.made", subject=case))[0].facts["manifest_sha256"] == "ab" * 32


@pytest.mark.rule("T-27", "R-04", "H-10")
async def test_t27_beeld_zonder_druk_op_de_knop_gaat_apart(heusden: Town) -> None:
    """T-27: beeld waarvan niemand de knop indrukte, gaat in quarantaine en is niet te bekijken."""
    footage = await heusden.make()
    assert (await heusden.dock(footage))[0] == 200
    assert await heusden.state(footage.id) == "quarantined"
    case = await heusden.case(MANAGER, "complaint", footage.id)
    status, _, _ = await heusden.ask_room(MANAGER, SECRETARY, case, footage.id, "complaint")
    assert status == 409


@pytest.mark.rule("T-28", "H-35")
async def test_t28_alleen_een_ingeschreven_dock_levert_aan(heusden: Town) -> None:
    """T-28: een dock met een echt certificaat dat niet is ingeschreven, kan niets aanleveren."""
    footage = await heusden.make()
    await heusden.press(recording=footage.recording)
    status, _ = await heusden.dock(footage, dock="dock-77")
    assert status == 403
    assert await heusden.state(footage.id) == "absent"
    assert (await heusden.dock(footage))[0] == 200


@pytest.mark.rule("T-29", "E-41")
async def test_t29_hetzelfde_bestand_twee_keer_is_een_opname(heusden: Town) -> None:
    """T-29: levert een dock dezelfde opname twee keer, dan is er één opname en tweemaal hetzelfde ontvangstbewijs."""
    footage = await heusden.make()
    await heusden.press(recording=footage.recording)
    first, second = await heusden.dock(footage), await heusden.dock(footage)
    assert first == second
    assert first[0] == 200
    assert len(await heusden.entries("recording.received", subject=footage.id)) == 1


@pytest.mark.rule("T-30", "H-28")
async def test_t30_een_ontbrekende_melding_komt_op_de_lijst(heusden: Town) -> None:
    """T-30: is er aan het eind van de dienst geen melding, dan staat dat op de lijst en worden drager en coördinator
    herinnerd."""
    recording = await heusden.press("cam-04")
    late = [each.recording for each, _ in await heusden.casework.overdue_reports(heusden.org)]
    assert recording not in late
    heusden.clock.move(hours=4)
    await heusden.end_shifts()
    heusden.clock.move(minutes=1)
    found = {each.recording: to for each, to in await heusden.casework.overdue_reports(heusden.org)}
    assert set(found[recording]) == {"h-004", COORDINATOR}
    async with newer_presses(heusden, 200), heusden.signed_in(COORDINATOR) as person:
        status, text = await person.read("/meldingen")
    assert status == 200
    late = text[text.index('id="late"') :].partition("</section>")[0]
    assert "cam-04" in late, "however many presses came since"
    (name,) = [card.name for card in await heusden.casework.officials(heusden.org) if card.id == "h-004"]
    assert name in text


@asynccontextmanager
async def newer_presses(town: Town, count: int) -> AsyncIterator[None]:
    """Let so many presses stand in the register that are newer than any."""
    row = {"org": town.org, "camera": "cam-05", "pre_record_s": 0.0, "received_at": town.clock(), "late": False}
    names = [str(uuid7(town.clock(), os.urandom(10))) for _ in range(count)]
    async with town.database.transaction() as t:
        await t.execute(insert(activations), [row | {"recording": n, "activated_at": town.clock()} for n in names])
    yield
    async with town.database.transaction() as t:
        await t.execute(delete(activations).where(activations.c.recording.in_(names)))


@pytest.mark.rule("T-31", "E-03", "H-29")
async def test_t31_meldt_de_coordinator_zelf_dan_gaat_het_naar_de_clustermanager(heusden: Town) -> None:
    """T-31: de melding van de coördinator zelf gaat naar de clustermanager; die van een ander naar de coördinator."""
    for reporter, told in ((COORDINATOR, [MANAGER]), ("h-001", [COORDINATOR])):
        async with heusden.signed_in(reporter) as person:
            status, _ = await person.send("/meldingen", {**WHOLE, "doe": "insturen"})
            assert status == 200, person.said
        async with heusden.database.transaction() as t:
            query = select(usage_reports.c.notified).where(usage_reports.c.official == reporter)
            assert list((await t.execute(query)).scalars()) == [told]


@pytest.mark.rule("T-32", "H-30")
async def test_t32_een_melding_zegt_of_en_hoe_omstanders_zijn_ingelicht(heusden: Town) -> None:
    """T-32: zonder te zeggen hoe omstanders zijn ingelicht, wordt een melding niet aangenomen; het concept blijft."""
    async with heusden.signed_in("h-002") as person:
        _, led_to = await person.send("/meldingen", {**WHOLE, "how": "", "doe": "insturen"})
        assert led_to == "/meldingen/nieuw"
        assert "Uw concept is bewaard." in person.said, "what is missing is said at the form"
    (report,) = await heusden.casework.reports(heusden.org, of="h-002")
    assert report.state == "draft"


@pytest.mark.rule("T-43", "R-23", "E-46", "H-59")
async def test_t43_cijfers_noemen_niemand_en_niets_onder_de_vijf(heusden: Town) -> None:
    """T-43: de cijfers voor de evaluatie noemen geen naam en geen aantal onder de vijf, en geen kwartaal dat loopt."""
    quarter = quarter_of(heusden.clock())
    for _ in range(6):
        await heusden.press("cam-02")
    with pytest.raises(Refused, match=quarter.name):
        await heusden.casework.figures(heusden.org, quarter)
    heusden.clock.move(seconds=(quarter.counted_at - heusden.clock()).total_seconds())
    figures = await heusden.casework.figures(heusden.org, quarter)
    text = str(figures)
    people = {word for card in await heusden.casework.officials(heusden.org) for word in (card.id, card.name)}
    assert not [each for each in people if each in text]
    numbers = [count for each in figures for count in each.cells.values() if count is not None]
    assert numbers
    assert min(numbers) >= 5


@pytest.mark.rule("T-45", "R-26", "H-70", "H-71")
async def test_t45_de_openbare_tekst_zegt_wat_het_beleid_zegt(heusden: Town, rotterdam: Town) -> None:
    """T-45: de openbare uitleg komt uit het beleid: Rotterdam 120 seconden en twee kijkers, Heusden 30 en met z'n
    tweeën."""
    async with heusden.signed_in("h-001") as there, rotterdam.signed_in("h-001") as here:
        (_, small), (_, large) = await there.read("/openbaar"), await here.read("/openbaar")
    assert "30 seconden" in small
    assert "120 seconden" not in small
    assert "120 seconden" in large or "2 minuten" in large
    assert "28 dagen" in small
    assert "28 dagen" in large


@pytest.mark.rule("T-37", "H-46")
async def test_t37_een_veranderde_byte_in_het_logboek_wordt_aangewezen(
    heusden: Town, capsys: pytest.CaptureFixture[str]
) -> None:
    """T-37: verandert iemand één byte in het logboek, dan noemt de controle de eerste regel die niet klopt."""
    size, index = heusden.ledger.checkpoint().size, 2
    ((_, raw),) = await heusden.ledger.read(index, index + 1)
    files = [path for path in heusden.folder.ledger.rglob("*") if path.is_file() and raw in path.read_bytes()]
    whole = {file: file.read_bytes() for file in files}
    for file, content in whole.items():
        file.write_bytes(content.replace(raw, raw.replace(b'"actor":"system"', b'"actor":"sistem"')))
    try:
        async with heusden.signed_in(PRIVACY) as person:
            status, _ = await person.send("/logboek/controleren")
            assert status == 422
            assert f"Regel {index} is niet wat er werd vastgelegd" in person.said
        key = verifier_key(heusden.ledger.origin, heusden.ledger.key)
        assert ledger_command(["verify", str(heusden.folder.ledger), "--key", key]) == 1
        assert f"entry {index}" in capsys.readouterr().out
    finally:
        for file, content in whole.items():
            file.write_bytes(content)
    async with heusden.signed_in(PRIVACY) as person:
        status, _ = await person.send("/logboek/controleren")
        assert status == 200
        assert str(size) in person.said


@pytest.mark.rule("T-10", "E-34")
async def test_t10_een_teruggezette_reservekopie_brengt_niets_terug(heusden: Town) -> None:
    """T-10: wordt de opslag van vóór een vernietiging teruggezet, dan blijft het beeld onleesbaar en vernietigd."""
    footage = await heusden.make("cam-02")
    await heusden.press("cam-02", recording=footage.recording)
    assert (await heusden.dock(footage))[0] == 200
    backup = heusden.folder.root / "backup"
    await asyncio.to_thread(shutil.copytree, heusden.folder.vault, backup / "vault")
    await asyncio.to_thread(shutil.copytree, heusden.folder.kluis, backup / "kluis", ignore=_sockets)
    heusden.clock.move(days=28, hours=1)
    await heusden.round()
    assert await heusden.is_gone(footage.id)

    def put_back() -> int:
        shutil.copytree(backup / "vault", heusden.folder.vault, dirs_exist_ok=True)
        return kluis_command(["reapply", str(backup / "kluis"), str(heusden.folder.ledger)])

    assert await asyncio.to_thread(put_back) == 0
    assert await heusden.bytes_left(footage.id) > 0, "the old bytes are there"
    restored = await asyncio.to_thread(Kluis.open, backup / "kluis")
    try:
        states = {item.recording: item.state for item in restored.inventory()}
    finally:
        restored.close()
    assert states[footage.id] in ("destroyed", "final"), "but no key opens them, in the restored Kluis either"
    assert await heusden.key_state(footage.id) in ("destroyed", "final")
    status, said = await heusden.dock(footage)
    assert status == Code.DESTROYED.status, said
    case = await heusden.casework.register_case(
        heusden.org, by=MANAGER, kind=CaseKind.COMPLAINT, summary="klacht", recordings=[footage.id]
    )
    status, _, _ = await heusden.ask_room(MANAGER, SECRETARY, case.id, footage.id, "complaint")
    assert status == Code.DESTROYED.status


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith(".sock")]
