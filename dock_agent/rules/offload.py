"""What a dock decides: what to send next, how fast, which receipt goes to which camera, what its lights show.

Facts and numbers in, decisions out; chance comes in as a number from 0 to 1.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from broker.wire.delivery import MAX_IN_BUNDLE_BYTES
from broker.wire.ids import Org, RecordingId
from broker.wire.receipts import Receipt
from broker.wire.refusals import Code, Retry

Doing = Literal["empty", "reading", "uploading", "waiting", "wiping", "done", "attention"]

HERE: Final = ZoneInfo("Europe/Amsterdam")


# --- the order --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCard:
    """A closed recording on a card, as the dock read it. Hashes are of the card's own bytes."""

    recording: RecordingId
    camera_key: str
    pressed: bool  # it holds footage from before a press: somebody needed it
    head_sha256: str
    segments: int
    last_hash: str
    total_bytes: int  # of ciphertext


def in_order(recordings: Iterable[OnCard]) -> tuple[OnCard, ...]:
    """Return what to send first: recordings of a press, and of those the oldest. (A UUIDv7 sorts by its time.)"""
    return tuple(sorted(recordings, key=lambda each: (not each.pressed, each.recording.int)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one bay has waiting: whether it is of a press, and how many bytes this bay was served in this visit."""

    bay: int
    pressed: bool
    served_bytes: int


def next_load(loads: Sequence[Load]) -> Load | None:
    """Return which bay sends its next segment: presses first, then who got least, then the lowest number.

    Its next segment, or its next bundle of small ones. A large card cannot keep the others waiting, and what waits is
    sent at the latest when each of the others has been served as much.
    """
    return min(loads, key=lambda load: (not load.pressed, load.served_bytes, load.bay), default=None)


# --- how much at once -------------------------------------------------------------------------------------------

LEAST_BUNDLE_BYTES: Final = 256 * 1024
FIRST_BUNDLE_BYTES: Final = 512 * 1024
MOST_BUNDLE_BYTES: Final = 4 * 1024 * 1024
BUNDLE_S: Final = 1.0
"""What goes in one body takes the line about so long: that much is sent again when the line drops, and a press waits
so long for its turn."""


def together(sizes: Sequence[int], *, rate: float | None) -> int:
    """Return how many of these waiting segments (sizes in bytes, in order) go in one body; at least one.

    Segments go together: for each on its own the receiver waits for the disk, and for a bundle only once. `rate` is
    what all connections together did, in bytes per second; None when that is not known yet.
    """
    room = FIRST_BUNDLE_BYTES if rate is None else min(max(rate * BUNDLE_S, LEAST_BUNDLE_BYTES), MOST_BUNDLE_BYTES)
    count = 0
    for size in sizes:
        room -= size
        if size > MAX_IN_BUNDLE_BYTES or room < 0:
            break
        count += 1
    return max(count, 1)


# --- the pace ---------------------------------------------------------------------------------------------------

SLOW_LINK_BYTES_PER_S: Final = 625_000
"""5 Mbit/s: below it each further connection only keeps more bytes in flight that a dropped line throws away."""

GROWTH: Final = 1.05
"""More connections are worth it when the whole got this much faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many connections send at the same time. Rates are in bytes per second, measured while sending."""

    connections: int = 2
    most: int = 8
    best_rate: float = 0.0

    def measured(self, rate: float) -> "Pace":
        """Adapt to what a stretch of sending gave."""
        if rate < SLOW_LINK_BYTES_PER_S:
            return replace(self, connections=1, best_rate=rate)
        if rate >= self.best_rate * GROWTH:
            return replace(self, connections=min(self.connections * 2, self.most), best_rate=rate)
        return self

    def pushed_back(self) -> "Pace":
        """The receiver said 429 or 503: halve."""
        return replace(self, connections=max(self.connections // 2, 1), best_rate=0.0)

    def lost(self) -> "Pace":
        """The line is gone: one connection probes when it may be back."""
        return replace(self, connections=1, best_rate=0.0)


FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0


def wait_s(attempt: int, *, chance: float, retry_after_s: float | None = None) -> float:
    """Return how long to wait before attempt 1, 2, ...: full jitter, doubling from 1 s up to 60 s, without end.

    What the receiver asks for (Retry-After) is kept to, and up to half of it added, so that docks do not come together.
    """
    if retry_after_s is not None:
        return retry_after_s * (1 + chance / 2)
    return chance * min(FIRST_WAIT_S * 2.0 ** min(attempt, 16), LONGEST_WAIT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of the day with a limit of its own, by local time; `until` before `since` passes midnight."""

    since: time
    until: time
    limit_mbit: float  # 0: nothing is sent

    def covers(self, moment: time) -> bool:
        """Whether this moment lies in the window."""
        if self.since <= self.until:
            return self.since <= moment < self.until
        return moment >= self.since or moment < self.until


def limit_bytes_per_s(at: datetime, *, windows: Sequence[Window], otherwise_mbit: float | None) -> float | None:
    """Return the limit at this moment in bytes per second: the first window that covers it; None is no limit."""
    moment = at.astimezone(HERE).time()
    limit = next((window.limit_mbit for window in windows if window.covers(moment)), otherwise_mbit)
    return None if limit is None else limit * 1_000_000 / 8


# --- what an answer means ---------------------------------------------------------------------------------------


Then = Literal["again", "wait", "damaged", "have", "attention"]

READS_OF_ONE_SEGMENT: Final = 3
"""A card's contact may be bad for a moment; after so many readings that differ from the digest it is the card."""


def after_refusal(code: Code, *, tries: int) -> Then:
    """Return what to do when a segment or a recording is refused for the `tries`-th time.

    again: read and send it again; wait: later, the same; damaged: keep the bytes as they are, apart; have: ask what is
    missing and send that; attention: somebody must look, and the camera keeps everything.
    """
    match code:
        case Code.DIGEST_DIFFERS:
            return "again" if tries < READS_OF_ONE_SEGMENT else "damaged"
        case Code.BAD_SIGNATURE | Code.MALFORMED:
            return "damaged"
        case Code.MISSING_SEGMENTS:
            return "have"
        case _ if code.retry is Retry.AFTER:
            return "wait"
        case _:
            return "attention"


# --- the receipt ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether it may, and why (English, Dutch)."""

    allowed: bool
    because: str
    waarom: str


def claimed_receipt(raw: bytes) -> Receipt | None:
    """Return what a receipt says, unchecked (only the camera has the key that counts); None for what is no receipt."""
    try:
        return msgspec.json.decode(msgspec.json.decode(raw, type=dict[str, msgspec.Raw])["receipt"], type=Receipt)
    except (msgspec.DecodeError, KeyError):
        return None


def may_hand_over(receipt: Receipt, on_card: OnCard, *, org: Org) -> Verdict:
    """Say whether this receipt belongs on this card: it must name exactly the bytes that the dock read from it.

    The camera checks the signature and the bytes again before it wipes; a swapped receipt does not even reach it.
    """
    named = (
        receipt.org,
        receipt.recording,
        receipt.camera_key,
        receipt.head_sha256,
        receipt.segments,
        receipt.last_hash,
        receipt.total_bytes,
    )
    here = (
        org,
        on_card.recording,
        on_card.camera_key,
        on_card.head_sha256,
        on_card.segments,
        on_card.last_hash,
        on_card.total_bytes,
    )
    if named != here:
        return Verdict(
            allowed=False,
            because=f"the receipt is for {named}, the card holds {here}",
            waarom="het ontvangstbewijs hoort niet bij deze opname",
        )
    return Verdict(allowed=True, because="it names these bytes", waarom="het noemt precies deze beelden")


def may_serve(card_org: Org, *, org: Org) -> Verdict:
    """Say whether a camera may be read at this dock: only at one of its own municipality."""
    if card_org != org:
        return Verdict(
            allowed=False,
            because=f"this camera belongs to {card_org}, this dock to {org}",
            waarom="deze camera hoort bij een andere gemeente",
        )
    return Verdict(allowed=True, because="our own camera", waarom="een eigen camera")


# --- what people see --------------------------------------------------------------------------------------------


def etas_s(left_bytes: Mapping[int, int], *, rate: float | None) -> dict[int, int | None]:
    """Return for each bay when it will be done, in seconds: the line is shared equally, and freed as bays finish.

    None where it cannot be known: nothing was measured yet, or nothing moves.
    """
    if rate is None or rate <= 0:
        return {bay: 0 if left == 0 else None for bay, left in left_bytes.items()}
    found: dict[int, int | None] = {}
    passed, shared = 0.0, 0
    waiting = sorted(left_bytes.items(), key=lambda item: item[1])
    for place, (bay, left) in enumerate(waiting):
        passed += (left - shared) * (len(waiting) - place) / rate
        shared = left
        found[bay] = round(passed)
    return found


Colour = Literal["off", "blue", "green", "orange", "red"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """One bay's light: never colour alone, so that everybody can tell."""

    colour: Colour
    pattern: Literal["off", "steady", "slow", "fast"]
    means: str
    betekent: str


LIGHTS: Final[Mapping[Doing, Light]] = {
    "empty": Light(colour="off", pattern="off", means="put a camera here", betekent="plaats hier een camera"),
    "reading": Light(colour="blue", pattern="fast", means="reading the card", betekent="kaart wordt gelezen"),
    "uploading": Light(colour="blue", pattern="slow", means="sending: leave it", betekent="verzendt: laat staan"),
    "waiting": Light(
        colour="orange",
        pattern="slow",
        means="waiting for the line; the footage is safe on the camera",
        betekent="wacht op verbinding; de beelden staan veilig op de camera",
    ),
    "wiping": Light(colour="blue", pattern="steady", means="the camera is wiping", betekent="de camera wist zichzelf"),
    "done": Light(colour="green", pattern="steady", means="ready: take it", betekent="klaar: neem mee"),
    "attention": Light(
        colour="red",
        pattern="fast",
        means="somebody must look; the footage is still on the camera",
        betekent="vraag hulp; de beelden staan nog op de camera",
    ),
}
