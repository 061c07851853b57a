"""Whether a recording is whole: order, links, gaps, completeness. Verdicts are words, with their reason."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from broker.wire.layout import End, Flag, Head, SegmentFacts, StopReason


class ChainState(StrEnum):
    """What can be said of a recording's segments together, worst last."""

    INTACT = "intact"
    INTACT_WITH_GAPS = "intact with gaps"  # the camera itself says that it missed something
    SALVAGED = "salvaged"  # a power cut shortened a segment; what is there is authentic
    OPEN = "open"  # no end record: whether more was recorded cannot be known
    TAMPERED = "tampered"  # this is not what the camera made: something is missing, moved, doubled or foreign


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainVerdict:
    """A state, and the sentence that explains it, in English and (where it was made here) in Dutch."""

    state: ChainState
    because: str
    waarom: str = ""


class Broken(NamedTuple):
    """What breaks a recording, said twice."""

    because: str
    waarom: str


def check_chain(head: Head, segments: tuple[SegmentFacts, ...], end: End | None) -> ChainVerdict:
    """Order, gaps, completeness: a verdict with its reason, never an exception.

    A segment that is missing, twice there or out of place is *tampered*, also where the cause is innocent: the chain
    cannot tell loss from removal. Signatures were checked when the facts were read.
    """
    broken = check_links(head, segments) or (None if end is None else _check_end(head, segments, end))
    if broken is not None:
        return ChainVerdict(state=ChainState.TAMPERED, because=broken.because, waarom=broken.waarom)
    count, aantal = f"{len(segments)} segments in order", f"{len(segments)} segmenten op volgorde"
    if end is None:
        return ChainVerdict(
            state=ChainState.OPEN,
            because=f"{count}, but no end record: more may have been recorded",
            waarom=f"{aantal}, maar geen slotregel: er kan meer zijn opgenomen",
        )
    salvaged = [each.sequence for each in segments if each.salvaged]
    if salvaged:
        return ChainVerdict(
            state=ChainState.SALVAGED,
            because=f"{count}, complete but for what a power cut took of segment {_listed(salvaged)}",
            waarom=f"{aantal}, volledig op het stuk na dat stroomuitval nam van segment {_listed(salvaged)}",
        )
    gaps = [each.sequence for each in segments if Flag.GAP_BEFORE in each.flags]
    if gaps:
        return ChainVerdict(
            state=ChainState.INTACT_WITH_GAPS,
            because=f"{count}; the camera reports a gap before segment {_listed(gaps)}",
            waarom=f"{aantal}; de camera meldt een gat voor segment {_listed(gaps)}",
        )
    if end.stop_reason is StopReason.INTERRUPTED:
        return ChainVerdict(
            state=ChainState.INTACT,
            because=f"{count}; closed after a power cut, what was not yet written is lost",
            waarom=f"{aantal}; gesloten na stroomuitval, wat nog niet geschreven was is verloren",
        )
    return ChainVerdict(state=ChainState.INTACT, because=f"{count}, complete", waarom=f"{aantal}, volledig")


def check_links(head: Head, segments: tuple[SegmentFacts, ...]) -> Broken | None:
    """Return the first thing that breaks the row of segments from 0 upward; None where it holds."""
    previous = head.sha256
    for place, facts in enumerate(segments):
        broken = _check_link(head, facts, place=place, previous=previous, boot=segments[0].boot)
        if broken is not None:
            return broken
        if Flag.LAST in facts.flags and place + 1 < len(segments):
            return Broken(
                f"segment {place} says it is the last, but {place + 1} follows",
                f"segment {place} noemt zich het laatste, maar {place + 1} volgt",
            )
        previous = facts.digest
    return None


def _check_link(head: Head, facts: SegmentFacts, *, place: int, previous: bytes, boot: bytes) -> Broken | None:
    if facts.recording != head.recording:
        return Broken(
            f"a segment of recording {facts.recording} in recording {head.recording}",
            f"een segment van opname {facts.recording} in opname {head.recording}",
        )
    if (facts.tenant, facts.camera) != (head.tenant, head.camera):
        return Broken(
            f"segment {facts.sequence} names another camera or municipality than the head",
            f"segment {facts.sequence} noemt een andere camera of gemeente dan de kop",
        )
    if facts.sequence < place:
        return Broken(
            f"segment {facts.sequence} is there twice, or out of order: expected {place}",
            f"segment {facts.sequence} is er twee keer, of staat verkeerd: verwacht {place}",
        )
    if facts.sequence > place:
        return Broken(
            f"segment {place} is missing: lost, removed or out of order; next is {facts.sequence}",
            f"segment {place} ontbreekt: verloren, verwijderd of verplaatst; wat volgt is {facts.sequence}",
        )
    if facts.boot != boot:
        return Broken(
            f"segment {place} was made in another boot: a recording never continues over a power cut",
            f"segment {place} is na een herstart gemaakt: een opname gaat nooit door na stroomuitval",
        )
    if facts.previous != previous:
        return Broken(
            f"segment {place} does not follow what stands before it",
            f"segment {place} sluit niet aan op wat ervoor staat",
        )
    return None


def _check_end(head: Head, segments: tuple[SegmentFacts, ...], end: End) -> Broken | None:
    if end.recording != head.recording:
        return Broken(
            f"the end record of recording {end.recording} in recording {head.recording}",
            f"de slotregel van opname {end.recording} in opname {head.recording}",
        )
    if end.segments != len(segments):
        return Broken(
            f"the end record counts {end.segments} segments, {len(segments)} are here",
            f"de slotregel telt {end.segments} segmenten, hier zijn er {len(segments)}",
        )
    if end.last_hash != (segments[-1].digest if segments else head.sha256):
        return Broken("the end record follows another last segment", "de slotregel hoort bij een ander laatste segment")
    if end.total_bytes != sum(each.ciphertext_bytes for each in segments):
        return Broken("the end record counts other bytes", "de slotregel telt andere bytes")
    return None


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (f" (+{len(numbers) - 5})" if len(numbers) > 5 else "")
