"""What a search came to, so that several searches fit in one table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tally:
    """`states`: disks that were looked at; `points`: moments at which the power went, a call failed, a line was cut."""

    states: int = 0
    points: int = 0
    failures: int = 0
    skipped: str = ""

    @property
    def exit_code(self) -> int:
        return 1 if self.failures else 0
