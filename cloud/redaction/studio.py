"""Making people unrecognisable, inside an open room: search, edit, preview, and make the derivative.

Nothing here sees a picture. It passes sealed segments to the room's process and gets numbers, pictures that are hidden
already, or sealed segments back, one at a time: a long film takes longer, and no more memory. The work of a case on a
recording is kept when it changes (drafts.py): the next room of the same case on the same recording goes on with it.

Order of making: the ledger says what will be made by which plan, and who watched what of it -> each stretch hidden and
sealed in the process -> in the vault -> its key in the Kluis -> the rows -> the ledger says that it is here. The
original is only read.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Any, Final, Protocol, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Row, insert, select
from sqlalchemy.exc import SQLAlchemyError

from broker.clock import Clock
from broker.wire.ids import camera_key_id, parse_org, tenant_id, uuid7
from broker.wire.keylist import read_keylist
from broker.wire.recording import (
    ChainState,
    SegmentFacts,
    check_chain,
    read_end,
    read_head,
    read_segment,
    segment_digest,
)
from broker.wire.refusals import Code, Refused, refuse
from cloud.casework.holding import lock_recording, recompute_state
from cloud.database.engine import Database
from cloud.database.tables import cameras, case_subjects, derivatives, recordings, segments
from cloud.kluis.client import KluisClient
from cloud.ledger.log import Ledger
from cloud.redaction.drafts import Drafts
from cloud.redaction.messages import Begin
from cloud.redaction.projector import RedactionProjector, Stretch
from cloud.redaction.rules.plan import (
    Draw,
    Edit,
    Plan,
    Settle,
    Span,
    cut_of,
    edited,
    joined,
    judge_finish,
    judge_settle,
    plan_sha256,
    with_followed,
    with_found,
)
from cloud.redaction.rules.tracks import Box, Key, link
from cloud.redaction.work import Doing, Pace, Work, new_work
from cloud.rules.apart import DECLARED
from cloud.vault.store import Vault
from cloud.viewing.clips import CLIP_STEP
from cloud.viewing.reels import Piece, Reel
from cloud.viewing.rooms import Room, Rooms
from cloud.viewing.rules.lifecycle import RoomState

LOG: Final = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

VIA: Final = "redaction"
"""How a derivative came in, in the register and in the ledger."""

FOLLOWED_S: Final = 30.0
"""How far a box that was drawn by hand is followed in one go."""

WAITS_S: Final = 0.5
"""How often work that waits for somebody to come back looks again."""

KEPT_EVERY_S: Final = 10.0
"""Seconds of film that are searched or watched until it is kept; with an edit it is kept at once."""


class _Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Somebody pressed stop."""


class Hub(Protocol):
    """Where browsers hear that something changed."""

    def publish(self, org: str, kind: str, data: dict[str, Any]) -> int:
        """Say it; return its number."""


class Redactions:
    """Every piece of work of one municipality."""

    def __init__(
        self,
        *,
        org: str,
        database: Database,
        ledger: Ledger,
        kluis: KluisClient,
        vault: Vault,
        rooms: Rooms,
        clock: Clock,
        hub: Hub,
    ) -> None:
        self._org, self._database, self._ledger, self._kluis = org, database, ledger, kluis
        self._vault, self._rooms, self._clock, self._hub = vault, rooms, clock, hub
        self._works: dict[tuple[str, str], Work] = {}
        self._drafts = Drafts(database, clock, org=org)

    # --- the work -------------------------------------------------------------------------------------------------

    async def of(self, room: Room) -> Work:
        """Return the work of this room's case on its recording, begun before or new; raise Refused (NOT_FOUND)."""
        if not room.redacts:
            raise refuse(Code.NOT_FOUND, "redaction", expected="a room for it", got="a viewing")
        reel = room.reels[0]
        if reel.films and not room.was_opened:
            return new_work(reel)  # how long its films are, is not known yet
        name = (room.request.case, reel.recording)
        work = self._works.get(name)
        if work is None or (work.made and work.made_in != room.id):
            fresh, draft = new_work(reel), await self._drafts.read(*name)
            if draft is not None:
                fresh.resume(draft)
            if self._works.get(name) is work:  # nobody was faster
                self._forget_over()
                self._works[name] = fresh
            work = self._works[name]
        work.people = room.people
        return work

    def _forget_over(self) -> None:
        """Drop the work that no room is about any more; what was not made of it lies in its draft."""
        about = self._rooms.about()
        over = [name for name, work in self._works.items() if name not in about and work.doing is Doing.NOTHING]
        for name in over:
            del self._works[name]

    async def search(self, room: Room) -> Work:
        """Begin to look for faces, in the background, or go on where it stopped; raise Refused (CONFLICT)."""
        work = await self.of(room)
        self._begin(room, work, Doing.SEARCHING, lambda: self._search(room, work))
        return work

    async def stop(self, room: Room) -> Work:
        """Stop looking or making. What was found so far is kept; what was made so far is not."""
        work = await self.of(room)
        if work.task is not None and not work.task.done():
            work.stopping = True  # between two orders: a half-read answer would be taken for the next one's
            await asyncio.wait([work.task])
        return work

    async def edit(self, room: Room, edit: Edit, *, by: str) -> Work:
        """Change the plan; raise Refused (CONFLICT while it is being made, NOT_FOUND, MALFORMED, NOT_ALLOWED)."""
        work = await self._changing(room)
        if isinstance(edit, Settle):
            verdict = judge_settle(work.plan, edit, work.looked(by))
            if not verdict:
                raise refuse(Code.NOT_ALLOWED, "doubt", expected="what this person watched", got=verdict.because)
        work.change(edited(work.plan, edit), looks_the_same=isinstance(edit, Settle))
        await self._keep_draft(room, work)
        return work

    async def follow(self, room: Room, drawn: Draw) -> Work:
        """Draw a box and follow what is in it, until it is lost or for half a minute; raise Refused."""
        work, projector = await self._changing(room), self._projector(room)
        keys, box, lost = list[Key](), drawn.box, False
        until_s = min(drawn.until_s, drawn.from_s + FOLLOWED_S)
        for piece in room.reels[0].pieces:
            begin = work.starts[piece.sequence]
            if begin + piece.length_s <= drawn.from_s or begin > until_s or lost:
                continue
            stretch = await self._stretch(room, work, piece)
            self._open(room)
            went = await projector.follow(stretch, at_s=max(drawn.from_s, begin), box=box)
            keys += went.keys
            lost = went.lost or not went.keys
            box = Box(*keys[-1][1:]) if keys else box
        work = await self._changing(room)  # somebody may have begun something meanwhile
        work.change(with_followed(work.plan, drawn, [key for key in keys if key.at_s <= until_s]))
        await self._keep_draft(room, work)
        return work

    async def preview(self, room: Room, official: str, *, token: str, sequence: int | None, proof: str) -> bytes:
        """Return one stretch as it will be made; the room asks for each whether it may be shown. Raises Refused."""
        work, recording = await self.of(room), room.reels[0].recording

        async def make(piece: Piece, mark: tuple[str, ...]) -> bytes:
            begin, shown = work.starts[piece.sequence], work.print_of(piece.sequence)
            cut = cut_of(work.plan, begin, begin + piece.length_s)
            stretch = await self._stretch(room, work, piece)
            media = await self._projector(room).preview(stretch, cut=cut, mark=mark)
            work.sent(official, piece.sequence, shown)
            return media

        return await self._rooms.show(
            room, official, token=token, recording=recording, sequence=sequence, proof=proof, make=make
        )

    async def played(self, room: Room, official: str, spans: Sequence[Span], *, picture: int) -> Work:
        """Note what this person's player says that it played of a preview; only what it was sent of it counts."""
        self._open(room)
        work = await self.of(room)
        if picture != work.picture:
            return work  # it changed while this was said
        work.unsaved_s += work.played(official, spans)
        if work.unsaved_s >= KEPT_EVERY_S or (work.unsaved_s and not work.review().unwatched.get(official)):
            await self._keep_draft(room, work)
        return work

    async def make(self, room: Room, *, by: str) -> Work:
        """Begin to make the derivative, in the background; raise Refused (NOT_ALLOWED, CONFLICT)."""
        work = await self._idle(room)
        self._open(room)
        if by != room.request.requester:
            raise refuse(Code.NOT_ALLOWED, "derivative", expected="whoever asked for the room", got=by)
        if not work.searched:
            raise refuse(
                Code.NOT_ALLOWED, "derivative", expected="a recording that was searched", got="one that was not"
            )
        verdict = judge_finish(work.plan, work.watched_by())
        if not verdict:
            raise refuse(Code.NOT_ALLOWED, "derivative", expected="a plan that is ready", got=verdict.because)
        self._begin(room, work, Doing.MAKING, lambda: self._make(room, work, by=by))
        return work

    async def made_of(self, recording: str) -> Row[Any] | None:
        """Return of what a recording was made and how, or None when it was filmed."""
        query = select(derivatives).where(derivatives.c.org == self._org, derivatives.c.recording == recording)
        async with self._database.transaction() as t:
            return (await t.execute(query)).one_or_none()

    async def close(self) -> None:
        """Stop everything."""
        tasks = [work.task for work in self._works.values() if work.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- in the background ----------------------------------------------------------------------------------------

    def _begin(self, room: Room, work: Work, doing: Doing, task: Callable[[], Awaitable[None]]) -> None:
        if work.doing is not Doing.NOTHING:
            raise _busy(work)
        self._open(room)
        work.doing, work.done, work.of, work.problem, work.stopping = doing, 0, len(room.reels[0].pieces), "", False
        work.pace = Pace()
        work.task = asyncio.create_task(self._run(room, work, task), name=f"cloud.redaction.{doing}")

    async def _run(self, room: Room, work: Work, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except _Stopped:
            LOG.info("redaction: %s in room %s was stopped", work.doing, room.id)
        except Refused as refused:
            LOG.warning("redaction: %s in room %s: %s", work.doing, room.id, refused)
            work.problem = str(refused)
        except (SQLAlchemyError, OSError) as cause:
            LOG.exception("redaction: %s in room %s", work.doing, room.id)
            work.problem = str(refuse(Code.UNAVAILABLE, "redaction", expected="to go on", got=type(cause).__name__))
        finally:
            work.doing = Doing.NOTHING
            work.version += 1
            self._hub.publish(self._org, "redaction", {"room": room.id})

    async def _search(self, room: Room, work: Work) -> None:
        if work.searched:
            work.searched, work.searched_to, work.hits = False, -1, []
        detector, unsaved_s = work.plan.detector, 0.0
        try:
            for piece, following in zip_longest(pieces := room.reels[0].pieces, pieces[1:]):
                if piece.sequence > work.searched_to:
                    ends = following is None or following.gap_before
                    find = partial(self._projector(room).find, ends=ends)
                    found = await self._timed(room, work, piece, find)
                    work.hits += found.hits
                    work.searched_to, detector = piece.sequence, found.detector
                    unsaved_s += piece.length_s
                work.done += 1
                if unsaved_s >= KEPT_EVERY_S:
                    await self._keep_draft(room, work)
                    unsaved_s = 0.0
            work.searched = True
        finally:
            tracks = await asyncio.to_thread(link, tuple(work.hits))
            work.change(with_found(work.plan, tracks, detector=detector))
            if work.searched:
                work.hits = []
            await self._keep_draft(room, work)

    async def _make(self, room: Room, work: Work, *, by: str) -> None:
        plan, reel, projector, now = work.plan, room.reels[0], self._projector(room), self._clock()
        derivative = str(uuid7(now, secrets.token_bytes(10)))
        told = _Told(room, plan, original=await self._original(reel.recording), watched=work.watched_by())
        await self._ledger.append(
            "redaction.made", subject=reel.recording, actor=by, at=now, facts={"derivative": derivative, **told.facts}
        )
        begun = await projector.begin(await self._order(reel, derivative))
        made = _Made(derivative=derivative, head=begun.head, public_key=begun.public_key)
        await self._keep(made, begun.first)
        for piece in reel.pieces:
            begin = work.starts[piece.sequence]
            hide = partial(projector.hide, cut=cut_of(plan, begin, begin + piece.length_s))
            await self._keep(made, await self._timed(room, work, piece, hide))
            work.done += 1
        finished = await projector.finish(ended_at=reel.pieces[-1].ends_at)
        made.end, made.film_sha256 = finished.end, finished.film_sha256.hex()
        await asyncio.shield(self._register(room, made, plan, told, by=by))
        work.made, work.made_in = derivative, room.id
        await self._drafts.forget(room.request.case, reel.recording)

    async def _timed(
        self, room: Room, work: Work, piece: Piece, do: Callable[[Stretch], Awaitable[_Answer]]
    ) -> _Answer:
        """Do it to one stretch: only while the room is open, and waiting while it is paused."""
        while room.state is RoomState.PAUSED and not work.stopping:  # noqa: ASYNC110 - a room's state has no event
            await asyncio.sleep(WAITS_S)
        if work.stopping:
            raise _Stopped
        self._open(room)
        began_s = _now_s()
        answer = await do(await self._stretch(room, work, piece))
        work.pace.took(_now_s() - began_s, film_s=piece.length_s)
        return answer

    async def _stretch(self, room: Room, work: Work, piece: Piece) -> Stretch:
        reel = room.reels[0]
        outside = bool(reel.films)
        return Stretch(
            recording=reel.recording,
            from_s=work.starts[piece.sequence],
            raw=b"" if outside else await self._vault.read(piece.digest),
            film=piece.film,
            number=piece.sequence % CLIP_STEP - 1 if outside else 0,
            starts_at=piece.starts_at,
            ends_at=piece.ends_at,
            pre_record=piece.pre_record,
            supply=self._rooms.supply(room) if outside else None,
        )

    async def _keep_draft(self, room: Room, work: Work) -> None:
        work.unsaved_s = 0.0
        await self._drafts.keep(room.request.case, work.plan.recording, work.draft())

    # --- making ---------------------------------------------------------------------------------------------------

    async def _order(self, reel: Reel, derivative: str) -> Begin:
        public, checkpoint = await self._kluis.public(), self._ledger.checkpoint()
        listed = read_keylist(await self._kluis.keylist(), Ed25519PublicKey.from_public_bytes(public.signing_key))
        return Begin(
            recording=reel.recording,
            derivative=derivative,
            tenant=tenant_id(parse_org(self._org)),
            recipients=tuple((each.key_id, each.public_key) for each in listed.recipients_at(self._clock())),
            tree_size=checkpoint.size,
            root=checkpoint.root,
            begins_at=reel.pieces[0].starts_at,
        )

    async def _keep(self, made: "_Made", raw: bytes) -> None:
        digest = segment_digest(raw)
        async with self._vault.receive(digest, size=len(raw)) as incoming:
            await incoming.write(raw)
            await incoming.keep(lambda _header, _tail, _digest: None)  # sealed a moment ago, by our own process
        facts = await asyncio.to_thread(read_segment, raw, Ed25519PublicKey.from_public_bytes(made.public_key))
        made.facts.append(facts)
        made.lines.append(
            {
                "recording": made.derivative,
                "sequence": facts.sequence,
                "digest": digest.hex(),
                "ciphertext_bytes": facts.ciphertext_bytes,
                "starts_at": facts.starts_at,
                "ends_at": facts.ends_at,
                "flags": int(facts.flags),
                "kind": int(facts.kind),
            }
        )

    async def _original(self, recording: str) -> Row[Any]:
        async with self._database.transaction() as t:
            return (await t.execute(select(recordings).where(recordings.c.id == recording))).one()

    async def _register(self, room: Room, made: "_Made", plan: Plan, told: "_Told", *, by: str) -> None:
        """Give its key into custody, write it down, and say in the ledger that it is here."""
        now, reel, key = self._clock(), room.reels[0], Ed25519PublicKey.from_public_bytes(made.public_key)
        camera = f"onherkenbaar-{made.derivative[-12:]}"
        await self._ledger.append(
            "camera.enrolled", subject=camera, actor=by, at=now,
            facts={"public_key": made.public_key.hex(), "state": VIA, "derivative": made.derivative},
        )  # fmt: skip
        await self._kluis.intake(made.head, camera_public_key=made.public_key, end=made.end)
        head, end = read_head(made.head, key), read_end(made.end, key)
        async with self._database.transaction() as t:
            original = await lock_recording(t, self._org, reel.recording)  # so that its destruction takes this along
            if original is None or original.state in ("destroying", "destroyed"):
                raise refuse(Code.DESTROYED, "original", expected="one that is kept", got="one that goes")
            await t.execute(
                insert(cameras).values(
                    org=self._org, id=camera, public_key=made.public_key, key_id=camera_key_id(made.public_key),
                    state="outside", enrolled_at=now, reason=VIA,
                )
            )  # fmt: skip
            row = {
                "id": made.derivative, "org": self._org, "camera": camera, "policy_version": original.policy_version,
                "state": "retained", "reason": "made unrecognisable", "started_at": reel.pieces[0].starts_at,
                "activated_at": original.activated_at, "ended_at": original.ended_at, "expires_at": original.expires_at,
                "pre_record_s": sum(piece.length_s for piece in reel.pieces if piece.pre_record),
                "segments": end.segments, "total_bytes": end.total_bytes, "chain": made.chain(key).value,
                "stop_reason": end.stop_reason.name.lower(), "head_sha256": head.sha256.hex(),
                "last_hash": end.last_hash.hex(), "end_record": made.end, "via": VIA, "received_at": now,
                "deviations": [each for each in original.deviations if each == DECLARED],
            }  # fmt: skip
            await t.execute(insert(recordings).values(row))
            await t.execute(insert(segments), made.lines)
            await t.execute(
                insert(derivatives).values(
                    recording=made.derivative, org=self._org, original=reel.recording, case_id=room.request.case,
                    room=room.id, made_by=by, made_at=now, detector=plan.detector, plan=msgspec.to_builtins(plan),
                    plan_sha256=plan_sha256(plan), film_sha256=made.film_sha256, length_s=plan.length_s,
                    looked_s=plan.length_s,
                )
            )  # fmt: skip
            await t.execute(insert(case_subjects).values(case_id=room.request.case, recording=made.derivative))
            await recompute_state(t, self._org, made.derivative, now=now, because="made for a case that is held")
        facts = {name: row[name] for name in _TOLD} | told.facts
        facts |= {"derivative_of": plan.recording, "film_sha256": made.film_sha256}
        await self._ledger.append(
            "recording.received", subject=made.derivative, actor=by, at=self._clock(), facts=facts
        )
        self._hub.publish(self._org, "recording", {"recording": made.derivative, "state": row["state"]})
        self._hub.publish(self._org, "case", {"case": room.request.case, "derivative": made.derivative})

    # --- asked of each ----------------------------------------------------------------------------------------------

    async def _idle(self, room: Room) -> Work:
        work = await self.of(room)
        if work.doing is not Doing.NOTHING:
            raise _busy(work)
        return work

    async def _changing(self, room: Room) -> Work:
        """Return the work to change its plan: also while faces are looked for, but not while it is made."""
        work = await self.of(room)
        if work.doing is Doing.MAKING:
            raise _busy(work)
        self._open(room)
        return work

    def _open(self, room: Room) -> None:
        if room.state is not RoomState.OPEN:
            raise refuse(Code.NOT_ALLOWED, "redaction", expected="an open room", got=room.state.value)

    def _projector(self, room: Room) -> RedactionProjector:
        if not isinstance(room.projector, RedactionProjector):
            raise refuse(Code.NOT_FOUND, "redaction", expected="a room for it", got="a viewing")
        return room.projector


_TOLD: Final = (
    "camera", "via", "state", "chain", "segments", "total_bytes", "head_sha256", "last_hash", "policy_version",
    "deviations",
)  # fmt: skip


@dataclass(kw_only=True)
class _Made:
    """A derivative on its way into the house."""

    derivative: str
    head: bytes
    public_key: bytes
    end: bytes = b""
    film_sha256: str = ""
    facts: list[SegmentFacts] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)

    def chain(self, key: Ed25519PublicKey) -> ChainState:
        """Return what the segments say together, as anybody else would judge them."""
        return check_chain(read_head(self.head, key), tuple(self.facts), read_end(self.end, key)).state


class _Told:
    """What the ledger says of a derivative, before it is made and when it is here."""

    def __init__(self, room: Room, plan: Plan, *, original: Row[Any], watched: Mapping[str, Sequence[Span]]) -> None:
        self.facts: dict[str, Any] = {
            "case": room.request.case,
            "room": room.id,
            "first": plan.first,
            "last": plan.last,
            "length_s": plan.length_s,
            "plan_sha256": plan_sha256(plan),
            "detector": plan.detector,
            "original_head_sha256": original.head_sha256,
            "original_last_hash": original.last_hash,
            "watched": [
                {"official": official, "from_s": span.from_s, "until_s": span.until_s}
                for official, spans in watched.items()
                for span in joined(spans)
            ],
            "settled": sum(each.settled for each in plan.tracks),
        }


def _busy(work: Work) -> Refused:
    return refuse(Code.CONFLICT, "redaction", expected="nothing under way", got=work.doing.value)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
