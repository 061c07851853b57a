"""Beelden die apart staan: van het bestand in de map, of het kapotte segment, tot kijkkamer en bewijspakket."""

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import delete, update

from broker.wire.tlog import verifier_key
from cloud.check import check
from cloud.database.tables import decisions_apart, recordings
from cloud.fleet.live import LiveHub
from cloud.intake.importer import IMPORT_DOOR, Importer
from cloud.intake.outside import Outside
from cloud.rules.retention import HERE
from cloud.verifier.case import Trust
from cloud.verifier.verify import verify
from cloud.viewing.projector import Projector
from deploy.demo import founding
from tests.acceptance.test_t11_kijken import MANAGER, PRIVACY, address, approved, staying
from tests.acceptance.town import START, Footage, Town, open_town
from tests.adapters.viewing.footage import film

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFFICER, OTHER = "h-001", "h-002"
MADE = START - timedelta(hours=5)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="vo-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(folder: Path) -> AsyncIterator[Town]:
    """Heusden, als het beleid ook bestanden van losse camera's aannam."""
    text = founding.policy_text("heusden").replace('via = ["dock"]', 'via = ["dock", "import"]')
    text = text.replace("manual_import = false", "manual_import = true")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(founding, "policy_text", lambda _: text)
        async with open_town(folder, "heusden") as open_one:
            yield open_one


async def imported(town: Town, *seconds: int) -> list[str]:
    """Leg films van een losse camera in de map; geef de opnamen die ervan komen, de oudste eerst."""
    watched = town.folder.root / "watched"
    (watched / "bodycam-3").mkdir(parents=True)
    for length in seconds:
        init, fragments = film(length, begin=0, sound=False)
        path = watched / "bodycam-3" / f"MOV_{length:04}.MP4"
        path.write_bytes(init + b"".join(fragments))
        at = (MADE + timedelta(seconds=length)).timestamp()
        os.utime(path, (at, at))
    public = await town.kluis.public()
    outside = await Outside.open(
        town.folder.root / "outside",
        org=town.org,
        database=town.database,
        vault=town.vault,
        kluis=town.kluis,
        kluis_key=Ed25519PublicKey.from_public_bytes(public.signing_key),
        ledger=town.ledger,
        policies=town.policies,
        clock=town.clock,
        hub=LiveHub(),
        key=Ed25519PrivateKey.generate(),
        doors=(IMPORT_DOOR,),
    )
    importer = Importer(watched, outside)
    await importer.look()
    assert await importer.look() == len(seconds)
    assert await outside.settle() == len(seconds)
    cards = await town.casework.recordings(town.org, states=("quarantined",))
    return [card.id for card in sorted(cards, key=lambda card: card.ended_at)]


async def declare(town: Town, recording: str, **said: str) -> int:
    """De privacy officer verklaart, op de bladzijde; geef de status."""
    row = await town.row(recording)
    plain = {
        "besluit": "toelaten",
        "camera": "bodycam 3",
        "handhaver": OFFICER,
        "moment": f"{(row.activated_at or row.started_at).astimezone(HERE):%Y-%m-%dT%H:%M:%S}",
        "aanleiding": "own_safety",
        "grond": "Het dienstrooster noemt deze camera",
    }
    async with town.signed_in(PRIVACY) as privacy:
        status, _ = await privacy.send(f"/opnamen/{recording}/apart", {**plain, **said})
        return int(status)


async def agree(town: Town, by: str, recording: str) -> int:
    """Deze persoon verklaart hetzelfde, op een eigen bladzijde; geef de status."""
    async with town.signed_in(by) as person:
        _, text = await person.read(f"/opnamen/{recording}/apart")
        found = re.search(r"/apart/([0-9a-f-]{36})/", text)
        assert found, text
        path = f"/opnamen/{recording}/apart/{found[1]}/bevestigen"
        status, _ = await person.send(path, {"grond": "Nagevraagd bij de dienst"})
        return int(status)


async def played(town: Town, case: str, recording: str, purpose: str) -> tuple[str, dict[str, bytes]]:
    """Kijk met zijn tweeën; geef de afspeellijst, en elk stuk dat erin staat."""
    room = await approved(town, PRIVACY, MANAGER, case, recording, purpose)
    burnt_in, show = list[tuple[str, ...]](), Projector.show

    async def watched(self: Projector, *about: Any, mark: tuple[str, ...], pre_record: str) -> bytes:
        burnt_in.append(mark)
        return await show(self, *about, mark=mark, pre_record=pre_record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Projector, "show", watched)
        found = await _play(town, room)
    assert all("herkomst verklaard, niet bewezen" in each[-1] for each in burnt_in if each)
    return found


async def _play(town: Town, room: str) -> tuple[str, dict[str, bytes]]:
    async with town.signed_in(PRIVACY, MANAGER) as (first, second), staying([first, second], room):
        _, text = await second.read(room)
        for seat in (first, second):
            assert (await seat.send(f"{room}/plaatsnemen"))[0] == 200
        assert "verklaard door" in text
        assert "niet bewezen" in text
        playlist = await address(first, room)
        status, body, _ = await first.fetch(playlist)
        assert status == 200, body
        shown = {}
        for name in re.findall(r"^\d+\.m4s$", body.decode(), re.MULTILINE):
            status, piece, _ = await second.fetch(playlist.replace("index.m3u8", name))
            assert status == 200, piece[:200]
            shown[name] = piece
        await first.send(f"{room}/sluiten")
    return body.decode(), shown


@pytest.mark.rule("R-04", "H-10", "H-28", "H-64")
async def test_een_film_uit_de_map_wordt_op_verklaring_van_twee_mensen_een_opname(town: Town, folder: Path) -> None:
    """Niemand hoorde een knop. Twee mensen verklaren wie drukte; daarna is het een opname als elke andere, met hun
    verklaring erbij, en de dag van vernietiging blijft die van de film zelf."""
    left, asked = await imported(town, 2, 4)
    day = (await town.row(asked)).expires_at
    async with town.signed_in(PRIVACY) as privacy:
        _, text = await privacy.read("/opnamen/apart")
        assert asked in text
        assert "van een druk op de knop is niets gehoord" in text
    case = await town.case(PRIVACY, "om_request", asked)
    assert await town.state(asked) == "quarantined"
    status, _, _ = await town.ask_room(PRIVACY, MANAGER, case, asked, "criminal_demand")
    assert status == 409, "what is apart is seen by nobody"

    assert await declare(town, asked, handhaver=MANAGER) == 403, "who wears no camera pressed none"
    assert await declare(town, asked) == 200
    assert await agree_as_the_same(town, asked) == 403
    assert await agree(town, MANAGER, asked) == 200
    row = await town.row(asked)
    assert (row.state, row.official, row.expires_at) == ("held", OFFICER, day)
    assert row.deviations[-2:] == ["press_not_heard", "origin_declared"]
    (admitted,) = await town.entries("recording.admitted", subject=asked)
    assert (admitted.actor, admitted.facts["proposed_by"]) == (MANAGER, PRIVACY)
    async with town.signed_in(OFFICER) as officer:
        _, text = await officer.read("/meldingen")
        assert asked in text, "he owes a report of it"
        assert "bodycam 3" in text

    _, shown = await played(town, case, asked, "criminal_demand")
    assert len(shown) == 4
    said = await handed_over(town, case, asked)
    assert said["verdict"] == "intact"
    assert "declared by o-103 and o-102, not proven" in said["received"]
    assert "two people declared it" in said["unproven"]

    town.clock.move(days=28, hours=1)
    await town.round()
    assert await town.is_gone(left), "what nobody asked for and nobody declared goes on its own day"
    assert await town.state(asked) == "held"
    report = await check(town.folder.root)
    assert report.adds_up, list(report.lines())


async def agree_as_the_same(town: Town, recording: str) -> int:
    """Wie het voorstelde, stuurt ook de bevestiging: er is geen knop voor, dus met de hand."""
    (waiting,) = [each for each in await town.casework.decisions_apart(town.org, recording) if each.state == "open"]
    async with town.signed_in(PRIVACY) as privacy:
        _, text = await privacy.read(f"/opnamen/{recording}/apart")
        assert "bevestigen" not in text
        status, _ = await privacy.send(f"/opnamen/{recording}/apart/{waiting.id}/bevestigen", {"grond": "nogmaals"})
        return int(status)


async def handed_over(town: Town, case: str, recording: str) -> dict[str, str]:
    """Verstrek aan het OM; geef wat een vreemde van het pakket vindt."""
    async with town.signed_in(PRIVACY, MANAGER) as (privacy, manager):
        wish = {"dossier": case, "ontvanger": "om", "opname": [recording], "tweede": MANAGER, "reden": "OM"}
        status, room = await privacy.send("/verstrekken", wish)
        assert status == 200, privacy.said
        assert (await manager.send(f"{room}/goedkeuren"))[0] == 200, manager.said
        status, delivered = await privacy.send(f"{room}/pakket")
        assert status == 200, privacy.said
        status, raw, _ = await privacy.fetch(f"{delivered}/pakket")
        assert status == 200
    public = await town.kluis.public()
    trust = Trust(ledger=verifier_key(town.ledger.origin, town.ledger.key), kluis=public.signing_key)
    report = await asyncio.to_thread(lambda: verify(BytesIO(raw), trust))
    return {
        "verdict": report.verdict.word,
        "received": next(each.said.english for each in report.steps if each.number == 7),
        "unproven": " ".join(english for english, _ in report.unproven),
    }


@pytest.mark.rule("E-42")
async def test_beschadigde_beelden_spelen_af_wat_heel_is_en_tonen_het_gat(town: Town) -> None:
    """Eén segment is kapot: na de verklaring is de rest te zien, met een onderbreking waar het ontbreekt."""
    footage = await town.make("cam-02", pre_record_s=2, kept_s=6, real=True)
    await town.press("cam-02", pre_record_s=2, recording=footage.recording)
    town.clock.move(seconds=7)
    assert await dock_damaged(town, footage, place=5) == 422
    row = await town.row(footage.id)
    assert (row.state, row.chain) == ("quarantined", "tampered")
    case = await town.case(PRIVACY, "om_request", footage.id)
    assert await declare(town, footage.id, handhaver=OFFICER) == 403, "the register knows who wore it"
    assert await declare(town, footage.id, handhaver=row.official) == 200
    assert await agree(town, MANAGER, footage.id) == 200
    after = await town.row(footage.id)
    assert (after.state, after.activated_at) == ("held", row.activated_at), "the press that was heard of counts"
    assert after.deviations == ["seal_broken", "origin_declared"]
    playlist, shown = await played(town, case, footage.id, "criminal_demand")
    assert sorted(shown, key=lambda name: int(name.split(".")[0])) == [f"{n}.m4s" for n in (1, 2, 3, 4, 6, 7, 8)]
    assert playlist.count("#EXT-X-DISCONTINUITY") == 1
    assert playlist.index("4.m4s") < playlist.index("#EXT-X-DISCONTINUITY") < playlist.index("6.m4s")
    assert (await handed_over(town, case, footage.id))["verdict"] == "tampered", "and a package says so too"

    await an_old_backup_of_the_database(town, row)
    report = await check(town.folder.root)
    assert report.adds_up, list(report.lines())
    assert any("apart again" in str(each) for step in report.steps for each in step.findings)
    status, _, _ = await town.ask_room(PRIVACY, MANAGER, case, footage.id, "criminal_demand")
    assert status == 409
    assert await declare(town, footage.id, handhaver=row.official) == 200
    assert await agree(town, MANAGER, footage.id) == 200
    assert await town.state(footage.id) == "held"


async def an_old_backup_of_the_database(town: Town, row: Any) -> None:
    """Zet terug wat er van deze opname stond voordat erover besloten werd; het logboek weet beter."""
    async with town.database.transaction() as t:
        await t.execute(delete(decisions_apart).where(decisions_apart.c.recording == row.id))
        await t.execute(update(recordings).where(recordings.c.id == row.id).values(**row._asdict()))


async def dock_damaged(town: Town, footage: Footage, *, place: int) -> int:
    """Lever alles af, met dit ene segment zoals de kaart het gaf: kapot."""
    damaged = bytearray(footage.segments[place])
    damaged[len(damaged) // 2] ^= 1
    name = hashlib.sha256(damaged).hexdigest()
    async with town.as_dock("dock-01") as session:
        for number, (raw, digest) in enumerate(zip(footage.segments, footage.digests, strict=True)):
            if number != place:
                async with session.put(f"/v1/segments/{digest.hex()}", data=raw) as answer:
                    assert answer.status in (200, 201)
        async with session.put(f"/v1/damaged/{name}", data=bytes(damaged)) as answer:
            assert answer.status == 201
        body: dict[str, Any] = {
            "head": b64encode(footage.head).decode(),
            "digests": [digest.hex() for digest in footage.digests],
            "end": b64encode(footage.end).decode(),
            "damaged": {str(place): name},
        }
        async with session.put(f"/v1/recordings/{footage.id}", json=body) as answer:
            return int(answer.status)
