"""From a case with a basis to a package that somebody checks who has nothing of ours: on a whole town."""

import asyncio
import io
import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import pytest

from broker.wire.bundle import Bundle
from broker.wire.entries import LedgerEntry, read_entry
from broker.wire.refusals import Code, Refused
from broker.wire.tlog import verifier_key
from cloud.verifier.command import main as verify
from cloud.verifier.single_file import build_zipapp
from cloud.viewing.handover import HandOvers
from tests.browser.town import TownHall, open_town
from tests.journeys.visitor import Visitor

PRIVACY, MANAGER, COORDINATOR = "o-103", "o-102", "o-101"


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[TownHall]:
    async with open_town(tmp_path) as hall:
        await hall.ledger.append(
            "camera.enrolled",
            subject="cam-07",
            actor="o-106",
            at=hall.clock(),
            facts={"public_key": hall.camera_keys["cam-07"].public_key().public_bytes_raw().hex()},
        )
        yield hall


async def entries(town: TownHall) -> list[LedgerEntry]:
    return [read_entry(raw) for _, raw in await town.ledger.read(0, town.ledger.checkpoint().size)]


async def asked(town: TownHall, privacy: Visitor) -> tuple[str, str]:
    """Register the prosecution's request for a recording and ask to hand it over; return room and recording."""
    recording = str(await town.film("cam-07", kept=9))
    status, path = await privacy.send(
        "/dossiers",
        {
            "soort": "om_request",
            "ontvangen": town.clock().date().isoformat(),
            "omschrijving": "Verzoek van het OM",
            "opname": [recording],
        },
    )
    assert status == 200, path
    case = path.rsplit("/", 1)[1]
    assert "Verstrek aan politie of OM" in await privacy.read(f"/dossiers/{case}")
    assert recording in await privacy.read(f"/verstrekken/nieuw?dossier={case}")
    status, room = await privacy.send(
        "/verstrekken",
        {"dossier": case, "ontvanger": "om", "opname": [recording], "tweede": MANAGER, "reden": "Verzoek van het OM"},
    )
    assert status == 200, room
    assert "deze verstrekking" not in room
    return room, recording


async def letter(town: TownHall) -> list[str]:
    """What stands in the cover letter: the two keys."""
    public = await town.kluis.public()
    ledger = verifier_key(town.ledger.origin, town.ledger.key)
    return ["--ledger-key", ledger, "--kluis-key", b64encode(public.signing_key).decode()]


@pytest.mark.rule("H-47")
async def test_a_hand_over_is_signed_by_two_and_checked_by_a_stranger(
    town: TownHall, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Visitor(town.address, PRIVACY) as privacy, Visitor(town.address, MANAGER) as manager:
        room, recording = await asked(town, privacy)
        status, _ = await privacy.send(f"{room}/pakket")
        assert status == 409, "one signature makes no package"
        assert "de beelden verlaten de gemeente" in await manager.read(room)
        status, _ = await manager.send(f"{room}/goedkeuren")
        assert status == 200
        status, _ = await manager.send(f"{room}/pakket")
        assert status == 403, "who agrees does not carry it out of the door"
        status, _ = await privacy.send(f"{room}/plaatsnemen")
        assert status == 409, "nobody watches a hand-over"
        assert not [each for each in await entries(town) if each.kind == "viewing.released"]
        status, delivered = await privacy.send(f"{room}/pakket")
        assert status == 200
        disclosure = delivered.rsplit("/", 1)[1]
        assert (await manager.fetch(f"{delivered}/pakket"))[0] == 403
        status, raw = await privacy.fetch(f"{delivered}/pakket")
        assert status == 200
        assert (await privacy.fetch(f"{delivered}/pakket"))[0] == 403, "it is fetched once"
        status, _ = await privacy.send(f"{room}/pakket")
        assert status == 409, "and made once"
    assert list((town.folder / "packages").iterdir()) == [], "nothing in the clear stays behind"

    path = tmp_path / "verstrekking.zip"
    path.write_bytes(raw)
    await asyncio.to_thread(_checked_by_us, path, await letter(town), capsys)
    await asyncio.to_thread(_checked_by_a_stranger, path, await letter(town), tmp_path)
    _plays(raw, recording)

    told = await entries(town)
    kinds = [each.kind for each in told if disclosure in str(each.facts) or each.kind == "viewing.released"]
    assert kinds == [
        "disclosure.prepared",
        "disclosure.approved",
        "viewing.requested",
        "viewing.approved",
        "viewing.released",
        "disclosure.made",
    ]
    made = next(each for each in told if each.kind == "disclosure.made")
    shown = await town.casework.disclosure("heusden", disclosure)
    assert (shown.state, shown.package_sha256) == ("delivered", made.facts["manifest_sha256"])


def _checked_by_us(path: Path, keys: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()  # what the visitors printed
    assert verify([str(path), "--json", *keys]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "intact"
    outcomes = {step["number"]: step["outcome"] for step in said["steps"]}
    assert {number for number, outcome in outcomes.items() if outcome == "holds"} == set(range(1, 13)) - {11}


def _checked_by_a_stranger(path: Path, keys: list[str], folder: Path) -> None:
    """With the one file, in an empty folder, by a Python that sees nothing of ours."""
    single = folder / "verifier.pyz"
    build_zipapp(single)
    run = subprocess.run(
        [sys.executable, "-I", str(single), str(path), "--json", *keys],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["verdict"] == "intact"
    changed = folder / "changed.zip"
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    changed.write_bytes(body)
    again = subprocess.run(
        [sys.executable, "-I", str(single), str(changed), *keys],
        cwd=folder,
        capture_output=True,
        timeout=150,
        check=False,
    )
    assert again.returncode not in {0, 2}


def _plays(raw: bytes, recording: str) -> None:
    archive = Bundle(io.BytesIO(raw)).archive
    film = archive.read(f"recordings/{recording}/footage.mp4", at_most=2**28)
    with av.open(io.BytesIO(film), "r") as opened:
        assert sum(1 for _ in opened.decode(video=0)) > 100


async def test_nobody_hands_over_without_a_basis_or_the_function(town: TownHall) -> None:
    recording = str(await town.film("cam-07", kept=3))
    async with Visitor(town.address, PRIVACY) as privacy, Visitor(town.address, MANAGER) as manager:
        today = town.clock().date().isoformat()
        for kind in ("complaint", "om_request"):
            status, path = await privacy.send(
                "/dossiers", {"soort": kind, "ontvangen": today, "omschrijving": "x", "opname": [recording]}
            )
            assert status == 200
            case = path.rsplit("/", 1)[1]
            fields = {"dossier": case, "ontvanger": "om", "opname": [recording], "tweede": MANAGER, "reden": "x"}
            visitor = privacy if kind == "complaint" else manager
            status, _ = await visitor.send("/verstrekken", fields)
            assert status == 403, kind
        status, _ = await privacy.send("/verstrekken", {**fields, "tweede": PRIVACY})
        assert status >= 400, "alone"
        status, _ = await privacy.send("/verstrekken", {**fields, "tweede": COORDINATOR})
        assert status >= 400, "with whom the policy gives no seat"
        status, _ = await privacy.send("/verstrekken", {**fields, "ontvanger": "krant"})
        assert status >= 400
    assert not [each for each in await entries(town) if each.kind in ("viewing.requested", "disclosure.made")]


def test_of_two_who_fetch_a_package_at_once_one_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    means: Any = dict.fromkeys(("org", "database", "ledger", "kluis", "vault", "casework", "rooms", "clock"))
    office = HandOvers(**means, folder=tmp_path, name="Heusden")
    office._path("d-1").write_bytes(b"package")
    opened = Path.open

    def just_before(path: Path, *how: Any, **also: Any) -> Any:
        file = opened(path, *how, **also)
        path.unlink()
        return file

    monkeypatch.setattr(Path, "open", just_before)
    with pytest.raises(Refused) as refused:
        office.take("d-1")
    assert refused.value.refusal.code is Code.NOT_FOUND
