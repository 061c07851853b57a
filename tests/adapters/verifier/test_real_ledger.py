"""A bundle written from the ledger as it lies on disk."""

import io
import json
from datetime import datetime
from pathlib import Path

from broker.wire.bundle import BundleWriter, ProvenEntry
from cloud.ledger.log import Ledger
from cloud.verifier.verdicts import Outcome, Verdict
from tests.rules.verifier.bundles import ASKED_AT, ORG, ORIGIN, judged, town


async def test_proofs_of_the_ledger_on_disk_hold_in_a_bundle(tmp_path: Path) -> None:
    made = town()
    ledger = Ledger.create(tmp_path / "ledger", origin=ORIGIN, key=made.log.key)
    for raw in made.log.entries:
        said = json.loads(raw)
        at = datetime.fromisoformat(said["at"])
        await ledger.append(said["kind"], subject=said["subject"], actor=said["actor"], at=at, facts=said["facts"])
    target = io.BytesIO()
    writer = BundleWriter(target, org=ORG, ledger_key=made.ledger_key, kluis_key=made.trust.kluis or b"")
    writer.add_recording(
        part=made.part,
        head=made.head,
        ends=made.ends,
        end=made.end,
        segments=made.segments[:3],
        keys=made.keys,
        enrolled=await _proven(ledger, made.log.entries[1], 1),
        received=await _proven(ledger, made.log.entries[2], 2),
    )
    await ledger.append("policy.adopted", subject=ORG, actor="system", at=ASKED_AT, facts={"version": 2})
    newest = ledger.checkpoint()
    growth = {size: await ledger.prove_growth(size) for size in writer.sizes}
    writer.add_ledger(checkpoint=newest.note, growth=growth)
    handed_over = await ledger.append(
        "disclosure.made",
        subject="case-7",
        actor="o-privacy",
        at=ASKED_AT,
        facts={"manifest_sha256": writer.finish().hex()},
    )
    writer.close(
        ProvenEntry(entry=handed_over.raw, proof=handed_over.proof), growth=await ledger.prove_growth(newest.size)
    )
    await ledger.close()
    report = judged(target.getvalue(), made.trust)
    assert report.verdict is Verdict.INTACT, report.english
    assert [step.number for step in report.steps if step.said.outcome is Outcome.NOT_SHOWN] == [8, 10, 11]


async def _proven(ledger: Ledger, raw: bytes, index: int) -> ProvenEntry:
    return ProvenEntry(entry=raw, proof=await ledger.prove(index))
