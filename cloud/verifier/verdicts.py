"""What the verifier answers: a word, the numbered steps that led to it, and what cannot be proven."""

from dataclasses import dataclass
from enum import Enum, StrEnum, unique


@unique
class Verdict(Enum):
    """The answer in one word. Value: (English, Nederlands, exit status of the command); 2 is a mistake in the call."""

    INTACT = ("intact", "ongeschonden", 0)
    TAMPERED = ("tampered", "gewijzigd", 1)
    INTACT_WITH_GAPS = ("intact with gaps", "ongeschonden met gaten", 3)
    SALVAGED = ("salvaged", "gered na stroomuitval", 4)
    OPEN = ("open", "open", 5)
    UNKNOWN_KEY = ("unknown key", "onbekende sleutel", 6)
    NEWER_VERSION = ("newer version", "nieuwere versie", 7)

    @property
    def word(self) -> str:
        """The verdict in English."""
        return self.value[0]

    @property
    def woord(self) -> str:
        """The verdict in Dutch."""
        return self.value[1]

    @property
    def exit_status(self) -> int:
        """What the command returns to the shell."""
        return self.value[2]


class Outcome(StrEnum):
    """What one step found."""

    HOLDS = "holds"
    NOT_SHOWN = "not shown"  # the bundle holds nothing to check it with
    FAILS = "fails"
    NOT_REACHED = "not reached"  # an earlier step failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Bytes `first` to `last` (both included, from 0) of a file in the bundle, or of the bundle itself."""

    file: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A sentence, in both languages, and what it means for the step."""

    outcome: Outcome
    english: str
    dutch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One numbered step: what was asked, what was found, and where if it fails."""

    number: int
    asks: str
    vraagt: str
    said: Said
    where: Where | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that the verifier has to say about one bundle."""

    verdict: Verdict
    english: str
    dutch: str
    steps: tuple[Step, ...]
    unproven: tuple[tuple[str, str], ...]  # (English, Nederlands)
    bundle_bytes: int


class Stop(Exception):  # noqa: N818 - it ends the steps, it is not an error
    """Ends the steps with a verdict: what does not hold, and where."""

    def __init__(self, verdict: Verdict, english: str, dutch: str, *, where: Where | None = None) -> None:
        super().__init__(english)
        self.verdict, self.english, self.dutch, self.where = verdict, english, dutch, where


def holds(english: str, dutch: str) -> Said:
    """Return that the step holds."""
    return Said(outcome=Outcome.HOLDS, english=english, dutch=dutch)


def not_shown(english: str, dutch: str) -> Said:
    """Return that the bundle holds nothing to show it with."""
    return Said(outcome=Outcome.NOT_SHOWN, english=english, dutch=dutch)


def tampered(english: str, dutch: str, *, where: Where | None = None) -> Stop:
    """Return what to raise where something does not hold."""
    return Stop(Verdict.TAMPERED, english, dutch, where=where)
