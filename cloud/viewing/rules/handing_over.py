"""What goes out in a package: whether it may, and what of each recording does."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from broker.wire.bundle import Part
from broker.wire.recording import Kind
from cloud.rules.verdicts import Verdict, allow, deny


@dataclass(frozen=True, slots=True, kw_only=True)
class Goes:
    """What of one recording goes along: numbers of segments, in order.

    `whole` as they lie in the vault; `filmed`, some of those, joined to a film besides. `told`: the plan by which
    people were made unrecognisable, and its captions. `admitted`: the entry that says that two people declared its
    origin.
    """

    whole: tuple[int, ...]
    filmed: tuple[int, ...]
    told: bool
    admitted: bool


def judge_going(state: str) -> Verdict:
    """Say whether a hand-over in this state may go out: once it was approved, and once."""
    if state == "approved":
        return allow("it was approved, and did not go out yet", "het is goedgekeurd en nog niet verstrekt")
    return deny(f"the hand-over is {state}", "de verstrekking is niet goedgekeurd, of al gedaan")


def judge_packing(approved: Collection[str], *, in_room: Collection[str]) -> Verdict:
    """Say whether what this room was opened for is what was approved: nothing more, and nothing less."""
    if set(approved) == set(in_room):
        return allow("the room holds what was approved", "de kamer bevat wat is goedgekeurd")
    return deny("the room holds other recordings", "de kamer bevat andere opnamen dan zijn goedgekeurd")


def what_goes(kinds: Mapping[int, int], *, part: Part, declared: bool, plan: Mapping[str, Any] | None) -> Goes:
    """Choose what goes along. `kinds`: of each segment whose bytes verify; only those of the part that was asked for.

    A film is made where there are pictures of our own cameras; files of other makers go along as they came. A plan
    that was erased cannot be told.
    """
    whole = tuple(sequence for sequence in sorted(kinds) if part.holds(sequence))
    return Goes(
        whole=whole,
        filmed=tuple(sequence for sequence in whole if kinds[sequence] == Kind.VIDEO),
        told=bool(plan),
        admitted=declared,
    )
