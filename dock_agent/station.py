"""One station at work: for each camera in a bay, deliver what is on its card and hand over the receipts.

Docking alone starts it; nobody chooses. The order within a card is the rules'; between cards it is fair. Whatever goes
wrong with one recording or one camera, the others go on.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from broker.ending import end
from broker.wire.events import BayState
from broker.wire.ids import Org, RecordingId
from broker.wire.recording import SEGMENT_HEADER_BYTES, SEGMENT_TAIL_BYTES
from broker.wire.refusals import Refused
from dock_agent.bays import Occupant, watch
from dock_agent.card_reader import CardGone, CardSick, DockedCard
from dock_agent.rules.offload import Doing, OnCard, claimed_receipt, etas_s, in_order, may_hand_over, may_serve
from dock_agent.state import DockState
from dock_agent.uploader import NeedsAttention, NoAnswer, SaidNo, Uploader

LOG: Final = logging.getLogger(__name__)

T = TypeVar("T")

IDLE_S: Final = 1.0  # between two looks at a card on which nothing is left to do
SICK_S: Final = 5.0  # before a card that does not answer is tried again
WIPE_WITHIN_S: Final = 600.0  # a camera that has not wiped by then gets a person's attention
TRY_AGAIN_S: Final = 3600.0  # what needed attention may have been put right: the dock enrolled, the contact cleaned
_AROUND_BYTES: Final = SEGMENT_HEADER_BYTES + SEGMENT_TAIL_BYTES  # of a segment beside its ciphertext

FRESH_KEYS_S: Final = 3600.0  # how often a camera that stays docked gets the newest key list


@dataclass(slots=True)
class Book:
    """What one bay is doing, for people to see."""

    bay: int
    camera: str | None = None
    doing: Doing = "empty"
    totals: dict[RecordingId, int] = field(default_factory=dict)  # bytes on the card, of this visit
    done: set[RecordingId] = field(default_factory=set)
    sent_bytes: int = 0  # of the recording that is being sent
    trouble: dict[RecordingId, str] = field(default_factory=dict)
    troubled_at: dict[RecordingId, float] = field(default_factory=dict)
    says: str = ""

    @property
    def total_bytes(self) -> int:
        """All recordings of this visit, in bytes."""
        return sum(self.totals.values())

    @property
    def settled_bytes(self) -> int:
        """What the cloud has of them, in bytes."""
        done = sum(size for recording, size in self.totals.items() if recording in self.done)
        return min(done + self.sent_bytes, self.total_bytes)


class Station:
    """Serves the cameras in the bays of one dock."""

    def __init__(self, *, org: Org, bays: int, uploader: Uploader, state: DockState) -> None:
        """`bays` is how many this dock has, so that empty ones are shown too."""
        self._org = org
        self._uploader = uploader
        self._state = state
        self._books = {bay: Book(bay) for bay in range(1, bays + 1)}
        self._visits: dict[Occupant, asyncio.Task[None]] = {}

    async def run(self, folder: Path) -> None:
        """Serve whatever comes into the bays, until cancelled."""
        try:
            async for present in watch(folder):
                for occupant in self._visits.keys() - present:
                    await self._leave(occupant)
                for occupant in sorted(present - self._visits.keys(), key=lambda each: each.bay):
                    name = f"dock.bay-{occupant.bay}"
                    self._visits[occupant] = asyncio.create_task(self._visit(occupant), name=name)
        finally:
            for occupant in list(self._visits):
                await self._leave(occupant)

    def bays(self) -> tuple[BayState, ...]:
        """Return what every bay is doing now, with honest estimates."""
        sending = {
            book.bay: book.total_bytes - book.settled_bytes
            for book in self._books.values()
            if book.doing in {"uploading", "waiting"}
        }
        etas = etas_s(sending, rate=None if self._uploader.trouble else self._uploader.rate)
        return tuple(self._state_of(book, etas.get(book.bay)) for _, book in sorted(self._books.items()))

    def acknowledged(self, bay: int, size: int) -> None:
        """Hear that the receiver has so many bytes more of what this bay is sending."""
        if bay in self._books:
            self._books[bay].sent_bytes += size

    def _state_of(self, book: Book, eta_s: int | None) -> BayState:
        waiting = book.doing == "uploading" and self._uploader.trouble is not None
        return BayState(
            bay=book.bay,
            camera=book.camera,
            doing="waiting" if waiting else book.doing,
            recordings_total=len(book.totals),
            recordings_done=len(book.done),
            bytes_total=book.total_bytes,
            bytes_sent=book.settled_bytes,
            eta_s=eta_s,
            says=(self._uploader.trouble or "") if waiting else book.says,
        )

    # --- one camera's visit -------------------------------------------------------------------------------------

    async def _leave(self, occupant: Occupant) -> None:
        await end(self._visits.pop(occupant))
        self._books[occupant.bay] = Book(occupant.bay)

    async def _visit(self, occupant: Occupant) -> None:
        """Serve this camera until the watch says that it left: one back within two looks was not seen to be out."""
        book = self._books[occupant.bay] = Book(occupant.bay, doing="reading")
        while True:
            pause_s = SICK_S
            try:
                card = await asyncio.to_thread(DockedCard, occupant.path)
                verdict = may_serve(card.org, org=self._org)
                book.camera = card.camera
                if not verdict.allowed:
                    book.doing, book.says = "attention", verdict.because
                    return
                await self._serve(card, book)
            except CardGone:
                book, pause_s = Book(occupant.bay), IDLE_S
                self._books[occupant.bay] = book
            except (CardSick, Refused) as cause:
                LOG.warning("dock: bay %s: %s", occupant.bay, cause)
                book.doing, book.says = "attention", str(cause)
            except Exception:
                LOG.exception("dock: bay %s", occupant.bay)
                book.doing, book.says = "attention", "an error in the dock; see its log"
            await asyncio.sleep(pause_s)

    async def _serve(self, card: DockedCard, book: Book) -> None:
        """Deliver, and hand over keys, until one of the two raises: the error itself, not a group around it."""
        self._uploader.new_visit(book.bay)
        name = f"dock.bay-{book.bay}"
        both = (
            asyncio.create_task(self._offload(card, book), name=f"{name}.offload"),
            asyncio.create_task(self._keep_keys_fresh(card), name=f"{name}.keys"),
        )
        try:
            over, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            over.pop().result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _offload(self, card: DockedCard, book: Book) -> None:
        """Deliver everything, then wait for the camera to wipe; go on as long as the camera is there."""
        loop = asyncio.get_running_loop()
        handed_at: dict[RecordingId, float] = {}
        known: dict[RecordingId, OnCard] = {}
        while True:
            closed = await asyncio.to_thread(card.closed)
            await self._forget_used(card, closed)
            _forget_trouble(book, closed, at=loop.time())
            todo = [each for each in closed if each not in handed_at and each not in book.trouble]
            for recording in todo:
                if recording not in known and (read := await self._read(card.on_card, book, recording)) is not None:
                    known[recording] = read
                    book.totals[recording] = read.total_bytes + read.segments * _AROUND_BYTES
            order = in_order(known[each] for each in todo if each in known and each not in book.trouble)
            if order:
                if await self._deliver(card, book, order[0].recording):
                    handed_at[order[0].recording] = loop.time()
                continue
            left = [each for each in closed if each in handed_at]
            late = [each for each in left if loop.time() - handed_at[each] > WIPE_WITHIN_S]
            book.doing, book.says = _at_rest(book, left=len(left), late=len(late))
            await asyncio.sleep(IDLE_S)

    async def _read(self, read: Callable[[RecordingId], T], book: Book, recording: RecordingId) -> T | None:
        try:
            return await asyncio.to_thread(read, recording)
        except (CardSick, Refused) as cause:
            self._trouble(book, recording, cause)
            return None

    async def _deliver(self, card: DockedCard, book: Book, recording: RecordingId) -> bool:
        """Deliver one recording and hand its receipt to the camera; False when that did not come about."""
        contents = await self._read(card.contents, book, recording)
        if contents is None:
            return False
        book.doing, book.says, book.sent_bytes = "uploading", "", 0
        try:
            kept = await asyncio.to_thread(self._state.receipt, recording)
            if kept is None or not self._fits(kept, contents.on_card):
                kept = await self._uploader.deliver(book.bay, card, contents)
                if not self._fits(kept, contents.on_card):
                    raise NeedsAttention(f"recording {recording}: the receipt is for other bytes")
                await asyncio.to_thread(self._state.remember_receipt, recording, card.camera, kept)
            await asyncio.to_thread(card.hand_receipt, recording, kept)
        except (NeedsAttention, CardSick) as cause:
            self._trouble(book, recording, cause)
            return False
        finally:
            book.sent_bytes = 0
        book.done.add(recording)
        return True

    def _fits(self, receipt: bytes, on_card: OnCard) -> bool:
        claimed = claimed_receipt(receipt)
        return claimed is not None and may_hand_over(claimed, on_card, org=self._org).allowed

    def _trouble(self, book: Book, recording: RecordingId, cause: Exception) -> None:
        LOG.warning("dock: bay %s: recording %s: %s", book.bay, recording, cause)
        book.trouble[recording] = str(cause)
        book.troubled_at[recording] = asyncio.get_running_loop().time()
        book.totals.setdefault(recording, 0)

    async def _forget_used(self, card: DockedCard, closed: tuple[RecordingId, ...]) -> None:
        """Forget the receipts of recordings that the camera has wiped."""
        kept = await asyncio.to_thread(self._state.receipts_of, card.camera)
        if used := kept - set(closed):
            await asyncio.to_thread(self._state.forget_receipts, used)

    async def _keep_keys_fresh(self, card: DockedCard) -> None:
        """Hand the camera the newest key list, and the one we have as long as the cloud is away."""
        attempt = 0
        while True:
            try:
                keys, checkpoint = await self._uploader.keylist()
                await asyncio.to_thread(self._state.remember_note, "keylist", keys)
                await asyncio.to_thread(self._state.remember_note, "checkpoint", checkpoint)
                attempt, pause = 0, FRESH_KEYS_S
            except (NoAnswer, SaidNo) as cause:
                LOG.info("dock: key list: %s", cause)
                attempt, pause = attempt + 1, self._uploader.pause_s(attempt)
            for note, name in (("keylist", "keylist.json"), ("checkpoint", "checkpoint")):
                content = await asyncio.to_thread(self._state.note, note)
                if content is not None:
                    await asyncio.to_thread(card.hand, name, content)
            await asyncio.sleep(pause)


def _forget_trouble(book: Book, closed: tuple[RecordingId, ...], *, at: float) -> None:
    """Drop the trouble of recordings that are gone (the camera wiped it while we read), and try the others again."""
    for recording, since in list(book.troubled_at.items()):
        if recording not in closed or at - since > TRY_AGAIN_S:
            del book.trouble[recording], book.troubled_at[recording]


def _at_rest(book: Book, *, left: int, late: int) -> tuple[Doing, str]:
    """Say what a bay shows when nothing is left to send."""
    if book.trouble:
        return "attention", next(iter(book.trouble.values()))
    if late:
        return "attention", f"the camera has not wiped {late} delivered recordings"
    if left:
        return "wiping", ""
    return "done", ""
