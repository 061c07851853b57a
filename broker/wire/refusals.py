"""Every refusal between machines, in one table: code, HTTP status, whether to try again, and what to do.

A refusal is an answer. It always says what was refused, what was expected, what came, and what to do.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum, unique


class Retry(StrEnum):
    """Whether the same request can ever succeed."""

    NEVER = "never"
    SOON = "soon"
    AFTER = "after"


@unique
class Code(Enum):
    """What is refused. Value: (HTTP status, retry, what to do in English, wat te doen)."""

    MALFORMED = (400, Retry.NEVER, "send the documented form", "stuur de beschreven vorm")
    NOT_SIGNED_IN = (401, Retry.NEVER, "sign in", "meld u aan")
    UNKNOWN_IDENTITY = (403, Retry.NEVER, "enrol the device or dock first", "schrijf het apparaat of dock eerst in")
    NOT_ALLOWED = (403, Retry.NEVER, "ask someone who holds the right", "vraag iemand die dit recht heeft")
    WRONG_TENANT = (
        403,
        Retry.NEVER,
        "use the dock of the camera's own municipality",
        "gebruik een dock van de eigen gemeente",
    )
    NOT_FOUND = (404, Retry.NEVER, "check the identifier", "controleer het kenmerk")
    CONFLICT = (409, Retry.NEVER, "read the present state and decide again", "lees de huidige stand en beslis opnieuw")
    UNDER_HOLD = (409, Retry.NEVER, "release the hold first", "hef eerst de bewaarplicht op")
    DESTROYED = (410, Retry.NEVER, "nothing: the footage was lawfully destroyed", "niets: de beelden zijn vernietigd")
    LENGTH_REQUIRED = (411, Retry.NEVER, "send Content-Length", "stuur Content-Length mee")
    TOO_LARGE = (413, Retry.NEVER, "split into segments of at most 8 MiB", "splits in segmenten van ten hoogste 8 MiB")
    DIGEST_DIFFERS = (422, Retry.SOON, "read the segment again and send it again", "lees en stuur het segment opnieuw")
    BAD_SIGNATURE = (
        422,
        Retry.NEVER,
        "quarantine the recording and call the privacy officer",
        "zet de opname apart en meld het bij de privacy officer",
    )
    BROKEN_CHAIN = (
        422,
        Retry.NEVER,
        "quarantine the recording: segments are missing, doubled or out of order",
        "zet de opname apart: er ontbreken segmenten, of ze staan dubbel of verkeerd",
    )
    MISSING_SEGMENTS = (409, Retry.SOON, "send the missing segments first", "stuur eerst de ontbrekende segmenten")
    TOO_MANY = (429, Retry.AFTER, "wait as long as Retry-After says", "wacht zolang als Retry-After zegt")
    UNAVAILABLE = (503, Retry.AFTER, "wait as long as Retry-After says", "wacht zolang als Retry-After zegt")
    LEDGER_UNWRITABLE = (503, Retry.AFTER, "repair the ledger; intake goes on", "herstel het logboek; intake gaat door")
    DISK_FULL = (507, Retry.AFTER, "make room; the camera keeps its footage", "maak ruimte; de camera bewaart alles")

    @property
    def status(self) -> int:
        """The HTTP status that carries this refusal."""
        return self.value[0]

    @property
    def retry(self) -> Retry:
        """Whether the same request may be tried again."""
        return self.value[1]

    @property
    def what_to_do(self) -> str:
        """One sentence in English."""
        return self.value[2]

    @property
    def wat_te_doen(self) -> str:
        """The same sentence in Dutch."""
        return self.value[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refusal: what was refused, what was expected and what came."""

    code: Code
    what: str
    expected: str
    got: str

    def __str__(self) -> str:
        """One line for a log or a terminal."""
        return f"{self.what}: expected {self.expected}, got {self.got}; {self.code.what_to_do}"

    def problem(self) -> bytes:
        """Return the RFC 9457 problem document that carries this refusal over HTTP."""
        import msgspec  # here, because the offline verifier must do without it

        return msgspec.json.encode(
            {
                "type": f"urn:vier-ogen:refusal:{self.code.name.lower().replace('_', '-')}",
                "title": self.what,
                "status": self.code.status,
                "detail": str(self),
                "expected": self.expected,
                "got": self.got,
                "retry": self.code.retry.value,
                "what_to_do": self.code.what_to_do,
                "wat_te_doen": self.code.wat_te_doen,
            }
        )


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """Carries a refusal out of a parser or a guard, to the door that answers it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def refuse(code: Code, what: str, *, expected: str, got: object) -> Refused:
    """Return the exception to raise for this refusal."""
    return Refused(Refusal(code=code, what=what, expected=expected, got=str(got)))
