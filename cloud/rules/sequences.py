"""Which of a camera's numbered events have arrived: up to where without a gap, and what must be asked again."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

ASKED_AT_ONCE: Final = 100
"""Missing numbers that one receipt names at most; the next receipt names the next ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """The events of one boot of one source. Numbers start at 1; `above` arrived beyond a gap."""

    upto: int = 0
    above: frozenset[int] = frozenset()

    def has(self, sequence: int) -> bool:
        """Whether this number has arrived."""
        return 0 < sequence <= self.upto or sequence in self.above

    def plus(self, *sequences: int) -> "Arrived":
        """Return what has arrived with these too, in any order, each any number of times."""
        above = set(self.above)
        above.update(sequence for sequence in sequences if sequence > self.upto)
        upto = self.upto
        while upto + 1 in above:
            upto += 1
            above.discard(upto)
        return Arrived(upto=upto, above=frozenset(above))

    @property
    def missing(self) -> tuple[int, ...]:
        """Return the first numbers that something later has overtaken."""
        if not self.above:
            return ()
        found: list[int] = []
        at = self.upto + 1
        for present in sorted(self.above):
            found.extend(range(at, min(present, at + ASKED_AT_ONCE - len(found))))
            if len(found) >= ASKED_AT_ONCE:
                break
            at = present + 1
        return tuple(found)

    @property
    def missing_count(self) -> int:
        """Return how many numbers are missing below the highest that arrived."""
        return max(self.above) - self.upto - len(self.above) if self.above else 0


def arrived(sequences: Iterable[int]) -> Arrived:
    """Return what has arrived, from the numbers themselves."""
    return Arrived().plus(*sequences)
