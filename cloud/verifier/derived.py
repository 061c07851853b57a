"""Footage in which people were made unrecognisable: by the plan that the ledger names, and told as that plan says."""

import hashlib

from broker.wire.bundle import CAPTIONS, MAX_SMALL_BYTES, PLAN
from broker.wire.captions import captions
from cloud.verifier.case import Case, Recording
from cloud.verifier.handed import Lines
from cloud.verifier.verdicts import tampered


def check_derived(case: Case, recording: Recording, film_sha256: str | None) -> Lines:
    """Return what is shown of how a film was made of another; raise Stop where ledger, plan and film differ."""
    entry = case.entries.get(case.bundle.file(recording.part, "received"))
    facts = entry.facts if entry is not None else {}
    plan_name, captions_name = case.bundle.file(recording.part, PLAN), case.bundle.file(recording.part, CAPTIONS)
    here = case.bundle.archive
    if not facts.get("derivative_of"):
        for name in (plan_name, captions_name):
            if name in here:
                raise tampered(
                    f"{name} is here, and the ledger says of no other recording that it was made of it",
                    f"{name} is bijgevoegd, en het logboek zegt van geen andere opname dat zij ervan gemaakt is",
                    where=case.whole(name),
                )
        return []
    lines: Lines = []
    whole = recording.part.last >= max((each.sequence for each in recording.facts), default=0)
    if film_sha256 is not None and whole and recording.part.first <= 1:
        case.expect(case.bundle.file(recording.part, "footage.mp4"), "film", facts.get("film_sha256"), film_sha256)
        lines.append(
            ("the film is the one that the ledger says was made", "de film is die het logboek noemt als gemaakt")
        )
    if plan_name not in here:
        return lines
    plan = here.read(plan_name, at_most=MAX_SMALL_BYTES)
    case.expect(plan_name, "plan", facts.get("plan_sha256"), hashlib.sha256(plan).hexdigest())
    try:
        told = captions(plan)
    except ValueError as cause:
        raise case.malformed(plan_name, "no plan") from cause
    if captions_name in here and here.read(captions_name, at_most=MAX_SMALL_BYTES) != told:
        raise tampered(
            f"{captions_name} does not tell what the plan says",
            f"{captions_name} vertelt niet wat het plan zegt",
            where=case.whole(captions_name),
        )
    lines.append(
        (
            "what is hidden in it is what the plan in the ledger says",
            "wat erin verborgen is, staat in het plan dat het logboek noemt",
        )
    )
    return lines
