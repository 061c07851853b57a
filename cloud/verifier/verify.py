"""Judge a bundle offline: twelve numbered steps, one verdict, and what cannot be proven."""

from typing import BinaryIO, Final

from broker.wire.archive import ArchiveDiffers
from broker.wire.bundle import MANIFEST, Bundle, newer_version
from broker.wire.recording import ChainState
from broker.wire.refusals import Refused
from cloud.verifier.case import Case, Trust
from cloud.verifier.steps import STEPS
from cloud.verifier.verdicts import Outcome, Report, Said, Step, Stop, Verdict, Where, tampered

__all__ = ["Trust", "verify"]

_VERDICT_OF: Final = {
    ChainState.INTACT: Verdict.INTACT,
    ChainState.INTACT_WITH_GAPS: Verdict.INTACT_WITH_GAPS,
    ChainState.SALVAGED: Verdict.SALVAGED,
    ChainState.OPEN: Verdict.OPEN,
    ChainState.TAMPERED: Verdict.TAMPERED,
}
_WORST_FIRST: Final = (ChainState.TAMPERED, ChainState.OPEN, ChainState.SALVAGED, ChainState.INTACT_WITH_GAPS)

_NEVER_PROVEN: Final = (
    (
        "that the camera saw the truth, and that no other camera ran",
        "dat de camera de waarheid zag, en dat er geen andere camera liep",
    ),
    (
        "the exact second: the time is the camera's own; only before and after which ledger entries it lies can show",
        "de precieze seconde: de tijd is die van de camera zelf; wel kan blijken tussen welke logboekregels",
    ),
    ("that nobody had taken the camera apart for its key", "dat niemand de sleutel uit de camera had gehaald"),
    ("that nobody filmed a screen", "dat niemand een scherm heeft gefilmd"),
    (
        "that nobody kept a secret copy of a key that was destroyed",
        "dat niemand een geheime kopie van een vernietigde sleutel bewaarde",
    ),
    (
        "that the ledger showed everybody the same history: ask a witness for its checkpoint",
        "dat het logboek iedereen dezelfde geschiedenis toont: vraag een getuige om zijn controlepunt",
    ),
)


def verify(source: BinaryIO, trust: Trust) -> Report:
    """Return the report on a bundle; never raises for what is in it. `source` is open for reading and seekable."""
    size = source.seek(0, 2)
    newer = newer_version(source)
    if newer is not None:
        stop = Stop(
            Verdict.NEWER_VERSION,
            f"the bundle has version {newer}; take a newer verifier",
            f"de bundel heeft versie {newer}; neem een nieuwere controleur",
        )
        return _stopped([], stop, size)
    try:
        bundle = Bundle(source)
    except Refused as refused:
        return _stopped([], _unreadable(refused, size), size)
    return _run(Case(bundle=bundle, trust=trust), size)


def _run(case: Case, size: int) -> Report:
    steps: list[Step] = []
    for number, (asks, vraagt, check) in enumerate(STEPS, start=1):
        try:
            said = check(case)
        except Stop as stop:
            return _stopped(steps, stop, size)
        except Refused as refused:
            return _stopped(steps, _unreadable(refused, size), size)
        steps.append(Step(number=number, asks=asks, vraagt=vraagt, said=said))
    states = [recording.chain.state for recording in case.recordings if recording.chain is not None]
    state = next((each for each in _WORST_FIRST if each in states), ChainState.INTACT)
    verdict = _VERDICT_OF[state]
    english, dutch = steps[5].said.english, steps[5].said.dutch
    return Report(
        verdict=verdict, english=english, dutch=dutch, steps=tuple(steps), unproven=_unproven(case), bundle_bytes=size
    )


def _stopped(steps: list[Step], stop: Stop, size: int) -> Report:
    """Return the report of steps that ended early: the failing one, and those never reached."""
    for number, (asks, vraagt, _) in enumerate(STEPS[len(steps) :], start=len(steps) + 1):
        failing = len(steps) == number - 1 and not any(each.said.outcome is Outcome.FAILS for each in steps)
        said = (
            Said(outcome=Outcome.FAILS, english=stop.english, dutch=stop.dutch)
            if failing
            else Said(outcome=Outcome.NOT_REACHED, english="not reached", dutch="niet bereikt")
        )
        steps = [
            *steps,
            Step(number=number, asks=asks, vraagt=vraagt, said=said, where=stop.where if failing else None),
        ]
    return Report(
        verdict=stop.verdict,
        english=stop.english,
        dutch=stop.dutch,
        steps=tuple(steps),
        unproven=_NEVER_PROVEN,
        bundle_bytes=size,
    )


def _unreadable(refused: Refused, size: int) -> Stop:
    first, last = (refused.first, refused.last) if isinstance(refused, ArchiveDiffers) else (0, max(0, size - 1))
    found = refused.refusal
    file = MANIFEST if found.what == MANIFEST else "bundle"
    return tampered(
        f"{found.what}: expected {found.expected}, got {found.got}",
        f"{found.what} klopt niet: verwacht {found.expected}, gevonden {found.got}",
        where=Where(file=file, first=first, last=last),
    )


def _unproven(case: Case) -> tuple[tuple[str, str], ...]:
    """Return what this bundle leaves open, the gravest first."""
    open_ends: list[tuple[str, str]] = []
    if case.trust.ledger is None or case.trust.kluis is None:
        open_ends.append(
            (
                "that this is the municipality's bundle at all, until you compare the keys of step 2 with your letter",
                "dat dit de bundel van de gemeente is, tot u de sleutels van stap 2 met uw brief vergelijkt",
            )
        )
    if case.software_keys:
        open_ends.append(
            (
                "that these people signed in person: software keys (a demonstration) are files that can be copied",
                "dat deze mensen zelf tekenden: softwaresleutels (een demonstratie) zijn te kopiëren bestanden",
            )
        )
    if case.one_person:
        open_ends.append(
            ("that four eyes saw it: one person sufficed", "dat vier ogen het zagen: één persoon volstond")
        )
    if case.declared:
        open_ends.append(
            (
                "that a button was pressed, when and by whom: two people declared it, no camera said so",
                "dat er op een knop is gedrukt, wanneer en door wie: twee mensen verklaarden het, geen camera zei het",
            )
        )
    if any(recording.end is None for recording in case.recordings):
        open_ends.append(
            ("that the recording ended where it ends here", "dat de opname eindigde waar zij hier eindigt")
        )
    if any(not recording.head.checkpoint.size for recording in case.recordings) or not case.grown_from:
        open_ends.append(("that it is not older than it says", "dat de opname niet ouder is dan zij zegt"))
    return (*open_ends, *_NEVER_PROVEN)
