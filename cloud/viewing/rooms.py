"""The rooms in which two people look at footage together.

Order of every act: first the ledger, then the act. A room lives in this process: a restart closes every room, and its
keys are gone with the worker that held them. Times of presence run on the loop's clock, terms on the town's.
"""

import asyncio
import contextlib
import hmac
import logging
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from broker.clock import Clock
from broker.wire.approvals import (
    LONGEST_LIFE,
    REQUEST_SHA256,
    Range,
    Statement,
    ViewingRequest,
    approval_challenge,
    canonical,
    read_request,
    request_challenge,
    request_sha256,
)
from broker.wire.entries import LedgerEntry, Opening
from broker.wire.ids import uuid7
from broker.wire.policy import Copy, Initiator, Policy
from broker.wire.refusals import Code, Refused, refuse
from cloud.casework.cases import Case
from cloud.casework.office import keep_opening
from cloud.database.engine import Database
from cloud.database.tables import (
    cameras,
    derivatives,
    openings,
    outside_objects,
    recordings,
    segments,
    viewing_requests,
)
from cloud.fleet.live import LiveHub
from cloud.kluis.messages import Released
from cloud.ledger.finding import entries_of
from cloud.ledger.log import Entry, Ledger
from cloud.ledger.once import Once
from cloud.redaction.projector import RedactionProjector
from cloud.rules.admission import is_only_excess
from cloud.rules.redaction import judge_use
from cloud.rules.seats import Involvement, Person, judge_pair
from cloud.rules.verdicts import Verdict
from cloud.rules.versions import judge_by_all
from cloud.viewing.clips import CLIP_STEP, Part
from cloud.viewing.key_keeper import KeyKeeper
from cloud.viewing.messages import OpenRecording
from cloud.viewing.projector import Projector, Supply
from cloud.viewing.reels import VIEWABLE, Piece, Reel, block_of, reel_of, slices_of
from cloud.viewing.rules.lifecycle import ENDED, Happening, RoomState, step
from cloud.viewing.rules.presence import Seat, all_present, hear, leave, sit, watch

LOG: Final = logging.getLogger(__name__)

LOOKS_EVERY_S: Final = 0.5
"""How often a room is looked at: with the seats' own limit it stays well under the five seconds of E-30."""

JUDGED_EVERY_S: Final = 5.0
"""How often an open room is judged anew: somebody may turn out to have been there, or the case may be closed."""

CLOSED_ANEW_EVERY_S: Final = 10.0
"""How often a closing that could not be written down is tried again, as long as the ledger is away."""

_ENDINGS: Final = frozenset({"viewing.closed", "viewing.refused"})
"""Kinds of entries that say that a room is over."""

FORGOTTEN_AFTER_S: Final = 12 * 3600.0
"""How long a room that is over can still be looked up here, a shift; its record in the register stays."""

MOST_DRAFTS: Final = 4
"""Requests that one person may have open without signing them: each holds a process for a quarter of an hour."""

HERE: Final = ZoneInfo("Europe/Amsterdam")


class Office(Protocol):
    """What a room asks of casework."""

    async def case(self, org: str, case: str) -> Case:
        """Return the case."""

    async def person(self, org: str, official: str, now: datetime | None = None) -> Person:
        """Return what the rules see of this person now."""

    async def involvement(self, org: str, of: Sequence[str]) -> Involvement:
        """Return who was involved in any of these recordings."""


class Policies(Protocol):
    """What a room asks of the policies."""

    async def current(self, org: str) -> Policy:
        """Return the policy in force."""

    async def version(self, org: str, version: int) -> Policy:
        """Return this version; raise Refused (NOT_FOUND)."""

    async def binding(self, org: str, about: Iterable[str]) -> tuple[Policy, ...]:
        """Return the version in force, then those of the days of these recordings."""


class Kluis(Protocol):
    """What a room asks of the Kluis."""

    async def release(
        self,
        request: bytes,
        *,
        statements: Sequence[Statement],
        entries: Sequence[bytes],
        proofs: Sequence[bytes],
    ) -> Released:
        """Return the keys, sealed to the request's session."""

    async def content_key(
        self, request: bytes, *, journal_index: int, camera_public_key: bytes, segment: bytes
    ) -> bytes:
        """Return the key of the clip whose key file this is, sealed to the session of a request just released."""


class Reader(Protocol):
    """What a room asks of the vault: to read, and nothing else."""

    async def read(self, digest: bytes) -> bytes:
        """Return one whole segment, still encrypted."""


Make = Callable[[Piece, tuple[str, ...]], Awaitable[bytes]]
"""Shows a piece another way: the piece, and what is to be burnt in."""


@dataclass(kw_only=True)
class Room:
    """One room, from the question to the end. `token` is part of every footage address and dies with the room."""

    request: ViewingRequest
    raw: bytes
    case: Case
    opening: Opening
    reels: tuple[Reel, ...]
    projector: Projector | KeyKeeper = field(repr=False)
    seats: dict[str, Seat]
    names: Mapping[str, str]
    token: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(32))
    state: RoomState = RoomState.DRAFTED
    because: str = ""
    statements: list[Statement] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    shown_init: dict[str, bytes] = field(default_factory=dict, repr=False)
    film_init: dict[tuple[str, int], bytes] = field(default_factory=dict, repr=False)
    unplayable: tuple[str, ...] = ()  # files of the range that turned out to be no film that can be shown
    released: Entry | None = None
    journal_index: int = -1  # of the Kluis's entry about that release
    hand_over: str | None = None  # the disclosure it is for: then nobody watches, and nothing is shown
    redacts: bool = False  # people are made unrecognisable in it: its process can do that too
    noted: set[tuple[str, str, int]] = field(default_factory=set)
    proofs: dict[str, str] = field(default_factory=dict, repr=False)  # of each seat: who sat down last holds it
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    stirred_s: float = 0.0
    judged_s: float = 0.0

    @property
    def id(self) -> str:
        """The request's id is the room's."""
        return self.request.id

    @property
    def was_opened(self) -> bool:
        """Whether it is known what its films hold: it was open once."""
        return bool(self.shown_init)

    @property
    def reason(self) -> str:
        """Why, in the words of who asks; the request holds its commitment only."""
        return self.opening.text

    @property
    def people(self) -> tuple[str, ...]:
        """Who asks, and who sits beside."""
        return tuple(self.seats)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Closing:
    """That a room is over (closed or refused), as it is written down: the request's bytes, by whom, why."""

    raw: bytes
    state: RoomState
    actor: str
    why: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants to see. `ranges`: recording -> (from, until) since its begin, or None for all."""

    case: str
    purpose: str
    ranges: Mapping[str, Part | None]
    reason: str
    requester: str
    second: str | None
    hand_over: str | None = None
    redacts: bool = False


class Rooms:
    """Every room of one municipality. `run` must run beside it."""

    def __init__(
        self,
        *,
        org: str,
        database: Database,
        ledger: Ledger,
        kluis: Kluis,
        vault: Reader,
        office: Office,
        policies: Policies,
        hub: LiveHub,
        clock: Clock,
        name_of: Callable[[], Any],
        start_projector: Callable[[], Any] = Projector.start,
        bound_seats: bool = False,
    ) -> None:
        """`bound_seats`: a seat is taken by a page, which must show what `sit_down` returned, not by a session."""
        self._org = org
        self._database = database
        self._ledger = ledger
        self._kluis = kluis
        self._vault = vault
        self._office = office
        self._policies = policies
        self._hub = hub
        self._clock = clock
        self._name_of = name_of
        self._start_projector = start_projector
        self._bound_seats = bound_seats
        self._rooms: dict[str, Room] = {}
        self._unwritten: list[_Closing] = []
        self._once = Once(ledger)

    # --- asking -------------------------------------------------------------------------------------------------

    async def draft(self, wish: Wish) -> Room:
        """Write a request down, ready to be signed; raise Refused (NOT_ALLOWED, CONFLICT, NOT_FOUND, UNAVAILABLE).

        Of one person's requests that nobody signed, the oldest give way.
        """
        now, policies = self._clock(), await self._policies.binding(self._org, wish.ranges)
        case = await self._office.case(self._org, wish.case)
        involvement = await self._office.involvement(self._org, list(wish.ranges))
        await self._judge(wish, case=case, involvement=involvement, policies=policies)
        if (len(wish.ranges) != 1 and not wish.hand_over) or not set(wish.ranges) <= set(case.recordings):
            raise refuse(
                Code.NOT_ALLOWED, "viewing request", expected="one recording of this case", got=list(wish.ranges)
            )
        if (wish.hand_over or wish.redacts) and any(wish.ranges.values()):
            whole = "the whole: what is cut cannot be checked against what came in"
            raise refuse(Code.NOT_ALLOWED, "copy", expected=whole, got="a part of a recording")
        if wish.hand_over and any(each.purposes[wish.purpose].copy is Copy.NO_COPY for each in policies):
            raise refuse(Code.NOT_ALLOWED, "hand-over", expected="a purpose that gives a copy", got=wish.purpose)
        await self._judge_use(wish, policies)
        reels = tuple(
            [await self._reel(each, wish.ranges[each], with_files=bool(wish.hand_over)) for each in wish.ranges]
        )
        names = await self._name_of()
        await self._make_way(wish.requester)
        projector = await self._projector_for(wish)
        opening = Opening(salt=secrets.token_bytes(32), text=wish.reason)
        request = ViewingRequest(
            id=str(uuid7(now, secrets.token_bytes(10))),
            org=self._org,
            recordings=tuple(Range(id=reel.recording, first=reel.first, last=reel.last) for reel in reels),
            from_at=min(reel.pieces[0].starts_at for reel in reels),
            until_at=max(reel.pieces[-1].ends_at for reel in reels),
            purpose=wish.purpose,
            case=case.id,
            case_kind=case.kind.value,
            reason_commitment=opening.commitment,
            requester=wish.requester,
            second=wish.second,
            recorder=involvement.recorder,
            involved=tuple(sorted(involvement.people)),
            session_key=b64encode(projector.public_key).decode(),
            issued_at=now,
            not_after=now + min(LONGEST_LIFE, timedelta(minutes=policies[0].viewing.request_valid_min)),
            policy_version=policies[0].version,
        )
        people = [each for each in (wish.requester, wish.second) if each is not None]
        room = Room(
            request=request,
            raw=canonical(request),
            case=case,
            opening=opening,
            reels=reels,
            projector=projector,
            seats={official: Seat(official=official) for official in people},
            names=names,
            hand_over=wish.hand_over,
            redacts=wish.redacts,
        )
        room.stirred_s = _now_s()
        self._rooms[room.id] = room
        return room

    def challenge(self, room: Room) -> bytes:
        """Return the 32 bytes that whoever is next to sign must sign."""
        return request_challenge(room.raw) if room.state is RoomState.DRAFTED else approval_challenge(room.raw)

    async def ask(self, room: Room, statement: Statement) -> None:
        """Enter the signed request in the ledger and put it before the second person."""
        async with room.turn:
            following = _following(room, Happening.SIGNED if room.request.second else Happening.SIGNED_ALONE)
            async with (
                self._entered(room, "viewing.requested", actor=room.request.requester, statement=statement),
                self._database.transaction() as t,
            ):
                await t.execute(
                    insert(viewing_requests).values(
                        id=room.id,
                        org=self._org,
                        case_id=room.request.case,
                        purpose=room.request.purpose,
                        state=following.value,
                        request=room.raw,
                        requester=room.request.requester,
                        second=room.request.second or room.request.requester,
                        requested_at=self._clock(),
                        because="",
                        statements=self._evidence(room),
                    )
                )
            room.state = following
            self._tell(room)

    async def approve(self, room: Room, official: str, statement: Statement) -> None:
        """The other one read it and agrees; judged once more, as the world is now."""
        async with room.turn:
            if official != room.request.second:
                raise refuse(Code.NOT_ALLOWED, "approval", expected="the second person of the request", got=official)
            _following(room, Happening.APPROVED)
            await self._judge_again(room)
            async with self._entered(room, "viewing.approved", actor=official, statement=statement):
                await self._go(room, Happening.APPROVED, approved_at=self._clock(), statements=self._evidence(room))

    async def turn_down(self, room: Room, official: str, why: str) -> None:
        """The other one does not agree; the reason is kept, the room is over."""
        async with room.turn:
            if official != room.request.second:
                raise refuse(Code.NOT_ALLOWED, "refusal", expected="the second person of the request", got=official)
            _following(room, Happening.REFUSED)
            await self._end(room, RoomState.REFUSED, actor=official, why=why)

    # --- being there --------------------------------------------------------------------------------------------

    async def sit_down(self, room: Room, official: str) -> str:
        """Take one's own seat, oneself; return what proves it. When nobody is missing, the room opens with its keys."""
        async with room.turn:
            self._seat(room, official)
            if room.hand_over or room.state not in (RoomState.APPROVED, RoomState.OPEN, RoomState.PAUSED):
                raise refuse(Code.CONFLICT, "seat", expected="an approved request", got=room.state.value)
            room.seats[official] = sit(room.seats[official], now_s=_now_s())
            room.proofs[official] = secrets.token_urlsafe(32)
            room.stirred_s = _now_s()
            if room.state is not RoomState.OPEN and all_present(room.seats.values(), now_s=_now_s()):
                await self._judge_again(room)
                if not room.shown_init:
                    await self._release(room)
                await self._go(room, Happening.COMPLETE, opened_at=self._clock())
            else:
                self._tell(room)
            return room.proofs[official]

    async def release_for_hand_over(self, room: Room) -> KeyKeeper:
        """Ask for the keys of an approved hand-over, once; judged once more. Whoever calls ends the room."""
        async with room.turn:
            if not isinstance(room.projector, KeyKeeper) or room.state is not RoomState.APPROVED or room.released:
                raise refuse(Code.CONFLICT, "hand-over", expected="an approved one", got=room.state.value)
            await self._judge_again(room)
            await self._release(room)
            return room.projector

    def heard(self, room: Room, official: str, *, proof: str = "") -> None:
        """Note a sign of life of this person's browser; of another one that is signed in as them, it is none."""
        self._seat(room, official)
        if self._bound_seats and not _same(proof, room.proofs.get(official)):
            return
        room.seats[official] = hear(room.seats[official], now_s=_now_s())

    async def get_up(self, room: Room, official: str) -> None:
        """Leave one's seat: it stops for both, at once."""
        self._seat(room, official)
        room.seats[official] = leave(room.seats[official])
        await self._look(room)
        self._tell(room)

    async def end(self, room: Room, *, actor: str, why: str) -> None:
        """Close the room: its process and its keys are gone, and its addresses are dead."""
        async with room.turn:
            await self._end(room, actor=actor, why=why)

    async def leave_everywhere(self, official: str) -> None:
        """Get up in every room: this person signed out."""
        for room in self.of(official):
            if room.state not in ENDED:
                await self.get_up(room, official)

    # --- looking ------------------------------------------------------------------------------------------------

    def find(self, room_id: str) -> Room:
        """Return a room, or raise Refused (NOT_FOUND)."""
        room = self._rooms.get(room_id)
        if room is None:
            raise refuse(Code.NOT_FOUND, "viewing room", expected="a room that is there", got="none")
        return room

    def of(self, official: str) -> tuple[Room, ...]:
        """Return the rooms in which this person has a seat, newest first; drafts are nobody's yet."""
        mine = [room for room in self._rooms.values() if official in room.seats and room.state is not RoomState.DRAFTED]
        return tuple(sorted(mine, key=lambda room: room.request.issued_at, reverse=True))

    def about(self) -> frozenset[tuple[str, str]]:
        """Return (case, recording) of every room that is there, also of those that are over."""
        return frozenset((room.request.case, reel.recording) for room in self._rooms.values() for reel in room.reels)

    async def show(
        self,
        room: Room,
        official: str,
        *,
        token: str,
        recording: str,
        sequence: int | None,
        proof: str = "",
        make: Make | None = None,
    ) -> bytes:
        """Return one marked segment, or (None) what a player reads first; raise Refused (NOT_ALLOWED).

        `make` shows it another way: it gets the piece and the mark to burn in.

        Every single segment asks again: is the room open, is nobody missing, is this one of the two, is it in range.
        """
        self._may_watch(room, official, token, proof)
        reel = next((reel for reel in room.reels if reel.recording == recording), None)
        if reel is None:
            raise _not_here()
        if sequence is None:
            return room.shown_init[recording]
        if (recording, sequence) in room.film_init:
            return room.film_init[recording, sequence]
        piece = next((piece for piece in reel.pieces if piece.sequence == sequence), None)
        if piece is None:
            raise _not_here()
        await self._note(room, official, reel, piece)
        mark, pre_record = self._mark(room, reel, piece), "VOOROPNAME" if piece.pre_record else ""
        if make is not None:
            media = await make(piece, mark)
        elif reel.films and isinstance(room.projector, Projector):
            number = sequence % CLIP_STEP - 1
            media = await room.projector.show_slice(
                recording, piece.film, number, mark=mark, pre_record=pre_record, supply=self.supply(room)
            )
        else:
            raw = await self._vault.read(piece.digest)
            media = await room.projector.show(recording, raw, mark=mark, pre_record=pre_record)
        self._may_watch(room, official, token, proof)  # somebody may have left while this was being made
        return media

    def supply(self, room: Room) -> Supply:
        """Return what the process of this room may fetch in the middle of an order."""
        return _Supply(self, room)

    def may_act(self, room: Room, official: str, *, proof: str = "") -> None:
        """Raise Refused (NOT_ALLOWED) unless this person sits in the open room now, with everybody."""
        self._may_watch(room, official, room.token, proof)

    # --- time passing -------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Close what an earlier life left open: its keys are gone. What cannot be written down now, `run` repeats.

        Of a room whose end is in the ledger already only the register did not hear.
        """
        query = select(viewing_requests.c.id, viewing_requests.c.request, viewing_requests.c.statements).where(
            viewing_requests.c.org == self._org, viewing_requests.c.state.not_in(sorted(ENDED))
        )
        async with self._database.transaction() as t:
            left = (await t.execute(query)).all()
        if not left:
            return
        ends = await self._ends_since(min(each.statements["signed"][0]["entry"] for each in left))
        for room, raw, _ in left:
            if room in ends:
                await self._register_as_entered(room, *ends[room])
            else:
                closing = _Closing(raw=raw, state=RoomState.CLOSED, actor="system", why="restart", facts={})
                self._unwritten.append(closing)
        await self._write_closings()

    async def run(self) -> None:
        """Look at every room twice a second, until cancelled; then close them all."""
        written_s = _now_s()
        try:
            while True:
                if _now_s() - written_s > CLOSED_ANEW_EVERY_S:
                    written_s = _now_s()
                    await self._write_closings()
                for room in list(self._rooms.values()):
                    if not room.turn.locked():  # one that is in the middle of an act makes no other wait
                        await self._look_safely(room)
                await asyncio.sleep(LOOKS_EVERY_S)
        finally:
            for room in self._rooms.values():
                await room.projector.close()

    async def _look_safely(self, room: Room) -> None:
        """A room that cannot be looked after is closed; the others go on."""
        try:
            await self._look(room)
        except (Refused, SQLAlchemyError):
            LOG.exception("room %s could not be looked after and is closed", room.id)
            with contextlib.suppress(Refused, SQLAlchemyError):  # shut it is, whether that can be written down or not
                await self.end(room, actor="system", why="failure")

    async def _look(self, room: Room) -> None:
        if room.state in ENDED:
            if _now_s() - room.stirred_s > FORGOTTEN_AFTER_S:
                self._rooms.pop(room.id, None)
            return
        now_s, policy = _now_s(), await self._policies.current(self._org)
        room.seats = {name: watch(seat, now_s=now_s) for name, seat in room.seats.items()}
        async with room.turn:
            if room.state is RoomState.OPEN and not all_present(room.seats.values(), now_s=now_s):
                await self._go(room, Happening.INCOMPLETE)
                room.stirred_s = now_s
            if room.state is RoomState.OPEN:
                room.stirred_s = now_s
            still_s = now_s - room.stirred_s
            if room.state in (RoomState.DRAFTED, RoomState.REQUESTED, RoomState.APPROVED):
                if self._clock() > room.request.not_after:
                    await self._end(room, actor="system", why="expired")
            elif still_s > policy.viewing.idle_limit_min * 60:
                await self._end(room, actor="system", why="idle")
            elif now_s - room.judged_s > JUDGED_EVERY_S:
                room.judged_s = now_s
                try:
                    await self._judge_again(room)
                except Refused as refused:
                    LOG.warning("room %s is no longer allowed: %s", room.id, refused)
                    await self._end(room, actor="system", why="no longer allowed")

    # --- inside -------------------------------------------------------------------------------------------------

    async def _judge(self, wish: Wish, *, case: Case, involvement: Involvement, policies: Sequence[Policy]) -> None:
        verdict = await self.verdict(wish, case=case, involvement=involvement, policies=policies)
        if not verdict:
            raise refuse(Code.NOT_ALLOWED, "seats", expected="a pair that the policy allows", got=verdict.because)

    async def _judge_use(self, wish: Wish, policies: Sequence[Policy]) -> None:
        """Raise Refused where one of the policies wants another rendition than was asked for."""
        async with self._database.transaction() as t:
            query = select(derivatives.c.recording).where(derivatives.c.recording.in_(list(wish.ranges)))
            made = set((await t.execute(query)).scalars())
        verdict = judge_by_all(
            policies,
            lambda policy: judge_use(
                policy.purposes[wish.purpose],
                redacting=wish.redacts,
                derivatives=[each in made for each in wish.ranges],
                leaves=wish.hand_over is not None,
            ),
        )
        if not verdict:
            raise refuse(Code.NOT_ALLOWED, "rendition", expected="the one that the policy asks", got=verdict.because)

    async def _make_way(self, requester: str) -> None:
        drafts = [each for each in self._rooms.values() if each.state is RoomState.DRAFTED]
        mine = [each for each in drafts if each.request.requester == requester]  # oldest first, as they were made
        for each in mine[: max(0, len(mine) + 1 - MOST_DRAFTS)]:
            await self.end(each, actor="system", why="asked anew")

    async def _projector_for(self, wish: Wish) -> Any:
        if wish.hand_over:
            return await KeyKeeper.start()
        return await (RedactionProjector.start() if wish.redacts else self._start_projector())

    async def verdict(self, wish: Wish, *, case: Case, involvement: Involvement, policies: Sequence[Policy]) -> Verdict:
        """Say whether these people may see this together, and why or why not. `policies`: all that bind the footage."""
        requester = await self._office.person(self._org, wish.requester)
        second = await self._office.person(self._org, wish.second) if wish.second else None

        def judge(policy: Policy) -> Verdict:
            purpose = policy.purposes.get(wish.purpose)
            learns = purpose is not None and purpose.initiator is Initiator.OFFICER_SELF
            return judge_pair(
                policy=policy,
                purpose=wish.purpose,
                case_kind=case.kind.value,
                case_open=case.opens_footage,
                requester=requester,
                second=second,
                involvement=involvement,
                learner=str(case.facts.get("learner", "")) if learns else None,
            )

        return judge_by_all(policies, judge)

    async def _judge_again(self, room: Room) -> None:
        request = room.request
        wish = Wish(
            case=request.case,
            purpose=request.purpose,
            ranges=dict.fromkeys(each.id for each in request.recordings),
            reason=room.reason,
            requester=request.requester,
            second=request.second,
        )
        case = await self._office.case(self._org, request.case)
        involvement = await self._office.involvement(self._org, list(wish.ranges))
        policies = await self._policies.binding(self._org, wish.ranges)
        await self._judge(wish, case=case, involvement=involvement, policies=policies)
        for each in wish.ranges:
            await self._viewable(each)

    async def _viewable(self, recording: str) -> Any:
        async with self._database.transaction() as t:
            row = (
                await t.execute(
                    select(
                        recordings.c.state,
                        recordings.c.camera,
                        recordings.c.activated_at,
                        recordings.c.deviations,
                        recordings.c.via,
                        recordings.c.policy_version,
                        cameras.c.public_key,
                    )
                    .join(cameras, (cameras.c.org == recordings.c.org) & (cameras.c.id == recordings.c.camera))
                    .where(recordings.c.org == self._org, recordings.c.id == recording)
                )
            ).one_or_none()
        if row is None:
            raise refuse(Code.NOT_FOUND, "recording", expected="a recording that came in", got=recording)
        if row.state not in VIEWABLE and not is_only_excess(row.state, row.deviations):
            code = Code.DESTROYED if row.state in ("destroying", "destroyed") else Code.CONFLICT
            raise refuse(code, f"recording {recording}", expected=" or ".join(sorted(VIEWABLE)), got=row.state)
        return row

    async def _reel(self, recording: str, part: Part | None, *, with_files: bool = False) -> Reel:
        """Return the reel; `with_files`: the untouched file behind a rendition belongs to the range too."""
        row = await self._viewable(recording)
        ours = select(segments).where(segments.c.recording == recording).order_by(segments.c.sequence)
        theirs = select(outside_objects.c.name, outside_objects.c.first, outside_objects.c.last)
        async with self._database.transaction() as t:
            found = (await t.execute(ours)).all()
            files = (await t.execute(theirs.where(outside_objects.c.recording == recording))).all()
        covers = None if row.state in VIEWABLE else await self._policies.version(self._org, row.policy_version)
        return reel_of(recording, row, found, files, part=part, with_files=with_files, covers=covers)

    @contextlib.asynccontextmanager
    async def _entered(self, room: Room, kind: str, *, actor: str, statement: Statement) -> AsyncIterator[None]:
        """Enter what somebody signed; unless the register takes it too, it may be signed again."""
        facts: dict[str, Any] = {"purpose": room.request.purpose, "case": room.request.case}
        if room.hand_over:
            facts["disclosure"] = room.hand_over
        if room.redacts:
            facts["redaction"] = True
        entry, before = await self._write(kind, room.raw, actor=actor, facts=facts), room.state
        room.entries.append(entry)
        room.statements.append(statement)
        try:
            yield
        except BaseException:
            room.entries.pop()
            room.statements.pop()
            room.state = before
            raise

    async def _write(
        self, kind: str, raw: bytes, *, actor: str, facts: Mapping[str, Any], private: str | None = None
    ) -> Entry:
        """Put an act in the ledger before it happens; raise Refused (LEDGER_UNWRITABLE): no ledger, no viewing."""
        entry = await self._ledger.append(kind, **_about(raw, facts), actor=actor, at=self._clock(), private=private)
        await keep_opening(self._database, self._org, entry)
        return entry

    def _evidence(self, room: Room) -> dict[str, Any]:
        """What an offline check needs: who signed what, that the ledger held it first, and what opens the reason."""
        return {
            "reason": room.opening.text,
            "salt": room.opening.salt.hex(),
            "signed": [
                {
                    "statement": msgspec.to_builtins(statement),
                    "entry": entry.index,
                    "raw": entry.raw.decode(),
                    "proof": entry.proof.decode(),
                }
                for statement, entry in zip(room.statements, room.entries, strict=True)
            ],
        }

    async def _release(self, room: Room) -> None:
        released = await self._kluis.release(
            room.raw,
            statements=room.statements,
            entries=[entry.raw for entry in room.entries],
            proofs=[entry.proof for entry in room.entries],
        )
        room.released = await self._write(
            "viewing.released",
            room.raw,
            actor="kluis",
            facts={"journal": released.journal_index, "people": len(room.seats)},
        )
        room.journal_index = released.journal_index
        reels = {reel.recording: reel for reel in room.reels}
        await room.projector.open(
            released.request_sha256,
            [
                OpenRecording(
                    recording=each.recording,
                    camera_public_key=reels[each.recording].camera_public_key,
                    head=each.head,
                    sealed=each.sealed,
                    first=each.first,
                    last=each.last,
                )
                for each in released.recordings
            ],
        )
        for reel in room.reels:
            if not reel.films:
                raw = await self._vault.read(reel.first_digest)
                room.shown_init[reel.recording] = await room.projector.show(reel.recording, raw, mark=(), pre_record="")
            elif isinstance(room.projector, Projector):
                await self._splice(room, reel, room.projector)

    async def _splice(self, room: Room, reel: Reel, projector: Projector) -> None:
        """Let the room's process look into the films; raise Refused, and close the room, when none can be shown."""
        clips = [film.clip for film in reel.films]
        found = await projector.splice(reel.recording, clips, self.supply(room))
        room.unplayable = tuple(film.name for film, shown in zip(reel.films, found, strict=True) if shown.because)
        for film, shown in zip(reel.films, found, strict=True):
            if shown.because:
                LOG.warning("room %s: %s cannot be played: %s", room.id, film.name, shown.because)
        pieces = slices_of(reel, found)
        if not pieces:
            await self._end(room, actor="system", why="nothing in it can be played")
            got = found[0].because or "none so long"
            raise refuse(Code.NOT_FOUND, "recording", expected="a film that can be played", got=got)
        room.reels = tuple(replace(each, pieces=pieces) if each is reel else each for each in room.reels)
        for place, shown in enumerate(found):
            if not shown.because:
                room.film_init[reel.recording, place * CLIP_STEP] = shown.init
        room.shown_init[reel.recording] = room.film_init[reel.recording, pieces[0].film * CLIP_STEP]

    async def _note(self, room: Room, official: str, reel: Reel, piece: Piece) -> None:
        """Write down who gets to see which ten seconds, before the first of them is served."""
        block, facts = block_of(reel, piece)
        if (official, reel.recording, block) in room.noted:
            return
        facts |= {"case": room.request.case, "purpose": room.request.purpose}
        await self._write("viewing.watched", room.raw, actor=official, facts=facts)
        room.noted.add((official, reel.recording, block))

    def _may_watch(self, room: Room, official: str, token: str, proof: str) -> None:
        """Raise Refused unless this person may be shown something at this very moment."""
        if official not in room.seats or not _same(token, room.token):
            raise _not_here()
        if self._bound_seats and not _same(proof, room.proofs.get(official)):
            raise refuse(Code.NOT_ALLOWED, "footage", expected="the page in which this person sat down", got="another")
        if room.state is not RoomState.OPEN or not all_present(room.seats.values(), now_s=_now_s()):
            raise refuse(
                Code.NOT_ALLOWED, "footage", expected="an open room with everybody in it", got=room.state.value
            )

    def _mark(self, room: Room, reel: Reel, piece: Piece) -> tuple[str, ...]:
        names = " en ".join(room.names.get(each, each) for each in room.people)
        lines = (
            f"{names} · dossier {room.case.number}",
            f"bekeken op {self._clock().astimezone(HERE):%d-%m-%Y om %H:%M:%S} · niet kopiëren",
        )
        if not reel.declared:
            return lines
        before = " · vóór de verklaarde druk op de knop" if piece.pre_record else ""
        return (*lines, f"herkomst verklaard, niet bewezen{before}")

    def _seat(self, room: Room, official: str) -> None:
        if official not in room.seats:
            raise refuse(Code.NOT_ALLOWED, "seat", expected="one of the two of this request", got=official)

    async def _go(self, room: Room, happening: Happening, **columns: Any) -> None:
        room.state = following = _following(room, happening)
        if following is RoomState.OPEN:
            room.judged_s = room.stirred_s = _now_s()
        async with self._database.transaction() as t:
            await t.execute(
                update(viewing_requests)
                .where(viewing_requests.c.id == room.id)
                .values(state=following.value, **columns)
            )
        self._tell(room)

    async def _end(self, room: Room, state: RoomState = RoomState.CLOSED, *, actor: str, why: str) -> None:
        if room.state in ENDED:
            return
        drafted = room.state is RoomState.DRAFTED
        room.state, room.because = state, why  # first nothing is served any more
        room.token = secrets.token_urlsafe(32)
        await room.projector.close()
        room.seats = {name: replace(seat, seated=False) for name, seat in room.seats.items()}
        self._tell(room)
        if not drafted:
            facts = {"blocks": len(room.noted)}
            await self._write_closing(_Closing(raw=room.raw, state=state, actor=actor, why=why, facts=facts))

    async def _write_closings(self) -> None:
        """Write down what could not be written down before, as far as it can be now."""
        for closing in [self._unwritten.pop(0) for _ in range(len(self._unwritten))]:
            try:
                await self._write_closing(closing)
            except (Refused, SQLAlchemyError) as cause:
                LOG.warning("a room is over; that could not be written down, and is tried again: %s", cause)

    async def _write_closing(self, closing: _Closing) -> None:
        """Write down that a room is over: the register says so only once the ledger does. It is not forgotten."""
        act = _about(closing.raw, closing.facts)
        try:
            async with self._once.entered(
                f"viewing.{closing.state}", **act, actor=closing.actor, at=self._clock(), private=closing.why
            ) as entry:
                await keep_opening(self._database, self._org, entry)
                await self._register_end(act["facts"]["room"], closing.state, at=self._clock(), because=closing.why)
        except (Refused, SQLAlchemyError):
            self._unwritten.append(closing)
            raise

    async def _register_end(self, room: str, state: RoomState, *, at: datetime, because: str) -> None:
        async with self._database.transaction() as t:
            ended = update(viewing_requests).where(viewing_requests.c.id == room)
            await t.execute(ended.values(state=state.value, closed_at=at, because=because))

    async def _ends_since(self, first: int) -> dict[str, tuple[int, LedgerEntry]]:
        """Return how rooms ended by the ledger, from entry `first` on: room -> (place, entry)."""
        found: dict[str, tuple[int, LedgerEntry]] = {}
        size = self._ledger.checkpoint().size
        async for index, _, entry in entries_of(self._ledger.readable, size, _ENDINGS, since=first):
            found.setdefault(entry.facts["room"], (index, entry))
        return found

    async def _register_as_entered(self, room: str, index: int, entry: LedgerEntry) -> None:
        """Write down what the ledger says of a room's end; in which words, where they were still kept."""
        words = select(openings.c.text).where(openings.c.org == self._org, openings.c.entry == index)
        async with self._database.transaction() as t:
            because = (await t.execute(words)).scalar_one_or_none() or ""
        state = RoomState(entry.kind.removeprefix("viewing."))
        await self._register_end(room, state, at=entry.at, because=because)

    def _tell(self, room: Room) -> None:
        data = {"room": room.id, "case": room.request.case, "state": room.state.value}
        self._hub.publish(self._org, "room", data)


class _Supply:
    """What the process of one room may fetch while it works: this room's own segments, and keys of its clips."""

    def __init__(self, rooms: Rooms, room: Room) -> None:
        self._rooms, self._room = rooms, room

    async def segment(self, recording: str, sequence: int) -> bytes:
        """Return a segment within the range, still encrypted; raise Refused."""
        return (await self._read(recording, sequence))[1]

    async def content_key(self, recording: str, sequence: int) -> bytes:
        """Return the key of the clip whose key file is this segment, sealed to this room; raise Refused."""
        camera, segment = await self._read(recording, sequence)
        room, kluis = self._room, self._rooms._kluis  # noqa: SLF001 - a hand of its owner
        return await kluis.content_key(
            room.raw, journal_index=room.journal_index, camera_public_key=camera, segment=segment
        )

    async def _read(self, recording: str, sequence: int) -> tuple[bytes, bytes]:
        """Return (the camera's public key, a segment)."""
        reel = next((reel for reel in self._room.reels if reel.recording == recording), None)
        if reel is None or sequence not in reel.digests:
            raise _not_here()
        vault = self._rooms._vault  # noqa: SLF001 - a hand of its owner
        return reel.camera_public_key, await vault.read(reel.digests[sequence])


def _about(raw: bytes, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what each entry about a request says: of which recording, of which request, and these facts."""
    request = read_request(raw)
    named = {REQUEST_SHA256: request_sha256(raw).hex(), "room": request.id}
    return {"subject": request.recordings[0].id, "facts": {**named, **facts}}


def _not_here() -> Refused:
    return refuse(Code.NOT_FOUND, "footage", expected="an address of an open room", got="another")


def _following(room: Room, happening: Happening) -> RoomState:
    """Return what the room becomes by this, or raise Refused (CONFLICT)."""
    following = step(room.state, happening)
    if following is None:
        raise refuse(Code.CONFLICT, "viewing room", expected=f"a room that can be {happening}", got=room.state.value)
    return following


def _same(given: str, expected: str | None) -> bool:
    """Compare without telling by time how much was right."""
    return expected is not None and hmac.compare_digest(given.encode(), expected.encode())


def _now_s() -> float:
    return asyncio.get_running_loop().time()
