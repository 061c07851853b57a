"""A derivative goes out where the policy requires one, and a stranger can tell what it is."""

import asyncio
import json
from base64 import b64encode
from pathlib import Path

import pytest

from broker.wire.policy import CaseKind
from broker.wire.refusals import Refused
from broker.wire.tlog import verifier_key
from cloud.redaction.rules.plan import Rest
from cloud.verifier.command import main as verify
from cloud.viewing.handover import HandOvers
from tests.adapters.redaction.conftest import MANAGER, PRIVACY, Studio, open_studio
from tests.browser import town as towns
from tests.browser.town import ORG


async def handed_over(studio: Studio, recording: str, folder: Path) -> Path:
    office = HandOvers(
        org=ORG,
        database=studio.town.database,
        ledger=studio.town.ledger,
        kluis=studio.town.kluis,
        vault=studio.town.vault,
        casework=studio.town.casework,
        rooms=studio.rooms,
        folder=folder,
    )
    casework = studio.town.casework
    disclosure = await casework.prepare_disclosure(ORG, studio.case, by=PRIVACY, recipient="om", recordings=[recording])
    await casework.approve_disclosure(ORG, disclosure, by=PRIVACY)
    policy = await studio.town.policies.current(ORG)
    room = await office.ask(disclosure, requester=PRIVACY, second=MANAGER, reason="Verzoek van het OM", policy=policy)
    await studio.sign(room)
    return (await office.pack(room, by=PRIVACY)).path


@pytest.mark.rule("P-17", "H-55")
async def test_where_the_policy_requires_it_only_a_derivative_goes_out(
    tmp_path: Path,
    filmed: tuple[bytes, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, begin, rest = towns.POLICY.read_text().partition("[purposes.criminal_demand]")
    (tmp_path / "t").mkdir()
    document = tmp_path / "policy.toml"
    document.write_text(before + begin + rest.replace('redaction = "not_used"', 'redaction = "required"', 1))
    monkeypatch.setattr(towns, "POLICY", document)
    async with open_studio(tmp_path / "t", filmed, kind=CaseKind.OM_REQUEST) as studio:
        studio.purpose = "criminal_demand"
        with pytest.raises(Refused, match="only what was made unrecognisable"):
            await handed_over(studio, studio.recording, tmp_path / "out")
        room = await studio.open()
        await studio.redactions.search(room)
        await studio.until_idle(room)
        await studio.redactions.edit(room, Rest(hidden=True), by=PRIVACY)
        await studio.review(room)
        await studio.redactions.make(room, by=PRIVACY)
        derivative = (await studio.until_idle(room)).made
        package = await handed_over(studio, derivative, tmp_path / "out")
        public, ledger = await studio.town.kluis.public(), studio.town.ledger
        keys = ["--ledger-key", verifier_key(ledger.origin, ledger.key)]
        keys += ["--kluis-key", b64encode(public.signing_key).decode()]
        capsys.readouterr()
        assert await asyncio.to_thread(verify, [str(package), "--json", *keys]) == 0
        said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "intact"
    assert f"{derivative} is no original: people were made unrecognisable in {studio.recording}" in json.dumps(said)
