"""What a search has come to so far, so that several fit in one table, also when they are interrupted."""

import time
from dataclasses import dataclass, field

SAY_EVERY_S = 20.0


@dataclass
class Tally:
    """`states`: disks that were looked at; `points`: moments at which the power went, a call failed, a line was cut."""

    states: int = 0
    points: int = 0
    failures: int = 0
    skipped: str = ""
    took_s: float = 0.0
    _began: float = field(default_factory=time.monotonic, repr=False)
    _said: float = field(default_factory=time.monotonic, repr=False)

    @property
    def exit_code(self) -> int:
        return 1 if self.failures else 0

    def end(self) -> None:
        """The search is over, or was stopped."""
        self.took_s = time.monotonic() - self._began

    def still(self, doing: str) -> None:
        """Say what is being done, not more often than a person who waits wants to hear it."""
        now = time.monotonic()
        if now - self._said >= SAY_EVERY_S:
            self._said = now
            print(f"    {(now - self._began) / 60:5.1f} minutes: {doing}", flush=True)
