"""A derivative goes out where the policy requires one, and a stranger can tell what it is."""

import asyncio
import hashlib
import json
import zipfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.wire.policy import CaseKind
from broker.wire.refusals import Refused
from broker.wire.tlog import verifier_key
from cloud.database.tables import segments
from cloud.redaction.rules.plan import Rest
from cloud.verifier.command import main as verify
from cloud.viewing.handover import HandOvers
from tests.adapters.redaction.conftest import MANAGER, PRIVACY, Studio, open_studio
from tests.browser import town as towns
from tests.browser.town import ORG


async def handed_over(studio: Studio, recording: str, folder: Path, *, to: str = "om") -> Path:
    office = HandOvers(
        org=ORG,
        database=studio.town.database,
        ledger=studio.town.ledger,
        kluis=studio.town.kluis,
        vault=studio.town.vault,
        casework=studio.town.casework,
        rooms=studio.rooms,
        folder=folder,
        clock=studio.town.clock,
        name="gemeente Heusden",
    )
    casework = studio.town.casework
    disclosure = await casework.prepare_disclosure(ORG, studio.case, by=PRIVACY, recipient=to, recordings=[recording])
    await casework.approve_disclosure(ORG, disclosure, by=PRIVACY)
    policy = await studio.town.policies.current(ORG)
    room = await office.ask(disclosure, requester=PRIVACY, second=MANAGER, reason="Verzoek van het OM", policy=policy)
    await studio.sign(room)
    return (await office.pack(room, by=PRIVACY)).path


def policy_with(folder: Path, purpose: str, words: str, instead: str) -> Path:
    """The town's policy in which one purpose says something else."""
    before, begin, rest = towns.POLICY.read_text().partition(f"[purposes.{purpose}]")
    document = folder / "policy.toml"
    document.write_text(before + begin + rest.replace(words, instead, 1))
    return document


@pytest.mark.rule("P-17", "H-55")
async def test_where_the_policy_requires_it_only_a_derivative_goes_out(
    tmp_path: Path,
    filmed: tuple[bytes, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(
        towns, "POLICY", policy_with(tmp_path, "criminal_demand", 'redaction = "not_used"', 'redaction = "required"')
    )
    async with open_studio(tmp_path / "t", filmed, kind=CaseKind.OM_REQUEST) as studio:
        studio.purpose = "criminal_demand"
        with pytest.raises(Refused, match="only what was made unrecognisable"):
            await handed_over(studio, studio.recording, tmp_path / "out")
        derivative = await made_unrecognisable(studio)
        package = await handed_over(studio, derivative, tmp_path / "out")
        said = await verified(studio, package, capsys)
    assert said["verdict"] == "intact"
    assert f"{derivative} is no original: people were made unrecognisable in {studio.recording}" in json.dumps(said)


@pytest.mark.rule("H-55", "P-17")
async def test_a_citizen_takes_home_what_the_policy_gives_and_nothing_of_the_original(
    tmp_path: Path,
    filmed: tuple[bytes, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(
        towns, "POLICY", policy_with(tmp_path, "access_request", 'copy = "no_copy"', 'copy = "redacted_copy"')
    )
    async with open_studio(tmp_path / "t", filmed, kind=CaseKind.ACCESS_REQUEST) as studio:
        derivative = await made_unrecognisable(studio)
        with pytest.raises(Refused, match="not granted"):
            await handed_over(studio, derivative, tmp_path / "out", to="data_subject")
        await granted(studio)
        with pytest.raises(Refused, match="only what was made unrecognisable"):
            await handed_over(studio, studio.recording, tmp_path / "out", to="data_subject")
        package = await handed_over(studio, derivative, tmp_path / "out", to="data_subject")
        said = await verified(studio, package, capsys)
        original = await studio.original()
        sealed = await segments_of(studio, studio.recording)
    assert said["verdict"] == "intact"
    assert f"made unrecognisable in {studio.recording} ({original.last_hash})" in json.dumps(said)
    assert "the film is the one that the ledger says was made" in json.dumps(said)
    with zipfile.ZipFile(package) as bundle:
        films = [name for name in bundle.namelist() if name.endswith(".mp4")]
        page, told = bundle.read("leesmij.html").decode(), bundle.read(f"recordings/{derivative}/footage.vtt").decode()
        inside = {hashlib.sha256(bundle.read(name)).hexdigest() for name in bundle.namelist()}
    assert films == [f"recordings/{derivative}/footage.mp4"]
    assert original.last_hash in page
    assert "00:00:00.000 --> 00:00:08.000\n[hele beeld onherkenbaar gemaakt]" in told
    assert not inside & sealed, "not a byte of the original"


@pytest.mark.rule("H-57", "H-55")
async def test_where_the_policy_only_lets_people_look_nothing_is_taken_home(studio: Studio, tmp_path: Path) -> None:
    await granted(studio)
    with pytest.raises(Refused, match="lets who asked see the footage here, and gives no copy"):
        await handed_over(studio, studio.recording, tmp_path / "out", to="data_subject")
    with pytest.raises(Refused, match="there is no basis"):
        await handed_over(studio, studio.recording, tmp_path / "out", to="om")


async def made_unrecognisable(studio: Studio) -> str:
    """Hide the whole picture, and close the room."""
    room = await studio.open()
    await studio.redactions.search(room)
    await studio.until_idle(room)
    await studio.redactions.edit(room, Rest(hidden=True), by=PRIVACY)
    await studio.review(room)
    await studio.redactions.make(room, by=PRIVACY)
    made = (await studio.until_idle(room)).made
    await studio.rooms.end(room, actor=PRIVACY, why="done")
    return made


async def granted(studio: Studio) -> None:
    """Decide on the request: the privacy officer grants it."""
    for step, facts in (
        ("check_identity", {"method": "paspoort"}),
        ("assess", {"visible": True, "others_harmed": True}),
        ("decide", {"decision": "granted", "reason": "De verzoeker staat erop."}),
    ):
        await studio.town.casework.take_step(ORG, studio.case, step, by=PRIVACY, facts=facts)


async def segments_of(studio: Studio, recording: str) -> set[str]:
    """Return the SHA-256 of every sealed segment of a recording."""
    async with studio.town.database.transaction() as t:
        query = select(segments.c.digest).where(segments.c.recording == recording)
        names = (await t.execute(query)).scalars().all()
    return {hashlib.sha256(await studio.town.vault.read(bytes.fromhex(name))).hexdigest() for name in names}


async def verified(studio: Studio, package: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what a stranger's program says of the package."""
    public, ledger = await studio.town.kluis.public(), studio.town.ledger
    keys = ["--ledger-key", verifier_key(ledger.origin, ledger.key)]
    keys += ["--kluis-key", b64encode(public.signing_key).decode()]
    capsys.readouterr()
    assert await asyncio.to_thread(verify, [str(package), "--json", *keys]) == 0
    return json.loads(capsys.readouterr().out)
