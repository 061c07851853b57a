"""Whether what the database says and what the ledger says add up: rows and entries in, findings out.

The ledger is written before an act of people and after an arrival. So a row without its entry is always wrong. An
entry without its row is wrong for an arrival, and for an act on which later entries build; a last act that stands in
the ledger only was cut off before it happened, which is worth knowing and harmless.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from broker.wire.entries import LedgerEntry
from cloud.rules.apart import DECLARED

ARRIVED: Final = frozenset({"retained", "held", "due", "quarantined", "restricted", "destroying", "destroyed"})
"""States of recordings whose footage has come in."""

KEPT: Final = ARRIVED - {"destroying", "destroyed"}
"""States of recordings whose footage and key must be there."""

SETTLED: Final = frozenset({"destroying", "destroyed"})

_RECEIVED: Final = ("recording.received", "recording.quarantined", "recording.restricted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that does not add up. Not `grave`: worth knowing, nothing is lost or hidden.

    `about` names the row, file or entry. `what` and `wat` say the same in English and Dutch.
    """

    about: str
    what: str
    wat: str
    grave: bool = True

    def __str__(self) -> str:
        """One line."""
        return f"{self.about}: {self.wat} / {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingFacts:
    """What the database says of one recording."""

    id: str
    state: str
    incident: str | None
    head_sha256: str
    has_receipt: bool
    declared: bool  # it is a recording by people's word
    destroying_at: datetime | None
    certificate_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PressFacts:
    """What the database says of one activation; `events` counts those stored that started this recording."""

    recording: str
    camera: str
    ledger_entry: int | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldFacts:
    """What the database says of one hold. `lapses_at` counts while it is provisional."""

    id: str
    case: str
    recording: str | None
    incident: str | None
    state: str
    outcome: str | None
    placed_at: datetime
    lapses_at: datetime | None
    released_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomFacts:
    """What the database says of one viewing request."""

    id: str
    requester: str
    second: str
    approved: bool
    opened: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Both sides. `cameras` and `cases` by id, `policies` by version with their hash, `reports` those submitted."""

    recordings: Mapping[str, RecordingFacts] = field(default_factory=dict)
    presses: Mapping[str, PressFacts] = field(default_factory=dict)
    cases: frozenset[str] = frozenset()
    holds: Sequence[HoldFacts] = ()
    rooms: Mapping[str, RoomFacts] = field(default_factory=dict)
    policies: Mapping[int, str] = field(default_factory=dict)
    cameras: frozenset[str] = frozenset()
    reports: frozenset[str] = frozenset()
    entries: Sequence[LedgerEntry] = ()


def judge_books(books: Books) -> tuple[Finding, ...]:
    """Return everything that does not add up, in the order of the recordings, people's acts, and the ledger."""
    by_kind: dict[str, list[tuple[int, LedgerEntry]]] = defaultdict(list)
    for index, entry in enumerate(books.entries):
        by_kind[entry.kind].append((index, entry))
    return (
        *_holds_before_destruction(books),
        *_recordings(books, by_kind),
        *_presses(books, by_kind),
        *_cases_and_holds(books, by_kind),
        *_rooms(books, by_kind),
        *_registers(books, by_kind),
    )


_Entries = Mapping[str, Sequence[tuple[int, LedgerEntry]]]


def _subjects(by_kind: _Entries, *kinds: str) -> set[str]:
    return {entry.subject for kind in kinds for _, entry in by_kind.get(kind, ())}


def _holds_before_destruction(books: Books) -> Iterator[Finding]:
    """Invariant 1: a recording in destroying or destroyed has no open hold that was committed before it got there."""
    named = {(hold.case, hold.recording) for hold in books.holds if hold.recording is not None}
    for recording in books.recordings.values():
        began = recording.destroying_at
        if began is None:
            continue
        for hold in books.holds:
            by_name = hold.recording == recording.id
            by_incident = (
                hold.recording is None
                and hold.incident is not None
                and hold.incident == recording.incident
                and (hold.case, recording.id) not in named
            )
            if (by_name or by_incident) and _stood_at(hold, began):
                yield Finding(
                    about=f"recording {recording.id}",
                    what=f"was destroyed at {began:%Y-%m-%d %H:%M} UTC while hold {hold.id} stood on it",
                    wat=f"is vernietigd op {began:%Y-%m-%d %H:%M} UTC terwijl bewaarplicht {hold.id} gold",
                )


def _stood_at(hold: HoldFacts, moment: datetime) -> bool:
    if hold.outcome == "already_destroyed" or hold.placed_at >= moment:
        return False
    if hold.released_at is not None:
        return hold.released_at > moment
    lapsed = hold.state == "provisional" and hold.lapses_at is not None and hold.lapses_at <= moment
    return not lapsed and hold.state not in ("released", "lapsed")


def _recordings(books: Books, by_kind: _Entries) -> Iterator[Finding]:
    """Invariants 2 and 5: nothing comes back from destroying, and every arrival and destruction is in the ledger."""
    heads = {
        (entry.subject, str(entry.facts.get("head_sha256"))) for kind in _RECEIVED for _, entry in by_kind.get(kind, ())
    }
    received, ordered = _subjects(by_kind, *_RECEIVED), _subjects(by_kind, "retention.destroying")
    admitted = _subjects(by_kind, "recording.admitted")
    told = {each.subject for kind in _RECEIVED for _, each in by_kind.get(kind, ()) if _says_declared(each)}
    certified = {
        entry.subject: str(entry.facts.get("certificate_sha256")) for _, entry in by_kind.get("retention.destroyed", ())
    }
    for row in books.recordings.values():
        about = f"recording {row.id}"
        if row.state in ARRIVED and row.id not in received:
            yield Finding(
                about=about,
                what="is here without an entry of its arrival in the ledger",
                wat="is hier zonder dat de ontvangst in het logboek staat",
                grave=row.has_receipt,  # without one the camera still has it, and brings it again
            )
        elif row.state in ARRIVED and (row.id, row.head_sha256) not in heads:
            yield Finding(
                about=about,
                what="has another head than the ledger says came in",
                wat="heeft een andere kop dan volgens het logboek is ontvangen",
            )
        if row.id in ordered | set(certified) and row.state not in SETTLED:
            yield Finding(
                about=about,
                what=f"is {row.state}, but the ledger ordered its destruction: nothing comes back from there",
                wat=f"staat op {row.state}, maar het logboek gaf opdracht tot vernietiging: daarvan is geen weg terug",
            )
        if row.declared and row.id not in admitted | told:
            yield Finding(
                about=about,
                what="was admitted on people's word without the ledger saying so",
                wat="is toegelaten op verklaring van mensen zonder dat het in het logboek staat",
            )
        if row.id in admitted and row.state == "quarantined":
            yield Finding(
                about=about,
                what="was admitted by two people and is apart again: cut off, or an older backup; decide anew",
                wat="is door twee mensen toegelaten en staat weer apart: afgebroken, of een oudere reservekopie; "
                "beslis opnieuw",
                grave=False,
            )
        if row.state == "destroyed":
            yield from _destroyed(row, about, ordered=ordered, certified=certified)
    known = set(books.recordings)
    for subject in sorted((received | ordered | set(certified)) - known):
        yield Finding(
            about=f"recording {subject}",
            what="is in the ledger, and its row is gone from the database",
            wat="staat in het logboek, maar de rij is weg uit de database",
        )


def _says_declared(arrived: LedgerEntry) -> bool:
    """Whether this was made of a recording whose origin was declared: it came with that."""
    return DECLARED in (arrived.facts.get("deviations") or ())


def _destroyed(
    row: RecordingFacts, about: str, *, ordered: set[str], certified: Mapping[str, str]
) -> Iterator[Finding]:
    if row.id not in ordered or row.id not in certified:
        yield Finding(
            about=about,
            what="is destroyed without the ledger ordering and recording it",
            wat="is vernietigd zonder dat opdracht en uitvoering in het logboek staan",
        )
    if row.certificate_sha256 is None:
        yield Finding(
            about=about, what="is destroyed without a certificate", wat="is vernietigd zonder verklaring van de Kluis"
        )
    elif row.id in certified and certified[row.id] != row.certificate_sha256:
        yield Finding(
            about=about,
            what="has another certificate than the ledger says",
            wat="heeft een andere verklaring dan het logboek noemt",
        )


def _presses(books: Books, by_kind: _Entries) -> Iterator[Finding]:
    """Invariants 4 and 5 for activations: said, one row, one entry.

    Said more than once is as it should be: after an unclean end a camera tells every press on its card again. That it
    counted once, the row (there is one per recording) and the ledger show.
    """
    seen = {(entry.subject, entry.actor) for _, entry in by_kind.get("activation.acknowledged", ())}
    seen_subjects = {subject for subject, _ in seen}
    received = by_kind.get("activation.received", ())
    counted: dict[str, int] = defaultdict(int)
    for _, entry in received:
        counted[entry.subject] += 1
    for row in books.presses.values():
        about = f"activation {row.recording}"
        footage = books.recordings.get(row.recording)
        history_is_kept = footage is not None and footage.state != "destroyed"  # else it may have been forgotten
        if row.events == 0 and history_is_kept:
            yield Finding(
                about=about,
                what="follows from no event, expected the camera's own",
                wat="volgt uit geen enkele gebeurtenis, verwacht die van de camera",
            )
        if row.ledger_entry is None:
            yield Finding(
                about=about,
                what="waits for the ledger; the fleet writes it when it can",
                wat="wacht op het logboek; dat volgt zodra het kan",
                grave=False,
            )
        elif not _is_entry(books.entries, row.ledger_entry, "activation.received", row.recording):
            yield Finding(
                about=about,
                what=f"says it is entry {row.ledger_entry} of the ledger, which is about something else",
                wat=f"zegt regel {row.ledger_entry} van het logboek te zijn, maar die gaat over iets anders",
            )
        acknowledged = row.acknowledged_by is None or (row.recording, row.acknowledged_by) in seen
        if row.acknowledged_at is not None and not (acknowledged and row.recording in seen_subjects):
            yield Finding(
                about=about,
                what="was acknowledged without the ledger saying so",
                wat="is bevestigd zonder dat het in het logboek staat",
            )
    for subject in sorted(set(counted) | seen_subjects):
        if subject not in books.presses:
            yield Finding(
                about=f"activation {subject}",
                what="is in the ledger, and its row is gone from the database",
                wat="staat in het logboek, maar de rij is weg uit de database",
            )
        elif counted[subject] > 1:
            yield Finding(
                about=f"activation {subject}",
                what=f"stands in the ledger {counted[subject]} times",
                wat=f"staat {counted[subject]} keer in het logboek",
            )


def _is_entry(entries: Sequence[LedgerEntry], index: int, kind: str, subject: str) -> bool:
    return 0 <= index < len(entries) and (entries[index].kind, entries[index].subject) == (kind, subject)


def _cases_and_holds(books: Books, by_kind: _Entries) -> Iterator[Finding]:
    registered = _subjects(by_kind, "case.registered")
    for case in sorted(books.cases - registered):
        yield Finding(
            about=f"case {case}",
            what="is here without an entry of its registration in the ledger",
            wat="is hier zonder dat de registratie in het logboek staat",
        )
    built_upon = {
        entry.subject
        for kind in ("case.moved", "case.confirmed", "hold.released", "hold.lapsed", "hold.release-asked")
        for _, entry in by_kind.get(kind, ())
    }
    for case in sorted(registered - books.cases):
        yield _only_in_the_ledger(f"case {case}", built_upon=case in built_upon)
    placed = _subjects(by_kind, "hold.placed")
    ended = {
        str(entry.facts.get("hold")) for kind in ("hold.released", "hold.lapsed") for _, entry in by_kind.get(kind, ())
    }
    for hold in books.holds:
        if hold.case not in placed:
            yield Finding(
                about=f"hold {hold.id}",
                what=f"is here without the ledger saying that case {hold.case} holds anything",
                wat=f"is hier zonder dat het logboek zegt dat dossier {hold.case} iets bewaart",
            )
        if hold.state in ("released", "lapsed") and hold.id not in ended:
            yield Finding(
                about=f"hold {hold.id}",
                what=f"is {hold.state} without an entry in the ledger",
                wat=f"is beëindigd ({hold.state}) zonder dat het in het logboek staat",
            )
    held = {(hold.case, each) for hold in books.holds for each in (hold.recording, hold.incident) if each is not None}
    told = {(entry.subject, str(each)) for _, entry in by_kind.get("hold.placed", ()) for each in _named_in(entry)}
    for case, each in sorted(told - held):
        if case in books.cases:
            yield _only_in_the_ledger(f"hold of case {case} on {each}", built_upon=True)


def _named_in(placed: LedgerEntry) -> tuple[Any, ...]:
    return (*(placed.facts.get("recordings") or ()), *(placed.facts.get("incidents") or ()))


def _rooms(books: Books, by_kind: _Entries) -> Iterator[Finding]:
    def rooms(kind: str) -> set[str]:
        return {_room(entry) for _, entry in by_kind.get(kind, ())}

    requested, approved, released = rooms("viewing.requested"), rooms("viewing.approved"), rooms("viewing.released")
    for row in books.rooms.values():
        missing = [
            kind
            for kind, needed, there in (
                ("viewing.requested", True, requested),
                ("viewing.approved", row.approved and row.second != row.requester, approved),
                ("viewing.released", row.opened, released),
            )
            if needed and row.id not in there
        ]
        for kind in missing:
            yield Finding(
                about=f"viewing {row.id}",
                what=f"happened without {kind} in the ledger",
                wat=f"is gebeurd zonder {kind} in het logboek",
            )
    built_upon = approved | released | rooms("viewing.watched")
    for room in sorted((requested | built_upon) - set(books.rooms)):
        yield _only_in_the_ledger(f"viewing {room}", built_upon=room in built_upon)


def _room(entry: LedgerEntry) -> str:
    room: Any = entry.facts.get("room")
    return str(room)


def _registers(books: Books, by_kind: _Entries) -> Iterator[Finding]:
    adopted = {
        (entry.facts.get("version"), entry.facts.get("sha256")) for _, entry in by_kind.get("policy.adopted", ())
    }
    for version, sha256 in sorted(books.policies.items()):
        if (version, sha256) not in adopted:
            yield Finding(
                about=f"policy version {version}",
                what="is in force without the ledger saying that exactly this was adopted",
                wat="geldt zonder dat het logboek zegt dat precies dit is vastgesteld",
            )
    told = {version for version, _ in adopted if isinstance(version, int)} - set(books.policies)
    for version in sorted(told):
        newest = version > max(books.policies, default=0)
        yield _only_in_the_ledger(f"policy version {version}", built_upon=not newest)
    enrolled = _subjects(by_kind, "camera.enrolled")
    for camera in sorted(books.cameras - enrolled):
        yield Finding(
            about=f"camera {camera}",
            what="is in the register without an entry of its enrolment",
            wat="staat in het register zonder dat de inschrijving in het logboek staat",
        )
    for camera in sorted(enrolled - books.cameras):
        yield _only_in_the_ledger(f"camera {camera}", built_upon=camera in _subjects(by_kind, "camera.revoked"))
    submitted = _subjects(by_kind, "report.submitted")
    for report in sorted(books.reports - submitted):
        yield Finding(
            about=f"usage report {report}",
            what="is submitted without an entry in the ledger",
            wat="is ingediend zonder dat het in het logboek staat",
        )


def _only_in_the_ledger(about: str, *, built_upon: bool) -> Finding:
    if built_upon:
        return Finding(
            about=about,
            what="is in the ledger, and its row is gone from the database",
            wat="staat in het logboek, maar de rij is weg uit de database",
        )
    return Finding(
        about=about,
        what="is in the ledger only: the act was cut off before it happened",
        wat="staat alleen in het logboek: de handeling is afgebroken voordat zij gebeurde",
        grave=False,
    )


def gravest_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings with the grave ones first, otherwise in their order."""
    return tuple(sorted(findings, key=lambda finding: not finding.grave))
